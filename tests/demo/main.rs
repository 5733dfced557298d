//! `make demo`: hub, agent and three cameras on real pictures, watched until Ctrl-C (or `DEMO_SECONDS`), then stopped in
//! order and counted: `classified N, published N, archived N`. The third number is what stands in the lake's Parquet.
//!
//! Exit code 0 when the three are equal and every camera is among them, else 1.

#![allow(clippy::print_stdout)] // what a demo says, it says to people on stdout

mod cameras;
mod counts;
mod ending;
mod folder;
mod signals;
mod stage;
mod table;

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use crate::{signals::Signals, stage::Stage, table::Table};

/// What `--help` says.
const HELP: &str = "\
Three cameras on real pictures, classified, on MQTT and in a lake; Ctrl-C ends it, and counts what was made, sent and archived.

Usage: [DEMO_SECONDS=30] sightline-demo

Exit codes: 0 the three counts are equal, 1 they are not, or it cannot run (the reason stands on stderr), 2 the command line is wrong.";

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        None => {}
        Some("--help" | "-h") => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Some(other) => {
            eprintln!("demo: `{other}` is no option: it takes none; see --help");
            return ExitCode::from(2);
        }
    }
    match demo() {
        Ok(counts) => {
            if let Some(missing) = counts.missing() {
                eprintln!("demo: {missing}");
            }
            println!("{counts}");
            ExitCode::from(u8::from(counts.missing().is_some()))
        }
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn demo() -> Result<counts::Counts> {
    let signals = Signals::block()?;
    let seconds = std::env::var("DEMO_SECONDS").ok().map(|text| text.parse().map(Duration::from_secs_f64));
    let limit: Option<Duration> = seconds.transpose().context("DEMO_SECONDS is not a number of seconds")?;
    let folder = folder::fresh()?;
    let mut stage = Stage::set(&folder)?;
    stage.explain(limit)?;
    watch(&mut stage, &signals, limit)?;
    ending::stop_and_count(stage)
}

/// Shows the table until it is time to stop.
fn watch(stage: &mut Stage, signals: &Signals, limit: Option<Duration>) -> Result<()> {
    let table = Table::default();
    let _observer = table.subscribe(&stage.hub)?;
    let began = Instant::now();
    let mut screen = table::Screen::new();
    loop {
        let left = limit.map_or(screen.period(), |limit| limit.saturating_sub(began.elapsed()).min(screen.period()));
        if signals.came_within(left) || limit.is_some_and(|limit| began.elapsed() >= limit) {
            screen.leave();
            return Ok(());
        }
        screen.show(&table);
        stage.still_there()?;
    }
}
