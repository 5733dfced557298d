//! The task that looks around once a second: camera and region states, health records, stable labels on disk, metrics.

use std::{
    convert::Infallible,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, atomic::Ordering},
    time::Duration,
};

use contract::{
    Health, Kind, SCHEMA, Topic, frame,
    live::{CameraStatus, Presence, Quality, RegionState},
};
use daemon::{
    CancellationToken,
    admin::Component,
    tasks::{Reason, Stop},
};
use tokio::sync::Mutex;

use super::{Shared, build::engine_text, spent, stable::Stable};
use crate::{
    clock::{self, Mono},
    health::{self, Rates},
    live,
    metrics::AgentMetrics,
    region::{quality::Watch, rate::Rate},
};

const TICK: Duration = Duration::from_secs(1);
/// Retained camera statuses tell frames a second; they are renewed so often at most.
const FPS_EVERY: Duration = Duration::from_secs(5);

/// The spent sample budget is written so often at most; a power cut forgets that much of it.
const SPENT_EVERY: Duration = Duration::from_secs(10);

/// The task's state.
pub struct Status {
    shared: Arc<Shared>,
    metrics: Arc<AgentMetrics>,
    engine: Component,
    state: PathBuf,
    until_end: Option<Stop>,
    watches: Vec<Vec<(Watch, Quality)>>,
    rates: Rates,
    health_rates: Rates,
    fps: Vec<f32>,
    fps_at: Option<Mono>,
    health_due: Mono,
    alarm: Vec<(String, bool)>,
    stable: Stable,
    spent: u64,
    spent_due: Mono,
}

/// Runs until the word to stop.
pub async fn run(status: Arc<Mutex<Status>>, stop: CancellationToken) -> Result<(), Infallible> {
    let changed = status.lock().await.shared.changed.clone();
    loop {
        status.lock().await.tick(false);
        tokio::select! {
            () = tokio::time::sleep(TICK) => {}
            () = changed.notified() => {}
            () = stop.cancelled() => return Ok(()),
        }
    }
}

impl Status {
    pub fn new(
        shared: Arc<Shared>,
        metrics: Arc<AgentMetrics>,
        engine: Component,
        state: &Path,
        until_end: Option<Stop>,
    ) -> Self {
        let watches = shared.cameras.iter().map(|camera| {
            let config = &shared.config.cameras[&camera.id];
            let pace = config.plan(&camera.id, Path::new("")).pace();
            let regions = config.regions();
            let interval = |region: &contract::RegionId| match regions.get(region).map(|r| r.rate(pace)) {
                Some(Rate::PerSecond(fps)) => Duration::from_secs_f64(1.0 / fps),
                _ => config.interval.map_or(Duration::ZERO, |interval| interval.get()),
            };
            camera.regions.iter().map(|r| (Watch::new(interval(&r.id)), Quality::Offline)).collect()
        });
        let watches = watches.collect();
        let stable = Stable::now(&shared.cameras);
        Self {
            fps: vec![0.0; shared.cameras.len()],
            fps_at: None,
            shared,
            metrics,
            engine,
            state: state.to_owned(),
            until_end,
            watches,
            rates: Rates::default(),
            health_rates: Rates::default(),
            health_due: Mono(0),
            alarm: Vec::new(),
            stable,
            spent: 0,
            spent_due: Mono(0),
        }
    }

    /// Looks around. `ending`: the agent stops, everything is offline.
    pub fn tick(&mut self, ending: bool) {
        let now = Mono::now();
        self.frame_rates(now);
        self.cameras();
        super::mark(&self.engine, self.shared.engine_trouble().map_or(Ok(()), Err));
        self.regions(now, ending);
        self.health(now, ending);
        let stable = Stable::now(&self.shared.cameras);
        if stable != self.stable {
            stable.write(&self.state);
            self.stable = stable;
        }
        self.keep_spent(now, ending);
        self.metrics.refresh();
        let all_ended = || self.shared.cameras.iter().all(|camera| camera.state().ended);
        if let Some(stop) = &self.until_end
            && all_ended()
        {
            tracing::info!("every camera has ended");
            stop.request(Reason::Asked);
        }
    }

    /// The sample budget that is spent, on disk.
    fn keep_spent(&mut self, now: Mono, ending: bool) {
        let budget = self.shared.budget.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if budget.spent() != self.spent && (ending || now >= self.spent_due) {
            spent::write(&self.state, &budget, &self.shared.identity.boot_id);
            self.spent = budget.spent();
            self.spent_due = now.after(SPENT_EVERY);
        }
    }

    fn frame_rates(&mut self, now: Mono) {
        if self.fps_at.is_none_or(|at| now - at >= FPS_EVERY) {
            let look = self.rates.look(now, 0.0, &self.shared.cameras);
            self.fps = look.cameras.iter().map(|camera| (camera.fps * 10.0).round() / 10.0).collect();
            self.fps_at = Some(now);
        }
    }

    fn cameras(&self) {
        for (camera, fps) in self.shared.cameras.iter().zip(&self.fps) {
            let state = camera.state();
            let fps = if state.presence == Presence::Online { *fps } else { 0.0 };
            let status =
                CameraStatus { schema: SCHEMA, status: state.presence, reason: state.reason, fps, since: state.since };
            self.put(Topic::CameraStatus(self.shared.identity.principal(), camera.id.clone()), &status);
        }
    }

    fn regions(&mut self, now: Mono, ending: bool) {
        let shared = self.shared.clone();
        for (camera, watches) in shared.cameras.iter().zip(&mut self.watches) {
            let online = camera.state().presence == Presence::Online && !ending;
            for (region, (watch, _)) in camera.regions.iter().zip(watches.iter_mut()) {
                if let Some(at) = region.classified_at() {
                    watch.classified(at);
                }
                watch.camera(online, now);
                let _ = watch.change(now);
                let known = region.now();
                let never = region.classified_at().is_none();
                if never && known.label.is_none() {
                    continue;
                }
                let state = RegionState {
                    schema: SCHEMA,
                    label: known.label,
                    score: known.score,
                    since: known.since,
                    quality: watch.quality(),
                    model: known.model,
                };
                let topic = Topic::State(shared.identity.principal(), region.camera.clone(), region.id.clone());
                put_state(&shared, topic, &state);
            }
        }
    }

    fn health(&mut self, now: Mono, ending: bool) {
        let online: Vec<_> = self.shared.cameras.iter().map(|c| c.state().presence == Presence::Online).collect();
        let cameras = self.shared.cameras.iter().zip(online).map(|(c, online)| (c.id.to_string(), online));
        let engine = (engine_text(&self.shared.engines), self.shared.engine.failing().is_empty());
        let disk = ("outbox".to_owned(), self.shared.outbox.trouble().is_none());
        let alarm: Vec<(String, bool)> = cameras.chain([engine, disk]).collect();
        if now < self.health_due && alarm == self.alarm && !ending {
            return;
        }
        self.health_due = now.after(self.shared.config.health.interval.get());
        self.alarm = alarm;
        let health = self.make_health(now);
        let (shared, at) = (&self.shared, clock::wall());
        let mut json = None;
        let appended = shared.outbox.append(Kind::Health, at, |address| {
            let header = shared.identity.header(Kind::Health, address, at, now);
            let record = frame::encode_record(&header, &health, &[])?;
            json = live::flat(&record);
            Ok(record)
        });
        if let Err(error) = appended {
            tracing::error!(error = &error as &dyn std::error::Error, "health record is lost");
        }
        if let Some(json) = json {
            let topic = Topic::Health(shared.identity.principal()).under(&shared.config.mqtt.prefix);
            shared.live.record(&topic, json);
        }
    }

    fn make_health(&mut self, now: Mono) -> Health {
        let shared = &self.shared;
        let usage = daemon::process::usage();
        let look = self.health_rates.look(now, usage.cpu_seconds, &shared.cameras);
        let ids = shared.cameras.iter().map(|camera| camera.id.clone());
        let chosen = shared.engines.iter().map(|engine| format!("{}: {}", engine.model, engine.standing().reason));
        let reasons: Vec<String> = chosen.chain(shared.engine_trouble()).collect();
        Health {
            uptime_s: daemon::process::started().elapsed().as_secs(),
            version: crate::build().version.into(),
            cpu_percent: look.cpu_percent,
            memory_bytes: usage.resident_bytes,
            temperature_celsius: health::temperature_celsius(),
            accelerator: None,
            engine: engine_text(&shared.engines),
            engine_reason: reasons.join("; "),
            backlog_records: health::backlog(&shared.outbox.holds()),
            backlog_bytes: shared.outbox.index(|index| index.backlog_bytes()),
            dropped: self.dropped(),
            outbox: shared.outbox.trouble(),
            cameras: ids.zip(look.cameras).collect(),
        }
    }

    fn dropped(&self) -> std::collections::BTreeMap<String, u64> {
        let shared = &self.shared;
        let regions = || shared.cameras.iter().flat_map(|camera| &camera.regions);
        let live = &shared.live.counts;
        let mut dropped = std::collections::BTreeMap::from([
            ("frame_replaced".to_owned(), regions().map(|r| r.replaced.load(Ordering::Relaxed)).sum()),
            ("engine_failed".to_owned(), regions().map(|r| r.failed.load(Ordering::Relaxed)).sum()),
            ("live_offline".to_owned(), live.dropped_offline.load(Ordering::Relaxed)),
            ("live_full".to_owned(), live.dropped_full.load(Ordering::Relaxed)),
            ("sample_busy".to_owned(), shared.samples.dropped.load(Ordering::Relaxed)),
            ("sample_budget".to_owned(), shared.samples.over_budget.load(Ordering::Relaxed)),
        ]);
        let counts = shared.outbox.counts();
        for (what, counts) in [("outbox", counts.dropped), ("disk", counts.lost), ("damaged", counts.damaged)] {
            dropped.extend(counts.into_iter().map(|(kind, n)| (format!("{what}_{kind}"), n)));
        }
        dropped.retain(|_, n| *n > 0);
        dropped
    }

    fn put(&self, topic: Topic, document: &impl serde::Serialize) {
        put_state(&self.shared, topic, document);
    }
}

fn put_state(shared: &Shared, topic: Topic, document: &impl serde::Serialize) {
    match serde_json::to_vec(document) {
        Ok(json) => shared.board.put(topic.under(&shared.config.mqtt.prefix), json),
        Err(error) => tracing::error!(%error, %topic, "document cannot be written"),
    }
}
