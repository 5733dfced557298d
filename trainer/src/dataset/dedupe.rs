//! Near-identical pictures: of those whose hashes differ in few bits the first stays.

use rayon::prelude::*;

/// Hashes that differ in fewer bits than there are bytes share a byte: only those are compared.
const BANDS: usize = 8;

/// Which of these hashes come too near to an earlier one that stays: for each, that one's place.
pub fn near(hashes: &[u64], threshold: u32) -> Vec<Option<usize>> {
    let candidates: Vec<Vec<usize>> =
        if (threshold as usize) < BANDS { banded(hashes, threshold) } else { all(hashes, threshold) };
    let mut of = vec![None; hashes.len()];
    for (at, earlier) in candidates.into_iter().enumerate() {
        of[at] = earlier.into_iter().find(|earlier| of[*earlier].is_none());
    }
    of
}

/// For each, the earlier ones within the threshold.
fn all(hashes: &[u64], threshold: u32) -> Vec<Vec<usize>> {
    let is_near = |at: usize, earlier: &usize| (hashes[at] ^ hashes[*earlier]).count_ones() <= threshold;
    (0..hashes.len()).into_par_iter().map(|at| (0..at).filter(|earlier| is_near(at, earlier)).collect()).collect()
}

/// The same, looked for only where a byte is equal.
fn banded(hashes: &[u64], threshold: u32) -> Vec<Vec<usize>> {
    let byte = |hash: u64, band: usize| (hash >> (8 * band)) as u8 as usize;
    let buckets: Vec<Vec<Vec<u32>>> = (0..BANDS)
        .into_par_iter()
        .map(|band| {
            let mut buckets = vec![Vec::new(); 256];
            hashes.iter().enumerate().for_each(|(at, hash)| buckets[byte(*hash, band)].push(at as u32));
            buckets
        })
        .collect();
    let near = |at: usize| {
        let hash = hashes[at];
        let sharing = (0..BANDS).flat_map(|band| {
            let bucket = &buckets[band][byte(hash, band)];
            bucket[..bucket.partition_point(|other| (*other as usize) < at)].iter().map(|other| *other as usize)
        });
        let mut found: Vec<usize> = sharing.filter(|other| (hash ^ hashes[*other]).count_ones() <= threshold).collect();
        found.sort_unstable();
        found.dedup();
        found
    };
    (0..hashes.len()).into_par_iter().map(near).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn bands_find_what_comparing_all_finds(
            seeds in prop::collection::vec((any::<u8>(), prop::collection::vec(0u32..64, 0..10)), 1..60),
            threshold in 0u32..8,
        ) {
            let base = |seed: u8| u64::from(seed % 5).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let hashes: Vec<u64> =
                seeds.iter().map(|(seed, bits)| bits.iter().fold(base(*seed), |hash, bit| hash ^ (1 << bit))).collect();
            prop_assert_eq!(banded(&hashes, threshold), all(&hashes, threshold));
        }
    }

    #[test]
    fn the_first_stays_and_what_is_near_to_a_dropped_one_may_stay() {
        // The third is near to the second alone, which is dropped for the first.
        assert_eq!(near(&[0b0000, 0b0011, 0b1111], 2), [None, Some(0), None]);
        assert_eq!(near(&[5, 5, 5], 0), [None, Some(0), Some(0)]);
    }
}
