//! Turns pixels into meaning: frames and pictures to tensors, scores to classes.
//!
//! Pure: no clock, no files, no network. It must not know what a camera is. [`preprocess`] is the only resize, gray and
//! colour conversion in the system, exact in whole numbers, so that camera, server and trainer agree bit for bit.

#![cfg_attr(test, allow(clippy::unwrap_used, missing_docs))]

mod error;
mod frame;
mod spec;

mod axis;
mod color;
mod kernel;
pub mod preprocess;
mod resample;

pub mod jpeg;
mod picture;
pub mod png;

mod normalize;
mod scores;
mod statistics;

pub use error::Error;
pub use frame::{FrameView, MAX_SIDE, Matrix, Packed, PixelFormat, Plane, Range, Rect, Siting};
pub use normalize::Normalizer;
pub use picture::{Limits, Picture, decode_picture};
pub use preprocess::{PREPROCESS_VERSION, Preprocessor};
pub use scores::{softmax, top_k, top_k_into};
pub use spec::Spec;
pub use statistics::Statistics;
