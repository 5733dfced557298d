//! The whole system undisturbed: one real stream as four cameras, for minutes. Memory stays flat, and nothing is lost.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use contract::Kind;
use world::{Config, Edge, Hub, TestCamera, lake, media, runtime};

/// What the last third may lie above the second one, in MiB.
const GROWN_MAX: u64 = 8;

/// Runs it; the last line says how much memory grew.
pub fn run(seconds: u64) -> Result<()> {
    let folder = tempfile::Builder::new().prefix("soak-").tempdir()?;
    let folder = folder.path();
    let video = folder.join("video.mp4");
    media::video(&video, 1280, 720, 100)?;
    let camera = TestCamera::start(&video)?;
    let hub = Hub::start(folder, Config::new().set("ingest.flush_interval", "10s"))?;
    let mut config = Config::new().set("models.default", runtime::tiny_model()?.display().to_string());
    for n in 0..4 {
        config = config
            .set(&format!("cameras.cam-{n}.uri"), camera.url.clone())
            .set(&format!("cameras.cam-{n}.regions.full.samples.periodic"), "5s");
    }
    let mut edge = Edge::start(folder, &hub, config)?;
    let (began, mut measured) = (Instant::now(), Vec::new());
    let length = Duration::from_secs(seconds);
    while began.elapsed() < length {
        thread::sleep((length / 60).min(Duration::from_secs(10))); // the sampling period
        let sizes = (edge.process.resident_bytes()? >> 20, hub.process.resident_bytes()? >> 20);
        println!("{:>5} s  agent {} MiB  hub {} MiB", began.elapsed().as_secs(), sizes.0, sizes.1);
        measured.push(sizes);
    }
    let summary = edge.stop()?;
    let rows = hub.lake()?.rows(Kind::Prediction)?;
    let (holes, doubles) = lake::holes_and_doubles(&rows);
    println!("{} predictions in the lake; agent: {summary:?}", rows.len());
    ensure!(holes.is_empty() && doubles.is_empty(), "missing {holes:?}, doubled {doubles:?}");
    ensure!(rows.len() as u64 == summary.classified, "the agent made {} predictions", summary.classified);
    let third = measured.len() / 3;
    let most = |part: &[(u64, u64)]| part.iter().fold((0, 0), |m, s| (m.0.max(s.0), m.1.max(s.1)));
    let (middle, last) = (most(&measured[third..2 * third]), most(&measured[2 * third..]));
    let grown = (last.0.saturating_sub(middle.0), last.1.saturating_sub(middle.1));
    println!("memory: agent {} MiB, grown by {}; hub {} MiB, grown by {}", last.0, grown.0, last.1, grown.1);
    ensure!(grown.0 <= GROWN_MAX && grown.1 <= GROWN_MAX, "memory grew by more than {GROWN_MAX} MiB");
    Ok(())
}
