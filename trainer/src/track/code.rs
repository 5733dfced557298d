//! Which code computed: the commit that the program was built from, and the repository that it was started in.

use std::process::Command;

use contract::Digest;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Which code computed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Code {
    /// Version of the program.
    pub version: String,
    /// The commit that it was built from, or `unknown`.
    pub built_from: String,
    /// Of the list of every dependency's version with which it was built.
    pub lock: Option<Digest>,
    /// The commit of the repository in the current folder, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Whether that had changes that were not committed; they lie beside as `diff.patch`.
    #[serde(default)]
    pub dirty: bool,
    /// Those changes.
    #[serde(skip)]
    pub diff: Option<String>,
}

/// Largest diff that is kept.
const DIFF_MAX: usize = 8 << 20;

impl Code {
    /// This program, here. `built_from` is what the build stamped.
    pub fn here(built_from: Option<&str>) -> Self {
        const LOCK: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock"));
        let git = |arguments: &[&str]| {
            let ended = Command::new("git").args(arguments).output().ok().filter(|ended| ended.status.success())?;
            String::from_utf8(ended.stdout).ok()
        };
        let commit = git(&["rev-parse", "HEAD"]).map(|text| text.trim().to_owned());
        let diff = commit.as_ref().and_then(|_| git(&["diff", "HEAD"])).filter(|diff| !diff.is_empty());
        Self {
            version: env!("CARGO_PKG_VERSION").into(),
            built_from: built_from.unwrap_or("unknown").into(),
            lock: Some(Digest(Sha256::digest(LOCK).into())),
            commit,
            dirty: diff.is_some(),
            diff: diff.filter(|diff| diff.len() <= DIFF_MAX),
        }
    }
}
