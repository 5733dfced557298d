//! The inner loops, and the choice between them. Every variant gives the same bits; tests compare them.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod portable;

use crate::{axis::Axis, color::ToRgb};

/// Rows that the horizontal filter takes at once.
pub(crate) const BATCH: usize = 4;
/// Horizontal coefficients come in groups of this many.
pub(crate) const LANES: usize = 16;

/// Coefficients of two source rows: of both in the row that ends (`fall`), then of both in the row that begins (`rise`).
pub(crate) type PairCoefficients = [i16; 4];

/// Source rows of `width` bytes, from the region's first byte on.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub data: &'a [u8],
    pub stride: usize,
    pub width: usize,
}

impl Rows<'_> {
    fn row(&self, index: usize) -> &[u8] {
        &self.data[index * self.stride..][..self.width]
    }
}

/// Source rows that feed the same target rows.
pub(crate) struct Segment<'a> {
    pub row: usize,
    pub rows: usize,
    pub pairs: &'a [PairCoefficients],
    pub shift: u32,
}

/// The horizontal filter's tables: `groups * LANES` coefficients a target pixel, zeros behind the last.
#[derive(Debug)]
pub(crate) struct Horizontal {
    /// First sample of each target pixel.
    pub starts: Vec<u32>,
    /// Coefficients, `groups * LANES` a target pixel.
    pub coefficients: Vec<i16>,
    /// Groups of coefficients a target pixel.
    pub groups: usize,
    /// Elements from one row of samples to the next; every `start + groups * LANES` lies within.
    pub stride: usize,
    /// Bits to shift the sum by.
    pub shift: u32,
}

impl Horizontal {
    /// Lays out the coefficients of `axis` for rows of `count` samples.
    pub fn new(axis: &Axis, count: usize) -> Self {
        let longest = axis.taps.iter().map(|taps| taps.len as usize).max().unwrap_or(0);
        let groups = longest.div_ceil(LANES);
        let mut coefficients = vec![0; axis.taps.len() * groups * LANES];
        for (taps, lanes) in axis.taps.iter().zip(coefficients.chunks_exact_mut(groups * LANES)) {
            lanes[..taps.len as usize].copy_from_slice(axis.coefficients(taps));
        }
        let starts = axis.taps.iter().map(|taps| taps.start).collect();
        let shift = axis.precision + crate::resample::FRACTION;
        Self { starts, coefficients, groups, stride: (count + groups * LANES).next_multiple_of(LANES), shift }
    }
}

/// Which instructions to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Isa {
    /// What every machine can do.
    Portable,
    /// x86-64 with AVX2.
    #[cfg(target_arch = "x86_64")]
    Avx2(avx2::Token),
}

/// Calls the variant of a function for `$isa`.
macro_rules! dispatch {
    ($isa:expr, $function:ident($($argument:expr),*)) => {
        match $isa {
            Isa::Portable => portable::$function($($argument),*),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(token) => avx2::$function(token, $($argument),*),
        }
    };
}

impl Isa {
    /// The best that this machine can do.
    pub fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(token) = avx2::Token::detect() {
            return Isa::Avx2(token);
        }
        Isa::Portable
    }

    /// Adds the segment's rows to the row that ends and to the one that begins; writes the former to `out` if given.
    pub fn segment(self, rows: &Rows<'_>, segment: &Segment<'_>, sums: &mut [i32], out: Option<&mut [i16]>) {
        dispatch!(self, segment(rows, segment, sums, out));
    }

    /// Writes the blend of the segment's one or two rows.
    pub fn blend(self, rows: &Rows<'_>, segment: &Segment<'_>, out: &mut [i16]) {
        dispatch!(self, blend(rows, segment, out));
    }

    /// Spreads pairs over two rows.
    pub fn split_pairs(self, mixed: &[i16], first: &mut [i16], second: &mut [i16]) {
        dispatch!(self, split_pairs(mixed, first, second));
    }

    /// Filters up to [`BATCH`] rows across; `out` holds whole rows.
    pub fn horizontal(self, horizontal: &Horizontal, rows: &[i16], out: &mut [u8]) {
        dispatch!(self, horizontal(horizontal, rows, out));
    }

    /// Red, green, blue interleaved, from planes of one size.
    pub fn rgb_packed(self, to_rgb: &ToRgb, y: &[u8], u: &[u8], v: &[u8], out: &mut [u8]) {
        dispatch!(self, rgb_packed(to_rgb, y, u, v, out));
    }

    /// Red, green and blue planes one behind the other, from planes of one size.
    pub fn rgb_planes(self, to_rgb: &ToRgb, y: &[u8], u: &[u8], v: &[u8], out: &mut [u8]) {
        dispatch!(self, rgb_planes(to_rgb, y, u, v, out));
    }
}
