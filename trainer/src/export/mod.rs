//! Export: a trained network becomes the model package that gateways run, and is held against what was trained.

pub mod graph;
mod package;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use contract::Digest;

pub use package::{Parity, export};
pub(crate) use package::{compare, log_softmax, write};

use crate::train::Checkpoint;

/// Largest difference of a logit between ONNX Runtime and burn.
pub const PARITY: f32 = 1e-4;

/// What is exported, and what it is called.
#[derive(Clone, Debug)]
pub struct Exported {
    /// The model's name.
    pub id: String,
    /// Its version.
    pub version: String,
    /// Class names.
    pub classes: Vec<Arc<str>>,
    /// Logits are divided by it.
    pub temperature: f32,
    /// Least score for an event, by class.
    pub thresholds: BTreeMap<Arc<str>, f32>,
    /// Commit of the code that trained it.
    pub commit: Option<String>,
    /// Hash of the dataset.
    pub dataset: Option<Digest>,
    /// Version of the preprocessing.
    pub preprocess: u16,
    /// SPDX licence expression.
    pub licence: Option<String>,
}

/// An export failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder is there already.
    #[error("`{}` exists already: name another folder", .0.display())]
    Exists(PathBuf),
    /// The disk does not let us.
    #[error("write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The package that was written is refused by our own reader.
    #[error("the package that was written cannot be read")]
    Package(#[from] inference::package::Error),
    /// ONNX Runtime does not run it.
    #[error("run the exported model")]
    Engine(#[from] inference::EngineError),
    /// ONNX Runtime does not load it, or is not there.
    #[error("load the exported model: {}", .0.full())]
    Load(inference::Refusal),
    /// It answers otherwise than what was trained.
    #[error(
        "the exported model differs from the trained one by {found} in a logit, more than {PARITY}: this is a defect of the export"
    )]
    Parity {
        /// The largest difference.
        found: f32,
    },
}

impl From<inference::Refusal> for Error {
    fn from(refusal: inference::Refusal) -> Self {
        Self::Load(refusal)
    }
}

/// The input's `[width, height, channels]` of a checkpoint.
pub(crate) fn input(checkpoint: &Checkpoint) -> [usize; 3] {
    checkpoint.state.input
}
