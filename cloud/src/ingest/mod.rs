//! From the archive lane to the lake.

mod handle;

pub use handle::{Arrived, Handle, SubmitError};
