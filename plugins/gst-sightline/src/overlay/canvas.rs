//! Black and white on any picture: whatever the format, and readable on any ground, since what is drawn has a dark edge.

use embedded_graphics::{
    Pixel,
    draw_target::DrawTarget,
    geometry::{OriginDimensions, Point, Size},
    mono_font::{MonoTextStyle, MonoTextStyleBuilder, iso_8859_1::FONT_10X20},
    pixelcolor::BinaryColor,
    prelude::*,
    primitives::{PrimitiveStyle, Rectangle},
    text::{Baseline, Text},
};
use gstreamer as gst;
use gstreamer_video::{VideoFormat, VideoFrameRef, prelude::*};
use vision::Rect;

/// Height of a picture for which a letter is not enlarged.
const USUAL_HEIGHT: u32 = 480;

/// A picture that is drawn on; every point of the drawing is a square of `scale` pixels.
pub struct Canvas<'a, 'b> {
    frame: &'a mut VideoFrameRef<&'b mut gst::BufferRef>,
    scale: u32,
    size: (u32, u32),
}

impl<'a, 'b> Canvas<'a, 'b> {
    /// On a mapped picture.
    pub fn new(frame: &'a mut VideoFrameRef<&'b mut gst::BufferRef>) -> Self {
        let size = (frame.width(), frame.height());
        Self { frame, scale: (size.1 / USUAL_HEIGHT).max(1), size }
    }

    /// A frame around a rectangle of the picture, and a line of text at its upper edge.
    pub fn label(&mut self, rect: Rect, text: &str) {
        let scale = self.scale;
        // Metadata of others may reach beyond the picture, or lie outside it.
        let within = |from: u32, length: u32, whole: u32| {
            let from_inside = from.min(whole.saturating_sub(1));
            (from_inside, from.saturating_add(length).min(whole).saturating_sub(from_inside))
        };
        let ((x, width), (y, height)) =
            (within(rect.x, rect.width, self.size.0), within(rect.y, rect.height, self.size.1));
        let at = Point::new((x / scale) as i32, (y / scale) as i32);
        let size = Size::new((width / scale).max(4), (height / scale).max(4));
        let frame = Rectangle::new(at, size);
        let drawn = frame
            .into_styled(PrimitiveStyle::with_stroke(BinaryColor::Off, 3))
            .draw(self)
            .and_then(|()| frame.offset(-1).into_styled(PrimitiveStyle::with_stroke(BinaryColor::On, 1)).draw(self));
        let style: MonoTextStyle<'_, BinaryColor> = MonoTextStyleBuilder::new()
            .font(&FONT_10X20)
            .text_color(BinaryColor::On)
            .background_color(BinaryColor::Off)
            .build();
        let above = at.y - 20;
        let y = if above >= 0 { above } else { at.y + 3 };
        // Moved to the left where the line would leave the picture.
        let most = self.size().width as i32 - 10 * text.chars().count() as i32;
        let begin = Point::new(at.x.min(most).max(0), y);
        let drawn = drawn.and_then(|()| Text::with_baseline(text, begin, style, Baseline::Top).draw(self));
        match drawn {
            Ok(_) => {}
            Err(never) => match never {},
        }
    }

    /// One pixel in white or black.
    fn set(&mut self, x: u32, y: u32, on: bool) {
        let (format, strides) = (self.frame.format(), self.frame.plane_stride());
        let stride = |plane: usize| usize::try_from(strides[plane]).unwrap_or(0);
        let (x, y) = (x as usize, y as usize);
        let light = if on { 235 } else { 16 };
        // A plane, where its bytes begin, how many, and what they become.
        let mut spots: [Option<(u32, usize, usize, u8)>; 3] = [None; 3];
        match format {
            VideoFormat::I420 => {
                spots[0] = Some((0, y * stride(0) + x, 1, light));
                spots[1] = Some((1, y / 2 * stride(1) + x / 2, 1, 128));
                spots[2] = Some((2, y / 2 * stride(2) + x / 2, 1, 128));
            }
            VideoFormat::Nv12 => {
                spots[0] = Some((0, y * stride(0) + x, 1, light));
                spots[1] = Some((1, y / 2 * stride(1) + x / 2 * 2, 2, 128));
            }
            VideoFormat::Gray8 => spots[0] = Some((0, y * stride(0) + x, 1, light)),
            VideoFormat::Rgb | VideoFormat::Bgr => spots[0] = Some((0, y * stride(0) + x * 3, 3, light)),
            _ => spots[0] = Some((0, y * stride(0) + x * 4, 3, light)),
        }
        for (plane, at, count, value) in spots.into_iter().flatten() {
            if let Some(bytes) = self.frame.plane_data_mut(plane).ok().and_then(|data| data.get_mut(at..at + count)) {
                bytes.fill(value);
            }
        }
    }
}

impl OriginDimensions for Canvas<'_, '_> {
    fn size(&self) -> Size {
        Size::new(self.size.0 / self.scale, self.size.1 / self.scale)
    }
}

impl DrawTarget for Canvas<'_, '_> {
    type Color = BinaryColor;
    type Error = std::convert::Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<BinaryColor>>>(&mut self, pixels: I) -> Result<(), Self::Error> {
        let scale = self.scale;
        for Pixel(point, color) in pixels {
            let (Ok(x), Ok(y)) = (u32::try_from(point.x), u32::try_from(point.y)) else { continue };
            for (dx, dy) in (0..scale).flat_map(|dy| (0..scale).map(move |dx| (dx, dy))) {
                let (x, y) = (x * scale + dx, y * scale + dy);
                if x < self.size.0 && y < self.size.1 {
                    self.set(x, y, color.is_on());
                }
            }
        }
        Ok(())
    }
}
