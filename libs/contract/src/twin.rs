//! Desired and reported state of a gateway. Desired carries a generation; a gateway refuses to go back.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{CameraId, Digest, RegionId};

/// Retained on `down/<site>/<gateway>/desired`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Desired {
    /// Version of the document's form.
    pub schema: u16,
    /// Who decides: a hub's random id. Generations are compared within one authority.
    pub authority: String,
    /// Grows with each change.
    pub generation: u64,
    /// Settings by dotted key, as in the agent's configuration file.
    #[serde(default)]
    pub config: BTreeMap<String, Value>,
    /// The model of each region.
    #[serde(default)]
    pub models: Vec<DesiredModel>,
}

/// Which model a region shall run. Always a digest: the hub resolves aliases.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DesiredModel {
    /// The camera.
    pub camera: CameraId,
    /// The region.
    pub region: RegionId,
    /// The package's digest.
    pub digest: Digest,
    /// Where the package can be fetched.
    pub url: String,
}

/// Retained on `live/<site>/<gateway>/reported`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reported {
    /// Version of the document's form.
    pub schema: u16,
    /// The authority of the last desired document that was looked at.
    pub authority: Option<String>,
    /// The generation that is in force.
    pub generation: u64,
    /// What became of the last desired document.
    pub outcome: Outcome,
    /// Why it was refused or not wholly applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Each effective setting and where it comes from; secrets are left out.
    pub config: BTreeMap<String, Effective>,
    /// The model of each region.
    pub models: Vec<ReportedModel>,
}

/// What became of a desired document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// None has come yet.
    None,
    /// Read and in force, as far as this version can apply it.
    Accepted,
    /// Not read, of an older generation, or not applicable; the one before stays in force.
    Refused,
    /// A word that a newer version knows.
    #[serde(other)]
    Unknown,
}

/// A setting in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Effective {
    /// The value.
    pub value: Value,
    /// Where it comes from.
    pub origin: Origin,
}

/// Where a setting comes from. Precedence: default < desired < file and environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// Built in.
    Default,
    /// The hub's desired document.
    Desired,
    /// The gateway's own file.
    File,
    /// The environment or the command line.
    Environment,
    /// A word that a newer version knows.
    #[serde(other)]
    Unknown,
}

/// The model of one region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportedModel {
    /// The camera.
    pub camera: CameraId,
    /// The region.
    pub region: RegionId,
    /// The package in use; absent when the region has none.
    pub digest: Option<Digest>,
    /// Named by the local file: desired does not change it.
    pub pinned: bool,
}
