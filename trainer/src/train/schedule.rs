//! The learning rate of each step: up in a line, down by a half cosine (Loshchilov and Hutter 2017).

/// The rate of `step` of `steps`, with a peak after `warm_up` of them.
pub fn rate(peak: f64, warm_up: f64, step: u64, steps: u64) -> f64 {
    let (step, steps) = (step as f64, steps.max(1) as f64);
    let rise = warm_up * steps;
    if step < rise {
        return peak * (step + 1.0) / (rise + 1.0);
    }
    let done = ((step - rise) / (steps - rise).max(1.0)).min(1.0);
    peak * 0.5 * (1.0 + (std::f64::consts::PI * done).cos())
}

#[cfg(test)]
mod tests {
    use super::rate;

    #[test]
    fn rises_in_a_line_and_falls_to_zero() {
        let all: Vec<_> = (0..=100).map(|step| rate(0.4, 0.2, step, 100)).collect();
        assert!(all[..20].windows(2).all(|pair| pair[0] < pair[1]), "it rises: {all:?}");
        assert!(all[20..].windows(2).all(|pair| pair[0] > pair[1]), "it falls: {all:?}");
        assert_eq!(all[20], 0.4);
        assert!((rate(0.4, 0.2, 60, 100) - 0.2).abs() < 1e-12, "half way down");
        assert!(all[100].abs() < 1e-12);
        assert_eq!(rate(0.4, 0.0, 0, 100), 0.4, "without warm-up it begins at the peak");
    }
}
