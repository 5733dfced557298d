//! What the API says of gateways, cameras and regions now, as documents with a schema.

use std::sync::Arc;

use contract::{
    Timestamp,
    live::{Presence, Quality},
};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::directory;

/// A gateway as it was last heard.
#[derive(Serialize, ToSchema)]
pub struct Gateway {
    /// The gateway's site.
    site: String,
    /// The gateway in its site.
    gateway: String,
    /// `online`, `offline`, or `unknown` when the hub has not heard a birth or will.
    status: &'static str,
    /// Since when its MQTT session lasts.
    #[schema(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
    /// The agent's version.
    version: Option<String>,
    /// The engine in use.
    engine: Option<String>,
    /// The agent's current log.
    epoch: Option<String>,
    /// When the hub last heard anything live of it.
    #[schema(value_type = String, format = DateTime)]
    seen_at: Timestamp,
    /// How many cameras the hub knows of it.
    cameras: usize,
}

/// A gateway with its documents.
#[derive(Serialize, ToSchema)]
pub struct GatewayDetail {
    /// The gateway.
    #[serde(flatten)]
    gateway: Gateway,
    /// Its last health record, as on the topic `live/<site>/<gateway>/health`.
    #[schema(value_type = Option<Object>)]
    health: Option<Value>,
    /// Its twin document, as on the topic `live/<site>/<gateway>/reported`.
    #[schema(value_type = Option<Object>)]
    reported: Option<Value>,
    /// Its cameras.
    camera_list: Vec<Camera>,
}

/// A camera as it was last heard.
#[derive(Serialize, ToSchema)]
pub struct Camera {
    /// The gateway's site.
    site: String,
    /// The camera's gateway.
    gateway: String,
    /// The camera.
    camera: String,
    /// `online`, `offline` or `unknown`.
    status: &'static str,
    /// Why frames do not come.
    reason: Option<String>,
    /// Frames a second.
    fps: Option<f32>,
    /// Since when the status is so.
    #[schema(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
    /// When the hub last heard anything live of it.
    #[schema(value_type = String, format = DateTime)]
    seen_at: Timestamp,
    /// Its regions.
    regions: Vec<Region>,
}

/// A region as it was last heard.
#[derive(Serialize, ToSchema)]
pub struct Region {
    /// The region.
    region: String,
    /// The stable label; null when none is sure enough.
    #[schema(value_type = Option<String>)]
    label: Option<Arc<str>>,
    /// The label's latest score, 0 to 1.
    score: Option<f32>,
    /// Since when the label is stable.
    #[schema(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
    /// `live`, `stale`, `offline` or `unknown`.
    quality: &'static str,
    /// Best label of the latest prediction.
    #[schema(value_type = Option<String>)]
    latest_label: Option<Arc<str>>,
    /// Its score, 0 to 1.
    latest_score: Option<f32>,
    /// When its picture was taken.
    #[schema(value_type = Option<String>, format = DateTime)]
    latest_at: Option<Timestamp>,
}

/// Gateways, by site and name.
#[derive(Serialize, ToSchema)]
pub struct GatewayPage {
    /// The gateways.
    pub gateways: Vec<Gateway>,
    /// Pass it as `cursor` for the next page; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// Cameras, by site, gateway and name.
#[derive(Serialize, ToSchema)]
pub struct CameraPage {
    /// The cameras.
    pub cameras: Vec<Camera>,
    /// Pass it as `cursor` for the next page; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// The latest prediction of each region, by site, gateway, camera and region.
#[derive(Serialize, ToSchema)]
pub struct LatestPage {
    /// The predictions, each as on the topic `live/<site>/<gateway>/<camera>/<region>/prediction`.
    #[schema(value_type = Vec<Object>)]
    pub predictions: Vec<contract::live::Live<contract::Prediction>>,
    /// Pass it as `cursor` for the next page; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

impl Gateway {
    /// From what the directory knows.
    pub fn new(from: &directory::Gateway, cameras: usize) -> Self {
        let status = from.status.as_ref();
        Self {
            site: from.principal.site.to_string(),
            gateway: from.principal.gateway.to_string(),
            status: presence(status.map(|s| s.status)),
            since: status.and_then(|s| s.since),
            version: status.and_then(|s| s.version.clone()),
            engine: status.and_then(|s| s.engine.clone()),
            epoch: status.and_then(|s| s.epoch).map(|epoch| epoch.to_string()),
            seen_at: from.seen_at,
            cameras,
        }
    }
}

impl GatewayDetail {
    /// From what the directory knows.
    pub fn new(from: &directory::Gateway, cameras: &[directory::Camera]) -> Self {
        Self {
            gateway: Gateway::new(from, cameras.len()),
            health: from.health.as_ref().and_then(|health| serde_json::to_value(health).ok()),
            reported: from.reported.as_ref().and_then(|reported| serde_json::to_value(reported).ok()),
            camera_list: cameras.iter().map(Camera::new).collect(),
        }
    }
}

impl Camera {
    /// From what the directory knows.
    pub fn new(from: &directory::Camera) -> Self {
        let status = from.status.as_ref();
        Self {
            site: from.principal.site.to_string(),
            gateway: from.principal.gateway.to_string(),
            camera: from.camera.to_string(),
            status: presence(status.map(|s| s.status)),
            reason: status.and_then(|s| s.reason.clone()),
            fps: status.map(|s| s.fps),
            since: status.map(|s| s.since),
            seen_at: from.seen_at,
            regions: from.regions.iter().map(Region::new).collect(),
        }
    }
}

impl Region {
    fn new(from: &directory::Region) -> Self {
        let (state, latest) = (from.state.as_ref(), from.prediction.as_ref());
        Self {
            region: from.region.to_string(),
            label: state.and_then(|s| s.label.clone()),
            score: state.map(|s| s.score),
            since: state.map(|s| s.since),
            quality: quality(state.map(|s| s.quality)),
            latest_label: latest.and_then(|p| p.body.labels.first().cloned()),
            latest_score: latest.and_then(|p| p.body.scores.first().copied()),
            latest_at: latest.map(|p| p.header.captured_at),
        }
    }
}

fn presence(presence: Option<Presence>) -> &'static str {
    match presence {
        Some(Presence::Online) => "online",
        Some(Presence::Offline) => "offline",
        Some(Presence::Unknown) | None => "unknown",
    }
}

fn quality(quality: Option<Quality>) -> &'static str {
    match quality {
        Some(Quality::Live) => "live",
        Some(Quality::Stale) => "stale",
        Some(Quality::Offline) => "offline",
        Some(Quality::Unknown) | None => "unknown",
    }
}
