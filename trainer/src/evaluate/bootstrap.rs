//! Confidence intervals by the bootstrap (Efron 1979): the same numbers of pictures drawn again, with replacement.

use std::collections::BTreeMap;

use rayon::prelude::*;
use serde::Serialize;

use super::{Answers, Row, metrics};
use crate::train::batches::dice;

/// Between these the number lies with 95 % confidence: the 2.5th and 97.5th percentile of the draws.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// Draws usually made.
pub const DRAWS: usize = 1000;

/// Intervals of accuracy, balanced accuracy, macro F1 and calibration error. Groups are drawn whole: pictures of one camera and
/// time are not independent, and the intervals would be too narrow.
pub fn intervals(answers: &Answers, draws: usize, seed: u64) -> BTreeMap<&'static str, Interval> {
    let mut groups: BTreeMap<&str, Vec<&Row>> = BTreeMap::new();
    answers.rows.iter().for_each(|row| groups.entry(&row.group).or_default().push(row));
    let groups: Vec<Vec<&Row>> = groups.into_values().collect();
    let drawn: Vec<[f64; 4]> = (0..draws)
        .into_par_iter()
        .map(|draw| {
            let mut dice = dice(seed, &[6, draw as u64]);
            let rows =
                (0..groups.len()).flat_map(|_| groups[dice.usize(0..groups.len())].iter().map(|row| (*row).clone()));
            let drawn = Answers { classes: answers.classes.clone(), rows: rows.collect() };
            let of = metrics(&drawn);
            [of.accuracy, of.balanced_accuracy, of.f1_macro, of.calibration_error]
        })
        .collect();
    let names = ["accuracy", "balanced_accuracy", "f1_macro", "calibration_error"];
    names.into_iter().enumerate().map(|(at, name)| (name, interval(drawn.iter().map(|of| of[at]).collect()))).collect()
}

fn interval(mut values: Vec<f64>) -> Interval {
    values.sort_by(f64::total_cmp);
    let at = |share: f64| values.get((share * (values.len().saturating_sub(1)) as f64).round() as usize).copied();
    Interval { low: at(0.025).unwrap_or(f64::NAN), high: at(0.975).unwrap_or(f64::NAN) }
}
