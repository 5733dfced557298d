//! Colour with AVX2, 16 pixels at once; the same bits as [`ToRgb::pixel`].

use std::arch::x86_64::*;

use super::Token;
use crate::color::{COLOR_BITS, ToRgb};

/// See [`crate::kernel::Isa::rgb_planes`].
pub fn rgb_planes(_: Token, to_rgb: &ToRgb, y: &[u8], u: &[u8], v: &[u8], out: &mut [u8]) {
    let whole = y.len() / 16 * 16;
    assert!(u.len() >= y.len() && v.len() >= y.len() && out.len() >= 3 * y.len());
    // SAFETY: the token proves AVX2; `whole` is a multiple of 16 within each plane.
    unsafe { rgb_planes_blocks(to_rgb, [y.as_ptr(), u.as_ptr(), v.as_ptr()], whole, out.as_mut_ptr(), y.len()) };
    for pixel in whole..y.len() {
        let rgb = to_rgb.pixel(y[pixel], u[pixel], v[pixel]);
        (0..3).for_each(|channel| out[channel * y.len() + pixel] = rgb[channel]);
    }
}

/// See [`crate::kernel::Isa::rgb_packed`].
pub fn rgb_packed(_: Token, to_rgb: &ToRgb, y: &[u8], u: &[u8], v: &[u8], out: &mut [u8]) {
    let whole = y.len() / 16 * 16;
    assert!(u.len() >= y.len() && v.len() >= y.len() && out.len() >= 3 * y.len());
    // SAFETY: the token proves AVX2; `whole` is a multiple of 16 within each plane.
    unsafe { rgb_packed_blocks(to_rgb, [y.as_ptr(), u.as_ptr(), v.as_ptr()], whole, out.as_mut_ptr()) };
    let rest = y[whole..].iter().zip(&u[whole..]).zip(&v[whole..]);
    for (((y, u), v), out) in rest.zip(out[3 * whole..].as_chunks_mut::<3>().0) {
        *out = to_rgb.pixel(*y, *u, *v);
    }
}

/// # Safety
/// The machine has AVX2; each of the planes may be read for `pixels`, a multiple of 16; `out` may be written for
/// `2 * apart + pixels` bytes.
#[target_feature(enable = "avx2")]
unsafe fn rgb_planes_blocks(to_rgb: &ToRgb, planes: [*const u8; 3], pixels: usize, out: *mut u8, apart: usize) {
    let lanes = ColorLanes::new(to_rgb);
    for at in (0..pixels).step_by(16) {
        // SAFETY: `at + 16 <= pixels`, which the planes and the three parts of `out` have.
        unsafe {
            let rgb = lanes.convert(planes.map(|plane| _mm_loadu_si128(plane.add(at).cast())));
            for (channel, bytes) in rgb.into_iter().enumerate() {
                _mm_storeu_si128(out.add(channel * apart + at).cast(), bytes);
            }
        }
    }
}

/// # Safety
/// The machine has AVX2; each of the planes may be read for `pixels`, a multiple of 16; `out` may be written for
/// `3 * pixels` bytes.
#[target_feature(enable = "avx2")]
unsafe fn rgb_packed_blocks(to_rgb: &ToRgb, planes: [*const u8; 3], pixels: usize, out: *mut u8) {
    let lanes = ColorLanes::new(to_rgb);
    for at in (0..pixels).step_by(16) {
        // SAFETY: `at + 16 <= pixels`, which the planes have; `3 * (at + 16) <= 3 * pixels` bytes are written.
        unsafe {
            let rgb = lanes.convert(planes.map(|plane| _mm_loadu_si128(plane.add(at).cast())));
            for (third, bytes) in interleave(rgb).into_iter().enumerate() {
                _mm_storeu_si128(out.add(3 * at + 16 * third).cast(), bytes);
            }
        }
    }
}

/// 16 red, green and blue bytes each as 48 bytes of pixels.
#[inline]
#[target_feature(enable = "avx2")]
fn interleave([r, g, b]: [__m128i; 3]) -> [__m128i; 3] {
    // Byte `t` of third `i` of the result is byte `t' / 3` of channel `t' % 3`, with `t' = 16 i + t`; -1 gives 0.
    const fn mask(third: i32, channel: i32) -> [i8; 16] {
        let mut mask = [-1; 16];
        let mut t = 0;
        while t < 16 {
            let at = 16 * third + t;
            if at % 3 == channel {
                mask[t as usize] = (at / 3) as i8;
            }
            t += 1;
        }
        mask
    }
    const MASKS: [[[i8; 16]; 3]; 3] = [
        [mask(0, 0), mask(0, 1), mask(0, 2)],
        [mask(1, 0), mask(1, 1), mask(1, 2)],
        [mask(2, 0), mask(2, 1), mask(2, 2)],
    ];
    let mut out = [r; 3];
    for (out, [mr, mg, mb]) in out.iter_mut().zip(&MASKS) {
        // SAFETY: each mask has 16 bytes.
        let (mr, mg, mb) = unsafe {
            let load = |mask: &[i8; 16]| _mm_loadu_si128(mask.as_ptr().cast());
            (load(mr), load(mg), load(mb))
        };
        let red_green = _mm_or_si128(_mm_shuffle_epi8(r, mr), _mm_shuffle_epi8(g, mg));
        *out = _mm_or_si128(red_green, _mm_shuffle_epi8(b, mb));
    }
    out
}

/// The coefficients of [`ToRgb`] in pairs, as `madd` wants them.
struct ColorLanes {
    black: __m256i,
    /// `y` with 0, `rv`, `gu`, `bu`; and `gv` alone.
    y_rv: __m256i,
    y_gu: __m256i,
    y_bu: __m256i,
    gv: __m256i,
}

impl ColorLanes {
    #[inline]
    #[target_feature(enable = "avx2")]
    fn new(to_rgb: &ToRgb) -> Self {
        let both = |a: i16, b: i16| _mm256_set1_epi32(i32::from(a as u16) | (i32::from(b) << 16));
        Self {
            black: _mm256_set1_epi16(to_rgb.black),
            y_rv: both(to_rgb.y, to_rgb.rv),
            y_gu: both(to_rgb.y, to_rgb.gu),
            y_bu: both(to_rgb.y, to_rgb.bu),
            // Paired with the rounding term: 1 times half of the last place.
            gv: both(to_rgb.gv, 1 << (COLOR_BITS - 1)),
        }
    }

    /// 16 pixels.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn convert(&self, [y, u, v]: [__m128i; 3]) -> [__m128i; 3] {
        let middle = _mm256_set1_epi16(128);
        let y = _mm256_sub_epi16(_mm256_cvtepu8_epi16(y), self.black);
        let u = _mm256_sub_epi16(_mm256_cvtepu8_epi16(u), middle);
        let v = _mm256_sub_epi16(_mm256_cvtepu8_epi16(v), middle);
        let half = _mm256_set1_epi32(1 << (COLOR_BITS - 1));
        let one = _mm256_set1_epi16(1);
        let (yv, yu, v1) = (pairs(y, v), pairs(y, u), pairs(v, one));
        let sum = |pair: __m256i, k: __m256i, more: __m256i| _mm256_add_epi32(_mm256_madd_epi16(pair, k), more);
        let [green_low, green_high] = [_mm256_madd_epi16(v1[0], self.gv), _mm256_madd_epi16(v1[1], self.gv)];
        [
            to_bytes(sum(yv[0], self.y_rv, half), sum(yv[1], self.y_rv, half)),
            to_bytes(sum(yu[0], self.y_gu, green_low), sum(yu[1], self.y_gu, green_high)),
            to_bytes(sum(yu[0], self.y_bu, half), sum(yu[1], self.y_bu, half)),
        ]
    }
}

/// Drops the bits after the point and clamps to a byte; undoes the order of [`pairs`].
#[inline]
#[target_feature(enable = "avx2")]
fn to_bytes(low: __m256i, high: __m256i) -> __m128i {
    const BITS: i32 = COLOR_BITS as i32;
    let words = _mm256_packs_epi32(_mm256_srai_epi32::<BITS>(low), _mm256_srai_epi32::<BITS>(high));
    _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words))
}

/// Elements of `a` and `b` side by side; the order that `packs` undoes.
#[inline]
#[target_feature(enable = "avx2")]
fn pairs(a: __m256i, b: __m256i) -> [__m256i; 2] {
    [_mm256_unpacklo_epi16(a, b), _mm256_unpackhi_epi16(a, b)]
}
