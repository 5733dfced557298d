//! The hub's configuration: every key with its default, so that no file is needed on one machine.

mod check;
mod lake;
mod place;
mod sections;

use std::{net::SocketAddr, path::PathBuf};

use daemon::{telemetry::TelemetryConfig, tls::ServerTls};
use serde::{Deserialize, Serialize};

pub use lake::{LakeSection, RetentionSection, Rule};
pub use place::{MqttPlace, ObjectsPlace};
pub use sections::{BrokerSection, BrokerTls, InferenceSection, IngestSection, MqttClientSection, S3Section};

/// Prefix of the environment variables that override keys: `SIGHTLINE_HUB__BROKER__LISTEN`.
pub const ENV_PREFIX: &str = "SIGHTLINE_HUB";
/// The state folder where neither `--state` nor systemd names one.
pub const STATE_DEFAULT: &str = "sightline-hub-state";
/// The bucket of the embedded S3 server.
pub const BUCKET: &str = "sightline";

/// A part of the hub; one process runs all of them, or some.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The MQTT broker.
    Broker,
    /// The S3 server.
    Objects,
    /// From the archive lane to the lake.
    Ingest,
    /// REST.
    Api,
}

impl Role {
    /// All of them, from upstream to downstream as they start.
    pub const ALL: [Role; 4] = [Role::Broker, Role::Objects, Role::Ingest, Role::Api];

    /// The role's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Broker => "broker",
            Self::Objects => "objects",
            Self::Ingest => "ingest",
            Self::Api => "api",
        }
    }
}

/// The whole configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HubConfig {
    /// Address of REST, `/metrics` and the health endpoints.
    pub listen: SocketAddr,
    /// Allows addresses that others can reach without TLS and client certificates.
    pub insecure: bool,
    /// The parts that this process runs.
    pub roles: Vec<Role>,
    /// `embedded`, or `mqtt://host:1883`, or `mqtts://host:8883`.
    pub mqtt: MqttPlace,
    /// `embedded`, or `s3://bucket/prefix`.
    pub objects: ObjectsPlace,
    /// `sqlite:PATH` or `postgres://user:password@host/database`; by default a file in the state folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tables: Option<String>,
    /// The embedded broker.
    pub broker: BrokerSection,
    /// The hub's own MQTT sessions.
    pub mqtt_client: MqttClientSection,
    /// The embedded S3 server, and the way to another one.
    pub s3: S3Section,
    /// TLS of HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<ServerTls>,
    /// From the archive lane to the lake.
    pub ingest: IngestSection,
    /// The lake's upkeep.
    pub lake: LakeSection,
    /// How long records are kept, by kind.
    pub retention: RetentionSection,
    /// The model behind `POST /api/v1/frames`.
    pub inference: InferenceSection,
    /// OpenTelemetry.
    pub telemetry: TelemetryConfig,
}

impl Default for HubConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            insecure: false,
            roles: Role::ALL.to_vec(),
            mqtt: MqttPlace::Embedded,
            objects: ObjectsPlace::Embedded,
            tables: None,
            broker: BrokerSection::default(),
            mqtt_client: MqttClientSection::default(),
            s3: S3Section::default(),
            tls: None,
            ingest: IngestSection::default(),
            lake: LakeSection::default(),
            retention: RetentionSection::default(),
            inference: InferenceSection::default(),
            telemetry: TelemetryConfig::default(),
        }
    }
}

impl HubConfig {
    /// Whether this process runs a part.
    pub fn has(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// The tables' URI, given the state folder.
    pub fn tables_uri(&self, state: &std::path::Path) -> String {
        let in_state = || format!("sqlite:{}", PathBuf::from(state).join("tables.db").display());
        self.tables.clone().unwrap_or_else(in_state)
    }
}
