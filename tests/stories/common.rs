//! What several stories begin with.

use std::path::Path;

use anyhow::Result;
use world::{Config, Message, runtime};

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
