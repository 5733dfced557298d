//! Benchmark: from the camera's clock to the result in a subscriber's hand, over live RTSP.
//!
//! The test camera sends sender reports, so `captured_at` is the camera's own time, and both clocks are this machine's.
//! The jitter buffer is 100 ms; the bar is p99 <= 100 ms + 25 ms. `LATENCY_SECONDS` (60) says how long.

#![allow(clippy::print_stdout, missing_docs)]

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, ensure};
use contract::Timestamp;
use world::{Config, Edge, Hub, Observer, TestCamera, mqtt::Login};

const BUFFER_MS: f64 = 100.0;
const BAR_MS: f64 = BUFFER_MS + 25.0;

fn main() -> Result<()> {
    let seconds: u64 = std::env::var("LATENCY_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(60);
    let folder = tempfile::tempdir()?;
    let hub = Hub::start(&folder.path().join("hub"), Config::new())?;
    let camera = TestCamera::start(&world::runtime::video()?)?;
    let delays: Arc<Mutex<Vec<f64>>> = Arc::default();
    let seen = Arc::clone(&delays);
    let _observer = Observer::with(
        &format!("mqtt://{}", hub.mqtt()?),
        &["sightline/live/+/+/+/+/prediction"],
        &Login::default(),
        move |message| {
            let now = Timestamp::from_system(SystemTime::now());
            let body = message.json();
            if body["captured_source"] == "reference"
                && let Some(captured) = body["captured_at"].as_str().and_then(|text| text.parse::<Timestamp>().ok())
            {
                seen.lock().unwrap_or_else(PoisonError::into_inner).push((now.0 - captured.0) as f64 / 1e3);
            }
            false
        },
    )?;
    let config = Config::new()
        .set("models.default", world::runtime::fetched("models/tiny-gray64")?.display().to_string())
        .set("cameras.live.uri", camera.url.clone())
        .set("cameras.live.latency", format!("{BUFFER_MS:.0}ms"))
        .set("cameras.live.regions.full.fps", "every");
    let _edge = Edge::start(folder.path(), &hub, config)?;

    let count = || delays.lock().unwrap_or_else(PoisonError::into_inner).len();
    world::wait::until("the first prediction with the camera's own time", || Ok((count() > 20).then_some(())))?;
    delays.lock().unwrap_or_else(PoisonError::into_inner).clear(); // the first frames wait for the buffer to fill
    std::thread::sleep(Duration::from_secs(seconds)); // the length of the measurement, not a wait for a state
    let mut delays = std::mem::take(&mut *delays.lock().unwrap_or_else(PoisonError::into_inner));
    delays.sort_by(f64::total_cmp);
    ensure!(delays.len() > 100, "only {} predictions came in {seconds} s", delays.len());
    let at = |p: f64| delays[((delays.len() - 1) as f64 * p) as usize];
    let last = delays.last().context("no predictions")?;
    println!("| predictions | p50 ms | p90 ms | p99 ms | max ms | bar p99 ms |\n|---|---|---|---|---|---|");
    println!("| {} | {:.1} | {:.1} | {:.1} | {last:.1} | {BAR_MS:.0} |", delays.len(), at(0.5), at(0.9), at(0.99));
    ensure!(at(0.99) <= BAR_MS, "p99 of {:.1} ms is over the bar of {BAR_MS:.0} ms", at(0.99));
    Ok(())
}
