//! The language that Sightline's programs speak to each other: ids, topics, records, documents and manifests.
//!
//! A type stands here only when it crosses a process or must still be readable next year. The crate knows serde
//! and nothing else: no clock, no file, no socket. Every wire form has a golden file under `tests/golden`.
//! Readers tolerate unknown fields everywhere, so that an older program can read what a newer one wrote.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod id;
pub mod time;
pub mod topic;

pub mod frame;
pub mod header;
pub mod kind;
pub mod names;
pub mod record;
pub mod scan;

pub mod archived;
pub mod dataset;
pub mod lake;
pub mod live;
pub mod model;
pub mod twin;

pub use archived::Archived;
pub use header::{CaptureSource, Header, ModelRef};
pub use id::{CameraId, Digest, Epoch, FrameId, GatewayId, Principal, RegionId, SiteId};
pub use kind::Kind;
pub use record::{Event, Gap, Health, Prediction, Sample};
pub use time::Timestamp;
pub use topic::Topic;

/// The schema number that this version writes into headers and documents.
pub const SCHEMA: u16 = 1;
