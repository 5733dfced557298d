//! The perceptual hash: pictures that look alike have hashes that differ in few bits.
//!
//! Of the luma at 32 x 32 the discrete cosine transform's 8 x 8 lowest frequencies are taken, and each bit says whether one of them
//! is above their median, the constant part left out (Zauner 2010, "Implementation and Benchmarking of Perceptual Image Hash
//! Functions", section 3.2.1).

use std::{f32::consts::PI, sync::LazyLock};

/// Side of the picture that is transformed.
pub const SIDE: usize = 32;
/// Frequencies each way.
const LOW: usize = 8;

/// `COSINES[frequency][place]`.
static COSINES: LazyLock<[[f32; SIDE]; LOW]> = LazyLock::new(|| {
    std::array::from_fn(|frequency| {
        std::array::from_fn(|place| ((2 * place + 1) as f32 * frequency as f32 * PI / (2 * SIDE) as f32).cos())
    })
});

/// The hash of luma, 32 x 32.
pub fn phash(luma: &[u8; SIDE * SIDE]) -> u64 {
    let mut across = [[0f32; LOW]; SIDE];
    for (row, sums) in luma.chunks_exact(SIDE).zip(&mut across) {
        for (cosines, sum) in COSINES.iter().zip(sums) {
            *sum = row.iter().zip(cosines).map(|(value, cosine)| f32::from(*value) * cosine).sum();
        }
    }
    let mut all = [0f32; LOW * LOW];
    for (down, cosines) in COSINES.iter().enumerate() {
        for right in 0..LOW {
            all[down * LOW + right] = across.iter().zip(cosines).map(|(row, cosine)| row[right] * cosine).sum();
        }
    }
    let mut sorted = all;
    sorted[1..].sort_by(f32::total_cmp);
    let median = sorted[1 + (LOW * LOW - 1) / 2];
    all.iter().enumerate().skip(1).fold(0, |hash, (bit, value)| hash | (u64::from(*value > median) << bit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(of: impl Fn(usize, usize) -> i32) -> [u8; SIDE * SIDE] {
        std::array::from_fn(|at| of(at % SIDE, at / SIDE).clamp(0, 255) as u8)
    }

    #[test]
    fn alike_pictures_are_near_and_others_far() {
        let scene = |x: usize, y: usize| ((x * 7 + y * 3) % 97) as i32 + if x > 16 && y > 10 { 90 } else { 20 };
        let hash = phash(&picture(scene));
        let brighter = phash(&picture(|x, y| scene(x, y) + 12));
        let noisy = phash(&picture(|x, y| scene(x, y) + ((x * 31 + y * 17) % 5) as i32 - 2));
        let other = phash(&picture(|x, y| ((x * x + y * 13) % 200) as i32));
        assert!((hash ^ brighter).count_ones() <= 4, "brightness is no difference");
        assert!((hash ^ noisy).count_ones() <= 6, "noise is little difference");
        assert!((hash ^ other).count_ones() >= 16, "another scene is another hash");
    }
}
