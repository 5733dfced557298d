//! Which trials end early: asynchronous successive halving (Li et al. 2020, "A System for Massively Parallel Hyperparameter
//! Tuning"), in its form that stops: whoever reaches a rung goes on only while it is among the best share of those that have
//! reached it.

use serde::{Deserialize, Serialize};

use super::Verdict;

/// A rule that ends trials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asha {
    /// Epochs of the first rung.
    pub first: u64,
    /// One of so many goes on; and so many times the epochs are the next rung.
    pub factor: u64,
}

impl Default for Asha {
    fn default() -> Self {
        Self { first: 1, factor: 3 }
    }
}

impl Asha {
    /// Whether a trial that has just made `epoch` epochs stands on a rung.
    pub fn is_rung(self, epoch: u64) -> bool {
        let mut rung = self.first.max(1);
        while rung < epoch {
            rung = rung.saturating_mul(self.factor.max(2));
        }
        rung == epoch
    }

    /// Whether it goes on, with this value (the smaller the better) among all that have reached the rung, itself included.
    pub fn judge(self, value: f64, all: &[f64]) -> Verdict {
        if value.is_nan() {
            return Verdict::Prune;
        }
        let share = (all.len() as u64 / self.factor.max(2)).max(1);
        let better = all.iter().filter(|other| **other < value).count() as u64;
        // With fewer than `factor` on the rung nobody knows who is best.
        if (all.len() as u64) < self.factor || better < share { Verdict::Go } else { Verdict::Prune }
    }
}
