//! Whether one of two models is better on the same pictures (McNemar 1947): only pictures count on which one is right and the
//! other wrong.

use std::collections::{HashMap, HashSet};

use serde::Serialize;

use super::{Answers, Error};

/// The comparison of two models.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct McNemar {
    /// Pictures on which the first alone is right.
    pub first: u64,
    /// Pictures on which the second alone is right.
    pub second: u64,
    /// Probability of so large a difference between models that are equally good: exact by the binomial distribution up to
    /// [`EXACT`] such pictures, else by chi-squared with one degree of freedom and Edwards' correction.
    pub p: f64,
}

/// Largest number of pictures for which the exact probability is computed.
pub const EXACT: u64 = 1000;

/// Compares.
///
/// # Errors
/// They answered to different pictures.
pub fn mcnemar(first: &Answers, second: &Answers) -> Result<McNemar, Error> {
    let right: HashMap<&str, bool> = second.rows.iter().map(|row| (&*row.id, row.is_right())).collect();
    if let Some(row) = first.rows.iter().find(|row| !right.contains_key(&*row.id)) {
        return Err(Error::Different(row.id.clone()));
    }
    let known: HashSet<&str> = first.rows.iter().map(|row| &*row.id).collect();
    if let Some(row) = second.rows.iter().find(|row| !known.contains(&*row.id)) {
        return Err(Error::Different(row.id.clone()));
    }
    let (mut only_first, mut only_second) = (0, 0);
    for row in &first.rows {
        match (row.is_right(), right[&*row.id]) {
            (true, false) => only_first += 1,
            (false, true) => only_second += 1,
            _ => {}
        }
    }
    Ok(McNemar { first: only_first, second: only_second, p: probability(only_first, only_second) })
}

fn probability(first: u64, second: u64) -> f64 {
    let n = first + second;
    if n == 0 {
        return 1.0;
    }
    if n <= EXACT {
        return exact(first.min(second), n);
    }
    let apart = (first.abs_diff(second) as f64 - 1.0).max(0.0);
    // The upper tail of chi-squared with one degree of freedom is that of a normal's absolute value.
    libm::erfc((apart * apart / n as f64 / 2.0).sqrt())
}

/// Two sides of the binomial distribution with one half.
fn exact(least: u64, n: u64) -> f64 {
    let mut log_choose = 0.0f64;
    let half = -(n as f64) * std::f64::consts::LN_2;
    let mut sum = 0.0;
    for k in 0..=least {
        sum += (log_choose + half).exp();
        log_choose += ((n - k) as f64).ln() - ((k + 1) as f64).ln();
    }
    (2.0 * sum).min(1.0)
}
