//! The configuration's sections.

use std::{net::SocketAddr, path::PathBuf};

use daemon::{
    config::{Bytes, Secret, Span},
    tls::ServerTls,
};
use serde::{Deserialize, Serialize};

/// `[broker]`: the embedded broker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BrokerSection {
    /// Where programs of this machine connect, without access control.
    pub listen: SocketAddr,
    /// The longest message. Gateways keep to 256 KiB on the archive lane; snapshots and documents may be longer.
    pub message_max: Bytes,
    /// Where gateways connect, with certificates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<BrokerTls>,
    /// mosquitto: a name looked for in `PATH` and the system's `sbin` folders, or a path.
    pub program: String,
}

impl Default for BrokerSection {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 1883)),
            message_max: Bytes::mib(1),
            tls: None,
            program: "mosquitto".to_owned(),
        }
    }
}

/// `[broker.tls]`: the encrypted address of the embedded broker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BrokerTls {
    /// Where gateways connect.
    #[serde(default = "encrypted_default")]
    pub listen: SocketAddr,
    /// The server's certificate, with its chain (PEM).
    pub cert: PathBuf,
    /// Its private key (PEM).
    pub key: PathBuf,
    /// The authority of the gateways' certificates (PEM); the common name is the principal, `<site>/<gateway>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ca: Option<PathBuf>,
    /// Common names of certificates whose bearers, people or programs, may read the live lane and nothing else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub viewers: Vec<String>,
}

fn encrypted_default() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 8883))
}

impl BrokerTls {
    /// The files alone.
    pub fn files(&self) -> ServerTls {
        ServerTls { cert: self.cert.clone(), key: self.key.clone(), client_ca: self.client_ca.clone() }
    }
}

/// `[mqtt_client]`: the hub's own MQTT sessions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MqttClientSection {
    /// What every topic begins with.
    pub prefix: String,
    /// User name at a broker of somebody else's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Its password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// Authority of the broker's certificate (PEM); absent: those that the system trusts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// Our certificate (PEM).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert: Option<PathBuf>,
    /// Its private key (PEM).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
}

impl Default for MqttClientSection {
    fn default() -> Self {
        Self {
            prefix: contract::topic::DEFAULT_PREFIX.to_owned(),
            username: None,
            password: None,
            ca: None,
            cert: None,
            key: None,
        }
    }
}

/// `[s3]`: the embedded S3 server, and the way to another one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct S3Section {
    /// Where the embedded server listens.
    pub listen: SocketAddr,
    /// For `s3://`: `http://host:port` or `https://host`; absent: Amazon's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// For `s3://`: the region; absent: `$AWS_REGION`, or us-east-1 with an endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// For `s3://`: the access key; absent: `$AWS_ACCESS_KEY_ID`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_key: Option<String>,
    /// For `s3://`: its secret; absent: `$AWS_SECRET_ACCESS_KEY`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_key: Option<Secret>,
    /// For `s3://`: `endpoint/bucket/key`; absent: yes with an endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_style: Option<bool>,
    /// For `s3://`: authority of an https endpoint's certificate (PEM).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
}

impl Default for S3Section {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 9000)),
            endpoint: None,
            region: None,
            access_key: None,
            secret_key: None,
            path_style: None,
            ca: None,
        }
    }
}

/// `[ingest]`: from the archive lane to the lake.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct IngestSection {
    /// The longest time that a record waits for its flush.
    pub flush_interval: Span,
    /// The batch that is flushed at once; two of them may be in memory.
    pub flush_bytes: Bytes,
    /// Fragments of large records that wait for the others.
    pub fragment_bytes: Bytes,
    /// How long they wait.
    pub fragment_age: Span,
    /// Records that cannot be read, kept in all; the oldest go first.
    pub dead_bytes: Bytes,
}

impl Default for IngestSection {
    fn default() -> Self {
        Self {
            flush_interval: Span::from_secs(10),
            flush_bytes: Bytes::mib(32),
            fragment_bytes: Bytes::mib(64),
            fragment_age: Span::from_secs(60),
            dead_bytes: Bytes::mib(256),
        }
    }
}

/// `[inference]`: the models behind `POST /api/v1/frames` and `POST /v2/models/{digest}/infer`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct InferenceSection {
    /// The model package: a folder or a tar. Absent: the hub classifies nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<PathBuf>,
    /// A folder of packages that can be asked by their digest besides that one, as gateways do whose own engines fail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub models: Option<PathBuf>,
    /// libonnxruntime; absent: `$ORT_DYLIB_PATH`, or the library beside the program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub library: Option<PathBuf>,
}
