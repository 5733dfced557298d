//! What a picture is like, in three numbers: for telling a covered lens, a dark room or a lost focus from a scene.

use contract::model::{Color, Layout};

use crate::{Error, Spec, color::luma};

/// Statistics of the luma of a uint8 tensor; computed on what the model sees, so cameras of any size compare.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Statistics {
    /// Mean luma, 0 to 255.
    pub mean: f32,
    /// Standard deviation of luma, 0 to 127.5.
    pub stddev: f32,
    /// Variance of the Laplacian (Pech-Pacheco et al. 2000, "Diatom autofocusing in brightfield microscopy", LAP4):
    /// falls when focus is lost. 0 for pictures of fewer than 3 pixels a side.
    pub sharpness: f32,
}

impl Statistics {
    /// Statistics of one picture's tensor.
    ///
    /// # Errors
    /// A tensor of another length than the spec's.
    pub fn of(tensor: &[u8], spec: &Spec) -> Result<Self, Error> {
        if tensor.len() != spec.len() {
            return Err(Error::Length { what: "uint8 tensor", need: spec.len(), have: tensor.len() });
        }
        let (width, height) = (spec.width as usize, spec.height as usize);
        let pixels = width * height;
        let at = |x: usize, y: usize| -> u8 {
            let pixel = y * width + x;
            match (spec.color, spec.layout) {
                (Color::Gray, _) => tensor[pixel],
                (Color::Rgb, Layout::Nhwc) => luma(tensor[3 * pixel], tensor[3 * pixel + 1], tensor[3 * pixel + 2]),
                (Color::Rgb, Layout::Nchw) => luma(tensor[pixel], tensor[pixels + pixel], tensor[2 * pixels + pixel]),
            }
        };
        let mut light = Moments::default();
        let mut laplacian = Moments::default();
        for y in 0..height {
            for x in 0..width {
                light.add(i64::from(at(x, y)));
                if (1..width.saturating_sub(1)).contains(&x) && (1..height.saturating_sub(1)).contains(&y) {
                    let around = [at(x - 1, y), at(x + 1, y), at(x, y - 1), at(x, y + 1)];
                    laplacian.add(around.into_iter().map(i64::from).sum::<i64>() - 4 * i64::from(at(x, y)));
                }
            }
        }
        Ok(Self {
            mean: light.mean() as f32,
            stddev: light.variance().sqrt() as f32,
            sharpness: laplacian.variance() as f32,
        })
    }
}

/// Exact sums; one rounding at the end.
#[derive(Default)]
struct Moments {
    count: i64,
    sum: i64,
    squares: i64,
}

impl Moments {
    fn add(&mut self, value: i64) {
        self.count += 1;
        self.sum += value;
        self.squares += value * value;
    }

    fn mean(&self) -> f64 {
        self.sum as f64 / self.count.max(1) as f64
    }

    fn variance(&self) -> f64 {
        let (count, sum, squares) = (i128::from(self.count.max(1)), i128::from(self.sum), i128::from(self.squares));
        (count * squares - sum * sum) as f64 / (count * count) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: Spec = Spec { width: 4, height: 4, color: Color::Gray, layout: Layout::Nhwc };

    #[test]
    fn an_even_picture_has_no_deviation_and_no_edges() {
        let even = Statistics::of(&[77; 16], &SPEC).unwrap();
        assert_eq!(even, Statistics { mean: 77.0, stddev: 0.0, sharpness: 0.0 });
    }

    #[test]
    fn edges_are_sharper_than_their_blur() {
        let edge: Vec<u8> = (0..16).map(|i| if i % 4 < 2 { 0 } else { 200 }).collect();
        let blur: Vec<u8> = (0..16).map(|i| [0, 66, 133, 200][i % 4]).collect();
        let (edge, blur) = (Statistics::of(&edge, &SPEC).unwrap(), Statistics::of(&blur, &SPEC).unwrap());
        assert_eq!((edge.mean, edge.stddev, edge.sharpness), (100.0, 100.0, 40_000.0));
        assert!(blur.sharpness < edge.sharpness / 100.0, "{blur:?}");
    }

    #[test]
    fn gray_rgb_has_the_statistics_of_gray() {
        let gray: Vec<u8> = (0..16).map(|i| i * 11).collect();
        let packed: Vec<u8> = gray.iter().flat_map(|v| [*v; 3]).collect();
        let planes = gray.repeat(3);
        let want = Statistics::of(&gray, &SPEC).unwrap();
        let rgb = Spec { color: Color::Rgb, ..SPEC };
        assert_eq!(Statistics::of(&packed, &rgb).unwrap(), want);
        assert_eq!(Statistics::of(&planes, &Spec { layout: Layout::Nchw, ..rgb }).unwrap(), want);
        assert!(Statistics::of(&gray, &rgb).is_err());
    }
}
