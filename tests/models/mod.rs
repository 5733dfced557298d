//! The packages that the set-up made, and broken variants of them, for the tests of every crate that loads models.
//!
//! Included by `#[path]`, so that no crate outside tests knows it.

#![allow(dead_code, reason = "each test file uses a part")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// A file or folder that the set-up made.
///
/// # Panics
/// When the set-up has not run: a test that cannot run must not look as if it had.
pub fn run_time(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().find(|folder| folder.join("deploy/setup").is_dir());
    let path = root.expect("the crate lies in the repository").join(".sightline").join(name);
    assert!(path.exists(), "{} is missing: run `make setup` first", path.display());
    path
}

/// `tiny-gray64` as the set-up made it.
pub fn tiny() -> PathBuf {
    run_time("models/tiny-gray64")
}

/// `efficientnet-lite0` as the set-up made it.
pub fn efficientnet() -> PathBuf {
    run_time("models/efficientnet-lite0")
}

/// `resnet18-seeded` as the set-up made it.
pub fn resnet() -> PathBuf {
    run_time("models/resnet18-seeded")
}

/// A copy of a package that a test may break. The folder goes when it is dropped.
pub struct Copy {
    folder: TempDir,
}

impl Copy {
    /// Of `tiny-gray64`.
    pub fn tiny() -> Self {
        Self::of(&tiny())
    }

    /// Of any package folder.
    pub fn of(package: &Path) -> Self {
        let folder = TempDir::new().unwrap();
        copy(package, folder.path());
        Self { folder }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Changes the manifest.
    pub fn manifest(self, edit: impl FnOnce(&mut Value)) -> Self {
        let path = self.path().join("manifest.json");
        let mut manifest: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        edit(&mut manifest);
        fs::write(path, serde_json::to_vec(&manifest).unwrap()).unwrap();
        self
    }

    /// Writes a file and its right digest.
    pub fn file(self, name: &str, bytes: &[u8]) -> Self {
        fs::write(self.path().join(name), bytes).unwrap();
        let digest = format!("sha256:{}", hex(&Sha256::digest(bytes)));
        self.manifest(|manifest| manifest["files"][name] = digest.into())
    }

    /// Without golden rows.
    pub fn without_golden(self) -> Self {
        self.manifest(|manifest| {
            manifest.as_object_mut().unwrap().remove("golden");
        })
    }

    /// As a plain tar, with this in front of each name.
    pub fn tar(&self, prefix: &str) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        let top = if prefix.is_empty() { "." } else { prefix };
        tar.append_dir_all(top, self.path()).unwrap();
        tar.into_inner().unwrap()
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            fs::create_dir_all(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Lower-case hex digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An error with its causes on one line, as a user reads it.
pub fn full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
