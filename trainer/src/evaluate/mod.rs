//! How good a classifier is, with how sure one can be of that.
//!
//! Everything is computed from [`Answers`], so that the same table serves any ONNX model, and a comparison of two.

pub mod answer;
pub mod bootstrap;
pub mod mcnemar;
pub mod metrics;
pub mod report;
pub mod slices;

use std::sync::Arc;

pub use answer::answer;
pub use bootstrap::{Interval, intervals};
pub use mcnemar::{McNemar, mcnemar};
pub use metrics::{Metrics, metrics};
pub use slices::{Slice, slices};

/// What a model answered to some pictures.
#[derive(Clone, Debug, PartialEq)]
pub struct Answers {
    /// Class names, in the order of the probabilities.
    pub classes: Vec<Arc<str>>,
    /// One a picture.
    pub rows: Vec<Row>,
}

/// What it answered to one.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The picture.
    pub id: String,
    /// The right class.
    pub truth: u16,
    /// One a class.
    pub probabilities: Vec<f32>,
    /// The camera, where it is known.
    pub camera: Option<String>,
    /// Microseconds since 1970, where they are known.
    pub captured_at: Option<i64>,
    /// What is drawn together.
    pub group: String,
}

impl Row {
    /// The class with the highest probability; the first of equals.
    pub fn best(&self) -> u16 {
        let mut best = 0;
        for (class, probability) in self.probabilities.iter().enumerate() {
            if *probability > self.probabilities[best] {
                best = class;
            }
        }
        best as u16
    }

    /// Whether that is the right one.
    pub fn is_right(&self) -> bool {
        self.best() == self.truth
    }
}

/// Answers that cannot be judged.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum Error {
    /// There are none.
    #[error("there is no answer to judge: the split has no pictures")]
    Empty,
    /// An answer that is no distribution.
    #[error("the answer to `{id}` is no distribution ({what}): this model gives no probabilities")]
    NotProbabilities {
        /// The picture.
        id: String,
        /// What is wrong.
        what: String,
    },
    /// Two models answered to different pictures.
    #[error("the models answered to different pictures: `{0}` is one's alone")]
    Different(String),
}

impl Answers {
    /// Holds every answer against what a distribution is.
    ///
    /// # Errors
    /// The first that is none, or that there is none at all.
    pub fn check(&self) -> Result<(), Error> {
        if self.rows.is_empty() {
            return Err(Error::Empty);
        }
        for row in &self.rows {
            let wrong = |what: String| Err(Error::NotProbabilities { id: row.id.clone(), what });
            if row.probabilities.len() != self.classes.len() {
                return wrong(format!("{} numbers for {} classes", row.probabilities.len(), self.classes.len()));
            }
            let sum: f64 = row.probabilities.iter().map(|one| f64::from(*one)).sum();
            if !((sum - 1.0).abs() < 1e-3 && row.probabilities.iter().all(|one| *one >= 0.0)) {
                return wrong(format!("it sums to {sum}"));
            }
        }
        Ok(())
    }
}
