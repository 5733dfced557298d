//! Automatic tuning: studies that any number of processes work on.
//!
//! A study is rows in the tables ([`study`]): what is tried ([`space`]), by which rule ([`sampler`], [`prune`]), and what came out. A
//! worker ([`work`]) takes a trial under a lease that it renews; of a worker that died the lease runs out, and the trial is tried
//! again with the same parameters. What a trial does is an [`Objective`]'s business.

pub mod importance;
pub mod pareto;
pub mod prune;
pub mod sampler;
pub mod space;
pub mod study;
pub mod training;
pub mod work;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use sampler::Sampler;
pub use space::Space;
pub use study::{Study, Trial};

/// A parameter's value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// A choice, by its name.
    Text(String),
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Int(int) => int.fmt(f),
            Self::Float(float) => write!(f, "{float:.6}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// A trial's parameters: those that are active, by name.
pub type Parameters = BTreeMap<String, Value>;

/// What came out of a trial. Everything is to be made small.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// One or two objectives.
    pub values: Vec<f64>,
    /// Each is held where it is zero or less.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub constraints: Vec<f64>,
}

impl Outcome {
    /// By how much constraints are not held, all together.
    pub fn violation(&self) -> f64 {
        self.constraints.iter().map(|one| one.max(0.0)).sum()
    }
}

/// What a trial is told after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Go,
    /// It is not among the best: end.
    Prune,
}

/// What is tuned.
pub trait Objective {
    /// Runs one trial. `report` is told of a value (to be made small) after so many epochs, and says whether to go on.
    ///
    /// # Errors
    /// Why the trial failed: it counts as tried, and the study goes on.
    fn run(&mut self, trial: &Trial, report: &mut dyn FnMut(u64, f64) -> Verdict) -> Result<Ended, String>;
}

/// How a trial ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Ended {
    /// With this.
    Complete(Outcome),
    /// It was told to.
    Pruned,
}
