//! From metadata to prediction records, as the agent writes them on the live lane.

use std::{sync::Arc, time::SystemTime};

use contract::{
    CameraId, CaptureSource, Epoch, FrameId, GatewayId, Header, Kind, ModelRef, Prediction, Principal, RegionId,
    SCHEMA, SiteId, Timestamp, Topic,
    live::Live,
    record::{Latency, ServedBy},
};

use crate::meta::Region;

/// Who writes.
pub struct Writer {
    site: SiteId,
    gateway: GatewayId,
    camera: CameraId,
    epoch: Epoch,
    boot_id: Arc<str>,
    next: u64,
    /// Classes that a record names at most.
    pub top_k: usize,
}

/// A record, and the topic that it goes to.
pub struct Written {
    pub topic: String,
    pub json: Vec<u8>,
}

impl Writer {
    /// A new log begins with each start: nothing here outlives the process.
    ///
    /// # Errors
    /// Which id is none, and why.
    pub fn new(site: &str, gateway: &str, camera: &str) -> Result<Self, String> {
        fn id<T: std::str::FromStr<Err: std::fmt::Display>>(what: &str, text: &str) -> Result<T, String> {
            text.parse().map_err(|error| format!("property {what}: {error}"))
        }
        let mut epoch = [0; 16];
        getrandom::fill(&mut epoch).map_err(|error| format!("random numbers: {error}"))?;
        let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Ok(Self {
            site: id("site", site)?,
            gateway: id("gateway", gateway)?,
            camera: id("camera", camera)?,
            epoch: Epoch(u128::from_be_bytes(epoch)),
            boot_id: boot_id.trim().into(),
            next: 0,
            top_k: 3,
        })
    }

    /// The record of one region of picture number `counter`, where it was classified.
    pub fn write(
        &mut self,
        prefix: &str,
        region: &Region,
        counter: u64,
        captured_at: Option<Timestamp>,
    ) -> Option<Written> {
        let best = region.found.first()?;
        // What stands in the metadata may come from other elements, with names that are no ids.
        let region_id = id_of(&region.name);
        let model = best
            .model_digest
            .parse()
            .ok()
            .map(|digest| ModelRef { digest, version: Some(best.model_version.as_str().into()) });
        let now = Timestamp::from_system(SystemTime::now());
        let source = if captured_at.is_some() { CaptureSource::Reference } else { CaptureSource::Arrival };
        let seq = self.next;
        self.next += 1;
        let header = Header {
            schema: SCHEMA,
            kind: Kind::Prediction,
            site: self.site.clone(),
            gateway: self.gateway.clone(),
            camera: Some(self.camera.clone()),
            region: Some(region_id.clone()),
            epoch: self.epoch,
            seq,
            captured_at: captured_at.unwrap_or(now),
            captured_source: source,
            monotonic_us: monotonic_us(),
            boot_id: self.boot_id.clone(),
            traceparent: None,
            model,
            frame_id: Some(FrameId { epoch: self.epoch, camera: self.camera.clone(), counter }),
        };
        let found = region.found.iter().take(self.top_k);
        let hub = best.engine == engines::HUB;
        let body = Prediction {
            labels: found.clone().map(|class| class.label.as_str().into()).collect(),
            scores: found.map(|class| class.confidence as f32).collect(),
            latency: Latency::default(),
            engine: best.engine.as_str().into(),
            served_by: if hub { ServedBy::Hub } else { ServedBy::Gateway },
        };
        let who = Principal { site: self.site.clone(), gateway: self.gateway.clone() };
        let topic = Topic::Prediction(who, self.camera.clone(), region_id).under(prefix);
        let json = serde_json::to_vec(&Live { header, body }).ok()?;
        Some(Written { topic, json })
    }
}

/// A name as an id: what cannot stand in one becomes `-`.
fn id_of(name: &str) -> RegionId {
    let plain = |c: char| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' };
    let text: String = name.to_lowercase().chars().take(63).map(plain).collect();
    text.trim_start_matches('-').parse().unwrap_or_else(|_| RegionId::full())
}

/// Since boot; 0 where the system does not say.
fn monotonic_us() -> u64 {
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
    let seconds: f64 = uptime.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or(0.0);
    (seconds * 1e6) as u64
}

#[cfg(test)]
mod tests {
    use super::id_of;

    #[test]
    fn names_of_other_elements_become_ids() {
        for (name, id) in [("door", "door"), ("Front Door", "front-door"), ("__x", "x"), ("", "full"), ("人", "full")]
        {
            assert_eq!(id_of(name).as_str(), id);
        }
    }
}
