//! `sightline-train tune`: searches settings.

use std::{
    fs, io,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, ensure};
use clap::Args;
use contract::Timestamp;
use store::tables::Tables;
use trainer::{
    tensors::Store,
    tune::{
        Outcome, Sampler, Space,
        importance::importance,
        pareto::front,
        prune::Asha,
        study::{Budget, Record, Rules, Study},
        training::{Goal, Training, settings},
        work::{News, work},
    },
};

use super::{bar, train::document};

/// Search settings that make a training's validation error small.
///
/// A study lies in tables, so that any number of processes, on any machines, work on it: start the same command again, here or
/// elsewhere. A worker that is killed loses its trial's lease, and another one tries the trial again. The test split is not
/// touched.
#[derive(Args)]
#[command(after_help = "\
Examples:
  sightline-train tune tensors/28x28-gray --study clothes --tables sqlite:study.db --space space.toml --trials 40
  sightline-train tune tensors/28x28-gray --study clothes --tables postgres://me@db/studies --space space.toml --hours 8 --asha
  sightline-train tune tensors/28x28-gray --study small --tables sqlite:study.db --space space.toml --goal error --goal latency --trials 60

A space names a training's settings by their keys (see train --print-settings):
  [rate]
  float = [0.01, 0.5]
  log = true
  [size]
  choice = [\"small\", \"medium\"]
  [augment.shift]
  int = [0, 3]
  [label_smoothing]
  float = [0.0, 0.2]
  when = { size = [\"medium\"] }

Exit codes: 0 the budget is spent, 1 it cannot go on (the reason stands on stderr), 2 the command line is wrong.")]
pub struct Options {
    /// The folder with tensors
    tensors: PathBuf,
    /// The study's name
    #[arg(long)]
    study: String,
    /// Where it lies: sqlite:FILE or postgres://user:password@host/database
    #[arg(long, value_name = "URI")]
    tables: String,
    /// The space, as TOML
    #[arg(long, value_name = "FILE")]
    space: PathBuf,
    /// Settings that are not searched
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// One such setting by its key with dots; repeat for more
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// How the next trial is drawn: tpe or random
    #[arg(long, default_value = "tpe")]
    sampler: Sampler,
    /// End trials early that are not among the best third at epochs 1, 3, 9, ...
    #[arg(long)]
    asha: bool,
    /// With --asha: the first rung's epochs
    #[arg(long, default_value_t = 1, value_name = "EPOCHS")]
    asha_first: u64,
    /// With --asha: one of so many goes on
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u64).range(2..=16))]
    asha_factor: u64,
    /// What is made small: error, latency or parameters; twice for two at once
    #[arg(long = "goal", default_value = "error", value_name = "GOAL")]
    goals: Vec<Goal>,
    /// Learnt numbers at most
    #[arg(long, value_name = "N")]
    max_parameters: Option<usize>,
    /// Milliseconds a picture at most, on this machine's processor
    #[arg(long, value_name = "MS")]
    max_latency_ms: Option<f64>,
    /// End after so many trials, of all workers together
    #[arg(long, value_name = "N", required_unless_present_any = ["epochs", "hours"])]
    trials: Option<u64>,
    /// End after so many epochs, of all trials together
    #[arg(long, value_name = "N")]
    epochs: Option<u64>,
    /// End after so many hours; trials that run are ended first
    #[arg(long, value_name = "HOURS")]
    hours: Option<f64>,
    /// Seconds that a trial is held without a word of its worker
    #[arg(long, default_value_t = 60, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    lease: u64,
    /// Everything drawn by chance derives from it
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write the best trial's settings to this file
    #[arg(long, value_name = "FILE")]
    best: Option<PathBuf>,
    /// The file of libonnxruntime for latencies; else ORT_DYLIB_PATH names it, or it is looked for in the usual places
    #[arg(long, value_name = "FILE")]
    library: Option<PathBuf>,
    /// Print one JSON document instead of text
    #[arg(long)]
    json: bool,
}

/// Works on the study until its budget is spent, and says what it found.
pub fn run(options: &Options, out: &mut impl io::Write) -> Result<()> {
    trainer::train::memory::keep();
    ensure!(options.goals.len() <= 2, "--goal: two at most can be made small at once");
    let text = fs::read_to_string(&options.space).with_context(|| format!("read {}", options.space.display()))?;
    let space = Space::parse(&text).with_context(|| format!("read {}", options.space.display()))?;
    let base = document(options.settings.as_deref(), &options.set)?;
    let store = Store::open(&options.tensors)?;
    let name = format!("{} {}", store.index.dataset, store.index.form.name());
    let about = format!(
        "train {name} {base} goals {:?} {:?} {:?}",
        options.goals, options.max_parameters, options.max_latency_ms
    );
    let asha = Asha { first: options.asha_first, factor: options.asha_factor };
    let rules = Rules {
        space: space.clone(),
        sampler: options.sampler,
        pruner: options.asha.then_some(asha),
        objectives: options.goals.len(),
        seed: options.seed,
        about,
    };
    let examples = store.examples();
    let mut objective = Training {
        examples: &examples,
        name: &name,
        base: base.clone(),
        goals: options.goals.clone(),
        parameters_max: options.max_parameters,
        latency_ms_max: options.max_latency_ms,
        library: options.library.clone(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("start the runtime")?;
    let now = Timestamp::from_system(SystemTime::now());
    let tables = runtime.block_on(Tables::open(&options.tables))?;
    let mut study = runtime.block_on(Study::open(tables, &options.study, rules, now))?;
    let until = options.hours.map(|hours| Timestamp(now.0 + (hours * 3.6e9) as i64));
    let budget = Budget { trials: options.trials, epochs: options.epochs, until };
    let bar = bar(options.trials.unwrap_or(0), "trials");
    let worked = work(&runtime, &mut study, budget, Duration::from_secs(options.lease), &mut objective, &mut |news| {
        tell(&bar, news);
    });
    bar.finish_and_clear();
    worked?;
    let trials = runtime.block_on(study.trials())?;
    finish(options, &space, &base, &trials, out)
}

fn tell(bar: &indicatif::ProgressBar, news: News<'_>) {
    let line = match news {
        News::Begins(_) => return,
        News::Ended(trial, state, what) => {
            bar.set_position(trial.number + 1);
            let parameters: Vec<String> =
                trial.parameters.iter().map(|(name, value)| format!("{name} {value}")).collect();
            format!("trial {} {state} {what}: {}", trial.number, parameters.join(", "))
        }
        News::TakenOver(trial) => format!("trial {} was taken over by another worker", trial.number),
    };
    bar.suspend(|| eprintln!("{line}"));
}

fn finish(
    options: &Options,
    space: &Space,
    base: &toml::Table,
    trials: &[Record],
    out: &mut impl io::Write,
) -> Result<()> {
    let complete: Vec<(&Record, &Outcome)> =
        trials.iter().filter_map(|trial| Some((trial, trial.outcome.as_ref()?))).collect();
    let outcomes: Vec<&Outcome> = complete.iter().map(|(_, outcome)| *outcome).collect();
    let mut found: Vec<usize> = front(&outcomes);
    found.sort_by(|a, b| outcomes[*a].values[0].total_cmp(&outcomes[*b].values[0]));
    if options.goals.len() == 1 {
        found.truncate(1);
    }
    let important = importance(space, trials);
    if let (Some(path), Some(best)) = (&options.best, found.first()) {
        let settings = settings(base, &complete[*best].0.parameters).map_err(anyhow::Error::msg)?;
        fs::write(path, toml::to_string(&settings)?).with_context(|| format!("write {}", path.display()))?;
    }
    if options.json {
        let best: Vec<&Record> = found.iter().map(|at| complete[*at].0).collect();
        let document =
            serde_json::json!({ "study": options.study, "best": best, "importance": important, "trials": trials });
        return Ok(writeln!(out, "{document}")?);
    }
    let count = |state: &str| trials.iter().filter(|trial| trial.state == state).count();
    let [done, pruned, failed] = ["complete", "pruned", "failed"].map(count);
    let epochs: u64 = trials.iter().map(|trial| trial.epochs).sum();
    writeln!(out, "trials      {done} complete, {pruned} pruned, {failed} failed; {epochs} epochs")?;
    history(&complete, out)?;
    for at in &found {
        let (trial, outcome) = complete[*at];
        let values: Vec<String> = outcome.values.iter().map(|value| format!("{value:.5}")).collect();
        writeln!(
            out,
            "{:<11} trial {}: {}",
            if options.goals.len() == 1 { "best" } else { "front" },
            trial.number,
            values.join(", ")
        )?;
        for (name, value) in &trial.parameters {
            writeln!(out, "            {name} = {value}")?;
        }
    }
    if found.is_empty() {
        writeln!(out, "best        no trial is complete and within its constraints")?;
    }
    for (name, share) in important {
        let bar = "#".repeat((share * 30.0).round() as usize);
        writeln!(out, "importance  {name:<24} {share:>6.3} {bar}")?;
    }
    Ok(())
}

/// The best value so far, trial by trial, as one line of blocks.
fn history(complete: &[(&Record, &Outcome)], out: &mut impl io::Write) -> Result<()> {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let values: Vec<f64> = complete.iter().map(|(_, outcome)| outcome.values[0]).collect();
    let bests: Vec<f64> = values
        .iter()
        .scan(f64::INFINITY, |best, value| {
            *best = best.min(*value);
            Some(*best)
        })
        .collect();
    let (Some(first), Some(last)) = (bests.first(), bests.last()) else { return Ok(()) };
    let span = (first - last).max(f64::MIN_POSITIVE);
    let step = bests.len().div_ceil(72).max(1);
    let line: String =
        bests.iter().step_by(step).map(|best| BLOCKS[(((best - last) / span) * 7.0).round() as usize]).collect();
    writeln!(out, "history     {first:.5} {line} {last:.5}")?;
    Ok(())
}
