//! Resizes one plane: the vertical filter first, reading each source row once, then the horizontal filter.
//!
//! When the picture shrinks, a source row belongs to at most two target rows: it falls away from the one above and rises
//! towards the one below. So the source is cut at the centres of the target rows into segments; within one, all rows feed
//! the same two accumulators. When the picture grows, a target row is a blend of at most two source rows.

use crate::{
    Plane,
    axis::{Axis, Geometry},
    kernel::{BATCH, Horizontal, Isa, PairCoefficients, Rows, Segment},
};

/// Bits after the point that the vertical filter keeps.
pub(crate) const FRACTION: u32 = 4;
/// Vertical sums fit in an i32: `255 << 22`.
const PRECISION_VERTICAL: u32 = 22;
/// Horizontal sums fit in an i32: `(255 << 4) << 19`.
const PRECISION_HORIZONTAL: u32 = 19;

/// Where a plane's samples lie and what becomes of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlaneGeometry {
    /// Across.
    pub x: Geometry,
    /// Down.
    pub y: Geometry,
    /// Samples side by side in the plane: 1, 2 (NV12 chroma) or 3 (RGB).
    pub channels: usize,
}

impl PlaneGeometry {
    /// Both axes of a plane; `sub` and `samples` are (across, down).
    pub fn new(
        region: crate::Rect,
        sub: (u32, u32),
        cosited: bool,
        picture: (u32, u32),
        out: (u32, u32),
        channels: usize,
    ) -> Self {
        let x = Geometry {
            start: region.x,
            length: region.width,
            sub: sub.0,
            cosited,
            samples: picture.0.div_ceil(sub.0),
            out: out.0,
            precision_max: PRECISION_HORIZONTAL,
        };
        let y = Geometry {
            start: region.y,
            length: region.height,
            sub: sub.1,
            cosited: false,
            samples: picture.1.div_ceil(sub.1),
            out: out.1,
            precision_max: PRECISION_VERTICAL,
        };
        Self { x, y, channels }
    }
}

/// One step of the vertical filter.
#[derive(Debug)]
struct Step {
    /// First source row, counted from the region's first.
    row: usize,
    /// Number of source rows.
    rows: usize,
    /// Where its pairs begin.
    at: usize,
}

/// The tables and working memory for one plane; nothing is allocated after `new`.
#[derive(Debug)]
pub(crate) struct Resampler {
    geometry: PlaneGeometry,
    shrinks: bool,
    steps: Vec<Step>,
    pairs: Vec<PairCoefficients>,
    vertical_shift: u32,
    horizontal: Horizontal,
    /// Accumulators of one row of bytes.
    sums: Vec<i32>,
    /// One row of interleaved samples, only where there are several channels.
    mixed: Vec<i16>,
    /// `BATCH` rows of each channel, padded so that kernels may read whole vectors.
    rows: Vec<i16>,
}

impl Resampler {
    /// Builds the tables.
    pub fn new(geometry: PlaneGeometry) -> Self {
        let vertical = Axis::new(&geometry.y);
        let horizontal = Horizontal::new(&Axis::new(&geometry.x), geometry.x.count() as usize);
        let shrinks = geometry.y.shrinks();
        let (steps, pairs) = if shrinks { segments(&geometry.y, &vertical) } else { blends(&vertical) };
        let row_bytes = geometry.x.count() as usize * geometry.channels;
        let mixed = if geometry.channels > 1 { row_bytes.next_multiple_of(32) } else { 0 };
        Self {
            shrinks,
            steps,
            pairs,
            vertical_shift: vertical.precision - FRACTION,
            sums: vec![0; row_bytes.next_multiple_of(32)],
            mixed: vec![0; mixed],
            rows: vec![0; planes_of(geometry.channels) * BATCH * horizontal.stride],
            horizontal,
            geometry,
        }
    }

    /// Writes one plane of `out.0` x `out.1` bytes a channel, one behind the other; none for a fourth channel.
    pub fn run(&mut self, isa: Isa, plane: &Plane<'_>, out: &mut [u8]) {
        let PlaneGeometry { x, y, channels } = self.geometry;
        let row_bytes = x.count() as usize * channels;
        let begin = y.first() as usize * plane.stride + x.first() as usize * channels;
        let source = Rows { data: &plane.data[begin..], stride: plane.stride, width: row_bytes };
        let (out_width, out_rows) = (x.out as usize, y.out as usize);
        let mut batch = 0;
        for index in 0..self.steps.len() {
            let made = index.checked_sub(usize::from(self.shrinks));
            self.vertical_step(isa, &source, index, made.map(|_| batch));
            let Some(made) = made else { continue };
            batch += 1;
            if batch == BATCH || made + 1 == out_rows {
                let first = (made + 1 - batch) * out_width;
                for channel in 0..planes_of(channels) {
                    let rows = &self.rows[channel * BATCH * self.horizontal.stride..][..BATCH * self.horizontal.stride];
                    let out = &mut out[channel * out_width * out_rows + first..][..batch * out_width];
                    isa.horizontal(&self.horizontal, rows, out);
                }
                batch = 0;
            }
        }
    }

    /// Runs one step and puts the row that it completes, if it does, into place `slot` of the batch.
    fn vertical_step(&mut self, isa: Isa, source: &Rows<'_>, index: usize, slot: Option<usize>) {
        let step = &self.steps[index];
        let pairs = &self.pairs[step.at..][..step.rows.div_ceil(2)];
        let segment = Segment { row: step.row, rows: step.rows, pairs, shift: self.vertical_shift };
        let (stride, channels) = (self.horizontal.stride, self.geometry.channels);
        let width = source.width;
        let out = match slot {
            None => None,
            Some(_) if channels > 1 => Some(&mut self.mixed[..width]),
            Some(slot) => Some(&mut self.rows[slot * stride..][..width]),
        };
        if self.shrinks {
            isa.segment(source, &segment, &mut self.sums, out);
        } else if let Some(out) = out {
            isa.blend(source, &segment, out);
        }
        if let Some(slot) = slot.filter(|_| channels > 1) {
            deinterleave(isa, &self.mixed[..width], channels, &mut self.rows[slot * stride..], BATCH * stride);
        }
    }
}

/// Cuts the source rows at the centres of the target rows. Step `s` completes target row `s - 1` and begins row `s`.
fn segments(geometry: &Geometry, axis: &Axis) -> (Vec<Step>, Vec<PairCoefficients>) {
    let (mut steps, mut pairs) = (Vec::new(), Vec::new());
    let (out, count) = (geometry.out as usize, geometry.count());
    let mut row = 0;
    for s in 0..=out {
        let end = if s == out {
            count
        } else {
            let center = geometry.center(s as u32);
            (row..count).find(|j| geometry.position(geometry.first() + j) >= center).unwrap_or(count)
        };
        let fall = |j: u32| if s > 0 && j < end { axis.coefficient(s - 1, j) } else { 0 };
        let rise = |j: u32| if s < out && j < end { axis.coefficient(s, j) } else { 0 };
        steps.push(Step { row: row as usize, rows: (end - row) as usize, at: pairs.len() });
        pairs.extend((row..end).step_by(2).map(|j| [fall(j), fall(j + 1), rise(j), rise(j + 1)]));
        row = end;
    }
    (steps, pairs)
}

/// One step a target row, of one or two source rows.
fn blends(axis: &Axis) -> (Vec<Step>, Vec<PairCoefficients>) {
    let step = |(at, taps): (usize, &crate::axis::Taps)| {
        let coefficients = axis.coefficients(taps);
        let pair = [coefficients[0], coefficients.get(1).copied().unwrap_or(0), 0, 0];
        (Step { row: taps.start as usize, rows: coefficients.len(), at }, pair)
    };
    axis.taps.iter().enumerate().map(step).unzip()
}

/// Spreads interleaved samples over rows that lie `apart` elements from each other.
fn deinterleave(isa: Isa, mixed: &[i16], channels: usize, rows: &mut [i16], apart: usize) {
    let count = mixed.len() / channels;
    if channels == 2 {
        let (first, second) = rows.split_at_mut(apart);
        return isa.split_pairs(mixed, &mut first[..count], &mut second[..count]);
    }
    for channel in 0..planes_of(channels) {
        let row = &mut rows[channel * apart..][..count];
        match channels {
            4 => row.iter_mut().zip(mixed.as_chunks::<4>().0).for_each(|(out, pixel)| *out = pixel[channel]),
            _ => row.iter_mut().zip(mixed.as_chunks::<3>().0).for_each(|(out, pixel)| *out = pixel[channel]),
        }
    }
}

/// How many planes come of so many interleaved channels: a fourth has no meaning.
fn planes_of(channels: usize) -> usize {
    channels.min(3)
}
