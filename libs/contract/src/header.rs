//! The header that every record carries: who saw what, when, by which clock and which model.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{CameraId, Digest, Epoch, FrameId, GatewayId, Kind, RegionId, SiteId, Timestamp};

/// Where a capture time comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CaptureSource {
    /// The camera's own clock, by RTCP sender reports or an NTP reference timestamp.
    Reference,
    /// The gateway's clock when the frame arrived.
    Arrival,
    /// Given by the program that sent the picture.
    Client,
    /// A source that a newer version knows.
    #[serde(other)]
    Unknown,
}

/// Which model made a prediction.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ModelRef {
    /// SHA-256 of the package's manifest, which names the SHA-256 of each of its files.
    pub digest: Digest,
    /// The version that the manifest states.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Arc<str>>,
}

/// What every record says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// Version of the record's form; [`crate::SCHEMA`] when written by this version.
    pub schema: u16,
    /// What the record is.
    pub kind: Kind,
    /// The gateway's site.
    pub site: SiteId,
    /// The gateway that made the record.
    pub gateway: GatewayId,
    /// The camera, where the record is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub camera: Option<CameraId>,
    /// The region, where the record is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<RegionId>,
    /// The log that the record belongs to.
    pub epoch: Epoch,
    /// The record's number in its log and kind, from 0, without holes.
    pub seq: u64,
    /// When the picture was taken, or the fact became true.
    pub captured_at: Timestamp,
    /// Where `captured_at` comes from.
    pub captured_source: CaptureSource,
    /// The gateway's monotonic clock at capture, in microseconds since its boot.
    pub monotonic_us: u64,
    /// The boot that `monotonic_us` counts from.
    pub boot_id: Arc<str>,
    /// W3C Trace Context `traceparent` of the frame's trace, when one is recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// The model, where one was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelRef>,
    /// The frame, where the record is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frame_id: Option<FrameId>,
}
