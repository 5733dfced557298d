//! A part of a picture as a picture of its own.

use contract::model::{Color, Layout};
use vision::{Preprocessor, Rect, Spec};

use crate::picture::Decoded;

/// The region's pixels as PNG, as large as they are; all of the picture where there is no region.
///
/// # Errors
/// The bytes are no picture, or the region is not in it.
pub fn crop(picture: &[u8], region: Option<Rect>) -> Result<Vec<u8>, String> {
    let picture = Decoded::read(picture)?;
    let (view, region) = picture.part(region)?;
    let spec = Spec { width: region.width, height: region.height, color: Color::Rgb, layout: Layout::Nhwc };
    let mut pixels = vec![0; spec.len()];
    Preprocessor::new(spec).run(&view, region, &mut pixels).map_err(|error| error.to_string())?;
    png(&pixels, [region.width, region.height], png::ColorType::Rgb).map_err(|error| error.to_string())
}

/// Samples as PNG, the same bytes each time.
///
/// # Errors
/// There are fewer samples than the size needs.
pub fn png(samples: &[u8], [width, height]: [u32; 2], color: png::ColorType) -> Result<Vec<u8>, png::EncodingError> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(color);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Fast);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(samples)?;
    writer.finish()?;
    Ok(bytes)
}
