//! From the archive lane to the lake.

mod assemble;
mod batch;
mod clocks;
mod handle;
mod intake;
mod stats;
mod streams;

pub use handle::{Arrived, Handle, SubmitError};
pub use stats::{Fact, Stats};
