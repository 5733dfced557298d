//! What lies in a buffer of raw video: read from its caps once, then used to look at each buffer without a copy.

use gstreamer as gst;
use gstreamer_video::{self as gst_video, VideoColorMatrix, VideoColorRange, VideoFormat, prelude::*};
use vision::{FrameView, Matrix, PixelFormat, Plane, Range, Siting};

/// The formats that can be looked at, the best first.
pub const FORMATS: [VideoFormat; 7] = [
    VideoFormat::I420,
    VideoFormat::Nv12,
    VideoFormat::Gray8,
    VideoFormat::Rgb,
    VideoFormat::Bgr,
    VideoFormat::Rgbx,
    VideoFormat::Bgrx,
];

/// What lies in a buffer, worked out once for each caps.
#[derive(Clone, Debug)]
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
pub enum FormError {
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
    /// Caps that are not raw video in one of [`FORMATS`].
    pub fn new(caps: &gst::CapsRef) -> Result<Self, FormError> {
        let wrong = || FormError::Caps(caps.to_string());
        let info = gst_video::VideoInfo::from_caps(caps).map_err(|_| wrong())?;
        let format = match info.format() {
            VideoFormat::I420 => PixelFormat::I420,
            VideoFormat::Nv12 => PixelFormat::Nv12,
            VideoFormat::Gray8 => PixelFormat::Gray8,
            VideoFormat::Rgb => PixelFormat::Rgb,
            VideoFormat::Bgr => PixelFormat::Bgr,
            VideoFormat::Rgbx => PixelFormat::Rgbx,
            VideoFormat::Bgrx => PixelFormat::Bgrx,
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
        // Where the stream is silent, H.264 and H.265 mean chroma that sits on the left luma sample.
        let silent = caps.structure(0).is_some_and(|caps| !caps.has_field("chroma-site"));
        let cosited = silent || info.chroma_site().contains(gst_video::VideoChromaSite::H_COSITED);
        let siting = if cosited { Siting::Left } else { Siting::Center };
        Ok(Self { info, format, range, matrix, siting })
    }

    /// Width and height in pixels.
    pub fn size(&self) -> (u32, u32) {
        (self.info.width(), self.info.height())
    }

    /// As GStreamer says it.
    pub fn info(&self) -> &gst_video::VideoInfo {
        &self.info
    }

    /// Maps a buffer for reading and shows it.
    ///
    /// # Errors
    /// What hinders the look; not what `look` returns.
    pub fn look<T>(&self, buffer: &gst::BufferRef, look: impl FnOnce(&FrameView<'_>) -> T) -> Result<T, FormError> {
        let frame = gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, &self.info)
            .map_err(|error| FormError::Map(error.to_string()))?;
        let mut planes = [Plane { data: &[], stride: 0 }; 3];
        let count = self.format.planes();
        for (index, plane) in planes.iter_mut().enumerate().take(count) {
            let data = frame.plane_data(index as u32).map_err(|error| FormError::Map(error.to_string()))?;
            // A negative stride (bottom-up pictures) is none that a decoder gives for these formats.
            let stride = usize::try_from(frame.plane_stride()[index]).unwrap_or(0);
            *plane = Plane { data, stride };
        }
        let (width, height) = self.size();
        let view = FrameView::new(width, height, self.format, &planes[..count], self.range, self.matrix)
            .map_err(FormError::Planes)?
            .with_siting(self.siting);
        Ok(look(&view))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Range, matrix and siting of caps as decoders and cameras really give them.
    fn form(caps: &str) -> Result<(PixelFormat, Range, Matrix, Siting), String> {
        gst::init().unwrap();
        let caps: gst::Caps = format!("video/x-raw,framerate=25/1,{caps}").parse().unwrap();
        let form = Form::new(&caps).map_err(|error| error.to_string())?;
        Ok((form.format, form.range, form.matrix, form.siting))
    }

    #[test]
    fn caps_say_how_colours_are_meant() {
        use {Matrix::*, PixelFormat::*, Range::*, Siting::*};
        for (caps, expected) in [
            // avdec_h264 of a stream without colour description, by size
            ("format=I420,width=640,height=480", (I420, Limited, Bt601, Left)),
            ("format=I420,width=1920,height=1080", (I420, Limited, Bt709, Left)),
            ("format=NV12,width=1280,height=720,colorimetry=bt709,chroma-site=mpeg2", (Nv12, Limited, Bt709, Left)),
            ("format=I420,width=1280,height=720,colorimetry=bt601", (I420, Limited, Bt601, Left)),
            ("format=I420,width=720,height=576,colorimetry=2:4:5:1,chroma-site=jpeg", (I420, Limited, Bt601, Center)),
            // a camera that sends full range (yuvj420p)
            ("format=I420,width=1280,height=720,colorimetry=1:3:5:1", (I420, Full, Bt709, Left)),
            ("format=I420,width=640,height=480,colorimetry=1:4:0:1,chroma-site=jpeg", (I420, Full, Bt601, Center)),
            ("format=NV12,width=3840,height=2160,colorimetry=bt2020", (Nv12, Limited, Bt2020, Left)),
            // UVC cameras
            ("format=GRAY8,width=640,height=480", (Gray8, Full, Bt601, Left)),
            ("format=GRAY8,width=640,height=480,colorimetry=2:4:5:1", (Gray8, Limited, Bt601, Left)),
            ("format=RGB,width=640,height=480", (Rgb, Full, Bt601, Left)),
        ] {
            let got = form(caps).unwrap();
            assert_eq!((got.0, got.1), (expected.0, expected.1), "{caps}");
            if !matches!(got.0, Rgb) {
                assert_eq!(got.2, expected.2, "{caps}");
            }
            if matches!(got.0, I420 | Nv12) {
                assert_eq!(got.3, expected.3, "{caps}");
            }
        }
    }

    #[test]
    fn caps_that_nobody_asked_for_are_refused() {
        let error = form("format=YUY2,width=640,height=480").unwrap_err();
        assert!(error.contains("cannot be read") && error.contains("YUY2"), "{error}");
        assert!(form("width=640,height=480").is_err());
    }
}
