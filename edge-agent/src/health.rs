//! The health record: what the kernel, the engine, the outbox and the cameras say of themselves.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use contract::{
    Kind, RegionId,
    live::{Holding, Presence},
    record::CameraHealth,
};

use crate::{clock::Mono, state::Camera};

/// Turns counters into rates between two looks.
#[derive(Default)]
pub struct Rates {
    last: Option<Mono>,
    cpu_seconds: f64,
    frames: Vec<u64>,
    predictions: Vec<Vec<u64>>,
}

/// Rates since the last look.
pub struct Look {
    /// CPU time of the process, in percent of one core.
    pub cpu_percent: f32,
    /// Each camera, in the order of their tags.
    pub cameras: Vec<CameraHealth>,
}

impl Rates {
    /// Looks now.
    pub fn look(&mut self, now: Mono, cpu_seconds: f64, cameras: &[Arc<Camera>]) -> Look {
        let elapsed = self.last.map_or(Duration::ZERO, |last| now - last).as_secs_f64();
        let per_second = |delta: u64| if elapsed > 0.0 { (delta as f64 / elapsed) as f32 } else { 0.0 };
        let frames: Vec<u64> = cameras.iter().map(|c| c.counts.frames.load(Ordering::Relaxed)).collect();
        let regions = |camera: &Arc<Camera>| -> Vec<u64> {
            camera.regions.iter().map(|r| r.predictions.load(Ordering::Relaxed)).collect()
        };
        let predictions: Vec<Vec<u64>> = cameras.iter().map(regions).collect();
        let before = |at: usize| self.frames.get(at).copied().unwrap_or(0);
        let before_region = |at: usize, r: usize| self.predictions.get(at).and_then(|p| p.get(r)).copied().unwrap_or(0);
        let health = |(at, camera): (usize, &Arc<Camera>)| {
            let state = camera.state();
            let rate = |(r, region): (usize, &Arc<crate::state::Region>)| -> (RegionId, f32) {
                (region.id.clone(), per_second(predictions[at][r] - before_region(at, r)))
            };
            CameraHealth {
                online: state.presence == Presence::Online,
                fps: per_second(frames[at] - before(at)),
                reason: state.reason,
                predictions_per_second: camera.regions.iter().enumerate().map(rate).collect(),
            }
        };
        let cameras = cameras.iter().enumerate().map(health).collect();
        let cpu_percent = if elapsed > 0.0 { (100.0 * (cpu_seconds - self.cpu_seconds) / elapsed) as f32 } else { 0.0 };
        *self = Self { last: Some(now), cpu_seconds, frames, predictions };
        Look { cpu_percent, cameras }
    }
}

/// Hottest thermal zone, where the system has one.
pub fn temperature_celsius() -> Option<f32> {
    let zones = std::fs::read_dir("/sys/class/thermal").ok()?;
    let read = |zone: std::fs::DirEntry| -> Option<f32> {
        let text = std::fs::read_to_string(zone.path().join("temp")).ok()?;
        Some(text.trim().parse::<f32>().ok()? / 1000.0)
    };
    zones.filter_map(Result::ok).filter_map(read).reduce(f32::max)
}

/// Records that wait, by kind.
pub fn backlog(holds: &BTreeMap<Kind, Holding>) -> BTreeMap<Kind, u64> {
    holds.iter().map(|(kind, holding)| (*kind, holding.next - holding.first)).filter(|(_, n)| *n > 0).collect()
}
