//! Benchmark: two hours of a gateway's predictions, held back while the hub was away, and today's beside them.
//!
//! A real agent's outbox is filled through its own log with 720,000 predictions (100 a second for two hours); then hub and
//! agent start, the agent with a camera that plays. Measured: how fast the hub's tables come to name the backlog's rows, and
//! meanwhile the age of the live predictions when a subscriber of the live lane has them, and when `GET /api/v1/stream`
//! gives them, which comes by way of the archive lane and so shares it with the backlog.
//!
//! Bars: >= 50 x real time, 5,000 records/s; live p99 < 1 s. `BACKLOG_RECORDS` (720,000).

#![allow(clippy::print_stdout, missing_docs)]

use std::{
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result, ensure};
use contract::{Kind, Principal, Timestamp, frame};
use edge_agent::{
    clock::Mono,
    identity::{Identity, new_epoch},
    outbox::{Bound, GapWriter, Now, Opener, Outbox, Settings, disk::Folder},
};
use serde_json::Value;
use world::{Config, Edge, Hub, Observer, mqtt::Login};

#[path = "made.rs"]
#[expect(dead_code, reason = "the agent cuts its own bundles")]
mod made;
#[path = "rounds.rs"]
#[expect(dead_code, reason = "the backlog drains once")]
mod rounds;
#[path = "running.rs"]
#[expect(dead_code, reason = "only CPU time is asked for")]
mod running;

use made::Maker;
use rounds::{Rounds, setting};

const REAL_TIME: f64 = 100.0;
const FASTER: f64 = 50.0;
const LIVE_MS: f64 = 1_000.0;

fn main() -> Result<()> {
    let records = setting("BACKLOG_RECORDS", 720_000);
    let folder = tempfile::tempdir()?;
    let config = Config::new()
        .set("models.default", world::runtime::tiny_model()?.display().to_string())
        .set("cameras.live.uri", format!("file:{}", world::runtime::video()?.display()))
        .set("cameras.live.play", "loop")
        .set("cameras.live.regions.full.fps", 10);
    let began = Instant::now();
    fill(&folder.path().join("edge/outbox"), records)?;
    eprintln!("outbox filled in {:.1} s", began.elapsed().as_secs_f64());

    let hub = Hub::start(folder.path(), Config::new().set("ingest.flush_interval", "10s"))?;
    let live = Ages::default();
    let _observer = live.observe(&hub)?;
    let edge = Edge::start(folder.path(), &hub, config)?;
    let (hub_cpu, edge_cpu) = (running::cpu_us(hub.process.id())?, running::cpu_us(edge.process.id())?);
    let (began, done) = (Instant::now(), AtomicBool::new(false));
    let stream = Ages::default();
    let took = thread::scope(|scope| {
        let watcher = scope.spawn(|| stream.follow(&hub, &done));
        let took = drained(&hub, records, began);
        done.store(true, Ordering::Relaxed);
        watcher.join().map_err(|_| anyhow::anyhow!("the stream's watcher panicked"))??;
        took
    })?;
    let (hub_cpu, edge_cpu) =
        (running::cpu_us(hub.process.id())? - hub_cpu, running::cpu_us(edge.process.id())? - edge_cpu);
    let rate = records as f64 / took.as_secs_f64();
    let (live, stream) = (live.take(), stream.take());
    println!("| what | figure | bar |\n|---|---|---|");
    println!("| backlog, predictions | {records} | |");
    println!("| drained in, s | {:.1} | |", took.as_secs_f64());
    println!("| records/s; times real time | {rate:.0}; {:.0} | >= {FASTER:.0} x |", rate / REAL_TIME);
    println!("| CPU a record, us: hub; agent | {:.2}; {:.2} | |", hub_cpu / records as f64, edge_cpu / records as f64);
    for (name, ages) in [("live lane", &live), ("GET /api/v1/stream", &stream)] {
        let [p50, p99] = [0.5, 0.99].map(|part| ages.at(part));
        println!(
            "| {name} meanwhile, ms: p50 / p99 / max of {} | {p50:.0} / {p99:.0} / {:.0} | p99 < {LIVE_MS:.0} |",
            ages.len(),
            ages.max()
        );
    }
    println!("| load | {} | |", rounds::load());
    ensure!(rate >= FASTER * REAL_TIME, "{rate:.0} records/s are below {:.0}", FASTER * REAL_TIME);
    for (name, ages) in [("live lane", &live), ("stream", &stream)] {
        ensure!(ages.len() > 20, "only {} live predictions came: {name}", ages.len());
        ensure!(ages.at(0.99) < LIVE_MS, "{name}: p99 of {:.0} ms is over the bar", ages.at(0.99));
    }
    Ok(())
}

/// Two hours of predictions, as this agent wrote them while nobody answered.
fn fill(path: &Path, records: u64) -> Result<()> {
    std::fs::create_dir_all(path)?;
    let who = Principal { site: "plant".parse()?, gateway: "gw-1".parse()? };
    let identity = Identity::new(who.site.clone(), who.gateway.clone());
    let gap_writer: GapWriter = Box::new(move |address, gap| {
        frame::encode_record(&identity.header(Kind::Gap, address, Timestamp(0), Mono(0)), gap, &[])
    });
    let fresh = new_epoch().context("no random numbers")?;
    let opener = Opener {
        disk: Arc::new(Folder::new(path)),
        settings: Settings {
            bound: Bound { max_bytes: 1 << 30, max_age: Duration::from_secs(30 * 86_400) },
            segment_bytes: 4 << 20,
        },
        owner: &who,
        fresh,
        gap_writer,
        now: Now::read(),
    };
    let outbox = Outbox::new(opener.open()?, Duration::from_millis(200));
    let mut maker = Maker::new(&who, fresh)?;
    let every_us = (1e6 / REAL_TIME) as i64;
    let first = now().0 - records as i64 * every_us;
    thread::scope(|scope| {
        scope.spawn(|| outbox.run_syncer());
        for n in 0..records {
            let captured_at = Timestamp(first + n as i64 * every_us);
            let record = maker.record(Kind::Prediction, n, captured_at)?;
            outbox.append(Kind::Prediction, captured_at, |_| Ok(record))?;
        }
        outbox.sync_soon();
        while outbox.index(|index| index.durable(Kind::Prediction)) < records {
            thread::sleep(Duration::from_millis(10));
        }
        outbox.stop_syncer();
        Ok(())
    })
}

/// Waits until the tables name so many rows.
fn drained(hub: &Hub, records: u64, began: Instant) -> Result<Duration> {
    let rest = hub.rest()?;
    loop {
        let report = rest.json("/api/v1/lake")?;
        let contents = report["contents"].as_array().context("the hub's report has no contents")?;
        let predictions = contents.iter().find(|of| of["kind"] == "prediction" && of["format"] == "parquet");
        if predictions.and_then(|of| of["rows"].as_u64()).unwrap_or(0) >= records {
            return Ok(began.elapsed());
        }
        ensure!(began.elapsed() < Duration::from_secs(300), "the backlog is not drained: {}", report["contents"]);
        thread::sleep(Duration::from_millis(100)); // the period of the question
    }
}

/// Ages in milliseconds of predictions that the running agent made, when they came.
#[derive(Clone, Default)]
struct Ages(Arc<Mutex<Rounds>>);

impl Ages {
    fn note(&self, json: &Value, since: Timestamp) {
        let captured = json["captured_at"].as_str().and_then(|text| text.parse::<Timestamp>().ok());
        if let Some(captured) = captured.filter(|captured| *captured >= since && json["camera"] == "live") {
            let age = (now().0 - captured.0) as f64 / 1e3;
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(age);
        }
    }

    fn observe(&self, hub: &Hub) -> Result<Observer> {
        let (ages, since) = (self.clone(), now());
        let filters = ["sightline/live/+/+/+/+/prediction"];
        Observer::with(&format!("mqtt://{}", hub.mqtt()?), &filters, &Login::default(), move |message| {
            ages.note(&message.json(), since);
            false
        })
    }

    fn follow(&self, hub: &Hub, done: &AtomicBool) -> Result<()> {
        let since = now();
        hub.rest()?.events("/api/v1/stream?kind=prediction&camera=live", |line| {
            if let Some(json) = line.strip_prefix("data:").and_then(|data| serde_json::from_str(data.trim()).ok()) {
                self.note(&json, since);
            }
            !done.load(Ordering::Relaxed)
        })
    }

    fn take(&self) -> Rounds {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn now() -> Timestamp {
    Timestamp::from_system(SystemTime::now())
}
