//! Benchmark: how soon a classification can be seen at the hub, and how soon it is in a committed object.
//!
//! A real agent classifies four looped videos at ten frames a second beside simulated gateways that send 5,000 records/s. Both
//! clocks are this machine's. A record is classified at `captured_at` + `latency.total_us`; it can be seen when
//! `GET /api/v1/predictions/latest` (asked every 20 ms) first gives it, and when it comes on `GET /api/v1/stream`; it is
//! committed when the agent's watermark passes its number, which the hub publishes only after the commit.
//!
//! Bars: API p99 < 2 s, committed in at most the flush interval (10 s, the usual) + 1 s. `ARRIVAL_SECONDS` (50, less than the
//! harness's HTTP client takes for one request).

#![allow(clippy::print_stdout, missing_docs)]

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result, ensure};
use contract::{Archived, Epoch, Kind, Timestamp};
use serde_json::Value;
use world::{Config, Edge, Hub, Observer, Rest, mqtt::Login};

#[path = "fleet.rs"]
#[expect(dead_code, reason = "here all is sent at a pace")]
mod fleet;
#[path = "made.rs"]
mod made;
#[path = "rounds.rs"]
#[expect(dead_code, reason = "there is one round")]
mod rounds;

use fleet::Fleet;
use rounds::{Rounds, setting};

const CAMERAS: usize = 4;
const BESIDE: f64 = 5_000.0;
const FLUSH: Duration = Duration::from_secs(10);
const API_MS: f64 = 2_000.0;
const COMMIT_MS: f64 = 11_000.0;

/// What is seen of the agent's records, by the time it was seen.
#[derive(Default)]
struct Seen {
    latest: Rounds,
    stream: Rounds,
    committed: Rounds,
    /// When each record was classified, by its number; until it is committed.
    classified: BTreeMap<u64, Timestamp>,
    epoch: Option<Epoch>,
}

type Shared = Arc<Mutex<Seen>>;

fn main() -> Result<()> {
    let lasting = Duration::from_secs(setting("ARRIVAL_SECONDS", 50));
    let folder = tempfile::tempdir()?;
    let config = Config::new().set("ingest.flush_interval", format!("{}s", FLUSH.as_secs()));
    let hub = Hub::start(&folder.path().join("hub"), config)?;
    let seen = Shared::default();
    let _live = watch_lanes(&hub, &seen)?;
    let video = world::runtime::video()?;
    let mut config = Config::new().set("models.default", world::runtime::tiny_model()?.display().to_string());
    for n in 0..CAMERAS {
        config = config
            .set(&format!("cameras.cam-{n}.uri"), format!("file:{}", video.display()))
            .set(&format!("cameras.cam-{n}.play"), "loop")
            .set(&format!("cameras.cam-{n}.regions.full.fps"), 10);
    }
    let edge = Edge::start(folder.path(), &hub, config)?;
    let fleet = Fleet::connect(hub.mqtt()?, contract::topic::DEFAULT_PREFIX, 100, 1)?;
    fleet.paced(Kind::Prediction, BESIDE, Duration::from_secs(3))?; // all are connected, all cameras play
    let end = Instant::now() + lasting;
    thread::scope(|scope| {
        let latest = scope.spawn(|| watch_latest(&hub.rest()?, &seen, end));
        let stream = scope.spawn(|| watch_stream(&hub.rest()?, &seen, end));
        fleet.paced(Kind::Prediction, BESIDE, lasting)?;
        for watcher in [latest, stream] {
            watcher.join().map_err(|_| anyhow::anyhow!("a watcher panicked"))??;
        }
        Ok::<_, anyhow::Error>(())
    })?;
    drop(edge);
    report(&seen)
}

fn report(seen: &Shared) -> Result<()> {
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    println!("from classification, ms; load {}\n", rounds::load());
    println!("| until | records | p50 | p90 | p99 | max | bar |\n|---|---|---|---|---|---|---|");
    let row = |name: &str, of: &Rounds, bar: &str| {
        let [p50, p90, p99] = [0.5, 0.9, 0.99].map(|part| of.at(part));
        println!("| {name} | {} | {p50:.0} | {p90:.0} | {p99:.0} | {:.0} | {bar} |", of.len(), of.max());
    };
    row("GET /api/v1/predictions/latest", &seen.latest, "p99 < 2000");
    row("GET /api/v1/stream", &seen.stream, "p99 < 2000");
    row("committed (flush interval 10 s)", &seen.committed, "max <= 11000");
    for (name, of) in [("latest", &seen.latest), ("stream", &seen.stream), ("committed", &seen.committed)] {
        ensure!(of.len() > 500, "only {} records were seen: {name}", of.len());
    }
    for (name, of) in [("latest", &seen.latest), ("stream", &seen.stream)] {
        ensure!(of.at(0.99) < API_MS, "{name}: p99 of {:.0} ms is over the bar of {API_MS:.0}", of.at(0.99));
    }
    let committed = seen.committed.max();
    ensure!(committed <= COMMIT_MS, "committed after {committed:.0} ms, over the bar of {COMMIT_MS:.0}");
    Ok(())
}

/// The agent's predictions on the live lane say when each number was classified; its watermark, when it is committed.
fn watch_lanes(hub: &Hub, seen: &Shared) -> Result<Observer> {
    let seen = seen.clone();
    let filters = ["sightline/live/plant/gw-1/+/+/prediction", "sightline/down/plant/gw-1/archived"];
    Observer::with(&format!("mqtt://{}", hub.mqtt()?), &filters, &Login::default(), move |message| {
        let at = now();
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        if message.topic.ends_with("/archived") {
            if let (Some(epoch), Ok(document)) = (seen.epoch, serde_json::from_slice::<Archived>(&message.payload)) {
                let upto = document.of(epoch, Kind::Prediction).map_or(0, |mark| mark.upto);
                let rest = seen.classified.split_off(&upto);
                for classified in std::mem::replace(&mut seen.classified, rest).into_values() {
                    seen.committed.push(millis(classified, at));
                }
            }
        } else if let Some(record) = Record::of(&message.json()) {
            seen.epoch = Some(record.epoch);
            seen.classified.insert(record.seq, record.classified);
        }
        false
    })
}

/// A record as the live lane and the API show it.
struct Record {
    epoch: Epoch,
    seq: u64,
    classified: Timestamp,
}

impl Record {
    fn of(json: &Value) -> Option<Self> {
        let captured: Timestamp = json["captured_at"].as_str()?.parse().ok()?;
        let total_us = json["latency"]["total_us"].as_i64()?;
        Some(Self {
            epoch: json["epoch"].as_str()?.parse().ok()?,
            seq: json["seq"].as_u64()?,
            classified: Timestamp(captured.0 + total_us),
        })
    }
}

/// Each record counts when it is first seen; those that a newer one replaced between two questions are not seen.
fn watch_latest(rest: &Rest, seen: &Shared, end: Instant) -> Result<()> {
    let mut known: HashSet<u64> = HashSet::new();
    while Instant::now() < end {
        let page = rest.json("/api/v1/predictions/latest?gateway=gw-1")?;
        let at = now();
        for record in page["predictions"].as_array().context("no predictions")?.iter().filter_map(Record::of) {
            if known.insert(record.seq) {
                let delay = millis(record.classified, at);
                seen.lock().unwrap_or_else(PoisonError::into_inner).latest.push(delay);
            }
        }
        thread::sleep(Duration::from_millis(20)); // the period of the question
    }
    Ok(())
}

fn watch_stream(rest: &Rest, seen: &Shared, end: Instant) -> Result<()> {
    rest.events("/api/v1/stream?kind=prediction&gateway=gw-1", |line| {
        if let Some(record) = line
            .strip_prefix("data:")
            .and_then(|data| serde_json::from_str::<Value>(data.trim()).ok())
            .and_then(|json| Record::of(&json))
        {
            let delay = millis(record.classified, now());
            seen.lock().unwrap_or_else(PoisonError::into_inner).stream.push(delay);
        }
        Instant::now() < end
    })
}

fn millis(from: Timestamp, to: Timestamp) -> f64 {
    (to.0 - from.0) as f64 / 1e3
}

fn now() -> Timestamp {
    Timestamp::from_system(SystemTime::now())
}
