//! The agent's configuration: what a person may write, with its defaults. Starting with no file is allowed.
//!
//! Every key also comes from the environment as `SIGHTLINE_EDGE__SECTION__KEY`.

mod camera;
mod check;
mod effective;

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

use contract::{CameraId, GatewayId, SiteId};
use daemon::{
    config::{Bytes, Secret, Span},
    telemetry::TelemetryConfig,
};
use inference::Accuracy;
use serde::{Deserialize, Serialize};

pub use effective::effective;

pub use camera::{Camera, Events, Region, RegionSamples};

/// Prefix of environment variables.
pub const ENV_PREFIX: &str = "SIGHTLINE_EDGE";

/// The whole file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// The gateway's site.
    pub site: SiteId,
    /// The gateway; unique within its site.
    pub gateway: GatewayId,
    /// The broker.
    pub mqtt: Mqtt,
    /// Model packages by name; `default` serves the regions that name none.
    pub models: BTreeMap<String, PathBuf>,
    /// Inference engines.
    pub engines: Engines,
    /// Cameras by id.
    pub cameras: BTreeMap<CameraId, Camera>,
    /// Samples, all cameras together.
    pub samples: Samples,
    /// The outbox.
    pub outbox: Outbox,
    /// Health records.
    pub health: Health,
    /// The admin endpoints.
    pub admin: Admin,
    /// Traces and metrics by OTLP.
    pub telemetry: TelemetryConfig,
    /// The end.
    pub shutdown: Shutdown,
}

/// The broker.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Mqtt {
    /// `mqtt://` or `mqtts://`, host and port.
    pub url: String,
    /// What all topics begin with.
    pub prefix: String,
    /// User name; `<site>/<gateway>` where the broker wants one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<Secret>,
    /// Password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// The broker's authority, PEM; the system's list when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// Own certificate, PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert: Option<PathBuf>,
    /// Its key, PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// Longest message on the archive lane.
    pub archive_message_max: Bytes,
    /// How long the broker keeps the session while the agent is away.
    pub session_expiry: Span,
}

/// Inference engines.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Engines {
    /// Names in the order in which they are tried; all that are built in when empty.
    pub preference: Vec<String>,
    /// The file `libonnxruntime.so`; looked for where it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub library: Option<PathBuf>,
    /// The folder with TensorRT's libraries; looked for where it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tensorrt: Option<PathBuf>,
    /// Which of a package's files may be taken: `exact`, or `fast`.
    pub precision: Precision,
    /// With `fast`: the largest share of inputs, 0 to 1, whose best label may change.
    pub loss_max: f32,
    /// How the hub is asked when no engine here works; not at all when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hub: Option<Hub>,
}

/// `[engines.hub]`: the hub as the last engine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Hub {
    /// `http://` or `https://`, host and port of its API.
    pub url: String,
    /// A request is given up after this time.
    #[serde(default = "Hub::deadline")]
    pub deadline: Span,
    /// Requests a second at most.
    #[serde(default = "Hub::requests_per_second")]
    pub requests_per_second: f64,
    /// Bytes a second at most.
    #[serde(default = "Hub::bytes_per_second")]
    pub bytes_per_second: Bytes,
    /// The hub's authority, PEM; the usual ones when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// Own certificate, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert: Option<PathBuf>,
    /// Its key, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
}

impl Hub {
    fn deadline() -> Span {
        Span::from_secs(1)
    }

    fn requests_per_second() -> f64 {
        20.0
    }

    fn bytes_per_second() -> Bytes {
        Bytes::mib(4)
    }

    /// As the engine takes it.
    pub fn options(&self) -> engines::HubOptions {
        engines::HubOptions {
            url: self.url.clone(),
            deadline: self.deadline.get(),
            requests_per_second: self.requests_per_second,
            bytes_per_second: self.bytes_per_second.get(),
            ca: self.ca.clone(),
            cert: self.cert.clone(),
            key: self.key.clone(),
        }
    }
}

/// Which of a package's files may be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// The float32 one.
    Exact,
    /// The fastest that loses no more than `loss_max`.
    Fast,
}

impl Default for Engines {
    fn default() -> Self {
        Self {
            preference: Vec::new(),
            library: None,
            tensorrt: None,
            precision: Precision::Exact,
            loss_max: 0.01,
            hub: None,
        }
    }
}

impl Engines {
    /// The choice as the chooser takes it.
    pub fn accuracy(&self) -> Accuracy {
        match self.precision {
            Precision::Exact => Accuracy::Exact,
            Precision::Fast => Accuracy::Fast { loss_max: self.loss_max },
        }
    }
}

/// Samples, all cameras together.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Samples {
    /// Bytes of samples a day.
    pub budget_per_day: Bytes,
    /// Quality of the JPEGs, 1 to 100.
    pub jpeg_quality: u8,
}

/// The outbox.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Outbox {
    /// Bytes on disk of records that wait to be archived; over it the oldest samples go first.
    pub max_bytes: Bytes,
    /// How long a record may wait.
    pub max_age: Span,
    /// A segment of the log is sealed at this size; at most a sixteenth of `max_bytes`.
    pub segment: Bytes,
    /// How often predictions, samples and health are synced to disk; events and gaps are at once.
    pub sync: Span,
    /// Bytes that may be sent and not yet archived.
    pub window: Bytes,
    /// The newest records' share of the line while there is a backlog, 0 to 1.
    pub newest_share: f64,
}

/// Health records.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Health {
    /// How often, besides on change.
    pub interval: Span,
}

/// The admin endpoints `/live /ready /metrics /version`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Admin {
    /// Where they listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Allows an address that others can reach.
    pub insecure: bool,
}

/// The end.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Shutdown {
    /// How long the whole shutdown may take.
    pub bound: Span,
    /// How long it waits for the hub to archive what is left.
    pub archive_wait: Span,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            #[expect(clippy::unwrap_used, reason = "the literal is an id")]
            site: "home".parse().unwrap(),
            gateway: gateway_of_host(),
            mqtt: Mqtt::default(),
            models: BTreeMap::new(),
            engines: Engines::default(),
            cameras: BTreeMap::new(),
            samples: Samples::default(),
            outbox: Outbox::default(),
            health: Health::default(),
            admin: Admin::default(),
            telemetry: TelemetryConfig::default(),
            shutdown: Shutdown::default(),
        }
    }
}

impl Default for Mqtt {
    fn default() -> Self {
        Self {
            url: "mqtt://127.0.0.1:1883".into(),
            prefix: contract::topic::DEFAULT_PREFIX.into(),
            username: None,
            password: None,
            ca: None,
            cert: None,
            key: None,
            archive_message_max: Bytes::kib(256),
            session_expiry: Span::from_secs(24 * 3600),
        }
    }
}

impl Default for Samples {
    fn default() -> Self {
        Self { budget_per_day: Bytes::mib(500), jpeg_quality: 85 }
    }
}

impl Default for Outbox {
    fn default() -> Self {
        Self {
            max_bytes: Bytes::mib(1024),
            max_age: Span::from_secs(30 * 86_400),
            segment: Bytes::mib(4),
            sync: Span::from_millis(200),
            // More than the 32 MiB at which the hub flushes before its interval is over.
            window: Bytes::mib(64),
            newest_share: 0.5,
        }
    }
}

impl Outbox {
    /// The size at which a segment is sealed: a bound of few segments would drop much at once.
    pub fn segment_bytes(&self) -> u64 {
        self.segment.get().min(self.max_bytes.get() / 16)
    }
}

impl Default for Health {
    fn default() -> Self {
        Self { interval: Span::from_secs(60) }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 0)), insecure: false }
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        // The hub flushes every 10 s; 60 s are well within systemd's 90 s.
        Self { bound: Span::from_secs(60), archive_wait: Span::from_secs(30) }
    }
}

/// The host's name as an id: lower case, everything else a `-`.
fn gateway_of_host() -> GatewayId {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let clean = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let name: String = host.trim().split('.').next().unwrap_or_default().chars().map(clean).take(63).collect();
    #[expect(clippy::unwrap_used, reason = "the literal is an id")]
    name.trim_start_matches('-').parse().unwrap_or_else(|_| "gateway".parse().unwrap())
}

#[cfg(test)]
mod tests;
