//! The numbers of one model.

use serde::Serialize;

use super::{Answers, Row};

/// Bins of the calibration error and of the reliability diagram.
pub const BINS: usize = 15;
/// A probability counts as at least this in a logarithm.
const LEAST: f64 = 1e-15;

/// The numbers of one model; those by class are in the order of the classes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Metrics {
    /// Pictures.
    pub count: usize,
    /// Share of right answers.
    pub accuracy: f64,
    /// Mean recall of the classes that occur.
    pub balanced_accuracy: f64,
    /// Mean F1 of the classes that occur or are answered.
    pub f1_macro: f64,
    /// Mean area under the receiver operating characteristic, each class against the rest, of the classes for which there is one.
    pub auroc_macro: Option<f64>,
    /// Expected calibration error, by [`BINS`] bins of equal width (Guo et al. 2017).
    pub calibration_error: f64,
    /// Mean negative logarithm of the right class's probability.
    pub log_loss: f64,
    /// Mean squared distance of the probabilities from the truth, over all classes (Brier 1950).
    pub brier: f64,
    /// By class.
    pub classes: Vec<OfClass>,
    /// `[truth][answer]`.
    pub confusion: Vec<Vec<u64>>,
    /// By bin of the highest probability: pictures, mean probability, share of right answers.
    pub reliability: Vec<(u64, f64, f64)>,
}

/// The numbers of one class.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OfClass {
    /// Its name.
    pub class: String,
    /// Pictures of it.
    pub count: u64,
    /// Of the answers that say it, the share of right ones; 0 when there is none.
    pub precision: f64,
    /// Of its pictures, the share of right answers; 0 when there is none.
    pub recall: f64,
    /// Harmonic mean of the two.
    pub f1: f64,
    /// Area under the receiver operating characteristic against the rest; absent without pictures of it, or of others.
    pub auroc: Option<f64>,
}

/// Computes them; `answers` are checked ones.
pub fn metrics(answers: &Answers) -> Metrics {
    let n = answers.classes.len();
    let rows: Vec<&Row> = answers.rows.iter().collect();
    let confusion = confusion(&rows, n);
    let of = |class: usize| of_class(&rows, &confusion, class, &answers.classes[class]);
    let classes: Vec<OfClass> = (0..n).map(of).collect();
    let answered = |class: usize| confusion.iter().map(|row| row[class]).sum::<u64>();
    let seen = |class: &usize| classes[*class].count > 0;
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
    let recalls: Vec<f64> = (0..n).filter(seen).map(|class| classes[class].recall).collect();
    let known = |class: &usize| seen(class) || answered(*class) > 0;
    let f1s: Vec<f64> = (0..n).filter(known).map(|class| classes[class].f1).collect();
    let areas: Vec<f64> = classes.iter().filter_map(|class| class.auroc).collect();
    let reliability = reliability(&rows);
    let count = rows.len();
    Metrics {
        count,
        accuracy: rows.iter().filter(|row| row.is_right()).count() as f64 / count as f64,
        balanced_accuracy: mean(&recalls),
        f1_macro: mean(&f1s),
        auroc_macro: (!areas.is_empty()).then(|| mean(&areas)),
        calibration_error: calibration_error(&reliability, count),
        log_loss: rows.iter().map(|row| -of_truth(row).max(LEAST).ln()).sum::<f64>() / count as f64,
        brier: rows.iter().map(|row| brier(row)).sum::<f64>() / count as f64,
        classes,
        confusion,
        reliability,
    }
}

fn of_truth(row: &Row) -> f64 {
    f64::from(row.probabilities[usize::from(row.truth)])
}

fn brier(row: &Row) -> f64 {
    let distance = |(class, probability): (usize, &f32)| {
        (f64::from(*probability) - f64::from(u8::from(class == usize::from(row.truth)))).powi(2)
    };
    row.probabilities.iter().enumerate().map(distance).sum()
}

fn confusion(rows: &[&Row], n: usize) -> Vec<Vec<u64>> {
    let mut table = vec![vec![0; n]; n];
    rows.iter().for_each(|row| table[usize::from(row.truth)][usize::from(row.best())] += 1);
    table
}

fn of_class(rows: &[&Row], confusion: &[Vec<u64>], class: usize, name: &str) -> OfClass {
    let right = confusion[class][class] as f64;
    let count: u64 = confusion[class].iter().sum();
    let answered: u64 = confusion.iter().map(|row| row[class]).sum();
    let share = |of: u64| if of == 0 { 0.0 } else { right / of as f64 };
    let (precision, recall) = (share(answered), share(count));
    let f1 = if count + answered == 0 { 0.0 } else { 2.0 * right / (count + answered) as f64 };
    OfClass { class: name.into(), count, precision, recall, f1, auroc: auroc(rows, class) }
}

/// By ranks, equals sharing theirs (Hanley and McNeil 1982).
fn auroc(rows: &[&Row], class: usize) -> Option<f64> {
    let mut scored: Vec<(f32, bool)> =
        rows.iter().map(|row| (row.probabilities[class], usize::from(row.truth) == class)).collect();
    let positive = scored.iter().filter(|(_, is)| *is).count() as f64;
    let negative = scored.len() as f64 - positive;
    if positive == 0.0 || negative == 0.0 {
        return None;
    }
    scored.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut from, mut ranks) = (0, 0.0);
    while from < scored.len() {
        let equal = scored[from..].iter().take_while(|one| one.0 == scored[from].0).count();
        let rank = from as f64 + (equal as f64 + 1.0) / 2.0;
        ranks += rank * scored[from..from + equal].iter().filter(|(_, is)| *is).count() as f64;
        from += equal;
    }
    Some((ranks - positive * (positive + 1.0) / 2.0) / (positive * negative))
}

/// By bins of the highest probability; a bin holds its upper end.
fn reliability(rows: &[&Row]) -> Vec<(u64, f64, f64)> {
    let mut bins = vec![(0u64, 0.0, 0.0); BINS];
    for row in rows {
        let confidence = f64::from(row.probabilities[usize::from(row.best())]);
        let bin = ((confidence * BINS as f64).ceil() as usize).clamp(1, BINS) - 1;
        bins[bin].0 += 1;
        bins[bin].1 += confidence;
        bins[bin].2 += f64::from(u8::from(row.is_right()));
    }
    let mean = |(count, confidence, right): (u64, f64, f64)| {
        let of = count.max(1) as f64;
        (count, confidence / of, right / of)
    };
    bins.into_iter().map(mean).collect()
}

fn calibration_error(bins: &[(u64, f64, f64)], count: usize) -> f64 {
    bins.iter().map(|(n, confidence, right)| *n as f64 * (confidence - right).abs()).sum::<f64>() / count as f64
}
