//! Calibration: one temperature for all logits, so that a score of 0.9 is right nine times of ten (Guo et al. 2017).

/// Where the temperature is looked for.
const WITHIN: [f64; 2] = [0.05, 20.0];
/// Steps of the search: each leaves 0.62 of what was left.
const STEPS: usize = 60;

/// The temperature that makes held-out answers likeliest: the least mean negative log-likelihood, by golden-section search over
/// the logarithm (Kiefer 1953). `logits` are `[N, classes]`, `truth` N places in a row; 1 when there are none.
pub fn temperature(logits: &[f32], truth: &[u16]) -> f32 {
    if truth.is_empty() {
        return 1.0;
    }
    let golden = (5f64.sqrt() - 1.0) / 2.0;
    let cost = |log: f64| surprise(logits, truth, log.exp());
    let [mut low, mut high] = WITHIN.map(f64::ln);
    for _ in 0..STEPS {
        let span = (high - low) * golden;
        if cost(high - span) < cost(low + span) {
            high = low + span;
        } else {
            low = high - span;
        }
    }
    ((low + high) / 2.0).exp() as f32
}

/// Mean negative log-likelihood of the truth, with logits divided by the temperature.
pub(crate) fn surprise(logits: &[f32], truth: &[u16], temperature: f64) -> f64 {
    let classes = logits.len() / truth.len();
    let of = |(row, class): (&[f32], &u16)| {
        let row = row.iter().map(|value| f64::from(*value) / temperature);
        let most = row.clone().fold(f64::NEG_INFINITY, f64::max);
        let right = row.clone().nth(usize::from(*class)).unwrap_or(0.0);
        most + row.map(|value| (value - most).exp()).sum::<f64>().ln() - right
    };
    logits.chunks_exact(classes).zip(truth).map(of).sum::<f64>() / truth.len() as f64
}

#[cfg(test)]
mod tests {
    use super::temperature;

    #[test]
    fn finds_the_temperature_that_logits_were_heated_by() {
        // Answers drawn with the very probabilities that the logits say have temperature 1; times 3 they are too sure.
        let mut dice = fastrand::Rng::with_seed(3);
        let (mut logits, mut truth) = (Vec::new(), Vec::new());
        for _ in 0..20_000 {
            let row: Vec<f32> = (0..4).map(|_| dice.f32() * 4.0).collect();
            let weights: Vec<f32> = row.iter().map(|value| value.exp()).collect();
            let mut left = dice.f32() * weights.iter().sum::<f32>();
            let drawn = weights.iter().position(|weight| {
                left -= weight;
                left <= 0.0
            });
            truth.push(drawn.unwrap_or(3) as u16);
            logits.extend(row);
        }
        let plain = temperature(&logits, &truth);
        assert!((plain - 1.0).abs() < 0.05, "{plain}");
        let hot: Vec<f32> = logits.iter().map(|value| value * 3.0).collect();
        let found = temperature(&hot, &truth);
        assert!((found - 3.0).abs() < 0.15, "{found}");
        assert_eq!(temperature(&[], &[]), 1.0);
    }
}
