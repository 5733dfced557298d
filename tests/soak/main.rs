//! `make soak`: real programs killed, frozen, cut off and out of disk, round after round, and then nothing is lost and nothing
//! stands twice. Its last line is `kills K lost L doubled D`; `make test` runs five rounds of it.
//!
//! What the agents wrote is read from their disks, what the lake holds from its Parquet objects: no program is asked for a
//! counter of its own. `memory` runs the same parts undisturbed, and their memory must stay flat.

#![allow(clippy::print_stdout)] // what a soak says, it says to people on stdout

mod chance;
mod disks;
mod memory;
mod plan;
mod recovery;
mod rounds;
mod strike;
mod tally;
mod world;
mod written;

use std::{
    process::ExitCode,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

use crate::{plan::Tables, rounds::Rounds, tally::Verdict};

/// Kills, freezes, cuts off and fills up real programs, and counts what is lost.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Rounds of faults; the last line is `kills K lost L doubled D`, exit code 1 unless both are 0.
    Rounds {
        /// How many, over all worlds.
        #[arg(long, default_value_t = 200)]
        rounds: usize,
        /// What chance begins with; by default the clock.
        #[arg(long)]
        seed: Option<u64>,
        /// One kind of world alone; by default half of the rounds are of each.
        #[arg(long)]
        tables: Option<Tables>,
        /// Only say what would be done.
        #[arg(long)]
        dry_run: bool,
    },
    /// Hub, agent and four cameras without faults: memory must stay flat, and nothing be lost.
    Memory {
        /// For how long.
        #[arg(long, default_value_t = 600)]
        seconds: u64,
    },
    /// Whether disks can be mounted here.
    #[command(hide = true)]
    TryDisks,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::TryDisks => disks::try_out(),
        Command::Memory { seconds } => memory::run(seconds),
        Command::Rounds { rounds, seed, tables, dry_run } => {
            let seed = seed.unwrap_or_else(clock);
            let worlds = worlds(rounds, tables);
            if dry_run { show(&worlds, seed) } else { disks::enter().and_then(|()| soak(&worlds, seed)) }
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("soak: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What all worlds together came to.
#[derive(Default)]
struct Totals {
    kills: u64,
    verdict: Verdict,
    failed: bool,
}

fn clock() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_secs())
}

/// Which worlds, and how many rounds of each.
fn worlds(rounds: usize, tables: Option<Tables>) -> Vec<(Tables, usize)> {
    match tables {
        Some(tables) => vec![(tables, rounds)],
        None => vec![(Tables::Sqlite, rounds.div_ceil(2)), (Tables::Postgres, rounds / 2)],
    }
}

fn show(worlds: &[(Tables, usize)], seed: u64) -> Result<()> {
    for (tables, rounds) in worlds {
        (1..=*rounds).for_each(|n| println!("{tables} {n} | {}", plan::round(seed, *tables, world::GATEWAYS, n)));
    }
    Ok(())
}

fn soak(worlds: &[(Tables, usize)], seed: u64) -> Result<()> {
    let began = Instant::now();
    let mut totals = Totals::default();
    for (tables, rounds) in worlds {
        play(*tables, *rounds, seed, &mut totals)?;
    }
    println!("{} | {:.0} s in all", totals.verdict, began.elapsed().as_secs_f64());
    println!("kills {} lost {} doubled {}", totals.kills, totals.verdict.lost, totals.verdict.doubled);
    anyhow::ensure!(!totals.failed && totals.verdict.is_clean(), "see above");
    Ok(())
}

/// One world and its rounds. A failure ends the world, and is counted as far as it can be.
fn play(tables: Tables, count: usize, seed: u64, totals: &mut Totals) -> Result<()> {
    let folder = tempfile::Builder::new().prefix("soak-").tempdir()?;
    println!("{tables}: {count} rounds, seed {seed}");
    let mut rounds = Rounds::start(folder.path(), tables, seed).with_context(|| format!("start the {tables} world"))?;
    let mut at = 0;
    let outcome = (1..=count).try_for_each(|n| {
        at = n;
        rounds.round(n).map(|line| println!("{tables} {n}/{count} | {line}"))
    });
    match outcome.and_then(|()| rounds.account()) {
        Ok((verdict, said)) => {
            println!("{tables}: {verdict} | {said}");
            totals.verdict.add(verdict);
        }
        Err(error) => {
            totals.failed = true;
            println!("{tables} {at}/{count} FAILED: {error:#}");
            println!("again: make soak SOAK_SEED={seed} SOAK_TABLES={tables} SOAK_ROUNDS={at}");
            match rounds.compare(false) {
                Ok(verdict) => totals.verdict.add(verdict),
                Err(error) => println!("what is lost could not be counted: {error:#}"),
            }
            match rounds.world().keep() {
                Ok(kept) => println!("disks and logs are kept in {}", kept.display()),
                Err(error) => println!("disks and logs could not be kept: {error:#}"),
            }
            let _ = folder.keep();
        }
    }
    totals.kills += rounds.world().kills;
    Ok(())
}
