//! A picture as a source delivered it: a decoder's buffer, or one that `vision` decoded. Cloning copies a reference.

use std::sync::Arc;

use gstreamer as gst;
use gstreamer_video::{self as gst_video, VideoColorMatrix, VideoColorRange, VideoFormat, prelude::*};
use vision::{FrameView, Matrix, PixelFormat, Plane, Range, Siting};

/// A picture, mapped only while somebody looks.
#[derive(Clone)]
pub enum Picture {
    /// Out of a GStreamer decoder.
    Buffer {
        /// The decoder's buffer.
        buffer: gst::Buffer,
        /// What lies in it.
        form: Arc<Form>,
    },
    /// Out of `vision`'s own decoder.
    Decoded(Arc<vision::Picture>),
}

/// What lies in a decoder's buffer, worked out once for each caps.
pub struct Form {
    info: gst_video::VideoInfo,
    format: PixelFormat,
    range: Range,
    matrix: Matrix,
    siting: Siting,
}

/// Why a picture cannot be looked at.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PictureError {
    /// The caps are none that were asked for.
    #[error("decoder gives pictures that cannot be read: {0}")]
    Caps(String),
    /// The buffer cannot be mapped.
    #[error("map the decoder's buffer: {0}")]
    Map(String),
    /// The planes are not what the caps say.
    #[error("read the decoder's planes")]
    Planes(#[source] vision::Error),
}

impl Form {
    /// Reads caps.
    ///
    /// # Errors
    /// Caps that are not raw video in a format that `vision` reads.
    pub fn new(caps: &gst::CapsRef) -> Result<Self, PictureError> {
        let wrong = || PictureError::Caps(caps.to_string());
        let info = gst_video::VideoInfo::from_caps(caps).map_err(|_| wrong())?;
        let format = match info.format() {
            VideoFormat::I420 => PixelFormat::I420,
            VideoFormat::Nv12 => PixelFormat::Nv12,
            VideoFormat::Gray8 => PixelFormat::Gray8,
            VideoFormat::Rgb => PixelFormat::Rgb,
            _ => return Err(wrong()),
        };
        let color = info.colorimetry();
        let range = match color.range() {
            VideoColorRange::Range0_255 => Range::Full,
            // Gray that says nothing comes from sources that are full range (GStreamer's own default for GRAY8).
            VideoColorRange::Unknown if format == PixelFormat::Gray8 => Range::Full,
            _ => Range::Limited,
        };
        let matrix = match color.matrix() {
            VideoColorMatrix::Bt709 => Matrix::Bt709,
            VideoColorMatrix::Bt2020 => Matrix::Bt2020,
            // GStreamer's rule where the stream is silent: high definition is BT.709.
            VideoColorMatrix::Unknown if info.height() > 576 => Matrix::Bt709,
            _ => Matrix::Bt601,
        };
        let siting = if info.chroma_site().contains(gst_video::VideoChromaSite::H_COSITED) {
            Siting::Left
        } else {
            Siting::Center
        };
        Ok(Self { info, format, range, matrix, siting })
    }

    /// Width and height in pixels.
    pub fn size(&self) -> (u32, u32) {
        (self.info.width(), self.info.height())
    }
}

impl Picture {
    /// Maps the picture for reading and shows it.
    ///
    /// # Errors
    /// What hinders the look; not what `look` returns.
    pub fn look<T>(&self, look: impl FnOnce(&FrameView<'_>) -> T) -> Result<T, PictureError> {
        match self {
            Self::Decoded(picture) => Ok(look(&picture.view())),
            Self::Buffer { buffer, form } => {
                let frame = gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, &form.info)
                    .map_err(|error| PictureError::Map(error.to_string()))?;
                let mut planes = [Plane { data: &[], stride: 0 }; 3];
                let count = form.format.planes();
                for (index, plane) in planes.iter_mut().enumerate().take(count) {
                    let data = frame.plane_data(index as u32).map_err(|error| PictureError::Map(error.to_string()))?;
                    // A negative stride (bottom-up pictures) is none that a decoder gives for these formats.
                    let stride = usize::try_from(frame.plane_stride()[index]).unwrap_or(0);
                    *plane = Plane { data, stride };
                }
                let (width, height) = form.size();
                let view = FrameView::new(width, height, form.format, &planes[..count], form.range, form.matrix)
                    .map_err(PictureError::Planes)?
                    .with_siting(form.siting);
                Ok(look(&view))
            }
        }
    }

    /// Width and height in pixels.
    pub fn size(&self) -> (u32, u32) {
        match self {
            Self::Buffer { form, .. } => form.size(),
            Self::Decoded(picture) => (picture.width(), picture.height()),
        }
    }
}
