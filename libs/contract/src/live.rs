//! The JSON documents of the live lane: what people and programs subscribe to.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{CameraId, Digest, Epoch, Header, Kind, ModelRef, RegionId, Timestamp};

/// A record as it is published live: the header's fields and the body's, in one flat JSON object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Live<B> {
    /// The record's header.
    #[serde(flatten)]
    pub header: Header,
    /// The record's body.
    #[serde(flatten)]
    pub body: B,
}

/// Retained on `live/<site>/<gateway>/status`: the birth message, and as the will `offline`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GatewayStatus {
    /// Version of the document's form.
    pub schema: u16,
    /// Whether the gateway is there.
    pub status: Presence,
    /// Counts the agent's MQTT sessions, so that an old will does not hide a new birth.
    pub session: u64,
    /// When the session began; absent in the will.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// The agent's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The engine in use and why, as in the health record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    /// The agent's current log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<Epoch>,
    /// What the gateway holds of each kind: `[first, next)`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "crate::kind::known")]
    pub holds: BTreeMap<Kind, Holding>,
    /// The furthest watermark of this log that the gateway has ever seen of the present lake, in any of its lives. A hub
    /// whose tables know less has been rolled back by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archived: Option<SeenWatermark>,
}

/// What a gateway has been told is archived.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenWatermark {
    /// Which lake.
    pub lake: String,
    /// The life of the lake that spoke last.
    pub incarnation: String,
    /// Every number below this one was once said to be committed, for each kind of the log `epoch`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "crate::kind::known")]
    pub upto: BTreeMap<Kind, u64>,
    /// Later numbers that were once said to be committed: `[from, to)`, ascending.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "crate::kind::known")]
    pub ranges: BTreeMap<Kind, Vec<[u64; 2]>>,
}

/// What a gateway holds of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holding {
    /// The oldest number still held; equal to `next` when nothing is.
    pub first: u64,
    /// The number that the next record will get.
    pub next: u64,
}

/// Whether somebody is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Presence {
    /// Connected.
    Online,
    /// Gone, expected or not.
    Offline,
    /// A word that a newer version knows.
    #[serde(other)]
    Unknown,
}

/// Retained on `live/<site>/<gateway>/<camera>/status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CameraStatus {
    /// Version of the document's form.
    pub schema: u16,
    /// Whether frames come.
    pub status: Presence,
    /// Why frames do not come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Frames a second.
    pub fps: f32,
    /// Since when this is so.
    pub since: Timestamp,
}

/// How much a region's state is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Quality {
    /// Frames come and are classified.
    Live,
    /// Nothing has come for longer than the region's rate allows.
    Stale,
    /// The camera or the gateway is gone.
    Offline,
    /// A word that a newer version knows.
    #[serde(other)]
    Unknown,
}

/// Retained on `live/<site>/<gateway>/<camera>/<region>/state`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RegionState {
    /// Version of the document's form.
    pub schema: u16,
    /// The stable label; absent when none is sure enough.
    pub label: Option<Arc<str>>,
    /// The label's latest score, 0 to 1.
    pub score: f32,
    /// Since when the label is stable.
    pub since: Timestamp,
    /// How much this is worth.
    pub quality: Quality,
    /// The model that says so.
    pub model: ModelRef,
}

/// A request on `down/<site>/<gateway>/command`; answered on the response topic of its MQTT 5 properties.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
pub enum Command {
    /// Keep a sample of the next frame, with the reason `requested`.
    SampleNow {
        /// The camera.
        camera: CameraId,
        /// The region; all of them when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        region: Option<RegionId>,
    },
}

/// The answer to a [`Command`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// Whether the command will be carried out.
    pub accepted: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Digest of the model that the command concerns, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<Digest>,
}
