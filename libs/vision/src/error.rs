//! What can go wrong between bytes and tensors, in words that name the operation, its object and what to do.

use crate::Rect;

/// Why an operation on pictures was refused or failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A rectangle that is not wholly inside the picture.
    #[error(
        "region {region} lies outside the picture of {width}x{height} pixels: move or shrink the region, or set it in \
         fractions so that it follows the picture"
    )]
    RegionOutside {
        /// The rectangle asked for.
        region: Rect,
        /// Width of the picture in pixels.
        width: u32,
        /// Height of the picture in pixels.
        height: u32,
    },
    /// A width or height of zero.
    #[error("{what} has no pixels ({width}x{height}): give it a width and a height of at least 1")]
    Empty {
        /// What has no pixels: picture, region or target.
        what: &'static str,
        /// Its width in pixels.
        width: u32,
        /// Its height in pixels.
        height: u32,
    },
    /// A width or height above [`crate::MAX_SIDE`].
    #[error("{what} of {width}x{height} pixels is too large: at most {max} pixels a side are supported", max = crate::MAX_SIDE)]
    TooLarge {
        /// What is too large: picture or target.
        what: &'static str,
        /// Its width in pixels.
        width: u32,
        /// Its height in pixels.
        height: u32,
    },
    /// A format with another number of planes.
    #[error("frame in {format} needs {need} planes, got {have}")]
    PlaneCount {
        /// Name of the pixel format.
        format: &'static str,
        /// Planes that the format has.
        need: usize,
        /// Planes given.
        have: usize,
    },
    /// A stride smaller than one row.
    #[error("plane {plane} has a stride of {stride} bytes, but one row takes {row} bytes")]
    ShortStride {
        /// Number of the plane, from 0.
        plane: usize,
        /// The stride given, in bytes.
        stride: usize,
        /// Bytes of one row.
        row: usize,
    },
    /// A plane that ends before its last row does.
    #[error(
        "plane {plane} holds {have} bytes, but its size and stride need {need}: the frame is truncated or its size is wrong"
    )]
    ShortPlane {
        /// Number of the plane, from 0.
        plane: usize,
        /// Bytes needed.
        need: usize,
        /// Bytes given.
        have: usize,
    },
    /// A buffer of another length than the operation needs.
    #[error("{what} holds {have} elements, but {need} are needed")]
    Length {
        /// Which buffer.
        what: &'static str,
        /// Elements needed.
        need: usize,
        /// Elements given.
        have: usize,
    },
    /// A normalisation that does not fit the colour, or divides by zero.
    #[error("normalisation is not usable: {0}; correct `input.normalize` in the model's manifest")]
    Normalize(String),
    /// A picture beyond the limits, refused from its header.
    #[error("picture {what} of {have} exceeds the limit of {limit}: send a smaller picture or raise the limit")]
    Limit {
        /// Which limit: size in bytes, width, height, or number of pixels.
        what: &'static str,
        /// What the picture has.
        have: u64,
        /// What is allowed.
        limit: u64,
    },
    /// Bytes that are neither JPEG nor PNG.
    #[error("picture is neither JPEG nor PNG (it begins with {begin}): send one of these")]
    UnknownFormat {
        /// The first bytes in hex, or `nothing`.
        begin: String,
    },
    /// A picture whose form is valid but not supported.
    #[error("{format} picture is not supported: {why}")]
    Unsupported {
        /// JPEG or PNG.
        format: &'static str,
        /// What it holds, and what to do.
        why: String,
    },
    /// A JPEG that cannot be read: corrupt or truncated.
    #[error("decode JPEG picture: it is corrupt or truncated; send the whole file")]
    JpegDecode(#[source] turbojpeg::Error),
    /// A JPEG that could not be written.
    #[error("encode JPEG picture of {width}x{height} pixels")]
    JpegEncode {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// What the encoder says.
        #[source]
        source: turbojpeg::Error,
    },
    /// A PNG that cannot be read: corrupt or truncated.
    #[error("decode PNG picture: it is corrupt or truncated; send the whole file")]
    PngDecode(#[source] png::DecodingError),
}
