//! Brings a frame to what JFIF means by Y, Cb, Cr: full range, BT.601, in planes of whole chroma samples.

use crate::{FrameView, Matrix, PixelFormat, Plane, Range, color::full_luma};

/// Bits after the point of the coefficients here.
const BITS: u32 = 14;

/// Planes in one reused piece of memory.
#[derive(Default)]
pub(super) struct Planes {
    bytes: Vec<u8>,
    /// Stride and rows of each plane.
    sizes: [(usize, usize); 3],
}

impl Planes {
    /// The planes.
    pub fn planes(&self) -> [Plane<'_>; 3] {
        let mut rest = &self.bytes[..];
        self.sizes.map(|(stride, rows)| {
            let (data, after) = rest.split_at(stride * rows);
            rest = after;
            Plane { data, stride }
        })
    }

    fn resize(&mut self, frame: &FrameView<'_>) {
        let (sx, sy) = frame.format().subsampling();
        let (columns, rows) = (frame.width().div_ceil(sx) as usize, frame.height().div_ceil(sy) as usize);
        let chroma = if frame.format() == PixelFormat::Gray8 { (0, 0) } else { (columns, rows) };
        self.sizes = [(columns * sx as usize, rows * sy as usize), chroma, chroma];
        self.bytes.resize(self.sizes.iter().map(|(stride, rows)| stride * rows).sum(), 0);
    }

    fn split(&mut self) -> (&mut [u8], &mut [u8], &mut [u8]) {
        let [y, u, _] = self.sizes.map(|(stride, rows)| stride * rows);
        let (luma, chroma) = self.bytes.split_at_mut(y);
        let (u, v) = chroma.split_at_mut(u);
        (luma, u, v)
    }
}

/// Writes the frame, of any format but RGB, to `planes`.
pub(super) fn to_jfif(frame: &FrameView<'_>, planes: &mut Planes) {
    planes.resize(frame);
    let sizes = planes.sizes;
    let (luma, u, v) = planes.split();
    copy_luma(frame, luma, sizes[0]);
    if frame.format() == PixelFormat::Gray8 {
        return;
    }
    copy_chroma(frame, u, v);
    let matrix = Mix::new(frame.matrix());
    if let Some(mix) = matrix {
        let (sx, sy) = frame.format().subsampling();
        mix.luma(luma, sizes[0].0, u, v, sizes[1].0, (sx as usize, sy as usize));
        mix.chroma(u, v);
    }
}

/// Copies luma in full range; the last column and row are repeated up to whole chroma samples.
fn copy_luma(frame: &FrameView<'_>, out: &mut [u8], (stride, rows): (usize, usize)) {
    let (width, height, plane) = (frame.width() as usize, frame.height() as usize, frame.planes()[0]);
    let table: [u8; 256] = match frame.range() {
        Range::Full => std::array::from_fn(|v| v as u8),
        Range::Limited => std::array::from_fn(|v| full_luma(v as u8)),
    };
    for (row, out) in out.chunks_exact_mut(stride).enumerate().take(rows) {
        let source = &plane.data[row.min(height - 1) * plane.stride..][..width];
        out.iter_mut().zip(source).for_each(|(out, v)| *out = table[usize::from(*v)]);
        let last = out[width - 1];
        out[width..].fill(last);
    }
}

/// Copies chroma in full range, apart where it is interleaved.
fn copy_chroma(frame: &FrameView<'_>, u: &mut [u8], v: &mut [u8]) {
    let (sx, sy) = frame.format().subsampling();
    let (columns, rows) = (frame.width().div_ceil(sx) as usize, frame.height().div_ceil(sy) as usize);
    let table: [u8; 256] = match frame.range() {
        Range::Full => std::array::from_fn(|v| v as u8),
        Range::Limited => std::array::from_fn(|v| full_chroma(v as u8)),
    };
    let interleaved = frame.format() == PixelFormat::Nv12;
    for (index, out) in [u, v].into_iter().enumerate() {
        let plane = frame.planes()[if interleaved { 1 } else { 1 + index }];
        for (row, out) in out.chunks_exact_mut(columns).enumerate().take(rows) {
            let source = &plane.data[row * plane.stride..];
            if interleaved {
                let pairs = source[..2 * columns].as_chunks::<2>().0;
                out.iter_mut().zip(pairs).for_each(|(out, pair)| *out = table[usize::from(pair[index])]);
            } else {
                out.iter_mut().zip(&source[..columns]).for_each(|(out, v)| *out = table[usize::from(*v)]);
            }
        }
    }
}

/// Full range from limited: `(c - 128) * 255 / 224 + 128`, rounded and clamped.
fn full_chroma(c: u8) -> u8 {
    ((i32::from(c) - 128) * 255 + 128 * 224 + 112).div_euclid(224).clamp(0, 255) as u8
}

/// From another matrix's Y, Cb, Cr to BT.601's; coefficients times `1 << 14`.
struct Mix {
    y_u: i32,
    y_v: i32,
    u_u: i32,
    u_v: i32,
    v_u: i32,
    v_v: i32,
}

impl Mix {
    /// The matrix product, from the standards' Kr and Kb; none where nothing is to be done.
    fn new(matrix: Matrix) -> Option<Self> {
        let (kr, kb): (f64, f64) = match matrix {
            Matrix::Bt601 => return None,
            Matrix::Bt709 => (0.2126, 0.0722),
            Matrix::Bt2020 => (0.2627, 0.0593),
        };
        let kg = 1.0 - kr - kb;
        // Red, green, blue less luma, for one unit of Cb and of Cr.
        let (cb, cr) = (
            [0.0, -2.0 * kb * (1.0 - kb) / kg, 2.0 * (1.0 - kb)],
            [2.0 * (1.0 - kr), -2.0 * kr * (1.0 - kr) / kg, 0.0],
        );
        let luma = |rgb: [f64; 3]| 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2];
        let fixed = |x: f64| (x * f64::from(1 << BITS)).round() as i32;
        Some(Self {
            y_u: fixed(luma(cb)),
            y_v: fixed(luma(cr)),
            u_u: fixed((cb[2] - luma(cb)) / 1.772),
            u_v: fixed((cr[2] - luma(cr)) / 1.772),
            v_u: fixed((cb[0] - luma(cb)) / 1.402),
            v_v: fixed((cr[0] - luma(cr)) / 1.402),
        })
    }

    /// Corrects luma by the chroma sample that it shares.
    fn luma(&self, luma: &mut [u8], stride: usize, u: &[u8], v: &[u8], columns: usize, (sx, sy): (usize, usize)) {
        for (row, out) in luma.chunks_exact_mut(stride).enumerate() {
            let chroma = row / sy * columns;
            let samples = u[chroma..].iter().zip(&v[chroma..]);
            for (pixels, (u, v)) in out.chunks_exact_mut(sx).zip(samples) {
                let delta = self.y_u * (i32::from(*u) - 128) + self.y_v * (i32::from(*v) - 128);
                pixels.iter_mut().for_each(|y| *y = rounded((i32::from(*y) << BITS) + delta));
            }
        }
    }

    fn chroma(&self, u: &mut [u8], v: &mut [u8]) {
        for (u, v) in u.iter_mut().zip(v) {
            let (cb, cr) = (i32::from(*u) - 128, i32::from(*v) - 128);
            *u = rounded((128 << BITS) + self.u_u * cb + self.u_v * cr);
            *v = rounded((128 << BITS) + self.v_u * cb + self.v_v * cr);
        }
    }
}

fn rounded(fixed: i32) -> u8 {
    ((fixed + (1 << (BITS - 1))) >> BITS).clamp(0, 255) as u8
}
