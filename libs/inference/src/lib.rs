//! Runs models and chooses what runs them. Knows packages and engines; does not know what a camera is for.
//!
//! A [`Package`] is a model with its manifest, checked when opened. An [`Engine`] runs one; [`choose`] finds the first
//! one that can, and proves it on the package's golden rows; a [`Failover`] goes on with the next one when it fails. The [`batcher`] decides whose turn it is.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod package;

mod check;
mod files;
pub mod graph;
pub mod onnx;

pub mod engine;

mod choose;
mod failover;
mod golden;

pub mod batcher;

pub use choose::{Accuracy, Chosen, NoEngine, Refused, choose};
pub use engine::{Batch, Engine, EngineError, EngineFactory, Health, Probe, Refusal};
pub use failover::{Failover, Pace, Standing};
pub use golden::{GoldenError, check as golden_check};
pub use package::Package;
