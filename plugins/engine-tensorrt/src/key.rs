//! Everything that makes a plan good for one model, library and GPU, and no other.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// What a plan was compiled of and for. Two plans with equal keys do the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// SHA-256 of the ONNX file as it stands in the package.
    pub model: String,
    /// The library and its version, as in `TensorRT-RTX 1.7.1`.
    pub library: String,
    /// The GPUs that it runs on.
    pub target: Target,
    /// The driver's CUDA major version, where a GPU was there when it was compiled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver_major: Option<i32>,
    /// The batch sizes that it takes.
    pub profile: Profile,
    /// Version of what [`crate::prepare`] and [`crate::compile`] do with a model; raised when that changes.
    pub recipe: u16,
}

/// The present [`Key::recipe`].
pub const RECIPE: u16 = 1;

/// Which GPUs a plan runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// Each that the library calls portable: compute capability 8.0 and newer, without 8.7 and 9.0.
    Portable,
    /// The architecture of the GPU that is there, written as ten times the compute capability.
    Sm(u16),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Portable => write!(f, "portable"),
            Target::Sm(sm) => write!(f, "sm_{sm}"),
        }
    }
}

/// The least, the usual and the largest batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// The smallest batch.
    pub min: usize,
    /// The batch that it is made fast for.
    pub opt: usize,
    /// The largest batch.
    pub max: usize,
}

impl Profile {
    /// For a model that takes any batch: 1 to `max`, made fast for `max`.
    pub fn up_to(max: usize) -> Self {
        Self { min: 1, opt: max, max }
    }
}

impl Key {
    /// A name for files: hexadecimal, 32 characters.
    pub fn name(&self) -> String {
        let bytes = serde_json::to_vec(self).unwrap_or_default();
        hex::encode(&Sha256::digest(bytes)[..16])
    }
}
