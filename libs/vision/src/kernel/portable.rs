//! The inner loops in plain Rust, laid out so that the compiler can vectorise them.

use super::{Horizontal, LANES, Rows, Segment};
use crate::color::ToRgb;

/// See [`super::Isa::segment`].
pub fn segment(rows: &Rows<'_>, segment: &Segment<'_>, sums: &mut [i32], out: Option<&mut [i16]>) {
    let sums = &mut sums[..rows.width];
    if let Some(out) = out {
        for (pair, coefficients) in segment.pairs.iter().enumerate() {
            let (a, b) = pair_rows(rows, segment, pair);
            accumulate(a, b, coefficients[0], coefficients[1], sums);
        }
        finish(sums, segment.shift, out);
    }
    sums.fill(0);
    for (pair, coefficients) in segment.pairs.iter().enumerate() {
        let (a, b) = pair_rows(rows, segment, pair);
        accumulate(a, b, coefficients[2], coefficients[3], sums);
    }
}

/// See [`super::Isa::blend`].
pub fn blend(rows: &Rows<'_>, segment: &Segment<'_>, out: &mut [i16]) {
    let (a, b) = pair_rows(rows, segment, 0);
    let (ka, kb) = (i32::from(segment.pairs[0][0]), i32::from(segment.pairs[0][1]));
    let half = 1 << (segment.shift - 1);
    for ((a, b), out) in a.iter().zip(b).zip(out) {
        *out = ((i32::from(*a) * ka + i32::from(*b) * kb + half) >> segment.shift) as i16;
    }
}

/// The two rows of a pair; a last single row stands in for its missing fellow, whose coefficient is 0.
fn pair_rows<'a>(rows: &'a Rows<'_>, segment: &Segment<'_>, pair: usize) -> (&'a [u8], &'a [u8]) {
    let a = 2 * pair;
    let b = (a + 1).min(segment.rows - 1);
    (rows.row(segment.row + a), rows.row(segment.row + b))
}

fn accumulate(a: &[u8], b: &[u8], ka: i16, kb: i16, sums: &mut [i32]) {
    let (ka, kb) = (i32::from(ka), i32::from(kb));
    for ((a, b), sum) in a.iter().zip(b).zip(sums) {
        *sum += i32::from(*a) * ka + i32::from(*b) * kb;
    }
}

fn finish(sums: &[i32], shift: u32, out: &mut [i16]) {
    let half = 1 << (shift - 1);
    for (sum, out) in sums.iter().zip(out) {
        *out = ((sum + half) >> shift) as i16;
    }
}

/// See [`super::Isa::split_pairs`].
pub fn split_pairs(mixed: &[i16], first: &mut [i16], second: &mut [i16]) {
    for ((pair, first), second) in mixed.as_chunks::<2>().0.iter().zip(first).zip(second) {
        [*first, *second] = *pair;
    }
}

/// See [`super::Isa::horizontal`].
pub fn horizontal(horizontal: &Horizontal, rows: &[i16], out: &mut [u8]) {
    let half = 1 << (horizontal.shift - 1);
    let lanes = horizontal.groups * LANES;
    for (row, out) in rows.chunks_exact(horizontal.stride).zip(out.chunks_exact_mut(horizontal.starts.len())) {
        let coefficients = horizontal.coefficients.chunks_exact(lanes);
        for ((start, coefficients), out) in horizontal.starts.iter().zip(coefficients).zip(out) {
            let samples = &row[*start as usize..][..lanes];
            let sum: i32 = samples.iter().zip(coefficients).map(|(v, k)| i32::from(*v) * i32::from(*k)).sum();
            *out = ((sum + half) >> horizontal.shift) as u8;
        }
    }
}

/// See [`super::Isa::rgb_packed`].
pub fn rgb_packed(to_rgb: &ToRgb, y: &[u8], u: &[u8], v: &[u8], out: &mut [u8]) {
    for (((y, u), v), out) in y.iter().zip(u).zip(v).zip(out.as_chunks_mut::<3>().0) {
        *out = to_rgb.pixel(*y, *u, *v);
    }
}

/// See [`super::Isa::rgb_planes`].
pub fn rgb_planes(to_rgb: &ToRgb, y: &[u8], u: &[u8], v: &[u8], out: &mut [u8]) {
    let (red, rest) = out.split_at_mut(y.len());
    let (green, blue) = rest.split_at_mut(y.len());
    let out = red.iter_mut().zip(green).zip(blue);
    for (((y, u), v), ((red, green), blue)) in y.iter().zip(u).zip(v).zip(out) {
        [*red, *green, *blue] = to_rgb.pixel(*y, *u, *v);
    }
}
