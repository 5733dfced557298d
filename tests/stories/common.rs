//! What several stories begin with.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;
use world::{Config, Message, runtime, shard};

/// The agent's settings with the small model and every frame classified, for camera `cam`.
pub fn one_camera(uri: &str) -> Result<Config> {
    Ok(tiny()?.set("cameras.cam.uri", uri).set("cameras.cam.regions.full.fps", "every"))
}

/// The agent's settings with the small model and no camera yet.
pub fn tiny() -> Result<Config> {
    Ok(Config::new().set("models.default", runtime::tiny_model()?.display().to_string()))
}

pub fn file(path: &Path) -> String {
    format!("file:{}", path.display())
}

/// Whether a message is a live prediction of a camera.
pub fn is_prediction(message: &Message, camera: &str) -> bool {
    message.topic.contains(&format!("/{camera}/")) && message.topic.ends_with("/prediction")
}

/// A port that was free a moment ago, for programs that must come back on the same one.
pub fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// A copy of the small package whose manifest (and files) somebody has changed.
pub fn package(folder: &Path, name: &str, change: impl FnOnce(&mut Value, &Path)) -> Result<PathBuf> {
    let to = folder.join(name);
    copy(&runtime::tiny_model()?, &to)?;
    let mut manifest: Value = serde_json::from_slice(&std::fs::read(to.join("manifest.json"))?)?;
    change(&mut manifest, &to);
    for (file, digest) in manifest["files"].as_object_mut().context("files")? {
        *digest = shard::digest(&std::fs::read(to.join(file))?).into();
    }
    std::fs::write(to.join("manifest.json"), serde_json::to_vec_pretty(&manifest)?)?;
    Ok(to)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
