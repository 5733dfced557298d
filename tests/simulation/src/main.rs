//! `simulate`: runs many plans, or one again.

use std::{
    io::Write as _,
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

use clap::Parser;
use simulation::{Mutation, Outcome, Plan, run, shrink::shrink};

/// Runs the real machines of gateways and hubs in virtual time, with everything that can go wrong.
///
/// The last line counts: `schedules N lost L doubled D`. Exit code 1 when anything was lost or doubled, or another rule was
/// broken; each failing seed is printed with the command that runs it again.
#[derive(Parser)]
#[command(name = "simulate")]
struct Arguments {
    /// How many plans to run.
    #[arg(long, default_value_t = 2000)]
    schedules: u64,
    /// The first plan's seed; the others follow.
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// Run this one plan, tell what happens, and make it shorter when it fails.
    #[arg(long)]
    seed: Option<u64>,
    /// Let gateways' disks also rot and be put back to earlier states.
    #[arg(long)]
    harder: bool,
    /// Break something on purpose: no-dedup, no-sync, no-incarnation, no-versions, no-grace,
    /// early-watermark, stale-watermark, no-window.
    #[arg(long)]
    mutation: Option<String>,
    /// Threads; each runs one plan at a time.
    #[arg(long, default_value_t = std::thread::available_parallelism().map_or(1, usize::from))]
    threads: usize,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "off".into()))
        .with_writer(std::io::stderr)
        .init();
    daemon::install_crypto();
    let mutation = arguments.mutation.as_deref().map(named).transpose()?;
    match arguments.seed {
        Some(seed) => one(&plan(seed, arguments.harder, mutation)),
        None => many(&arguments, mutation),
    }
}

fn named(name: &str) -> anyhow::Result<Mutation> {
    Ok(match name {
        "no-dedup" => Mutation::NoDedup,
        "no-sync" => Mutation::NoSync,
        "no-incarnation" => Mutation::NoIncarnation,
        "no-versions" => Mutation::NoVersions,
        "no-grace" => Mutation::NoGrace,
        "early-watermark" => Mutation::EarlyWatermark,
        "stale-watermark" => Mutation::StaleWatermark,
        "no-window" => Mutation::NoWindow,
        other => anyhow::bail!("no mutation is called {other}; see --help"),
    })
}

fn plan(seed: u64, harder: bool, mutation: Option<Mutation>) -> Plan {
    let plan = if harder { Plan::draw_harder(seed) } else { Plan::draw(seed) };
    match mutation {
        Some(mutation) => plan.mutated(mutation),
        None => plan,
    }
}

fn one(plan: &Plan) -> anyhow::Result<ExitCode> {
    let outcome = run(plan)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "seed {} with {} events: {outcome:#?}", plan.seed, plan.events.len())?;
    if outcome.is_clean() {
        return Ok(ExitCode::SUCCESS);
    }
    let (short, outcome) = shrink(plan, 400);
    writeln!(out, "the same fails with {} events:", short.events.len())?;
    for event in &short.events {
        writeln!(out, "  {event:?}")?;
    }
    writeln!(out, "{outcome:#?}")?;
    Ok(ExitCode::FAILURE)
}

fn many(arguments: &Arguments, mutation: Option<Mutation>) -> anyhow::Result<ExitCode> {
    let (next, failed) = (AtomicU64::new(0), AtomicU64::new(0));
    let (lost, doubled, rows) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..arguments.threads.max(1) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= arguments.schedules {
                        return;
                    }
                    let seed = arguments.first + at;
                    let outcome = run(&plan(seed, arguments.harder, mutation)).unwrap_or_else(|error| Outcome {
                        violations: vec![format!("{error:#}")],
                        ..Outcome::default()
                    });
                    lost.fetch_add(outcome.lost, Ordering::Relaxed);
                    doubled.fetch_add(outcome.doubled, Ordering::Relaxed);
                    rows.fetch_add(outcome.rows, Ordering::Relaxed);
                    if !outcome.is_clean() {
                        failed.fetch_add(1, Ordering::Relaxed);
                        tell(seed, arguments.harder, &outcome);
                    }
                    if at % 1000 == 999 {
                        eprintln(&format!("{} schedules after {} s", at + 1, begun.elapsed().as_secs()));
                    }
                }
            });
        }
    });
    let (lost, doubled) = (lost.into_inner(), doubled.into_inner());
    let mut out = std::io::stdout().lock();
    writeln!(out, "{} rows in {:.1} s", rows.into_inner(), begun.elapsed().as_secs_f32())?;
    let failed = failed.into_inner();
    if failed > 0 {
        writeln!(out, "{failed} schedules failed")?;
    }
    writeln!(out, "schedules {} lost {lost} doubled {doubled}", arguments.schedules)?;
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn tell(seed: u64, harder: bool, outcome: &Outcome) {
    let harder = if harder { " --harder" } else { "" };
    eprintln(&format!("seed {seed} fails; again: target/release/simulate --seed {seed}{harder}"));
    for violation in outcome.violations.iter().take(3) {
        eprintln(&format!("  {violation}"));
    }
}

fn eprintln(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}"); // a closed stderr is no reason to stop
}
