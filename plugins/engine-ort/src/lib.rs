//! ONNX Runtime as an [`inference::Engine`]: on the CPU, named `ort-cpu`, and on an NVIDIA GPU, named `ort-cuda`.
//!
//! The runtime's library is loaded when first needed, from a file that is looked for in stated places; the program
//! itself does not link it. One thread a session: on a gateway two threads spin, and cost twice the CPU.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod cuda;
mod factory;
mod library;
mod provider;
mod runtime;
mod session;
mod watchdog;

pub use cuda::{CUDA, OrtCuda};
pub use factory::{NAME, OrtCpu};
pub use library::{LIBRARY_VARIABLE, Searched};
