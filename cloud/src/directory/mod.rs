//! Who is there now: gateways, cameras and regions, from the retained and live documents on the bus.
//!
//! No role: an in-memory view that the API reads. It is rebuilt from retained documents after every start and reaches
//! no further back; history is in the lake. Policy *drop*: beyond [`ENTRIES_MAX`] gateways, cameras or regions, new
//! ones are not listed and counted.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use bytes::Bytes;
use contract::{
    CameraId, Health, Prediction, Principal, RegionId, Timestamp, Topic,
    live::{CameraStatus, GatewayStatus, Live, RegionState},
    twin::Reported,
};
use serde::{Serialize, de::DeserializeOwned};

/// How many gateways, cameras and regions are listed at most, together.
pub const ENTRIES_MAX: usize = 100_000;
/// A longer document is not ours.
const DOCUMENT_MAX: usize = 1 << 20;

/// One gateway as it was last heard.
#[derive(Clone, Debug, Serialize)]
pub struct Gateway {
    /// Who it is.
    pub principal: Principal,
    /// Birth or will.
    pub status: Option<GatewayStatus>,
    /// Its twin document.
    pub reported: Option<Reported>,
    /// Its last health record.
    pub health: Option<Live<Health>>,
    /// When the hub last heard anything live of it, by the hub's clock.
    pub seen_at: Timestamp,
}

/// One camera as it was last heard.
#[derive(Clone, Debug, Serialize)]
pub struct Camera {
    /// Whose it is.
    pub principal: Principal,
    /// Which.
    pub camera: CameraId,
    /// Online or why not.
    pub status: Option<CameraStatus>,
    /// Its regions, by name.
    pub regions: Vec<Region>,
    /// When the hub last heard anything live of it.
    pub seen_at: Timestamp,
}

/// One region as it was last heard.
#[derive(Clone, Debug, Serialize)]
pub struct Region {
    /// Which.
    pub region: RegionId,
    /// Its stable label.
    pub state: Option<RegionState>,
    /// Its latest prediction.
    pub prediction: Option<Live<Prediction>>,
    /// When the hub last heard anything live of it.
    pub seen_at: Timestamp,
}

/// The view; a cheap clone.
#[derive(Clone, Default)]
pub struct Directory(Arc<RwLock<View>>);

/// Documents as they came; parsed when asked for, since most predictions are overwritten unread.
#[derive(Default)]
struct View {
    gateways: BTreeMap<Principal, GatewayEntry>,
    cameras: BTreeMap<(Principal, CameraId), CameraEntry>,
    regions: BTreeMap<(Principal, CameraId, RegionId), RegionEntry>,
    refused: u64,
}

#[derive(Default)]
struct GatewayEntry {
    status: Bytes,
    reported: Bytes,
    health: Bytes,
    seen_at: Timestamp,
}

#[derive(Default)]
struct CameraEntry {
    status: Bytes,
    seen_at: Timestamp,
}

#[derive(Default)]
struct RegionEntry {
    state: Bytes,
    prediction: Bytes,
    seen_at: Timestamp,
}

/// The topics that the view is made of, as subscriptions under `prefix`.
pub fn subscriptions(prefix: &str) -> Vec<String> {
    [
        "live/+/+/status",
        "live/+/+/reported",
        "live/+/+/health",
        "live/+/+/+/status",
        "live/+/+/+/+/state",
        "live/+/+/+/+/prediction",
    ]
    .map(|filter| format!("{prefix}/{filter}"))
    .to_vec()
}

impl Directory {
    /// Takes note of one live document. An empty payload (a retained document deleted) forgets it.
    pub fn note(&self, topic: &Topic, payload: &[u8], now: Timestamp) {
        if payload.len() > DOCUMENT_MAX {
            return;
        }
        let document = Bytes::copy_from_slice(payload); // a copy, so that the read buffer it came in is not held
        let mut view = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let full = view.gateways.len() + view.cameras.len() + view.regions.len() >= ENTRIES_MAX;
        let noted = match topic {
            Topic::Status(who) => view.gateway(who, full, now).map(|g| g.status = document),
            Topic::Reported(who) => view.gateway(who, full, now).map(|g| g.reported = document),
            Topic::Health(who) => view.gateway(who, full, now).map(|g| g.health = document),
            Topic::CameraStatus(who, camera) => view.camera(who, camera, full, now).map(|c| c.status = document),
            Topic::State(who, camera, region) => {
                view.region(who, camera, region, full, now).map(|r| r.state = document)
            }
            Topic::Prediction(who, camera, region) => {
                view.region(who, camera, region, full, now).map(|r| r.prediction = document)
            }
            _ => return,
        };
        if noted.is_none() {
            view.refused += 1;
        }
    }

    /// Every gateway, by site and name.
    pub fn gateways(&self) -> Vec<Gateway> {
        let view = self.0.read().unwrap_or_else(PoisonError::into_inner);
        view.gateways.iter().map(|(who, entry)| entry.parsed(who)).collect()
    }

    /// How many gateways there are.
    pub fn count(&self) -> usize {
        self.0.read().unwrap_or_else(PoisonError::into_inner).gateways.len()
    }

    /// One gateway.
    pub fn gateway(&self, who: &Principal) -> Option<Gateway> {
        let view = self.0.read().unwrap_or_else(PoisonError::into_inner);
        view.gateways.get(who).map(|entry| entry.parsed(who))
    }

    /// Every camera that `wanted` accepts, with its regions and their latest predictions.
    pub fn cameras(&self, wanted: impl Fn(&Principal, &CameraId) -> bool) -> Vec<Camera> {
        let view = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let chosen = view.cameras.iter().filter(|((who, camera), _)| wanted(who, camera));
        chosen
            .map(|((who, camera), entry)| Camera {
                principal: who.clone(),
                camera: camera.clone(),
                status: parsed(&entry.status),
                regions: view.regions_of(who, camera),
                seen_at: entry.seen_at,
            })
            .collect()
    }

    /// How many documents were not noted because the view was full.
    pub fn refused(&self) -> u64 {
        self.0.read().unwrap_or_else(PoisonError::into_inner).refused
    }
}

impl View {
    fn gateway(&mut self, who: &Principal, full: bool, now: Timestamp) -> Option<&mut GatewayEntry> {
        if full && !self.gateways.contains_key(who) {
            return None;
        }
        let entry = self.gateways.entry(who.clone()).or_default();
        entry.seen_at = now;
        Some(entry)
    }

    fn camera(&mut self, who: &Principal, camera: &CameraId, full: bool, now: Timestamp) -> Option<&mut CameraEntry> {
        self.gateway(who, full, now)?;
        let key = (who.clone(), camera.clone());
        if full && !self.cameras.contains_key(&key) {
            return None;
        }
        let entry = self.cameras.entry(key).or_default();
        entry.seen_at = now;
        Some(entry)
    }

    fn region(
        &mut self,
        who: &Principal,
        camera: &CameraId,
        region: &RegionId,
        full: bool,
        now: Timestamp,
    ) -> Option<&mut RegionEntry> {
        self.camera(who, camera, full, now)?;
        let key = (who.clone(), camera.clone(), region.clone());
        if full && !self.regions.contains_key(&key) {
            return None;
        }
        let entry = self.regions.entry(key).or_default();
        entry.seen_at = now;
        Some(entry)
    }

    fn regions_of(&self, who: &Principal, camera: &CameraId) -> Vec<Region> {
        let of_camera = self.regions.iter().filter(|((w, c, _), _)| w == who && c == camera);
        of_camera
            .map(|((_, _, region), entry)| Region {
                region: region.clone(),
                state: parsed(&entry.state),
                prediction: parsed(&entry.prediction),
                seen_at: entry.seen_at,
            })
            .collect()
    }
}

impl GatewayEntry {
    fn parsed(&self, who: &Principal) -> Gateway {
        Gateway {
            principal: who.clone(),
            status: parsed(&self.status),
            reported: parsed(&self.reported),
            health: parsed(&self.health),
            seen_at: self.seen_at,
        }
    }
}

/// A document that cannot be read is as good as none: the view is a convenience, the archive lane is the truth.
fn parsed<T: DeserializeOwned>(document: &[u8]) -> Option<T> {
    serde_json::from_slice(document).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_what_is_there_and_forgets_what_is_deleted() {
        let directory = Directory::default();
        let topic = |name: &str| Topic::parse("sightline", name).unwrap();
        let status = br#"{"schema":1,"status":"online","session":3}"#;
        directory.note(&topic("sightline/live/plant/gw/status"), status, Timestamp(1));
        let state = br#"{"schema":1,"label":"open","score":0.9,"since":"2026-11-23T18:24:00Z","quality":"live",
            "model":{"digest":"sha256:0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f"}}"#;
        directory.note(&topic("sightline/live/plant/gw/door/full/state"), state, Timestamp(2));
        let gateway = &directory.gateways()[0];
        assert_eq!((gateway.status.as_ref().unwrap().session, gateway.seen_at), (3, Timestamp(2)));
        let cameras = directory.cameras(|_, _| true);
        assert_eq!(cameras[0].regions[0].state.as_ref().unwrap().label.as_deref(), Some("open"));
        directory.note(&topic("sightline/live/plant/gw/status"), b"", Timestamp(3));
        assert!(directory.gateways()[0].status.is_none());
    }
}
