//! The one way from a frame to a model's uint8 tensor: crop, resize, colour. Camera, server and trainer all call it.
//!
//! # Specification, version 1
//!
//! A model's manifest names this version. Within it the bits never change: everything below is arithmetic of whole
//! numbers, exact on every machine, and whatever computes it (AVX2, plain code) is tested against a slow reference.
//! `>>` is the arithmetic shift, `/` rounds down, all sums are exact.
//!
//! **Planes.** Each plane that is needed is cropped and resized on its own, straight to the target's size; colour is
//! converted on target pixels only. For gray from YUV and GRAY8 only the Y plane is read.
//!
//! **Positions.** For one axis: the region begins at luma pixel `x` and has `w` of them, the target has `n` pixels, a
//! sample of the plane serves `s` luma pixels (1 for luma and RGB). In units of `1 / 2n` luma pixels
//!
//! - target pixel `i` lies at `C(i) = 2xn + (2i + 1)w`;
//! - sample `j` lies at `P(j) = (2sj + s)n`, in the middle of its luma pixels, or, across, for chroma that is sited left,
//!   at `(2sj + 1)n`;
//! - the samples of the region are those that cover a part of it: `x / s <= j < ceil((x + w) / s)`. No other is read, so
//!   what lies around a region never shows in it.
//!
//! **Filter.** A triangle as wide as the larger of target pixel and sample: `S = 2 max(w, sn)`, weight of sample `j` in
//! pixel `i`: `W = max(0, S - |P(j) - C(i)|)`. This is Pillow's `BILINEAR` (antialiased when it shrinks).
//!
//! **Coefficients.** `T` is the sum of the weights of one pixel, `R(j)` the sum of those up to and with `j`. The
//! coefficient of `j` is `Q(R(j)) - Q(R(j - 1))` with `Q(r) = (r 2^p + T / 2) / T`, so they sum to exactly `2^p`. The
//! precision `p` holds for the whole axis: the largest, at most 22 down and 19 across and at least 14, with which
//! `ceil(W 2^p / T) <= 32767` for every weight of every pixel.
//!
//! **Passes.** Down first, keeping four bits after the point: `V = (sum k Y + 2^(p-5)) >> (p - 4)`. Then across:
//! `(sum k V + 2^(p+3)) >> (p + 4)`, a number of 8 bits.
//!
//! **Colour.** Gray: from full-range luma as it is; from limited range `((Y - 16) 255 + 109) / 219`, clamped to 0..255
//! (negative numerators give 0); from RGB `(19595 R + 38470 G + 7471 B + 32768) >> 16` (BT.601). RGB from luma alone: that
//! gray three times. RGB from YUV: `(y (Y - black) + rv (V - 128) + 4096) >> 13` for red, and so on, clamped, with the
//! coefficients of BT.601, BT.709 or BT.2020 times 8192, rounded, with the factors 255/219 and 255/224 of limited range in.
//!
//! **Difference from Pillow** (`Image.crop().resize(BILINEAR)` on RGB): at most 1 in any value; on average 0.126 over the
//! 84,018 values of `tests/pillow.rs`, measured with Pillow 13.0.0. Ours is within 0.54 of the exact result for up to 500
//! source pixels a target pixel: 0.5 from the last rounding, 0.03 from the one between the passes, the rest from
//! coefficients. Pillow rounds to 8 bits between the passes, too, and was up to 0.99 from the exact result there.

use contract::model::{Color, Layout};

use crate::{
    Error, FrameView, PixelFormat, Range, Rect, Siting, Spec,
    color::{full_luma, luma, to_rgb},
    frame::check_size,
    kernel::Isa,
    resample::{PlaneGeometry, Resampler},
};

/// Version of the arithmetic; a model's manifest names the one that it was trained with.
pub const PREPROCESS_VERSION: u16 = 1;

/// Makes tensors of one spec from regions of frames.
///
/// It keeps tables and working memory for the last geometry that it saw (picture size, format, siting, region) and
/// allocates only when that changes. Keep one for each region of each camera.
#[derive(Debug)]
pub struct Preprocessor {
    spec: Spec,
    isa: Isa,
    plan: Option<Plan>,
}

impl Preprocessor {
    /// For tensors of this form.
    pub fn new(spec: Spec) -> Self {
        Self { spec, isa: Isa::detect(), plan: None }
    }

    /// As [`Preprocessor::new`], but without instructions that only some machines have; for comparing the two.
    pub fn portable(spec: Spec) -> Self {
        Self { spec, isa: Isa::Portable, plan: None }
    }

    /// What it makes.
    pub fn spec(&self) -> Spec {
        self.spec
    }

    /// Writes the tensor of `region` to `out`, which holds [`Spec::len`] bytes.
    ///
    /// # Errors
    /// A region that has no pixels or is not inside the picture, a target without pixels, a buffer of another length.
    pub fn run(&mut self, frame: &FrameView<'_>, region: Rect, out: &mut [u8]) -> Result<(), Error> {
        check_size("target", self.spec.width, self.spec.height)?;
        frame.check_region(region)?;
        if out.len() != self.spec.len() {
            return Err(Error::Length { what: "uint8 tensor", need: self.spec.len(), have: out.len() });
        }
        let key = Key {
            width: frame.width(),
            height: frame.height(),
            format: frame.format(),
            siting: frame.siting(),
            region,
        };
        let plan = match self.plan.take() {
            Some(plan) if plan.key == key => plan,
            _ => Plan::new(key, self.spec),
        };
        self.plan.insert(plan).run(self.isa, self.spec, frame, out);
        Ok(())
    }
}

/// What the tables depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key {
    width: u32,
    height: u32,
    format: PixelFormat,
    siting: Siting,
    region: Rect,
}

/// Tables and working memory for one geometry.
#[derive(Debug)]
struct Plan {
    key: Key,
    /// For the first plane, and for the chroma planes where colour is wanted.
    first: Resampler,
    chroma: Option<Resampler>,
    /// Resized planes of target size, one behind the other; empty where the tensor itself takes the only one.
    planes: Vec<u8>,
}

impl Plan {
    fn new(key: Key, spec: Spec) -> Self {
        let Key { width, height, format, siting, region } = key;
        let (picture, out) = ((width, height), (spec.width, spec.height));
        let packed = format.packed().map(|packed| packed.channels);
        let channels = packed.unwrap_or(1);
        let first = Resampler::new(PlaneGeometry::new(region, (1, 1), false, picture, out, channels));
        let colored = spec.color == Color::Rgb && packed.is_none() && format != PixelFormat::Gray8;
        let chroma = colored.then(|| {
            let channels = if format == PixelFormat::Nv12 { 2 } else { 1 };
            let cosited = siting == Siting::Left;
            Resampler::new(PlaneGeometry::new(region, format.subsampling(), cosited, picture, out, channels))
        });
        let pixels = spec.width as usize * spec.height as usize;
        let planes = match (spec.color, format) {
            _ if packed.is_some() => 3,
            (Color::Gray, _) => 0,
            (Color::Rgb, PixelFormat::Gray8) => 1,
            (Color::Rgb, _) => 3,
        };
        Self { key, first, chroma, planes: vec![0; planes * pixels] }
    }

    fn run(&mut self, isa: Isa, spec: Spec, frame: &FrameView<'_>, out: &mut [u8]) {
        let pixels = spec.width as usize * spec.height as usize;
        let planes = frame.planes();
        if self.planes.is_empty() {
            self.first.run(isa, &planes[0], out);
            return widen(frame.range(), out);
        }
        let first = if frame.format().packed().is_some() { 3 } else { 1 };
        self.first.run(isa, &planes[0], &mut self.planes[..first * pixels]);
        if let Some(chroma) = &mut self.chroma {
            let (u, v) = self.planes[pixels..].split_at_mut(pixels);
            match &planes[1..] {
                [u_plane, v_plane] => {
                    chroma.run(isa, u_plane, u);
                    chroma.run(isa, v_plane, v);
                }
                _ => chroma.run(isa, &planes[1], &mut self.planes[pixels..]),
            }
        }
        self.color(isa, spec, frame, out);
    }

    /// From resized planes to the tensor.
    fn color(&mut self, isa: Isa, spec: Spec, frame: &FrameView<'_>, out: &mut [u8]) {
        let pixels = spec.width as usize * spec.height as usize;
        if let Some(packed) = frame.format().packed() {
            let plane = |at: usize| &self.planes[at * pixels..(at + 1) * pixels];
            let (red, green, blue) = (plane(packed.red), plane(packed.green), plane(packed.blue));
            match spec.color {
                Color::Rgb => spread(red, green, blue, spec.layout, out),
                Color::Gray => {
                    let rgb = red.iter().zip(green).zip(blue);
                    out.iter_mut().zip(rgb).for_each(|(out, ((r, g), b))| *out = luma(*r, *g, *b));
                }
            }
            return;
        }
        let (first, rest) = self.planes.split_at_mut(pixels);
        match frame.format() {
            PixelFormat::Gray8 => {
                widen(frame.range(), first);
                spread(first, first, first, spec.layout, out);
            }
            _ => {
                let (u, v) = rest.split_at(pixels);
                let to_rgb = to_rgb(frame.matrix(), frame.range());
                match spec.layout {
                    Layout::Nhwc => isa.rgb_packed(&to_rgb, first, u, v, out),
                    Layout::Nchw => isa.rgb_planes(&to_rgb, first, u, v, out),
                }
            }
        }
    }
}

/// Full range in place.
fn widen(range: Range, luma: &mut [u8]) {
    if range == Range::Limited {
        luma.iter_mut().for_each(|y| *y = FULL_LUMA[usize::from(*y)]);
    }
}

const FULL_LUMA: [u8; 256] = {
    let mut table = [0; 256];
    let mut y = 0;
    while y < 256 {
        table[y] = full_luma(y as u8);
        y += 1;
    }
    table
};

/// Three planes in the order of the layout.
fn spread(r: &[u8], g: &[u8], b: &[u8], layout: Layout, out: &mut [u8]) {
    match layout {
        Layout::Nhwc => {
            let pixels = r.iter().zip(g).zip(b);
            out.as_chunks_mut::<3>().0.iter_mut().zip(pixels).for_each(|(out, ((r, g), b))| *out = [*r, *g, *b]);
        }
        Layout::Nchw => {
            for (out, plane) in out.chunks_exact_mut(r.len()).zip([r, g, b]) {
                out.copy_from_slice(plane);
            }
        }
    }
}
