//! What an inference engine is: something that runs a package's model on batches of uint8 tensors.
//!
//! The same trait serves ONNX Runtime on the CPU, TensorRT, and the hub's REST API. Engines are loaded and called on
//! one thread; they may move between threads, but are never shared.

use std::{error::Error as StdError, time::Duration};

use contract::model::Precision;

use crate::Package;

/// Some uint8 tensors in the model's layout, back to back: `[n, H, W, C]` or `[n, C, H, W]`.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// The tensors' bytes: `n` times [`Package::tensor_len`].
    pub input: &'a [u8],
    /// How many tensors.
    pub n: usize,
}

/// A loaded model on a device.
pub trait Engine: Send {
    /// The engine's short name, as in `ort-cpu`: it stands in every prediction.
    fn name(&self) -> &str;

    /// The version of the runtime that does the work.
    fn version(&self) -> &str;

    /// The largest batch that [`Engine::run`] takes.
    fn max_batch(&self) -> usize;

    /// Runs the batch and writes `n` times `classes` probabilities to `out`, row by row.
    ///
    /// Blocks until done. With a deadline, the engine gives up when the time has passed, as soon as its runtime allows.
    ///
    /// # Errors
    /// A batch of the wrong size, the deadline, or the runtime's own failure.
    fn run(&mut self, batch: Batch<'_>, out: &mut [f32], deadline: Option<Duration>) -> Result<(), EngineError>;

    /// Whether the last batches went well.
    fn health(&self) -> Health;
}

/// How an engine is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// The last batch ended well, or none was run yet.
    Ready,
    /// The last batch failed, with the reason.
    Failing(String),
}

/// Why a batch was not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The caller's buffers do not fit the model.
    #[error("batch of {n} does not fit the model: {what} has {got} elements, {expected} are needed")]
    Shape {
        /// Which buffer: `input` or `out`.
        what: &'static str,
        /// The batch size asked for.
        n: usize,
        /// Elements given.
        got: usize,
        /// Elements needed.
        expected: usize,
    },
    /// The batch is empty or larger than the engine takes.
    #[error("batch of {n} is out of range: this engine takes 1 to {max}")]
    BatchSize {
        /// The batch size asked for.
        n: usize,
        /// [`Engine::max_batch`].
        max: usize,
    },
    /// The deadline passed before the batch was done.
    #[error("batch of {n} did not end within {} ms", after.as_millis())]
    Deadline {
        /// The batch size.
        n: usize,
        /// The time it had.
        after: Duration,
    },
    /// The engine's budget does not allow it now. That is no failure: the engine is asked again with the next batch.
    #[error("batch of {n} is skipped by {engine}: {why}")]
    Skipped {
        /// The engine's name.
        engine: String,
        /// The batch size.
        n: usize,
        /// Which budget.
        why: String,
    },
    /// The runtime failed.
    #[error("run batch of {n} on {engine}")]
    Runtime {
        /// The engine's name.
        engine: String,
        /// The batch size.
        n: usize,
        /// What the runtime said.
        source: Box<dyn StdError + Send + Sync>,
    },
}

/// What a factory found when it looked for its runtime and device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The runtime's version, as in `1.31.1`.
    pub version: String,
    /// The device for people, as in `CPU` or the name of the accelerator.
    pub device: String,
    /// Where the runtime was found, where that can differ.
    pub library: Option<std::path::PathBuf>,
}

/// Why an engine cannot be used here, or not with this package; it says what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub struct Refusal {
    /// What is missing, which one, and what to do.
    pub why: String,
    /// What the runtime said, where it said something.
    #[source]
    pub source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Refusal {
    /// A refusal that stands for itself.
    pub fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), source: None }
    }

    /// A refusal with its cause.
    pub fn caused(why: impl Into<String>, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { why: why.into(), source: Some(source.into()) }
    }

    /// The refusal with its causes on one line.
    pub fn full(&self) -> String {
        full(self)
    }
}

/// Makes engines of one kind.
pub trait EngineFactory: Send + Sync {
    /// The short name of the engines it makes, as in `ort-cpu`.
    fn name(&self) -> &str;

    /// Looks whether the runtime and the device are there, without loading a model.
    ///
    /// # Errors
    /// Why they cannot be used, naming what was looked for.
    fn probe(&self) -> Result<Probe, Refusal>;

    /// What a model file may compute in to be worth running here, the best first. On a CPU float16 is slower than float32.
    fn precisions(&self) -> &[Precision] {
        &[Precision::Fp32]
    }

    /// Whether it may be there later though it is not now, as a server is: then a gateway without any other engine starts
    /// all the same, and skips frames until it is.
    fn may_come(&self) -> bool {
        false
    }

    /// Loads the package's model, with the file that the package is seen with.
    ///
    /// # Errors
    /// Why this engine cannot run this model.
    fn load(&self, package: &Package) -> Result<Box<dyn Engine>, Refusal>;
}

/// An error and its causes on one line.
pub(crate) fn full(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

/// Checks a batch against the model before an engine touches it.
///
/// # Errors
/// [`EngineError::BatchSize`] or [`EngineError::Shape`].
pub fn check_batch(
    batch: &Batch<'_>,
    out: &[f32],
    tensor_len: usize,
    classes: usize,
    max: usize,
) -> Result<(), EngineError> {
    let n = batch.n;
    if n == 0 || n > max {
        return Err(EngineError::BatchSize { n, max });
    }
    if batch.input.len() != n * tensor_len {
        return Err(EngineError::Shape { what: "input", n, got: batch.input.len(), expected: n * tensor_len });
    }
    if out.len() != n * classes {
        return Err(EngineError::Shape { what: "out", n, got: out.len(), expected: n * classes });
    }
    Ok(())
}
