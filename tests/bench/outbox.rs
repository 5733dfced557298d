//! Benchmark: the gateway's outbox on this machine's disk. What a record costs, what that is of the agent, and how long a
//! start takes with a gibibyte of backlog.
//!
//! Bars: 5,000 records/s until durable, with group commit; at 100 records/s at most 3 % of the CPU that an agent takes to
//! make them; 1 GiB recovered in less than 2 s. `OUTBOX_DIR` names a folder on the disk to measure (the temporary one).

#![allow(clippy::print_stdout, missing_docs)]

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use contract::{Epoch, Kind, Timestamp, frame};
use edge_agent::{
    clock::Mono,
    identity::Identity,
    outbox::{Bound, GapWriter, Now, Opener, Outbox, Settings, disk::Folder},
};
use world::{Config, Edge};

#[path = "cpu.rs"]
#[expect(dead_code, reason = "this benchmark waits for no child")]
mod cpu;

/// A prediction record as the agent writes it.
const RECORD: usize = 700;
const BURST: u64 = 200_000;
const PACED: Duration = Duration::from_secs(20);
const CAMERAS: usize = 10;

fn main() -> Result<()> {
    let folder = match std::env::var_os("OUTBOX_DIR") {
        Some(dir) => tempfile::tempdir_in(dir)?,
        None => tempfile::tempdir()?,
    };
    println!("| what | figure | bar |\n|---|---|---|");
    let rate = burst(&folder.path().join("burst"))?;
    let (own, latency) = paced(&folder.path().join("paced"))?;
    let agent = agent(folder.path())?;
    let share = 100.0 * own / agent;
    println!("| CPU of the outbox at 100 records/s, ms a second | {own:.2} | - |");
    println!("| CPU of an agent with {CAMERAS} cameras at 10 frames/s, ms a second | {agent:.0} | - |");
    println!("| the outbox's share, percent | {share:.2} | <= 3 |");
    println!("| append, p99 us (with the system's scheduling) | {latency:.0} | - |");
    let recovery = recovery(&folder.path().join("recovery"))?;
    ensure!(rate >= 5000.0, "{rate:.0} records/s are below the bar of 5000");
    ensure!(share <= 3.0, "the outbox takes {share:.2} % of the agent's CPU, over the bar of 3 %");
    ensure!(recovery < 2.0, "recovery of 1 GiB took {recovery:.2} s, over the bar of 2 s");
    Ok(())
}

fn open(path: &Path) -> Result<Outbox> {
    std::fs::create_dir_all(path)?;
    let identity = Identity::new("bench".parse()?, "gw-1".parse()?);
    let owner = identity.principal();
    let gap_writer: GapWriter = Box::new(move |address, gap| {
        let header = identity.header(Kind::Gap, address, Timestamp(0), Mono(0));
        frame::encode_record(&header, gap, &[])
    });
    let opener = Opener {
        disk: Arc::new(Folder::new(path)),
        settings: Settings {
            bound: Bound { max_bytes: 4 << 30, max_age: Duration::from_secs(30 * 86_400) },
            segment_bytes: 4 << 20,
        },
        owner: &owner,
        fresh: Epoch(1),
        gap_writer,
        now: Now::read(),
    };
    Ok(Outbox::new(opener.open()?, Duration::from_millis(200)))
}

/// With the syncer beside it.
fn with_syncer<T>(outbox: &Outbox, work: impl FnOnce() -> Result<T>) -> Result<T> {
    std::thread::scope(|scope| {
        scope.spawn(|| outbox.run_syncer());
        let outcome = work();
        outbox.stop_syncer();
        outcome
    })
}

/// As many as go, until the last one is durable.
fn burst(path: &Path) -> Result<f64> {
    let outbox = open(path)?;
    let (began, cpu) = (Instant::now(), cpu::own());
    with_syncer(&outbox, || {
        for _ in 0..BURST {
            outbox.append(Kind::Prediction, Timestamp(0), |_| Ok(vec![b'x'; RECORD]))?;
        }
        outbox.sync_soon();
        while outbox.index(|index| index.durable(Kind::Prediction)) < BURST {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    })?;
    let rate = BURST as f64 / began.elapsed().as_secs_f64();
    let (each, syncs) = ((cpu::own() - cpu) / BURST as f64, outbox.counts().syncs);
    println!("| records of {RECORD} bytes a second, until durable | {rate:.0} | >= 5000 |");
    println!("| CPU of one, us; syncs for {BURST} | {each:.2}; {syncs} | - |");
    Ok(rate)
}

/// 100 records a second: CPU of the outbox in milliseconds a second, without what the pace itself costs, and the append's
/// p99 in microseconds.
fn paced(path: &Path) -> Result<(f64, f64)> {
    let outbox = open(path)?;
    let mut times = Vec::new();
    let began = cpu::own();
    pace(|_| Ok(()))?;
    let pace_alone = cpu::own() - began;
    let began = cpu::own();
    with_syncer(&outbox, || {
        pace(|n| {
            let at = Instant::now();
            let kind = if n % 100 == 0 { Kind::Event } else { Kind::Prediction };
            outbox.append(kind, Timestamp(0), |_| Ok(vec![b'x'; RECORD]))?;
            times.push(at.elapsed().as_secs_f64() * 1e6);
            Ok(())
        })
    })?;
    let own = cpu::own() - began - pace_alone;
    times.sort_by(f64::total_cmp);
    Ok((own / 1e3 / PACED.as_secs_f64(), times[times.len() * 99 / 100]))
}

/// Does something 100 times a second.
fn pace(mut work: impl FnMut(u32) -> Result<()>) -> Result<()> {
    let began = Instant::now();
    (0..PACED.as_secs() as u32 * 100).try_for_each(|n| {
        std::thread::sleep((Duration::from_millis(10) * n).saturating_sub(began.elapsed()));
        work(n)
    })
}

/// CPU of an agent that makes 100 predictions a second of real video, in milliseconds a second.
fn agent(folder: &Path) -> Result<f64> {
    let video = world::runtime::video()?;
    let mut config = Config::new()
        .set("models.default", world::runtime::fetched("models/tiny-gray64")?.display().to_string())
        .set("mqtt.url", "mqtt://127.0.0.1:9");
    for n in 0..CAMERAS {
        config = config
            .set(&format!("cameras.cam-{n}.uri"), format!("file:{}", video.display()))
            .set(&format!("cameras.cam-{n}.play"), "loop")
            .set(&format!("cameras.cam-{n}.regions.full.fps"), 10);
    }
    let edge = Edge::start_alone(folder, config)?;
    let cpu = || -> Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", edge.process.id()))?;
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        Ok(fields[11].parse::<f64>()? + fields[12].parse::<f64>()?) // utime and stime, in hundredths of a second
    };
    std::thread::sleep(Duration::from_secs(5)); // until all cameras play
    let (began, before) = (Instant::now(), cpu()?);
    std::thread::sleep(PACED); // the length of the measurement
    Ok((cpu()? - before) * 10.0 / began.elapsed().as_secs_f64())
}

fn recovery(path: &Path) -> Result<f64> {
    let outbox = open(path)?;
    let large = vec![b'x'; 4000];
    while outbox.index(|index| index.bytes()) < 1 << 30 {
        outbox.append(Kind::Prediction, Timestamp(0), |_| Ok(large.clone()))?;
    }
    let records = outbox.index(|index| index.next(Kind::Prediction));
    drop(outbox);
    // Where it may be done, the system's memory of the files goes first.
    let cold = std::fs::write("/proc/sys/vm/drop_caches", "3").is_ok();
    let began = Instant::now();
    let outbox = open(path)?;
    let took = began.elapsed().as_secs_f64();
    ensure!(outbox.index(|index| index.next(Kind::Prediction)) == records, "records are missing after the start");
    println!("| recovery of 1 GiB, s ({}) | {took:.3} | < 2 |", if cold { "cold" } else { "with warm caches" });
    Ok(took)
}
