//! What befalls a training picture on its way into a batch: what a camera would do to it, drawn from the example's own dice.
//!
//! One example at a time, from `[H, W, C]` bytes to normalised `[C, H, W]` floats.

use contract::model::{Color, Layout};
use fastrand::Rng;
use vision::{
    FrameView, Limits, Plane, Preprocessor, Range, Spec,
    jpeg::{Decoder, Encoder},
};

use super::{Normal, settings::Augment};

/// Makes examples ready for the network; keeps its working memory.
#[derive(Debug)]
pub struct Augmenter<'s> {
    settings: &'s Augment,
    normal: &'s Normal,
    width: usize,
    height: usize,
    channels: usize,
    picture: Vec<f32>,
    scratch: Vec<f32>,
}

/// A picture as it is drawn: where its pixels come from.
struct Affine {
    /// Source x and y of the target's middle, and of one step right and down.
    middle: [f32; 2],
    right: [f32; 2],
    down: [f32; 2],
}

impl<'s> Augmenter<'s> {
    /// For pictures of this form.
    pub fn new(settings: &'s Augment, normal: &'s Normal, [height, width, channels]: [usize; 3]) -> Self {
        let length = height * width * channels;
        Self { settings, normal, width, height, channels, picture: vec![0.0; length], scratch: vec![0.0; length] }
    }

    /// As it is.
    pub fn plain(&mut self, tensor: &[u8], out: &mut [f32]) {
        self.load(tensor);
        self.normalise(out);
    }

    /// As chance will have it.
    pub fn drawn(&mut self, tensor: &[u8], dice: &mut Rng, out: &mut [f32]) {
        self.load(tensor);
        if let Some(affine) = self.affine(dice) {
            self.warp(&affine);
        }
        self.light(dice);
        if self.settings.blur > 0.0 {
            self.blur(dice.f32() * self.settings.blur as f32);
        }
        if self.settings.noise > 0.0 {
            self.noise(dice);
        }
        if self.settings.jpeg > 0 {
            self.compress(dice);
        }
        if self.settings.cutout > 0.0 {
            self.cut_out(dice);
        }
        self.normalise(out);
    }

    fn load(&mut self, tensor: &[u8]) {
        self.picture.iter_mut().zip(tensor).for_each(|(to, from)| *to = f32::from(*from));
    }

    fn normalise(&self, out: &mut [f32]) {
        let pixels = self.width * self.height;
        for channel in 0..self.channels {
            let (mean, std) = (self.normal.mean[channel], self.normal.std[channel]);
            let (factor, shift) = (1.0 / (255.0 * std), -mean / std);
            let plane = &mut out[channel * pixels..(channel + 1) * pixels];
            let from = self.picture.iter().skip(channel).step_by(self.channels);
            plane.iter_mut().zip(from).for_each(|(to, from)| *to = from * factor + shift);
        }
    }

    fn affine(&self, dice: &mut Rng) -> Option<Affine> {
        let Augment { flip, shift, rotate, scale, .. } = *self.settings;
        if !flip && shift == 0.0 && rotate == 0.0 && scale == 0.0 {
            return None;
        }
        let mut within = |amount: f64| ((dice.f64() * 2.0 - 1.0) * amount) as f32;
        let turn = within(rotate).to_radians();
        let zoom = 1.0 + within(scale);
        // Whole pixels where nothing else moves: no blur from resampling.
        let whole = rotate == 0.0 && scale == 0.0;
        let mut by =
            || if whole { (within(shift + 0.5)).round().clamp(-shift as f32, shift as f32) } else { within(shift) };
        let [x, y] = [by(), by()];
        let side = if flip && dice.bool() { -1.0 } else { 1.0 };
        let (sin, cos) = (turn.sin() / zoom, turn.cos() / zoom);
        Some(Affine {
            middle: [(self.width as f32 - 1.0) / 2.0 + x, (self.height as f32 - 1.0) / 2.0 + y],
            right: [cos * side, sin * side],
            down: [-sin, cos],
        })
    }

    /// Bilinear; what lies outside the picture is black, as behind a mask.
    fn warp(&mut self, affine: &Affine) {
        let (width, height) = (self.width as i32, self.height as i32);
        let (half_width, half_height) = ((width - 1) as f32 / 2.0, (height - 1) as f32 / 2.0);
        for y in 0..self.height {
            for x in 0..self.width {
                let (right, down) = (x as f32 - half_width, y as f32 - half_height);
                let from_x = affine.middle[0] + right * affine.right[0] + down * affine.down[0];
                let from_y = affine.middle[1] + right * affine.right[1] + down * affine.down[1];
                let (left, top) = (from_x.floor(), from_y.floor());
                let (across, along) = (from_x - left, from_y - top);
                let to = (y * self.width + x) * self.channels;
                for channel in 0..self.channels {
                    let at = |x: i32, y: i32| {
                        let inside = (0..width).contains(&x) && (0..height).contains(&y);
                        if inside { self.picture[(y * width + x) as usize * self.channels + channel] } else { 0.0 }
                    };
                    let (left, top) = (left as i32, top as i32);
                    let mut value = at(left, top) * (1.0 - across) * (1.0 - along);
                    if across > 0.0 {
                        value += at(left + 1, top) * across * (1.0 - along);
                    }
                    if along > 0.0 {
                        value += at(left, top + 1) * (1.0 - across) * along;
                        value += at(left + 1, top + 1) * across * along;
                    }
                    self.scratch[to + channel] = value;
                }
            }
        }
        std::mem::swap(&mut self.picture, &mut self.scratch);
    }

    fn light(&mut self, dice: &mut Rng) {
        let Augment { brightness, contrast, .. } = *self.settings;
        if brightness == 0.0 && contrast == 0.0 {
            return;
        }
        let shift = ((dice.f64() * 2.0 - 1.0) * brightness * 255.0) as f32;
        let factor = (1.0 + (dice.f64() * 2.0 - 1.0) * contrast) as f32;
        let mean = self.picture.iter().sum::<f32>() / self.picture.len() as f32;
        self.picture.iter_mut().for_each(|value| *value = ((*value - mean) * factor + mean + shift).clamp(0.0, 255.0));
    }

    /// A Gaussian of this radius, across and then down; edges are repeated.
    fn blur(&mut self, radius: f32) {
        if radius < 0.1 {
            return;
        }
        let reach = (radius * 2.5).ceil().max(1.0) as i32;
        let weights: Vec<f32> =
            (-reach..=reach).map(|at| (-((at * at) as f32) / (2.0 * radius * radius)).exp()).collect();
        let total: f32 = weights.iter().sum();
        let (width, height, channels) = (self.width as i32, self.height as i32, self.channels);
        for (along_x, along_y) in [(1, 0), (0, 1)] {
            for y in 0..height {
                for x in 0..width {
                    for channel in 0..channels {
                        let at = |step: i32| {
                            let (x, y) = (x + step * along_x, y + step * along_y);
                            let (x, y) = (x.clamp(0, width - 1), y.clamp(0, height - 1));
                            self.picture[(y * width + x) as usize * channels + channel]
                        };
                        let sum: f32 = weights.iter().zip(-reach..=reach).map(|(weight, step)| weight * at(step)).sum();
                        self.scratch[(y * width + x) as usize * channels + channel] = sum / total;
                    }
                }
            }
            std::mem::swap(&mut self.picture, &mut self.scratch);
        }
    }

    fn noise(&mut self, dice: &mut Rng) {
        let deviation = dice.f32() * self.settings.noise as f32 * 255.0;
        for value in &mut self.picture {
            // Twelve uniform numbers less six are normal enough for noise, and the same on every machine.
            let bits = dice.u128(..);
            let sum: u32 = (0..12).map(|at| (bits >> (at * 10)) as u32 & 1023).sum();
            let normal = sum as f32 / 1023.0 - 6.0;
            *value = (*value + normal * deviation).clamp(0.0, 255.0);
        }
    }

    /// Through a JPEG and back; what the codec refuses stays as it was.
    fn compress(&mut self, dice: &mut Rng) {
        let quality = dice.u8(self.settings.jpeg.max(1)..=100);
        let bytes: Vec<u8> = self.picture.iter().map(|value| value.round() as u8).collect();
        if let Ok(back) = through_jpeg(&bytes, [self.height, self.width, self.channels], quality) {
            self.load(&back);
        }
    }

    fn cut_out(&mut self, dice: &mut Rng) {
        let side = (self.settings.cutout * self.width.min(self.height) as f64).round() as usize;
        let (x, y) = (dice.usize(0..self.width), dice.usize(0..self.height));
        let around =
            |middle: usize, most: usize| middle.saturating_sub(side / 2)..(middle + side.div_ceil(2)).min(most);
        for y in around(y, self.height) {
            for x in around(x, self.width) {
                let at = (y * self.width + x) * self.channels;
                self.picture[at..at + self.channels].fill(128.0);
            }
        }
    }
}

/// What a JPEG of this quality leaves of a picture.
fn through_jpeg(bytes: &[u8], [height, width, channels]: [usize; 3], quality: u8) -> Result<Vec<u8>, vision::Error> {
    let plane = Plane { data: bytes, stride: width * channels };
    let (wide, high) = (width as u32, height as u32);
    let (frame, color) = match channels {
        1 => (FrameView::gray8(wide, high, plane, Range::Full)?, Color::Gray),
        _ => (FrameView::rgb(wide, high, plane)?, Color::Rgb),
    };
    let jpeg = Encoder::new()?.encode(&frame, quality)?;
    let picture = Decoder::new()?.decode(&jpeg, &Limits::default())?;
    let mut back = vec![0; bytes.len()];
    let spec = Spec { width: wide, height: high, color, layout: Layout::Nhwc };
    Preprocessor::new(spec).run(&picture.view(), picture.view().rect(), &mut back)?;
    Ok(back)
}

/// A parameter of the beta distribution to a share in 0..=1 (Jöhnk 1964).
pub fn mixing(dice: &mut Rng, alpha: f64) -> f64 {
    loop {
        let [u, v] = [dice.f64(), dice.f64()].map(|drawn| drawn.powf(1.0 / alpha));
        if u + v > 0.0 && u + v <= 1.0 {
            return u / (u + v);
        }
    }
}
