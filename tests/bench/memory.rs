//! Benchmark: resident memory of an idle hub, of one that is fed, and of agents with one and with four 1080p H.264 files
//! looped at their own rate.
//!
//! `bench-memory [MINUTES]` (10; `MEMORY_MINUTES` too). Bars: hub with all roles idle < 100 MB; agent < 60 MB + 30 MB a
//! stream; both by VmRSS, from one minute after the start on. Flat: the least-squares line through VmRSS grows by less than
//! 2 MB or 2 % over the rest of the run. The peak of the start-up (VmHWM) is shown beside, and where the memory is: of the
//! program's own (anonymous), pages of files (code), and PSS, which shares the latter among those who use them.

#![allow(clippy::print_stdout, missing_docs)]

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use world::{Config, Edge, Hub};

mod media;

const MB: f64 = 1e6;
/// Between two looks at a process.
const PERIOD: Duration = Duration::from_secs(2);
/// Until it counts; a fifth of a run that is shorter than five minutes.
const START: f64 = 60.0;
/// The least run whose slope says something.
const SLOPE_MIN: f64 = 180.0;

fn main() -> Result<()> {
    let said = std::env::args().nth(1).or_else(|| std::env::var("MEMORY_MINUTES").ok());
    let minutes: f64 = said.map_or(Ok(10.0), |text| text.parse()).context("bench-memory [MINUTES]")?;
    let files = media::four_1080p(world::runtime::root())?;
    let folder = tempfile::tempdir()?;
    let idle = Hub::start(&folder.path().join("idle"), Config::new())?;
    let hub = Hub::start(&folder.path().join("hub"), Config::new())?;
    let agent = |streams: usize| {
        let own = folder.path().join(format!("agent-{streams}"));
        fs::create_dir_all(&own)?;
        Edge::start(&own, &hub, looping(&files[..streams], &format!("gw-{streams}"))?)
    };
    let (one, four) = (agent(1)?, agent(4)?);

    let mut series = [
        Series::new("hub, idle", idle.process.id(), Some(100.0)),
        Series::new("hub, fed by both agents", hub.process.id(), None),
        Series::new("agent, 1 x 1080p", one.process.id(), Some(90.0)),
        Series::new("agent, 4 x 1080p", four.process.id(), Some(180.0)),
    ];
    let begin = Instant::now();
    while begin.elapsed().as_secs_f64() < minutes * 60.0 {
        std::thread::sleep(PERIOD);
        for series in &mut series {
            series.look(begin.elapsed().as_secs_f64())?;
        }
    }
    println!(
        "{minutes} minutes, MB\n\n| process | VmRSS, median | max | bar | anonymous | file pages | PSS | slope, 10 minutes | \
         peak at start | minor faults/s |\n|---|---|---|---|---|---|---|---|---|---|"
    );
    let missed: Vec<String> = series.iter().flat_map(|series| series.judge(minutes * 60.0)).collect();
    ensure!(missed.is_empty(), "{}", missed.join("; "));
    Ok(())
}

fn looping(files: &[std::path::PathBuf], gateway: &str) -> Result<Config> {
    let model = world::runtime::fetched("models/tiny-gray64")?.display().to_string();
    let mut config = Config::new().set("gateway", gateway).set("models.default", model);
    for (i, file) in files.iter().enumerate() {
        config = config
            .set(&format!("cameras.c{i}.uri"), format!("file:{}", file.display()))
            .set(&format!("cameras.c{i}.play"), "loop")
            .set(&format!("cameras.c{i}.regions.full.fps"), "every");
    }
    Ok(config)
}

/// One look at a process; bytes in MB.
#[derive(Clone, Copy)]
struct Look {
    seconds: f64,
    resident: f64,
    anonymous: f64,
    file: f64,
    pss: f64,
    peak: f64,
    faults: f64,
}

struct Series {
    name: &'static str,
    process: u32,
    bar: Option<f64>,
    looks: Vec<Look>,
}

impl Series {
    fn new(name: &'static str, process: u32, bar: Option<f64>) -> Self {
        Self { name, process, bar, looks: Vec::new() }
    }

    fn look(&mut self, seconds: f64) -> Result<()> {
        let read = |file: &str| {
            let path = format!("/proc/{}/{file}", self.process);
            fs::read_to_string(&path).with_context(|| format!("read {path}: has {} ended?", self.name))
        };
        let (status, pages, stat) = (read("status")?, read("smaps_rollup")?, read("stat")?);
        let stat = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        self.looks.push(Look {
            seconds,
            resident: kib(&status, "VmRSS:")?,
            anonymous: kib(&status, "RssAnon:")?,
            file: kib(&status, "RssFile:")?,
            pss: kib(&pages, "Pss:")?,
            peak: kib(&status, "VmHWM:")?,
            faults: stat.split_whitespace().nth(7).and_then(|field| field.parse().ok()).unwrap_or(0.0),
        });
        Ok(())
    }

    /// Prints the line and says what is missed.
    fn judge(&self, seconds: f64) -> Vec<String> {
        let start = START.min(seconds / 5.0);
        let settled: Vec<Look> = self.looks.iter().copied().filter(|look| look.seconds >= start).collect();
        let (Some(first), Some(last)) = (settled.first(), settled.last()) else {
            return vec![format!("{}: the run is too short", self.name)];
        };
        let of = |fact: fn(&Look) -> f64| median(settled.iter().map(fact).collect());
        let (resident, window) = (of(|look| look.resident), last.seconds - first.seconds);
        let max = settled.iter().map(|look| look.resident).fold(0.0, f64::max);
        let slope = slope(&settled);
        let faults = (last.faults - first.faults) / window.max(1.0);
        println!(
            "| {} | {resident:.1} | {max:.1} | {} | {:.1} | {:.1} | {:.1} | {:+.2} | {:.1} | {faults:.1} |",
            self.name,
            self.bar.map_or("-".into(), |bar| format!("{bar:.0}")),
            of(|look| look.anonymous),
            of(|look| look.file),
            of(|look| look.pss),
            slope * 600.0,
            last.peak,
        );
        let mut missed = Vec::new();
        if let Some(bar) = self.bar.filter(|bar| max >= *bar) {
            missed.push(format!("{}: {max:.1} MB, bar {bar:.0}", self.name));
        }
        if seconds >= SLOPE_MIN && slope * window > f64::max(2.0, resident * 0.02) {
            missed.push(format!("{}: not flat, grows by {:.1} MB", self.name, slope * window));
        }
        missed
    }
}

fn kib(text: &str, key: &str) -> Result<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key)).with_context(|| format!("no line {key}"))?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib * 1024.0 / MB)
}

/// Of the least-squares line through resident memory, in MB a second.
fn slope(looks: &[Look]) -> f64 {
    let n = looks.len() as f64;
    let mean = |of: fn(&Look) -> f64| looks.iter().map(of).sum::<f64>() / n;
    let (time, resident) = (mean(|look| look.seconds), mean(|look| look.resident));
    let (mut above, mut below) = (0.0, 0.0);
    for look in looks {
        above += (look.seconds - time) * (look.resident - resident);
        below += (look.seconds - time).powi(2);
    }
    if below > 0.0 { above / below } else { 0.0 }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
