//! Benchmark: resident memory of an idle hub, and of an agent with four 1080p files looped at their own rate.
//!
//! Bars: hub with all roles idle < 100 MB; agent < 60 MB + 30 MB a stream; flat: the last third of `MEMORY_SECONDS` (600)
//! may not lie more than 5 % above the middle third.

#![allow(clippy::print_stdout, missing_docs)]

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use world::{Config, Edge, Hub};

mod media;

const MB: f64 = 1e6;

fn main() -> Result<()> {
    let seconds: u64 = std::env::var("MEMORY_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(600);
    let files = media::four_1080p(world::runtime::root())?;
    let folder = tempfile::tempdir()?;
    let idle = Hub::start(&folder.path().join("idle"), Config::new())?;
    let hub = Hub::start(&folder.path().join("hub"), Config::new())?;
    let mut config =
        Config::new().set("models.default", world::runtime::fetched("models/tiny-gray64")?.display().to_string());
    for (i, file) in files.iter().enumerate() {
        config = config
            .set(&format!("cameras.c{i}.uri"), format!("file:{}", file.display()))
            .set(&format!("cameras.c{i}.play"), "loop")
            .set(&format!("cameras.c{i}.regions.full.fps"), "every");
    }
    let edge = Edge::start(folder.path(), &hub, config)?;

    let (mut idle_mb, mut edge_mb, mut hub_mb) = (vec![], vec![], vec![]);
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(seconds) {
        std::thread::sleep(Duration::from_secs(2)); // the sampling period
        for (process, series) in
            [(&idle.process, &mut idle_mb), (&edge.process, &mut edge_mb), (&hub.process, &mut hub_mb)]
        {
            series.push(process.resident_bytes()? as f64 / MB);
        }
    }
    let bar = 60.0 + 30.0 * files.len() as f64;
    println!(
        "| process | first MB | middle third, median | last third, median | max MB | bar MB |\n|---|---|---|---|---|---|"
    );
    let mut missed = Vec::new();
    for (name, series, bar) in [
        ("hub, idle", &idle_mb, Some(100.0)),
        ("hub, fed by one agent", &hub_mb, None),
        ("agent, 4 x 1080p", &edge_mb, Some(bar)),
    ] {
        let third = series.len() / 3;
        let (middle, last) = (median(&series[third..2 * third]), median(&series[2 * third..]));
        let max = series.iter().copied().fold(0.0, f64::max);
        let bar_text = bar.map_or(String::from("-"), |bar| format!("{bar:.0}"));
        println!("| {name} | {:.1} | {middle:.1} | {last:.1} | {max:.1} | {bar_text} |", series[0]);
        if bar.is_some_and(|bar| max > bar) || last > middle * 1.05 {
            missed.push(name);
        }
    }
    ensure!(missed.is_empty(), "over the bar or not flat: {}", missed.join(", "));
    Ok(())
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}
