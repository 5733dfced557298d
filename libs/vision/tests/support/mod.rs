//! What the tests share: frames that own their bytes, and the slow reference.
#![allow(dead_code)] // Each test takes what it needs.

pub mod reference;

use contract::model::{Color, Layout};
use vision::{FrameView, Matrix, PixelFormat, Plane, Range, Rect, Siting, Spec};

/// Every pixel format.
pub const FORMATS: [PixelFormat; 9] = [
    PixelFormat::I420,
    PixelFormat::I422,
    PixelFormat::I440,
    PixelFormat::I444,
    PixelFormat::I411,
    PixelFormat::I441,
    PixelFormat::Nv12,
    PixelFormat::Gray8,
    PixelFormat::Rgb,
];

/// A frame that owns its planes.
#[derive(Clone, Debug)]
pub struct Frame {
    pub width: u32,
    pub height: u32,
    pub format: PixelFormat,
    pub range: Range,
    pub matrix: Matrix,
    pub siting: Siting,
    pub planes: Vec<(Vec<u8>, usize)>,
}

impl Frame {
    /// Noise over gradients, the same on every machine; rows are `padding` bytes longer than their pixels, and the last
    /// row is not padded, as decoders leave it.
    pub fn synthetic(width: u32, height: u32, format: PixelFormat, padding: usize, seed: u32) -> Self {
        let mut state = seed.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
        let planes = (0..format.planes()).map(|plane| {
            let (row, rows) = format.plane_size(plane, width, height);
            let stride = row + padding;
            let bytes = (0..stride * rows - padding).map(|at| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let (x, y) = (at % stride, at / stride);
                let slope = (x * 3 + y * 5 + plane * 50) as u8;
                // A third is noise, a third extremes, the rest slopes.
                match state >> 29 {
                    0..=2 => (state >> 16) as u8,
                    3 => 0,
                    4 => 255,
                    _ => slope,
                }
            });
            (bytes.collect(), stride)
        });
        let planes = planes.collect();
        let (range, matrix, siting) = (Range::Full, Matrix::Bt601, Siting::Center);
        Self { width, height, format, range, matrix, siting, planes }
    }

    /// The same colour everywhere.
    pub fn even(width: u32, height: u32, format: PixelFormat, samples: [u8; 3]) -> Self {
        let mut frame = Self::synthetic(width, height, format, 0, 0);
        let count = frame.planes.len();
        for (plane, (bytes, _)) in frame.planes.iter_mut().enumerate() {
            let own: &[u8] = match (format, plane) {
                (PixelFormat::Rgb, _) => &samples,
                (PixelFormat::Nv12, 1) => &samples[1..],
                _ => &samples[plane..plane + 1],
            };
            bytes.iter_mut().zip(own.iter().cycle()).for_each(|(out, v)| *out = *v);
            assert!(count <= 3);
        }
        frame
    }

    pub fn view(&self) -> FrameView<'_> {
        let planes: Vec<_> = self.planes.iter().map(|(data, stride)| Plane { data, stride: *stride }).collect();
        FrameView::new(self.width, self.height, self.format, &planes, self.range, self.matrix)
            .unwrap()
            .with_siting(self.siting)
    }
}

pub fn spec(width: u32, height: u32, color: Color, layout: Layout) -> Spec {
    Spec { width, height, color, layout }
}

pub fn rect(x: u32, y: u32, width: u32, height: u32) -> Rect {
    Rect { x, y, width, height }
}
