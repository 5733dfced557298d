//! PNG to packed RGB or luma, within limits.
//!
//! Palettes are resolved, 16 bits become 8 (the upper ones), transparency is dropped without blending: what a camera or
//! labelling tool exports has none, and colour under full transparency is what its author left there.

use png::{BitDepth, ColorType, Decoder, Transformations};

use crate::{Error, Limits, Picture, PixelFormat};

/// Whether these bytes begin as a PNG does.
pub fn is_png(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x89PNG\r\n\x1a\n")
}

/// Decodes a PNG to [`PixelFormat::Rgb`], or to [`PixelFormat::Gray8`] when it is gray.
///
/// # Errors
/// Beyond the limits; corrupt or truncated.
pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Picture, Error> {
    limits.check_bytes(bytes)?;
    let mut decoder = Decoder::new(std::io::Cursor::new(bytes));
    decoder.set_transformations(Transformations::EXPAND | Transformations::STRIP_16);
    let header = decoder.read_header_info().map_err(Error::PngDecode)?;
    let (width, height) = (header.width, header.height);
    limits.check_size(width, height)?;
    let mut reader = decoder.read_info().map_err(Error::PngDecode)?;
    let (color, depth) = reader.output_color_type();
    if depth != BitDepth::Eight {
        return Err(Error::Unsupported { format: "PNG", why: format!("{depth:?} bits a sample; save it with 8") });
    }
    let pixels = width as usize * height as usize;
    let mut bytes = vec![0; pixels * color.samples()];
    reader.next_frame(&mut bytes).map_err(Error::PngDecode)?;
    let format = match color {
        ColorType::Grayscale | ColorType::GrayscaleAlpha => PixelFormat::Gray8,
        _ => PixelFormat::Rgb,
    };
    match color {
        ColorType::GrayscaleAlpha => drop_alpha::<2, 1>(&mut bytes, pixels),
        ColorType::Rgba => drop_alpha::<4, 3>(&mut bytes, pixels),
        _ => {}
    }
    Ok(Picture::packed(width, height, format, bytes))
}

/// Moves `OUT` of every `IN` samples together, in place.
fn drop_alpha<const IN: usize, const OUT: usize>(bytes: &mut Vec<u8>, pixels: usize) {
    for pixel in 0..pixels {
        bytes.copy_within(pixel * IN..pixel * IN + OUT, pixel * OUT);
    }
    bytes.truncate(pixels * OUT);
}
