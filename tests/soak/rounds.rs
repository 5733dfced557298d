//! The rounds of one world: strike, heal, wait for the backlog, compare; and in the end the whole account.

use std::{
    collections::BTreeSet,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use world::edge;

use crate::{
    plan::{self, Fault, Round, Strike, Tables},
    recovery,
    tally::{Tally, Verdict},
    world::{GATEWAYS, World},
    written::Written,
};

/// One world with its books.
pub struct Rounds {
    world: World,
    seed: u64,
    written: Vec<Written>,
    tally: Tally,
    incarnation: Option<String>,
    slowest: Duration,
}

impl Rounds {
    /// A new world below `folder`.
    pub fn start(folder: &Path, tables: Tables, seed: u64) -> Result<Self> {
        let world = World::start(folder, tables)?;
        let mut written: Vec<Written> = world.gateways.iter().map(|_| Written::default()).collect();
        let mut incarnation = None;
        look(&world, &mut written)?;
        recovery::wait(&world, &written, &mut incarnation).context("before the first round")?;
        let (tally, slowest) = (Tally::default(), Duration::ZERO);
        Ok(Self { world, seed, written, tally, incarnation, slowest })
    }

    /// The world, for looking into a failure.
    pub fn world(&mut self) -> &mut World {
        &mut self.world
    }

    /// One round; gives its line.
    pub fn round(&mut self, n: usize) -> Result<String> {
        let began = Instant::now();
        let plan = plan::round(self.seed, self.world.tables, GATEWAYS, n);
        let line = self.play(&plan).with_context(|| plan.to_string())?;
        Ok(format!("{plan} | {line} | round {:.1}s", began.elapsed().as_secs_f64()))
    }

    fn play(&mut self, plan: &Round) -> Result<String> {
        let began = Instant::now();
        for (at, fault, begins) in timeline(&plan.strikes) {
            // The random moment is the test: nothing is waited for here.
            thread::sleep(at.saturating_sub(began.elapsed()));
            if begins { self.world.strike(fault)? } else { self.world.relieve(fault)? }
        }
        let healing = Instant::now();
        let surprises = self.world.heal(&plan.false_starts)?;
        let healed = healing.elapsed();
        look(&self.world, &mut self.written)?;
        let took = recovery::wait(&self.world, &self.written, &mut self.incarnation)?;
        self.slowest = self.slowest.max(took);
        let verdict = self.compare(false)?;
        ensure!(verdict.is_clean(), "{verdict}");
        ensure!(surprises.is_empty(), "{}", surprises.join("\n"));
        let memory = self.world.memory()?;
        Ok(format!(
            "started again in {:.1}s, archived in {:.1}s | {verdict} | {memory}",
            healed.as_secs_f64(),
            took.as_secs_f64()
        ))
    }

    /// The books as they are now.
    pub fn compare(&mut self, ended: bool) -> Result<Verdict> {
        self.tally.update(&self.world.hub)?;
        let mut all = Verdict::default();
        for (n, (gateway, written)) in self.world.gateways.iter().zip(&self.written).enumerate() {
            let mut verdict = self.tally.judge(written, gateway.was_full, ended);
            verdict.wrong.iter_mut().for_each(|wrong| *wrong = format!("gw-{}: {wrong}", n + 1));
            all.add(verdict);
        }
        let known: BTreeSet<_> = self.written.iter().filter_map(|written| written.epoch).collect();
        let strangers = self.tally.strangers(&known);
        if strangers > 0 {
            all.wrong.push(format!("{strangers} rows of logs that no gateway has"));
        }
        all.wrong.extend(self.tally.odd());
        Ok(all)
    }

    /// Stops the gateways in order, and holds the lake against all that they ever wrote; then asks `verify`.
    pub fn account(&mut self) -> Result<(Verdict, String)> {
        for (n, gateway) in self.world.gateways.iter_mut().enumerate() {
            let status = gateway.edge.process.terminate(edge::DRAIN)?;
            ensure!(status.success(), "agent {} ended with {status}", n + 1);
        }
        look(&self.world, &mut self.written)?;
        recovery::archived(&self.world.broker, &self.written, &mut self.incarnation)?;
        let verdict = self.compare(true)?;
        let (report, code) = self.world.hub.command(&["verify", "--json"])?;
        let report: Value = serde_json::from_str(&report).context("read the report of `verify`")?;
        let archived: u64 =
            report["sequences"].as_array().into_iter().flatten().filter_map(|s| s["archived"].as_u64()).sum();
        ensure!(code == Some(0) && report["clean"] == true, "`verify` is not clean: {report:#}");
        ensure!(
            archived == verdict.rows - verdict.doubled,
            "`verify` counts {archived} records, and the Parquet objects hold {} rows",
            verdict.rows
        );
        let said = format!(
            "verify clean: {} objects, {} pictures; {} kills; slowest recovery {:.1}s",
            report["objects"],
            report["samples"],
            self.world.kills,
            self.slowest.as_secs_f64()
        );
        Ok((verdict, said))
    }
}

fn look(world: &World, written: &mut [Written]) -> Result<()> {
    for (gateway, written) in world.gateways.iter().zip(written) {
        written.look(&gateway.edge.state)?;
    }
    Ok(())
}

/// Beginnings and ends in order. A kill has no end of its own.
fn timeline(strikes: &[Strike]) -> Vec<(Duration, Fault, bool)> {
    let begin = strikes.iter().map(|strike| (strike.after, strike.fault, true));
    let lasting = strikes.iter().filter(|strike| !matches!(strike.fault, Fault::Kill(_)));
    let mut all: Vec<_> = begin.chain(lasting.map(|strike| (strike.until(), strike.fault, false))).collect();
    all.sort_by_key(|(at, _, _)| *at);
    all
}
