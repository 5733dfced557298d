//! A decoded picture that owns its planes, the limits that it was held to, and the choice of the decoder by content.

use crate::{Error, FrameView, Matrix, PixelFormat, Plane, Range, jpeg, png};

/// What a picture may be at most; checked from its header, before memory is taken for its pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Size of the encoded picture in bytes.
    pub max_bytes: usize,
    /// Width in pixels.
    pub max_width: u32,
    /// Height in pixels.
    pub max_height: u32,
    /// Width times height.
    pub max_pixels: u64,
}

impl Default for Limits {
    /// 32 MiB, 16384 pixels a side, 64 million pixels in all: more than any camera gives. Decoding takes up to 3 bytes a
    /// pixel, a progressive JPEG up to 9 for a while, one that is to be turned up to 6.
    fn default() -> Self {
        Self { max_bytes: 32 << 20, max_width: 16_384, max_height: 16_384, max_pixels: 64_000_000 }
    }
}

impl Limits {
    pub(crate) fn check_bytes(&self, bytes: &[u8]) -> Result<(), Error> {
        within("size in bytes", bytes.len() as u64, self.max_bytes as u64)
    }

    pub(crate) fn check_size(&self, width: u32, height: u32) -> Result<(), Error> {
        crate::frame::check_size("picture", width, height)?;
        within("width", u64::from(width), u64::from(self.max_width))?;
        within("height", u64::from(height), u64::from(self.max_height))?;
        within("number of pixels", u64::from(width) * u64::from(height), self.max_pixels)
    }
}

fn within(what: &'static str, have: u64, limit: u64) -> Result<(), Error> {
    if have > limit { Err(Error::Limit { what, have, limit }) } else { Ok(()) }
}

/// Where a plane lies in a picture's bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub offset: usize,
    pub stride: usize,
}

/// A decoded picture: full range, and BT.601 where it is YUV, as JPEG has it.
#[derive(Clone, Debug)]
pub struct Picture {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) format: PixelFormat,
    pub(crate) bytes: Vec<u8>,
    pub(crate) spans: [Span; 3],
}

impl Picture {
    /// A picture of packed red, green, blue or of luma, without padding; `bytes` has the right length.
    pub(crate) fn packed(width: u32, height: u32, format: PixelFormat, bytes: Vec<u8>) -> Self {
        let (stride, _) = format.plane_size(0, width, height);
        Self { width, height, format, bytes, spans: [Span { offset: 0, stride }, Span::default(), Span::default()] }
    }

    /// Width in pixels.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// How its pixels lie.
    pub fn format(&self) -> PixelFormat {
        self.format
    }

    /// The picture as a frame.
    pub fn view(&self) -> FrameView<'_> {
        let mut planes = [Plane { data: &[], stride: 0 }; 3];
        let count = self.format.planes();
        for (plane, span) in planes.iter_mut().zip(&self.spans[..count]) {
            *plane = Plane { data: &self.bytes[span.offset..], stride: span.stride };
        }
        let planes = &planes[..count];
        match FrameView::new(self.width, self.height, self.format, planes, Range::Full, Matrix::Bt601) {
            Ok(view) => view,
            Err(error) => unreachable!("the decoder lays out whole planes: {error}"),
        }
    }
}

/// Decodes a JPEG or PNG, told apart by their first bytes.
///
/// Makes a decoder each time: where many JPEGs come, keep a [`jpeg::Decoder`].
///
/// # Errors
/// Neither of the two; beyond the limits; corrupt, truncated or of an unsupported form.
pub fn decode_picture(bytes: &[u8], limits: &Limits) -> Result<Picture, Error> {
    if jpeg::is_jpeg(bytes) {
        return jpeg::Decoder::new()?.decode(bytes, limits);
    }
    if png::is_png(bytes) {
        return png::decode(bytes, limits);
    }
    let begin = match bytes {
        [] => "nothing".to_owned(),
        _ => hex::encode(&bytes[..bytes.len().min(8)]),
    };
    Err(Error::UnknownFormat { begin })
}
