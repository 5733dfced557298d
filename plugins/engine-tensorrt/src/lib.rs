//! TensorRT on an NVIDIA GPU as an [`inference::Engine`], named `tensorrt`.
//!
//! Nothing is linked: the driver and TensorRT's libraries are opened when first asked for, so the same program runs
//! where there are none, and says what is missing. A model's ONNX file is compiled into a *plan* (TensorRT's word for a
//! serialized engine) once, and kept in a [`cache::Cache`]; compiling needs no GPU, running does.
//!
//! The order of the modules is the order of what happens: [`nvidia`] looks for driver and GPU, [`library`] opens
//! TensorRT, [`prepare`] makes the model fit it, [`compile`] makes the plan, [`cache`] keeps it, `session` runs it.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod cache;
pub mod compile;
pub mod key;
pub mod library;
pub mod prepare;

mod buffers;
mod builds;
mod factory;
mod messages;
mod session;

pub use factory::{Build, NAME, Options, TensorRt};
pub use key::Key;
pub use session::Session;
