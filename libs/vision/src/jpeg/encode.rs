//! From planes to JPEG, without a detour over RGB.
//!
//! JFIF knows one meaning of Y, Cb, Cr: full range, BT.601. A frame that is so already and lies in planes goes to the
//! codec as it is; any other is first brought there in working memory that is kept.

use turbojpeg::{Compressor, Image, OutputBuf, Subsamp, YuvPlanesImage};

use super::convert::{Planes, to_jfif};
use crate::{Error, FrameView, Matrix, PixelFormat, Plane, Range};

/// Encodes frames as JPEG; keep one where many come.
pub struct Encoder {
    turbo: Compressor,
    scratch: Planes,
}

impl Encoder {
    /// An encoder.
    ///
    /// # Errors
    /// When the library cannot take memory.
    pub fn new() -> Result<Self, Error> {
        let turbo = Compressor::new().map_err(|source| Error::JpegEncode { width: 0, height: 0, source })?;
        Ok(Self { turbo, scratch: Planes::default() })
    }

    /// Encodes the frame at `quality` 1 to 100 (numbers outside are brought inside).
    ///
    /// Chroma keeps the frame's subsampling; RGB is stored with half the chroma in both directions.
    ///
    /// # Errors
    /// When the codec refuses the picture.
    pub fn encode(&mut self, frame: &FrameView<'_>, quality: u8) -> Result<Vec<u8>, Error> {
        let mut jpeg = Vec::new();
        self.encode_into(frame, quality, &mut jpeg)?;
        Ok(jpeg)
    }

    /// As [`Encoder::encode`], into a vector that is cleared first and reused.
    ///
    /// # Errors
    /// As [`Encoder::encode`].
    pub fn encode_into(&mut self, frame: &FrameView<'_>, quality: u8, jpeg: &mut Vec<u8>) -> Result<(), Error> {
        jpeg.clear();
        self.compress(frame, i32::from(quality.clamp(1, 100)), jpeg).map_err(|source| Error::JpegEncode {
            width: frame.width(),
            height: frame.height(),
            source,
        })
    }

    fn compress(&mut self, frame: &FrameView<'_>, quality: i32, jpeg: &mut Vec<u8>) -> turbojpeg::Result<()> {
        self.turbo.set_quality(quality)?;
        let (width, height, subsamp) = (frame.width() as usize, frame.height() as usize, subsampling(frame.format()));
        let converted;
        let planes = if is_jfif(frame) {
            frame.planes()
        } else {
            to_jfif(frame, &mut self.scratch);
            converted = self.scratch.planes();
            &converted
        };
        let packed = match frame.format() {
            PixelFormat::Rgb => Some(turbojpeg::PixelFormat::RGB),
            PixelFormat::Bgr => Some(turbojpeg::PixelFormat::BGR),
            PixelFormat::Rgbx => Some(turbojpeg::PixelFormat::RGBX),
            PixelFormat::Bgrx => Some(turbojpeg::PixelFormat::BGRX),
            PixelFormat::Gray8 => Some(turbojpeg::PixelFormat::GRAY),
            _ => None,
        };
        let mut output = OutputBuf::new_owned();
        if let Some(format) = packed {
            self.turbo.set_subsamp(subsamp)?;
            let image = Image { pixels: planes[0].data, width, pitch: planes[0].stride, height, format };
            self.turbo.compress(image, &mut output)?;
        } else {
            self.turbo.compress_yuv_planes(&image(planes, width, height, subsamp), &mut output)?;
        }
        jpeg.extend_from_slice(&output);
        Ok(())
    }
}

/// Whether the codec can take the frame as it is. It reads luma up to whole chroma samples, so odd sizes are copied.
fn is_jfif(frame: &FrameView<'_>) -> bool {
    let (sx, sy) = frame.format().subsampling();
    match frame.format() {
        format if format.packed().is_some() => true,
        PixelFormat::Gray8 => frame.range() == Range::Full,
        PixelFormat::Nv12 => false,
        _ => {
            let whole = frame.width().is_multiple_of(sx) && frame.height().is_multiple_of(sy);
            whole && frame.range() == Range::Full && frame.matrix() == Matrix::Bt601
        }
    }
}

fn image<'a>(planes: &[Plane<'a>], width: usize, height: usize, subsamp: Subsamp) -> YuvPlanesImage<&'a [u8]> {
    YuvPlanesImage {
        y_plane: planes[0].data,
        u_plane: planes[1].data,
        v_plane: planes[2].data,
        width,
        height,
        y_stride: planes[0].stride,
        u_stride: planes[1].stride,
        v_stride: planes[2].stride,
        subsamp,
    }
}

fn subsampling(format: PixelFormat) -> Subsamp {
    match format {
        PixelFormat::I420 | PixelFormat::Nv12 => Subsamp::Sub2x2,
        PixelFormat::Rgb | PixelFormat::Bgr | PixelFormat::Rgbx | PixelFormat::Bgrx => Subsamp::Sub2x2,
        PixelFormat::I422 => Subsamp::Sub2x1,
        PixelFormat::I440 => Subsamp::Sub1x2,
        PixelFormat::I444 => Subsamp::None,
        PixelFormat::I411 => Subsamp::Sub4x1,
        PixelFormat::I441 => Subsamp::Sub1x4,
        PixelFormat::Gray8 => Subsamp::Gray,
    }
}
