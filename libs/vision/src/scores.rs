//! From what a model gives to what people read: softmax and the best classes.

use std::cmp::Ordering;

/// Writes the softmax of `logits`: positive, sum 1. A NaN among the logits makes every result NaN.
///
/// Computed as `exp(x - max)` in f64, so that large logits do not overflow and results do not depend on their order.
///
/// # Panics
/// When the lengths differ.
pub fn softmax(logits: &[f32], out: &mut [f32]) {
    assert_eq!(logits.len(), out.len(), "softmax writes as many probabilities as there are logits");
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    // Infinite logits: the infinite ones share everything.
    if max == f32::INFINITY && !logits.iter().any(|x| x.is_nan()) {
        let share = 1.0 / logits.iter().filter(|x| **x == f32::INFINITY).count() as f32;
        for (x, out) in logits.iter().zip(out) {
            *out = if *x == f32::INFINITY { share } else { 0.0 };
        }
        return;
    }
    // All logits are minus infinity: nothing is preferred.
    let max = if max == f32::NEG_INFINITY { 0.0 } else { f64::from(max) };
    let sum: f64 = logits.iter().map(|x| (f64::from(*x) - max).exp()).sum();
    let even = 1.0 / logits.len().max(1) as f64;
    for (x, out) in logits.iter().zip(out) {
        *out = if sum == 0.0 { even } else { (f64::from(*x) - max).exp() / sum } as f32;
    }
}

/// The `k` best classes, best first; equal scores in the order of their index; NaN comes last.
pub fn top_k(probabilities: &[f32], k: usize) -> Vec<(usize, f32)> {
    let mut best = Vec::with_capacity(k.min(probabilities.len()));
    top_k_into(probabilities, k, &mut best);
    best
}

/// As [`top_k`], into a vector that is cleared first and reused.
pub fn top_k_into(probabilities: &[f32], k: usize, best: &mut Vec<(usize, f32)>) {
    best.clear();
    for entry in probabilities.iter().copied().enumerate() {
        // Indices rise, so an equal score goes behind the ones that are there: ties keep the order of their index.
        let at = best.partition_point(|held| compare(held.1, entry.1).is_ge());
        if at < k {
            if best.len() == k {
                best.pop();
            }
            best.insert(at, entry);
        }
    }
}

/// Orders scores, NaN below all.
fn compare(a: f32, b: f32) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| b.is_nan().cmp(&a.is_nan()))
}
