//! Pictures in GStreamer's buffers as `vision` sees them, and rectangles in them as people write them: what the agent and the
//! GStreamer elements share.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod form;
mod rect;

pub use form::{FORMATS, Form, FormError};
pub use rect::{Coordinate, RectError, RectSpec};
