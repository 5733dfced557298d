//! The bodies of the records. Units stand in the names: `_us`, `_bytes`, `_celsius`; scores are 0 to 1.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{CameraId, Digest, Epoch, Kind, RegionId, Timestamp};

/// Who ran the model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServedBy {
    /// The gateway's own engine.
    #[default]
    Gateway,
    /// The hub's inference API.
    Hub,
    /// A server that a newer version knows.
    #[serde(other)]
    Unknown,
}

/// How long each stage took for one prediction, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Latency {
    /// From the frame's arrival at the gateway to its decoded picture in hand.
    pub decode_us: u64,
    /// Crop, resize and colour.
    pub preprocess_us: u64,
    /// Waiting for the engine.
    pub queue_us: u64,
    /// The batch in the engine.
    pub inference_us: u64,
    /// From the frame's arrival to the scores.
    pub total_us: u64,
}

/// What the model said of one region of one frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// The best classes, best first; as many as the region's `top_k`.
    pub labels: Vec<Arc<str>>,
    /// Their scores, same order, 0 to 1.
    pub scores: Vec<f32>,
    /// Time spent in each stage.
    pub latency: Latency,
    /// The engine that ran the model, as in `ort-cpu`.
    pub engine: Arc<str>,
    /// Who ran it.
    #[serde(default)]
    pub served_by: ServedBy,
}

/// The stable label of a region changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Unique: `<epoch>-<seq>` of this record.
    pub id: String,
    /// The stable label until now; absent when there was none.
    pub before: Option<Arc<str>>,
    /// The stable label from now on; absent when none is sure enough any more.
    pub after: Option<Arc<str>>,
    /// Score of `after` in the frame that tipped the balance, 0 to 1.
    pub score: f32,
    /// Since when `after` is seen: the first frame of the votes that made it stable.
    pub since: Timestamp,
}

/// Why a sample was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    /// By the clock.
    Periodic,
    /// The model was unsure.
    Uncertain,
    /// The stable label changed.
    Changed,
    /// Somebody asked.
    Requested,
    /// A reason that a newer version knows.
    #[serde(other)]
    Unknown,
}

/// A kept picture. The record carries two blobs after this body: the picture, then the model's input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Why it was kept.
    pub reason: Reason,
    /// The best classes at that moment, best first.
    pub labels: Vec<Arc<str>>,
    /// Their scores, same order.
    pub scores: Vec<f32>,
    /// The picture of the whole frame.
    pub picture: Picture,
    /// The exact uint8 tensor that the model saw, where the policy keeps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Input>,
}

/// A picture of the whole frame, the first blob of a sample.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Picture {
    /// `image/jpeg`, or `image/png` as a client sent it.
    pub media_type: Arc<str>,
    /// Length of the blob in bytes.
    pub bytes: u64,
    /// SHA-256 of the blob.
    pub sha256: Digest,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// The region's rectangle in this picture, in pixels: x, y, width, height.
    pub region: [u32; 4],
}

/// The model's input, the second blob of a sample.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// How the blob is compressed: `zstd`.
    pub encoding: Arc<str>,
    /// Length of the compressed blob in bytes.
    pub bytes: u64,
    /// SHA-256 of the tensor's uncompressed bytes.
    pub sha256: Digest,
    /// `uint8`.
    pub dtype: Arc<str>,
    /// Shape without the batch axis, `[H,W,C]` or `[C,H,W]`.
    pub shape: Vec<u32>,
}

/// How the gateway is, every minute and on change.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Health {
    /// Since the agent's start, in seconds.
    pub uptime_s: u64,
    /// The agent's version.
    pub version: String,
    /// CPU time of the agent since the last health record, in percent of one core.
    pub cpu_percent: f32,
    /// Resident memory of the agent in bytes.
    pub memory_bytes: u64,
    /// Hottest thermal zone, where the system has one.
    pub temperature_celsius: Option<f32>,
    /// Name of the accelerator in use, where there is one.
    pub accelerator: Option<String>,
    /// The engine in use, and why this one.
    pub engine: String,
    /// Why the engine in use was chosen.
    pub engine_reason: String,
    /// Records that the hub has not archived yet, by kind.
    #[serde(deserialize_with = "crate::kind::known")]
    pub backlog_records: BTreeMap<Kind, u64>,
    /// Bytes that the hub has not archived yet.
    pub backlog_bytes: u64,
    /// What was dropped since the start, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// What is wrong with the outbox's disk, while something is; records are lost meanwhile and counted in `dropped`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outbox: Option<String>,
    /// State of each camera.
    pub cameras: BTreeMap<CameraId, CameraHealth>,
}

/// How one camera is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CameraHealth {
    /// Frames come.
    pub online: bool,
    /// Frames a second, over the last period.
    pub fps: f32,
    /// Why frames do not come.
    pub reason: Option<String>,
    /// Predictions a second for each region, over the last period.
    pub predictions_per_second: BTreeMap<RegionId, f32>,
}

/// What is missing from a log, so that no hole in the lake is unexplained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gap {
    /// The log's kind.
    pub kind: Kind,
    /// The epoch of the log.
    pub epoch: Epoch,
    /// First missing number.
    pub from: u64,
    /// One past the last missing number.
    pub to: u64,
    /// How many records: `to - from`.
    pub count: u64,
    /// Why: `overflow`, `age`, `disk`, `damaged`, `not_held`, or of the hub `rejected`.
    pub reason: Arc<str>,
    /// More about why, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Capture time of the first missing record, where known.
    pub captured_from: Option<Timestamp>,
    /// Capture time of the last missing record, where known.
    pub captured_to: Option<Timestamp>,
}
