//! The inner loops with AVX2; the only unsafe code of this crate.
//!
//! Unsafe for two reasons, and each function says why both hold: a function compiled for AVX2 may only run where the
//! machine has it, and vectors are loaded and stored through pointers. The entry points here are safe: they take a
//! [`Token`] that only detection gives out, and check the lengths that the pointers rely on.
#![expect(unsafe_code, reason = "vector loads and stores, and calls of functions compiled for AVX2")]

mod color;

use std::arch::x86_64::*;

pub use color::{rgb_packed, rgb_planes};

use super::{BATCH, Horizontal, LANES, PairCoefficients, Rows, Segment, portable};

/// Bytes of a source row that are handled at once.
const BLOCK: usize = 32;

/// Proof that this machine has AVX2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token(());

impl Token {
    /// Asks the machine.
    pub fn detect() -> Option<Self> {
        std::arch::is_x86_feature_detected!("avx2").then_some(Self(()))
    }
}

/// See [`super::Isa::segment`]. Sums lie in the order of the vectors, block by block; only this function reads them.
pub fn segment(_: Token, rows: &Rows<'_>, segment: &Segment<'_>, sums: &mut [i32], out: Option<&mut [i16]>) {
    if rows.width < BLOCK {
        return portable::segment(rows, segment, sums, out);
    }
    check_rows(rows, segment);
    assert!(sums.len() >= rows.width.div_ceil(BLOCK) * BLOCK);
    match out {
        Some(out) => {
            assert!(out.len() >= rows.width);
            // SAFETY: the token proves AVX2; the asserts above are what the function asks for.
            unsafe { segment_blocks::<true>(rows, segment, sums, out.as_mut_ptr()) }
        }
        // SAFETY: as above; without a row to complete the pointer is not used.
        None => unsafe { segment_blocks::<false>(rows, segment, sums, std::ptr::null_mut()) },
    }
}

/// See [`super::Isa::blend`].
pub fn blend(_: Token, rows: &Rows<'_>, segment: &Segment<'_>, out: &mut [i16]) {
    if rows.width < BLOCK {
        return portable::blend(rows, segment, out);
    }
    check_rows(rows, segment);
    assert!(out.len() >= rows.width && segment.pairs.len() == 1);
    // SAFETY: the token proves AVX2; the asserts above are what the function asks for.
    unsafe { blend_blocks(rows, segment, out.as_mut_ptr()) }
}

/// Every row of the segment lies within the data.
fn check_rows(rows: &Rows<'_>, segment: &Segment<'_>) {
    assert_eq!(segment.pairs.len(), segment.rows.div_ceil(2));
    if segment.rows > 0 {
        assert!(rows.data.len() >= (segment.row + segment.rows - 1) * rows.stride + rows.width);
    }
}

/// Where block `index` begins: the last one overlaps its neighbour instead of passing the row's end.
#[inline(always)]
fn block_start(index: usize, width: usize) -> usize {
    (index * BLOCK).min(width - BLOCK)
}

/// # Safety
/// The machine has AVX2; `rows.width >= BLOCK`; the segment's rows lie in the data and have all their pairs; `sums` holds
/// whole blocks for `rows.width`; with `COMPLETE`, `out` may be written for `rows.width` elements.
#[target_feature(enable = "avx2")]
unsafe fn segment_blocks<const COMPLETE: bool>(
    rows: &Rows<'_>,
    segment: &Segment<'_>,
    sums: &mut [i32],
    out: *mut i16,
) {
    let base = rows.data.as_ptr();
    let half = _mm256_set1_epi32(1 << (segment.shift - 1));
    let shift = _mm_cvtsi32_si128(segment.shift as i32);
    for index in 0..rows.width.div_ceil(BLOCK) {
        let column = block_start(index, rows.width);
        prefetch(rows, segment, column);
        // SAFETY: `sums` holds whole blocks, so this one's 32 elements are inside.
        let block = unsafe { sums.as_mut_ptr().add(index * BLOCK) }.cast::<__m256i>();
        let mut fall = [_mm256_setzero_si256(); 4];
        let mut rise = [_mm256_setzero_si256(); 4];
        if COMPLETE {
            // SAFETY: four vectors of eight are the block's 32 elements.
            fall = std::array::from_fn(|i| unsafe { _mm256_loadu_si256(block.add(i)) });
        }
        for (pair, coefficients) in segment.pairs.iter().enumerate() {
            let a = segment.row + 2 * pair;
            let b = segment.row + (2 * pair + 1).min(segment.rows - 1);
            // SAFETY: both rows are in the segment, hence in the data, and `column + BLOCK <= width`.
            let samples = unsafe { widen_pair(base.add(a * rows.stride + column), base.add(b * rows.stride + column)) };
            let (ends, begins) = broadcast(coefficients);
            for i in 0..4 {
                if COMPLETE {
                    fall[i] = _mm256_add_epi32(fall[i], _mm256_madd_epi16(samples[i], ends));
                }
                rise[i] = _mm256_add_epi32(rise[i], _mm256_madd_epi16(samples[i], begins));
            }
        }
        if COMPLETE {
            let [low, high] = narrow(fall, half, shift);
            // SAFETY: `column + BLOCK <= width`, and `out` has `width` elements.
            unsafe {
                _mm256_storeu_si256(out.add(column).cast(), low);
                _mm256_storeu_si256(out.add(column + 16).cast(), high);
            }
        }
        for (i, sum) in rise.into_iter().enumerate() {
            // SAFETY: as for the load above.
            unsafe { _mm256_storeu_si256(block.add(i), sum) };
        }
    }
}

/// # Safety
/// The machine has AVX2; `rows.width >= BLOCK`; the segment has one pair, whose rows lie in the data; `out` may be
/// written for `rows.width` elements.
#[target_feature(enable = "avx2")]
unsafe fn blend_blocks(rows: &Rows<'_>, segment: &Segment<'_>, out: *mut i16) {
    let half = _mm256_set1_epi32(1 << (segment.shift - 1));
    let shift = _mm_cvtsi32_si128(segment.shift as i32);
    let (coefficients, _) = broadcast(&segment.pairs[0]);
    let (a, b) = (segment.row * rows.stride, (segment.row + segment.rows - 1) * rows.stride);
    for index in 0..rows.width.div_ceil(BLOCK) {
        let column = block_start(index, rows.width);
        // SAFETY: both rows lie in the data and `column + BLOCK <= width`; the same holds for `out`.
        unsafe {
            let base = rows.data.as_ptr();
            let samples = widen_pair(base.add(a + column), base.add(b + column));
            let product = |i: usize| _mm256_madd_epi16(samples[i], coefficients);
            let [low, high] = narrow([product(0), product(1), product(2), product(3)], half, shift);
            _mm256_storeu_si256(out.add(column).cast(), low);
            _mm256_storeu_si256(out.add(column + 16).cast(), high);
        }
    }
}

/// Asks for the rows that come after this segment, once a cache line: too many rows for the hardware to foresee.
///
/// Into the first cache where it holds a segment with room to spare, else into the second; measured: 1.8 times faster.
#[inline]
#[target_feature(enable = "avx2")]
fn prefetch(rows: &Rows<'_>, segment: &Segment<'_>, column: usize) {
    if !column.is_multiple_of(64) {
        return;
    }
    let near = segment.rows * rows.width <= 16 << 10;
    let next = (segment.row + segment.rows) * rows.stride + column;
    for row in 0..segment.rows {
        // A prefetch of any address is harmless; wrapping arithmetic makes computing it so, too.
        let at = rows.data.as_ptr().wrapping_add(next + row * rows.stride).cast();
        if near { _mm_prefetch::<_MM_HINT_T0>(at) } else { _mm_prefetch::<_MM_HINT_T1>(at) }
    }
}

/// 32 samples of two rows as pairs of i16, in the order 0-3 and 16-19, 4-7 and 20-23, 8-11 and 24-27, 12-15 and 28-31.
///
/// # Safety
/// The machine has AVX2; 32 bytes may be read at both places.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn widen_pair(a: *const u8, b: *const u8) -> [__m256i; 4] {
    // SAFETY: the caller allows these reads.
    let (a, b) = unsafe { (_mm256_loadu_si256(a.cast()), _mm256_loadu_si256(b.cast())) };
    let zero = _mm256_setzero_si256();
    let (low, high) = (_mm256_unpacklo_epi8(a, b), _mm256_unpackhi_epi8(a, b));
    [
        _mm256_unpacklo_epi8(low, zero),
        _mm256_unpackhi_epi8(low, zero),
        _mm256_unpacklo_epi8(high, zero),
        _mm256_unpackhi_epi8(high, zero),
    ]
}

/// The pair of the row that ends, and of the one that begins, in every lane.
#[inline]
#[target_feature(enable = "avx2")]
fn broadcast(pair: &PairCoefficients) -> (__m256i, __m256i) {
    let both = |a: i16, b: i16| _mm256_set1_epi32(i32::from(a as u16) | (i32::from(b) << 16));
    (both(pair[0], pair[1]), both(pair[2], pair[3]))
}

/// Rounds the sums of 32 columns, in the order of [`widen_pair`], to i16 in the order of the columns.
#[inline]
#[target_feature(enable = "avx2")]
fn narrow(sums: [__m256i; 4], half: __m256i, shift: __m128i) -> [__m256i; 2] {
    let round = |sum| _mm256_sra_epi32(_mm256_add_epi32(sum, half), shift);
    let ab = _mm256_packs_epi32(round(sums[0]), round(sums[1]));
    let cd = _mm256_packs_epi32(round(sums[2]), round(sums[3]));
    [_mm256_permute2x128_si256::<0x20>(ab, cd), _mm256_permute2x128_si256::<0x31>(ab, cd)]
}

/// See [`super::Isa::horizontal`].
pub fn horizontal(_: Token, horizontal: &Horizontal, rows: &[i16], out: &mut [u8]) {
    let lanes = horizontal.groups * LANES;
    let width = horizontal.starts.len();
    assert!(rows.len() >= BATCH * horizontal.stride && horizontal.coefficients.len() >= width * lanes);
    assert!(horizontal.starts.iter().all(|start| *start as usize + lanes <= horizontal.stride));
    // SAFETY: the token proves AVX2; the asserts above are what the function asks for.
    unsafe { horizontal_rows(horizontal, rows, out) }
}

/// # Safety
/// The machine has AVX2; `rows` holds `BATCH` rows; every target pixel has `groups * LANES` coefficients and as many
/// samples behind its start in each row.
#[target_feature(enable = "avx2")]
unsafe fn horizontal_rows(horizontal: &Horizontal, rows: &[i16], out: &mut [u8]) {
    let width = horizontal.starts.len();
    let half = _mm256_set1_epi32(1 << (horizontal.shift - 1));
    let shift = _mm_cvtsi32_si128(horizontal.shift as i32);
    for first in (0..width).step_by(4) {
        // A last group of fewer pixels takes the last one again.
        let pixel = |i: usize| (first + i).min(width - 1);
        // SAFETY: the pixels are below `width`; the rest is what the caller promised.
        let sums = unsafe {
            [
                row_sums(horizontal, rows, pixel(0)),
                row_sums(horizontal, rows, pixel(1)),
                row_sums(horizontal, rows, pixel(2)),
                row_sums(horizontal, rows, pixel(3)),
            ]
        };
        let columns = by_row(fold(sums[0], sums[1]), fold(sums[2], sums[3]), half, shift);
        for (bytes, row) in columns.iter().zip(out.chunks_exact_mut(width)) {
            let row = &mut row[first..];
            match row.first_chunk_mut::<4>() {
                Some(row) => *row = *bytes,
                None => row.iter_mut().zip(bytes).for_each(|(out, byte)| *out = *byte),
            }
        }
    }
}

/// The sums of one target pixel in each of the rows; each row's is still spread over two lanes, 4 apart.
///
/// # Safety
/// As [`horizontal_rows`]; `pixel` is one of the target's.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn row_sums(horizontal: &Horizontal, rows: &[i16], pixel: usize) -> __m256i {
    let Horizontal { groups, stride, .. } = *horizontal;
    // SAFETY: the caller promises that the pixel has its coefficients, and its samples in each of four rows.
    unsafe {
        let start = *horizontal.starts.get_unchecked(pixel) as usize;
        let coefficients = horizontal.coefficients.as_ptr().add(pixel * groups * LANES);
        let samples = rows.as_ptr().add(start);
        let mut a = _mm256_setzero_si256();
        let (mut b, mut c, mut d) = (a, a, a);
        for at in (0..groups * LANES).step_by(LANES) {
            let k = _mm256_loadu_si256(coefficients.add(at).cast());
            let product = |row: usize| {
                let v = _mm256_loadu_si256(samples.add(row * stride + at).cast());
                _mm256_madd_epi16(v, k)
            };
            a = _mm256_add_epi32(a, product(0));
            b = _mm256_add_epi32(b, product(1));
            c = _mm256_add_epi32(c, product(2));
            d = _mm256_add_epi32(d, product(3));
        }
        _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d))
    }
}

/// The finished sums of four rows for one pixel, then for the other.
#[inline]
#[target_feature(enable = "avx2")]
fn fold(one: __m256i, other: __m256i) -> __m256i {
    let (low, high) = (_mm256_permute2x128_si256::<0x20>(one, other), _mm256_permute2x128_si256::<0x31>(one, other));
    _mm256_add_epi32(low, high)
}

/// Rounds the sums of four pixels and turns them: for each of the four rows its four bytes.
#[inline]
#[target_feature(enable = "avx2")]
fn by_row(one: __m256i, other: __m256i, half: __m256i, shift: __m128i) -> [[u8; 4]; BATCH] {
    let one = _mm256_sra_epi32(_mm256_add_epi32(one, half), shift);
    let other = _mm256_sra_epi32(_mm256_add_epi32(other, half), shift);
    // Low half: pixels 0 and 2, rows 0 to 3 each; high half: pixels 1 and 3.
    let words = _mm256_packs_epi32(one, other);
    let bytes = _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
    // Now pixels 0, 2, 1, 3 of four rows each.
    let turn = _mm_setr_epi8(0, 8, 4, 12, 1, 9, 5, 13, 2, 10, 6, 14, 3, 11, 7, 15);
    let turned = _mm_shuffle_epi8(bytes, turn);
    let (low, high) = (_mm_cvtsi128_si64(turned).to_le_bytes(), _mm_extract_epi64::<1>(turned).to_le_bytes());
    let half = |bytes: [u8; 8], i: usize| [bytes[i], bytes[i + 1], bytes[i + 2], bytes[i + 3]];
    [half(low, 0), half(low, 4), half(high, 0), half(high, 4)]
}

/// See [`super::Isa::split_pairs`].
pub fn split_pairs(_: Token, mixed: &[i16], first: &mut [i16], second: &mut [i16]) {
    let whole = mixed.len() / 32 * 16;
    assert!(first.len() >= whole && second.len() >= whole);
    // SAFETY: the token proves AVX2; `whole` is a multiple of 16 within both, and twice it within `mixed`.
    unsafe { split_pairs_blocks(mixed, whole, first, second) };
    portable::split_pairs(&mixed[2 * whole..], &mut first[whole..], &mut second[whole..]);
}

/// # Safety
/// The machine has AVX2; `whole` is a multiple of 16 that `first` and `second` hold, and `mixed` twice.
#[target_feature(enable = "avx2")]
unsafe fn split_pairs_blocks(mixed: &[i16], whole: usize, first: &mut [i16], second: &mut [i16]) {
    let low = _mm256_set1_epi32(0xffff);
    for at in (0..whole).step_by(16) {
        // SAFETY: `at + 16 <= whole`, as the caller promises of all three.
        unsafe {
            let a = _mm256_loadu_si256(mixed.as_ptr().add(2 * at).cast());
            let b = _mm256_loadu_si256(mixed.as_ptr().add(2 * at + 16).cast());
            let even = _mm256_packus_epi32(_mm256_and_si256(a, low), _mm256_and_si256(b, low));
            let odd = _mm256_packus_epi32(_mm256_srli_epi32::<16>(a), _mm256_srli_epi32::<16>(b));
            let even = _mm256_permute4x64_epi64::<0b11_01_10_00>(even);
            let odd = _mm256_permute4x64_epi64::<0b11_01_10_00>(odd);
            _mm256_storeu_si256(first.as_mut_ptr().add(at).cast(), even);
            _mm256_storeu_si256(second.as_mut_ptr().add(at).cast(), odd);
        }
    }
}
