//! Benchmark: from the archive lane to committed Parquet, against what an engineer would write with paho, pyarrow and boto3.
//!
//! One hub (its broker, S3 server and tables with it), ten simulated gateways a contender, each with a connection of its own.
//! In every round each contender in turn gets the same number of the same records as fast as its window lets, on a topic
//! prefix of its own at the same broker; the peer puts its objects to the same S3 server, as many rows to one as the hub
//! does. What is compared is the CPU time of the process that consumes: the hub's with its S3 server and tables in it, the
//! peer's without either.
//!
//! Bars: CPU a record <= 1/5 of the peer's; >= 20,000 records/s with broker and senders on the same two cores, in the best
//! round; samples of 30 KB >= 1,000/s. `BENCH_ROUNDS` (5), `BENCH_RECORDS` (200,000 a contender and round), `BENCH_PYTHON` (a
//! Python with the peers' packages; by default the one that `make bench` prepares).

#![allow(clippy::print_stdout, missing_docs)]

use std::{
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use contract::Kind;
use serde_json::json;
use world::{Config, Hub, Process};

#[path = "fleet.rs"]
#[expect(dead_code, reason = "here nothing is sent at a pace")]
mod fleet;
#[path = "made.rs"]
mod made;
#[path = "rounds.rs"]
#[expect(dead_code, reason = "rounds are not counted")]
mod rounds;
#[path = "running.rs"]
#[expect(dead_code, reason = "memory is not asked for")]
mod running;

use fleet::Fleet;
use rounds::{Rounds, setting};

const GATEWAYS: usize = 10;
const FLUSH: Duration = Duration::from_secs(1);
/// The peer's ways to parse a record's JSON, and the bar of our CPU time to its.
const PARSERS: [(&str, Option<f64>); 3] = [("orjson", Some(0.2)), ("json", None), ("arrow", None)];
const RATE: f64 = 20_000.0;
const SAMPLES: u64 = 4_000;
const SAMPLE_RATE: f64 = 1_000.0;

/// One who archives, and those who send to it.
struct Contender {
    process: u32,
    fleet: Fleet,
    /// CPU microseconds a record, by round.
    cpu: Rounds,
    /// Records a second, by round.
    rate: Rounds,
}

fn main() -> Result<()> {
    let (rounds, records) = (setting("BENCH_ROUNDS", 5), setting("BENCH_RECORDS", 200_000));
    let folder = tempfile::tempdir()?;
    let hub = Hub::start(folder.path(), Config::new().set("ingest.flush_interval", format!("{}s", FLUSH.as_secs())))?;
    let broker = running::child(hub.process.id(), "mosquitto")?;
    let mut ours = Contender::new(hub.process.id(), hub.mqtt()?, contract::topic::DEFAULT_PREFIX)?;
    ours.round(records, true)?;
    let rows = rows_an_object(&hub)?;
    let mut peers = PARSERS.iter().map(|(parser, _)| peer(&hub, parser, rows)).collect::<Result<Vec<_>>>()?;
    let mut passed = Rounds::default();
    for round in 0..=rounds {
        let before = running::cpu_us(broker)?;
        ours.round(records, round == 0)?;
        if round > 0 {
            passed.push((running::cpu_us(broker)? - before) / records as f64);
        }
        for (_, peer) in &mut peers {
            peer.round(records, round == 0)?;
        }
        eprintln!("round {round} of {rounds}: load {}", rounds::load());
    }
    println!("{records} predictions a round, {rows} rows an object, zstd 3, flush at the latest after {FLUSH:?}\n");
    println!(
        "| contender | CPU a record, us (min / median / max) | hub / contender (min / median / max) | records/s, best |"
    );
    println!("|---|---|---|---|");
    println!("| sightline-hub | {} | - | {:.0} |", ours.cpu.show(2), ours.rate.max());
    let mut missed = Vec::new();
    for ((parser, bar), (_, peer)) in PARSERS.iter().zip(&peers) {
        let ratio = ours.cpu.over(&peer.cpu);
        let bar_text = bar.map_or(String::new(), |bar| format!(", bar {bar}"));
        println!(
            "| paho + {parser} + pyarrow + boto3 | {} | {}{bar_text} | {:.0} |",
            peer.cpu.show(2),
            ratio.show(3),
            peer.rate.max()
        );
        if bar.is_some_and(|bar| ratio.median() > bar) {
            missed.push(format!("CPU a record is {:.3} of the peer's with {parser}", ratio.median()));
        }
    }
    println!("| mosquitto, sending to the hub | {} | - | - |\n", passed.show(2));
    let rate = ours.rate.max();
    if rate < RATE {
        missed.push(format!("{rate:.0} records/s are below {RATE}"));
    }
    drop(peers);
    let rate = samples(&ours, &hub, rounds)?;
    if rate < SAMPLE_RATE {
        missed.push(format!("{rate:.0} samples/s are below {SAMPLE_RATE}"));
    }
    ensure!(missed.is_empty(), "{}", missed.join("; "));
    Ok(())
}

impl Contender {
    fn new(process: u32, broker: &str, prefix: &str) -> Result<Self> {
        let fleet = Fleet::connect(broker, prefix, GATEWAYS, 1)?;
        Ok(Self { process, fleet, cpu: Rounds::default(), rate: Rounds::default() })
    }

    fn round(&mut self, records: u64, warm_up: bool) -> Result<()> {
        let before = running::cpu_us(self.process)?;
        let took = self.fleet.burst(Kind::Prediction, records)?;
        let used = running::cpu_us(self.process)? - before;
        if !warm_up {
            self.cpu.push(used / records as f64);
            self.rate.push(records as f64 / took.as_secs_f64());
        }
        Ok(())
    }
}

/// How many rows the hub puts into one object at this rate.
fn rows_an_object(hub: &Hub) -> Result<u64> {
    let report = hub.rest()?.get("/api/v1/lake")?.json();
    let contents = report["contents"].as_array().context("the hub's report of its lake has no contents")?;
    let predictions = contents.iter().find(|of| of["kind"] == "prediction").context("no predictions in the lake")?;
    let count = |key: &str| predictions[key].as_u64().with_context(|| format!("no {key} in the hub's report"));
    Ok(count("rows")? / count("objects")?.max(1))
}

fn peer(hub: &Hub, parser: &str, rows: u64) -> Result<(Process, Contender)> {
    let endpoints = hub.endpoints()?;
    let prefix = format!("peer-{parser}");
    let options = json!({
        "mqtt": hub.mqtt()?, "prefix": prefix, "s3": endpoints["s3"]["endpoint"], "bucket": endpoints["s3"]["bucket"],
        "access_key": endpoints["s3"]["access_key"], "secret_key": endpoints["s3"]["secret_key"],
        "rows": rows, "interval_s": FLUSH.as_secs(), "parser": parser,
    });
    let root = world::runtime::root();
    let python =
        std::env::var_os("BENCH_PYTHON").map_or_else(|| root.join(".sightline/bench-venv/bin/python"), Into::into);
    ensure!(python.exists(), "{} is absent: run `make bench`, which prepares it", python.display());
    let mut command = Command::new(python);
    command.arg(root.join("tests/bench/peers/archive_consumer.py")).arg(options.to_string());
    let mut process = Process::start(&prefix, &mut command)?;
    process.ready()?;
    let contender = Contender::new(process.id(), hub.mqtt()?, &prefix)?;
    Ok((process, contender))
}

/// Pictures and model inputs of 30 KB together; the best rate of the rounds.
fn samples(ours: &Contender, hub: &Hub, rounds: u64) -> Result<f64> {
    let (mut cpu, mut rate) = (Rounds::default(), Rounds::default());
    for round in 0..=rounds {
        let (before, began) = (running::cpu_us(hub.process.id())?, Instant::now());
        ours.fleet.burst(Kind::Sample, SAMPLES)?;
        if round > 0 {
            cpu.push((running::cpu_us(hub.process.id())? - before) / SAMPLES as f64);
            rate.push(SAMPLES as f64 / began.elapsed().as_secs_f64());
        }
    }
    println!("| samples of 30 KB | CPU a sample, us (min / median / max) | samples/s (min / median / max) | bar |");
    println!("|---|---|---|---|");
    println!("| sightline-hub | {} | {} | >= {SAMPLE_RATE} in the best round |", cpu.show(0), rate.show(0));
    Ok(rate.max())
}
