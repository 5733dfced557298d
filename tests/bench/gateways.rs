//! Benchmark: what more gateways cost at the same total rate, in CPU a record and in memory.
//!
//! For 1, 10, 100 and 1,000 simulated gateways a hub of its own, with its own broker, S3 server and tables; every gateway has a
//! connection of its own and sends every 200 ms, as an agent does, what its cameras have made since. The rate of all
//! together stays the same, so that a message carries the fewer records the more gateways there are.
//!
//! Bars: from 1 to 1,000 gateways the hub's CPU a record grows by < 1.3 x, and its memory by < 64 KiB a gateway.
//! `GATEWAYS_RATE` (20,000 records/s), `GATEWAYS_SECONDS` (15), `BENCH_ROUNDS` (3).

#![allow(clippy::print_stdout, missing_docs)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Result, ensure};
use contract::Kind;
use world::{Config, Hub};

#[path = "fleet.rs"]
#[expect(dead_code, reason = "here all is sent at a pace")]
mod fleet;
#[path = "made.rs"]
mod made;
#[path = "rounds.rs"]
#[expect(dead_code, reason = "rounds are not counted")]
mod rounds;
#[path = "running.rs"]
mod running;

use fleet::Fleet;
use rounds::{Rounds, setting};

const COUNTS: [usize; 4] = [1, 10, 100, 1_000];
const GROWTH: f64 = 1.3;
const MEMORY_KIB: f64 = 64.0;
/// Before anything is measured: every log is known, every connection stands.
const WARM_UP: Duration = Duration::from_secs(4);

/// The figures of one number of gateways, by round.
#[derive(Default)]
struct Figures {
    hub: Rounds,
    broker: Rounds,
    message: Rounds,
    memory_mb: Rounds,
    broker_mb: Rounds,
}

fn main() -> Result<()> {
    let rate = setting("GATEWAYS_RATE", 20_000) as f64;
    let lasting = Duration::from_secs(setting("GATEWAYS_SECONDS", 15));
    let rounds = setting("BENCH_ROUNDS", 3);
    let mut figures: [Figures; COUNTS.len()] = Default::default();
    for round in 1..=rounds {
        for (count, figures) in COUNTS.into_iter().zip(&mut figures) {
            measure(count, rate, lasting, figures)?;
        }
        eprintln!("round {round} of {rounds}: load {}", rounds::load());
    }
    println!("{rate:.0} records/s for {lasting:?}, a message every 200 ms a gateway\n");
    println!(
        "| gateways | records a message | hub CPU a record, us (min / median / max) | of one gateway's | mosquitto CPU a record, us | hub, peak MB | mosquitto, peak MB |"
    );
    println!("|---|---|---|---|---|---|---|");
    let [one, .., most] = &figures;
    for (count, of) in COUNTS.iter().zip(&figures) {
        println!(
            "| {count} | {:.0} | {} | {:.2} | {:.2} | {:.0} | {:.0} |",
            of.message.median(),
            of.hub.show(2),
            of.hub.over(&one.hub).median(),
            of.broker.median(),
            of.memory_mb.median(),
            of.broker_mb.median()
        );
    }
    let growth = most.hub.over(&one.hub);
    let kib = (most.memory_mb.median() - one.memory_mb.median()) * 1e6 / 1024.0 / (COUNTS[3] - COUNTS[0]) as f64;
    println!("\ngrowth {} (bar < {GROWTH}), memory a gateway {kib:.0} KiB (bar < {MEMORY_KIB:.0})", growth.show(2));
    ensure!(growth.median() < GROWTH, "CPU a record grows by {:.2}, over the bar of {GROWTH}", growth.median());
    ensure!(kib < MEMORY_KIB, "a gateway takes {kib:.0} KiB, over the bar of {MEMORY_KIB:.0}");
    Ok(())
}

fn measure(count: usize, rate: f64, lasting: Duration, figures: &mut Figures) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let hub = Hub::start(folder.path(), Config::new().set("ingest.flush_interval", "2s"))?;
    let (process, broker) = (hub.process.id(), running::child(hub.process.id(), "mosquitto")?);
    let fleet = Fleet::connect(hub.mqtt()?, contract::topic::DEFAULT_PREFIX, count, 1)?;
    fleet.paced(Kind::Prediction, rate, WARM_UP)?;
    let done = Arc::new(AtomicBool::new(false));
    let until = done.clone();
    let watch = thread::spawn(move || {
        let mut peaks = [0.0; 2];
        while !until.load(Ordering::Relaxed) {
            for (peak, pid) in peaks.iter_mut().zip([process, broker]) {
                *peak = running::resident_mb(pid).unwrap_or(0.0).max(*peak);
            }
            thread::sleep(Duration::from_millis(50)); // the sampling period
        }
        peaks
    });
    let (before, broker_before) = (running::cpu_us(process)?, running::cpu_us(broker)?);
    let messages = fleet.messages();
    let records = fleet.paced(Kind::Prediction, rate, lasting)? as f64;
    let (used, broker_used) = (running::cpu_us(process)? - before, running::cpu_us(broker)? - broker_before);
    done.store(true, Ordering::Relaxed);
    let [hub_mb, broker_mb] = watch.join().unwrap_or_default();
    figures.hub.push(used / records);
    figures.broker.push(broker_used / records);
    figures.message.push(records / (fleet.messages() - messages) as f64);
    figures.memory_mb.push(hub_mb);
    figures.broker_mb.push(broker_mb);
    eprintln!("{count} gateways: {:.2} us a record, {hub_mb:.0} MB", used / records);
    drop(fleet);
    hub.stop().map(drop)
}
