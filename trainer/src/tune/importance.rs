//! Which parameters matter: PED-ANOVA (Watanabe et al. 2023), in its form for one region: how far the better half's distribution of a
//! parameter is from that of all trials, by Pearson's divergence of both histograms, each parameter's share of the sum.

use super::{Space, Value, space::Domain, study::Record};

/// Bins of a number's range.
const BINS: usize = 10;
/// The better share of the trials.
const BETTER: f64 = 0.5;

/// Each parameter with its share, the largest first; empty with fewer than ten complete trials.
pub fn importance(space: &Space, trials: &[Record]) -> Vec<(String, f64)> {
    let mut complete: Vec<(&Record, f64)> =
        trials.iter().filter_map(|trial| Some((trial, *trial.outcome.as_ref()?.values.first()?))).collect();
    if complete.len() < 10 {
        return Vec::new();
    }
    complete.sort_by(|a, b| a.1.total_cmp(&b.1));
    let better = (complete.len() as f64 * BETTER).ceil() as usize;
    let divergence = |parameter: &super::space::Parameter| {
        let place = |record: &Record| record.parameters.get(&parameter.name).map(|value| bin(&parameter.domain, value));
        let bins = match &parameter.domain {
            Domain::Choice(values) => values.len(),
            _ => BINS,
        };
        let histogram = |some: &[(&Record, f64)]| {
            let mut counts = vec![1.0 / bins as f64; bins];
            some.iter().filter_map(|(record, _)| place(record)).for_each(|bin| counts[bin.min(bins - 1)] += 1.0);
            let total: f64 = counts.iter().sum();
            counts.into_iter().map(|count| count / total).collect::<Vec<f64>>()
        };
        let (good, all) = (histogram(&complete[..better]), histogram(&complete));
        good.iter().zip(&all).map(|(good, all)| (good - all).powi(2) / all).sum::<f64>()
    };
    let mut found: Vec<(String, f64)> =
        space.parameters.iter().map(|parameter| (parameter.name.clone(), divergence(parameter))).collect();
    let total: f64 = found.iter().map(|(_, of)| of).sum::<f64>().max(f64::MIN_POSITIVE);
    found.iter_mut().for_each(|(_, of)| *of /= total);
    found.sort_by(|a, b| b.1.total_cmp(&a.1));
    found
}

fn bin(domain: &Domain, value: &Value) -> usize {
    let number = match value {
        Value::Int(int) => *int as f64,
        Value::Float(float) => *float,
        Value::Text(_) => 0.0,
    };
    let share = match domain {
        Domain::Choice(values) => return values.iter().position(|one| one == value).unwrap_or(0),
        Domain::Float { low, high, log: true, .. } => (number / low).ln() / (high / low).ln(),
        Domain::Float { low, high, .. } => (number - low) / (high - low),
        Domain::Int { low, high, log: true } => (number / *low as f64).ln() / (*high as f64 / *low as f64).ln(),
        Domain::Int { low, high, .. } => (number - *low as f64) / (high - low) as f64,
    };
    (share * BINS as f64).max(0.0) as usize
}
