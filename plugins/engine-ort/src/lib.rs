//! ONNX Runtime on the CPU as an [`inference::Engine`], named `ort-cpu`.
//!
//! The runtime's library is loaded when first needed, from a file that is looked for in stated places; the program
//! itself does not link it. One thread a session: on a gateway two threads spin, and cost twice the CPU.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod factory;
mod library;
mod runtime;
mod session;
mod watchdog;

pub use factory::{NAME, OrtCpu};
pub use library::{LIBRARY_VARIABLE, Searched};
