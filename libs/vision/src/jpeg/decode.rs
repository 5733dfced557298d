//! From JPEG to planes, strictly and within limits.

use turbojpeg::{Colorspace, DecompressHeader, Decompressor, Image, Subsamp, YuvImage, yuv_pixels_len};

use super::orientation::Orientation;
use crate::{Error, Limits, Picture, PixelFormat, picture::Span};

/// Scans of a progressive picture; real encoders write about ten, and each costs a pass over all coefficients.
const SCANS_MAX: u32 = 50;

/// Whether these bytes begin as a JPEG does.
pub fn is_jpeg(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\xff\xd8\xff")
}

/// Decodes JPEGs to planes; keep one where many come.
pub struct Decoder {
    turbo: Decompressor,
}

impl Decoder {
    /// A decoder.
    ///
    /// # Errors
    /// When the library cannot take memory.
    pub fn new() -> Result<Self, Error> {
        let mut turbo = Decompressor::new().map_err(Error::JpegDecode)?;
        turbo.set_scan_limit(SCANS_MAX).map_err(Error::JpegDecode)?;
        Ok(Self { turbo })
    }

    /// Decodes a picture to the planes that it was stored in, full range, BT.601.
    ///
    /// Colour comes as one of the `I4xx` formats, gray as GRAY8. A JPEG that stores RGB, or chroma in an unusual ratio,
    /// comes as RGB. So does one whose Exif header says that it is to be turned: it comes upright.
    ///
    /// # Errors
    /// Beyond the limits; CMYK or lossless; corrupt or truncated: a warning of the library is an error here.
    pub fn decode(&mut self, bytes: &[u8], limits: &Limits) -> Result<Picture, Error> {
        self.decode_reusing(bytes, limits, Vec::new())
    }

    /// As [`Decoder::decode`], in the memory of a picture that is no longer needed.
    ///
    /// # Errors
    /// As [`Decoder::decode`].
    pub fn decode_into(&mut self, bytes: &[u8], limits: &Limits, picture: &mut Picture) -> Result<(), Error> {
        let memory = std::mem::take(&mut picture.bytes);
        *picture = self.decode_reusing(bytes, limits, memory)?;
        Ok(())
    }

    fn decode_reusing(&mut self, bytes: &[u8], limits: &Limits, memory: Vec<u8>) -> Result<Picture, Error> {
        limits.check_bytes(bytes)?;
        let header = self.turbo.read_header(bytes).map_err(Error::JpegDecode)?;
        let (width, height) = (header.width as u32, header.height as u32);
        limits.check_size(width, height)?;
        let unsupported = |why: &str| Err(Error::Unsupported { format: "JPEG", why: why.to_owned() });
        if header.is_lossless {
            return unsupported("it is lossless; save it as baseline or progressive");
        }
        let orientation = Orientation::read(bytes);
        match (header.colorspace, planar(header.subsamp)) {
            (Colorspace::CMYK | Colorspace::YCCK, _) => unsupported("it is CMYK, made for print; save it as RGB"),
            (Colorspace::RGB, _) | (_, None) => self.packed(bytes, &header, orientation, memory),
            _ if !orientation.is_upright() => self.packed(bytes, &header, orientation, memory),
            (Colorspace::Gray | Colorspace::YCbCr, Some(format)) => self.planes(bytes, &header, format, memory),
        }
    }

    fn planes(
        &mut self,
        bytes: &[u8],
        header: &DecompressHeader,
        format: PixelFormat,
        memory: Vec<u8>,
    ) -> Result<Picture, Error> {
        let DecompressHeader { width, height, subsamp, .. } = *header;
        let len = yuv_pixels_len(width, 1, height, subsamp).map_err(Error::JpegDecode)?;
        let pixels = sized(memory, len);
        let mut image = YuvImage { pixels, width, align: 1, height, subsamp };
        self.turbo.decompress_to_yuv(bytes, image.as_deref_mut()).map_err(Error::JpegDecode)?;
        // The library pads luma to whole chroma samples.
        let ((luma, luma_rows), (chroma, chroma_rows)) = (image.y_size(), image.uv_size());
        let u = luma * luma_rows;
        let spans = [
            Span { offset: 0, stride: luma },
            Span { offset: u, stride: chroma },
            Span { offset: u + chroma * chroma_rows, stride: chroma },
        ];
        Ok(Picture { width: width as u32, height: height as u32, format, bytes: image.pixels, spans })
    }

    fn packed(
        &mut self,
        bytes: &[u8],
        header: &DecompressHeader,
        orientation: Orientation,
        memory: Vec<u8>,
    ) -> Result<Picture, Error> {
        let DecompressHeader { width, height, .. } = *header;
        let (format, own, samples) = match header.colorspace {
            Colorspace::Gray => (turbojpeg::PixelFormat::GRAY, PixelFormat::Gray8, 1),
            _ => (turbojpeg::PixelFormat::RGB, PixelFormat::Rgb, 3),
        };
        let mut pixels = sized(memory, width * height * samples);
        let image = Image { pixels: &mut pixels[..], width, pitch: width * samples, height, format };
        self.turbo.decompress(bytes, image).map_err(Error::JpegDecode)?;
        if !orientation.is_upright() {
            pixels = match samples {
                1 => orientation.apply::<1>(&pixels, width, height),
                _ => orientation.apply::<3>(&pixels, width, height),
            };
        }
        let (width, height) = orientation.size(width, height);
        Ok(Picture::packed(width as u32, height as u32, own, pixels))
    }
}

fn sized(mut memory: Vec<u8>, len: usize) -> Vec<u8> {
    memory.resize(len, 0);
    memory
}

fn planar(subsamp: Subsamp) -> Option<PixelFormat> {
    Some(match subsamp {
        Subsamp::None => PixelFormat::I444,
        Subsamp::Sub2x1 => PixelFormat::I422,
        Subsamp::Sub2x2 => PixelFormat::I420,
        Subsamp::Sub1x2 => PixelFormat::I440,
        Subsamp::Sub4x1 => PixelFormat::I411,
        Subsamp::Sub1x4 => PixelFormat::I441,
        Subsamp::Gray => PixelFormat::Gray8,
        _ => return None,
    })
}
