//! The regions' stable labels on disk, so that a restart alone makes no event.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use contract::Timestamp;
use serde::{Deserialize, Serialize};

use crate::state::Camera;

/// The file's name in the state folder.
const FILE: &str = "regions.json";

/// Labels by `<camera>/<region>`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stable(BTreeMap<String, Label>);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Label {
    label: Arc<str>,
    since: Timestamp,
}

impl Stable {
    /// What the last run left; nothing where there is none or it cannot be read.
    pub fn read(state: &Path) -> Self {
        let text = std::fs::read(state.join(FILE)).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// A region's label.
    pub fn get(&self, camera: &str, region: &str) -> Option<(Arc<str>, Timestamp)> {
        self.0.get(&format!("{camera}/{region}")).map(|label| (label.label.clone(), label.since))
    }

    /// What is known now.
    pub fn now(cameras: &[Arc<Camera>]) -> Self {
        let regions = cameras.iter().flat_map(|camera| &camera.regions);
        let label = |region: &Arc<crate::state::Region>| {
            let now = region.now();
            Some((format!("{}/{}", region.camera, region.id), Label { label: now.label?, since: now.since }))
        };
        Self(regions.filter_map(label).collect())
    }

    /// Writes them.
    pub fn write(&self, state: &Path) {
        let written = serde_json::to_vec(self).map_err(std::io::Error::other);
        let written = written.and_then(|json| daemon::state::atomic_write(&state.join(FILE), &json, 0o600));
        if let Err(error) = written {
            tracing::warn!(%error, "stable labels are not saved; a restart may make events");
        }
    }
}

/// The number of the last MQTT session, so that an old will never hides a new birth.
pub fn session_number(state: &Path) -> u64 {
    let text = std::fs::read_to_string(state.join("session")).unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

/// Keeps the number of the session.
pub fn keep_session_number(state: &Path, number: u64) {
    let written = daemon::state::atomic_write(&state.join("session"), number.to_string().as_bytes(), 0o600);
    if let Err(error) = written {
        tracing::warn!(%error, "session number is not saved");
    }
}
