//! The three cameras: one a kind of source, on real pictures.

use anyhow::Result;
use world::{Config, runtime};

/// The demo's cameras by id, with what each shows.
pub const CAMERAS: [(&str, &str); 3] =
    [("street", "RTSP, a fixed surveillance camera"), ("bikes", "a video file"), ("pictures", "a folder of pictures")];

/// The agent's configuration. Events and samples come more often than a real installation would want.
pub fn config(rtsp: &str) -> Result<Config> {
    let mut config = Config::new()
        .set("site", "home")
        .set("gateway", "demo")
        .set("health.interval", "10s")
        .set("cameras.street.uri", rtsp)
        .set("cameras.bikes.uri", format!("file:{}", runtime::fetched("media/bikes.mp4")?.display()))
        .set("cameras.bikes.play", "loop")
        .set("cameras.pictures.uri", format!("folder:{}", runtime::pictures()?.display()))
        .set("cameras.pictures.play", "loop")
        .set("cameras.pictures.interval", "1s");
    for (camera, _) in CAMERAS {
        let region = |key: &str| format!("cameras.{camera}.regions.full.{key}");
        config = config
            .set(&region("fps"), 5)
            .set(&region("top_k"), 3)
            .set(&region("events.min_score"), 0.3)
            .set(&region("events.votes"), 2)
            .set(&region("events.of"), 3)
            .set(&region("samples.periodic"), "10s")
            .set(&region("samples.uncertain"), 0.0);
    }
    Ok(config)
}
