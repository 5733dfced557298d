//! A camera and its regions, as a person writes them.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use contract::RegionId;
use daemon::config::{Secret, Span};
use frames::RectSpec;
use serde::{Deserialize, Serialize, Serializer};

use crate::{
    camera::{CameraUri, Plan, Play, Transport, uri::Userinfo},
    intake::Pace,
    region::{events::Rule, rate::Rate, sampling::Policy},
};

/// `[cameras.<id>]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Camera {
    /// Where its pictures come from.
    #[serde(serialize_with = "as_text")]
    pub uri: CameraUri,
    /// User name; better here than in the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<Secret>,
    /// Password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// Certificates (PEM) that an https camera may show besides those that the system trusts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// The jitter buffer of RTSP.
    #[serde(default = "default_latency")]
    pub latency: Span,
    /// Transport of RTSP.
    #[serde(default)]
    pub transport: Transport,
    /// How a file (loop, once, fast) or folder (watch, once, fast, loop) is played.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub play: Option<Play>,
    /// Of a polled snapshot, and between the pictures of a folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Span>,
    /// Without a frame for so long the camera has failed.
    #[serde(default = "default_stall")]
    pub stall: Span,
    /// Whether hardware decoders are tried first.
    #[serde(default = "yes")]
    pub hardware: bool,
    /// Publishes a JPEG so often; never when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<Span>,
    /// Its regions; the whole picture, as `full`, when none is given.
    #[serde(default)]
    pub regions: BTreeMap<RegionId, Region>,
}

/// `[cameras.<id>.regions.<id>]`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Region {
    /// Its rectangle; the whole picture when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rect: Option<RectSpec>,
    /// A name in `[models]`; naming one here pins it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Classifications a second, or `every`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fps: Option<Rate>,
    /// How many classes a prediction names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<usize>,
    /// When the label counts as changed.
    pub events: Events,
    /// Which pictures are kept.
    pub samples: RegionSamples,
}

/// `events = { min_score = 0.6, votes = 3, of = 5 }`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Events {
    /// Least score of a vote.
    pub min_score: f64,
    /// Votes that make a label stable.
    pub votes: usize,
    /// Of how many latest classifications.
    pub of: usize,
}

/// `samples = { periodic = "10m", uncertain = 0.5, changed = true, input = true }`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct RegionSamples {
    /// By the clock; `"0s"` for never.
    pub periodic: Span,
    /// When the best score is below this; 0 for never.
    pub uncertain: f64,
    /// When the stable label changes.
    pub changed: bool,
    /// With the exact input that the model saw.
    pub input: bool,
}

impl Default for Events {
    fn default() -> Self {
        Self { min_score: 0.6, votes: 3, of: 5 }
    }
}

impl Default for RegionSamples {
    fn default() -> Self {
        Self { periodic: Span::from_secs(600), uncertain: 0.5, changed: true, input: true }
    }
}

fn default_latency() -> Span {
    Span::from_millis(100)
}

fn default_stall() -> Span {
    Span::from_secs(10)
}

fn yes() -> bool {
    true
}

fn as_text<S: Serializer>(uri: &CameraUri, s: S) -> Result<S::Ok, S::Error> {
    s.collect_str(uri)
}

/// Live cameras are looked at so often where nothing else is said.
const LIVE_FPS: f64 = 5.0;

impl Camera {
    /// What its thread needs to know. A relative path counts from the folder `base`.
    pub fn plan(&self, id: &contract::CameraId, base: &Path) -> Plan {
        let uri = match &self.uri {
            CameraUri::File(path) => CameraUri::File(base.join(path)),
            CameraUri::Folder(path) => CameraUri::Folder(base.join(path)),
            other => other.clone(),
        };
        let play = self.play.unwrap_or(match uri {
            CameraUri::Folder(_) => Play::Watch,
            _ => Play::Loop,
        });
        let interval = self.interval.map_or(std::time::Duration::from_secs(1), Span::get);
        Plan {
            id: id.clone(),
            credentials: self.credentials(),
            ca: self.ca.as_ref().map(|path| base.join(path)),
            uri,
            latency: self.latency.get(),
            transport: self.transport,
            play,
            interval,
            stall: self.stall.get(),
            hardware: self.hardware,
        }
    }

    fn credentials(&self) -> Option<Userinfo> {
        let given = |secret: &Option<Secret>| secret.as_ref().map(|s| s.expose().to_owned());
        let in_address = match &self.uri {
            CameraUri::Rtsp(remote) | CameraUri::Http(remote) => remote.userinfo.clone(),
            _ => None,
        };
        match (given(&self.username), given(&self.password), in_address) {
            (None, None, in_address) => in_address,
            (user, password, in_address) => {
                let (other_user, other_password) = in_address.map(|i| (i.user, i.password)).unwrap_or_default();
                Some(Userinfo { user: user.unwrap_or(other_user), password: password.unwrap_or(other_password) })
            }
        }
    }

    /// Its regions; the whole picture when none is given.
    pub fn regions(&self) -> BTreeMap<RegionId, Region> {
        if self.regions.is_empty() {
            return BTreeMap::from([(RegionId::full(), Region::default())]);
        }
        self.regions.clone()
    }
}

impl Region {
    /// Its rectangle.
    pub fn rect(&self) -> RectSpec {
        self.rect.unwrap_or(RectSpec::FULL)
    }

    /// Its model's name in `[models]`.
    pub fn model(&self) -> &str {
        self.model.as_deref().unwrap_or("default")
    }

    /// Its rate, for a source of this pace.
    pub fn rate(&self, pace: Pace) -> Rate {
        self.fps.unwrap_or(match pace {
            Pace::Lossless => Rate::Every,
            Pace::Live => Rate::PerSecond(LIVE_FPS),
        })
    }

    /// How many classes a prediction names.
    pub fn top_k(&self) -> usize {
        self.top_k.unwrap_or(3)
    }

    /// The event rule.
    pub fn rule(&self) -> Rule {
        let Events { min_score, votes, of } = self.events;
        Rule { min_score: min_score as f32, votes, of }
    }

    /// The sampling policy.
    pub fn policy(&self) -> Policy {
        let RegionSamples { periodic, uncertain, changed, .. } = self.samples;
        Policy {
            periodic: Some(periodic.get()).filter(|p| !p.is_zero()),
            uncertain: Some(uncertain as f32).filter(|u| *u > 0.0),
            changed,
        }
    }
}
