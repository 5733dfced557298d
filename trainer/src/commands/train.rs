//! `sightline-train train`: from tensors to weights, in a run folder.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use burn::tensor::Device;
use clap::Args;
use indicatif::ProgressBar;
use serde::Serialize;
use serde_json::{Map, Value};
use trainer::{
    net::{Architecture, Size},
    tensors::Store,
    track::{About, Run, code::Code, flat, machine::Machine},
    train::{
        Alone, Event, Ranks, Settings,
        run::{Epoch, Flow, Job},
        train,
    },
    tune::training::put,
};

use super::bar;

/// The checkpoint's file name in a run folder.
pub const CHECKPOINT: &str = "checkpoint.safetensors";

/// Train a classifier on tensors that `preprocess` made.
///
/// A training is a function of its settings, its tensors and its seed: the number of threads changes nothing, and a run that was
/// killed goes on from its checkpoint and ends with the same bits. The network that validated best is kept; the test split is
/// not touched. Under `mpirun` every rank takes its share of each step's micro-batches, and the gradients are those of one
/// process that adds up as many, bit for bit.
///
/// The run folder holds `run.json` (settings, dataset, code, machine), `metrics.jsonl` (a line each step and pass) and
/// `checkpoint.safetensors`; where MLFLOW_TRACKING_URI names a server, it gets the same.
#[derive(Args)]
#[command(after_help = "\
Examples:
  sightline-train train tensors/28x28-gray --run runs/first --epochs 20
  sightline-train train tensors/28x28-gray --run runs/second --settings settings.toml --set rate=0.05 --set augment.flip=true
  mpirun -n 4 sightline-train train tensors/28x28-gray --run runs/third --set micro_batches=4

A settings file names what differs from the defaults, which --print-settings shows:
  architecture = \"mini-resnet\"
  epochs = 20
  [augment]
  flip = true
  shift = 1.0

Exit codes: 0 trained, 1 it cannot go on (the reason stands on stderr), 2 the command line is wrong.")]
pub struct Options {
    /// The folder with tensors
    #[arg(required_unless_present = "print_settings")]
    tensors: Option<PathBuf>,
    /// The run folder; one that is there is gone on with
    #[arg(long, value_name = "FOLDER", required_unless_present = "print_settings")]
    run: Option<PathBuf>,
    /// Settings that differ from the defaults
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// One setting by its key with dots, as TOML has it; repeat for more
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// The network
    #[arg(long)]
    architecture: Option<Architecture>,
    /// How wide it is
    #[arg(long)]
    size: Option<Size>,
    /// Passes over the training examples
    #[arg(long)]
    epochs: Option<u32>,
    /// Everything drawn by chance derives from it
    #[arg(long)]
    seed: Option<u64>,
    /// Seconds between checkpoints, besides those after each pass
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    checkpoint_every: u64,
    /// Print the settings as TOML and end
    #[arg(long)]
    print_settings: bool,
    /// Print one JSON line for each pass, and one at the end
    #[arg(long)]
    json: bool,
}

/// A line of `metrics.jsonl`.
#[derive(Serialize)]
#[serde(untagged)]
enum Line {
    Step {
        epoch: u32,
        step: u64,
        loss: f32,
        rate: f64,
    },
    Pass {
        epoch: u32,
        train_loss: f64,
        train_accuracy: f64,
        validation_loss: Option<f64>,
        validation_accuracy: Option<f64>,
    },
}

/// Trains, and says how it went.
pub fn run(options: &Options, built_from: Option<&str>, out: &mut impl io::Write) -> Result<()> {
    trainer::train::memory::keep();
    let settings = options.settings()?;
    if options.print_settings {
        write!(out, "{}", toml::to_string(&settings)?)?;
        return Ok(());
    }
    let (Some(tensors), Some(folder)) = (&options.tensors, &options.run) else { return Ok(()) };
    let store = Store::open(tensors)?;
    let name = format!("{} {}", store.index.dataset, store.index.form.name());
    let examples = store.examples();
    let ranks = ranks();
    let first = ranks.rank() == 0;
    let path = folder.join(CHECKPOINT);
    let about = about(&settings, &name, built_from);
    let mut tracked = if first { Some(begin(folder, &path, about)?) } else { None };
    let every = Duration::from_secs(options.checkpoint_every.max(1));
    let job = Job {
        examples: &examples,
        name: &name,
        settings: &settings,
        ranks: &*ranks,
        device: Device::flex(),
        checkpoint: Some((&path, every)),
    };
    let mut teller = Teller { bar: ProgressBar::hidden(), steps: 0, json: options.json, broken: None };
    let trained = train(&job, &mut |event| teller.tell(event, tracked.as_mut(), out));
    teller.bar.finish_and_clear();
    if let Some(broken) = teller.broken {
        return Err(broken);
    }
    let error = trained.as_ref().err().map(|error| format!("{:#}", anyhow::anyhow!("{error}")));
    let about = tracked.map(|run| run.end(error, std::slice::from_ref(&path))).transpose()?;
    let trained = trained?;
    let (Some(best), true) = (trained.checkpoint.state.best, first) else { return Ok(()) };
    if options.json {
        let parameters = trained.checkpoint.net().parameters();
        let done = serde_json::json!({ "run": folder, "parameters": parameters, "best": best, "stopped": trained.stopped, "about": about });
        return Ok(writeln!(out, "{done}")?);
    }
    let why = trained.stopped.map(|why| format!(" ({why})")).unwrap_or_default();
    let accuracy = best.accuracy * 100.0;
    writeln!(out, "best pass {}: {accuracy:.2} % right, loss {:.4}{why}; {}", best.epoch, best.loss, path.display())?;
    Ok(())
}

#[cfg(feature = "mpi")]
fn ranks() -> Box<dyn Ranks> {
    match trainer::train::mpi::Mpi::launched() {
        Some(mpi) => Box::new(mpi),
        None => Box::new(Alone),
    }
}

#[cfg(not(feature = "mpi"))]
fn ranks() -> Box<dyn Ranks> {
    Box::new(Alone)
}

fn about(settings: &Settings, dataset: &str, built_from: Option<&str>) -> About {
    About {
        name: String::new(),
        command: "train".into(),
        status: String::new(),
        began: 0,
        ended: None,
        parameters: flat(settings),
        dataset: dataset.into(),
        seed: settings.seed,
        code: Code::here(built_from),
        machine: Machine::here(),
        energy_joules: None,
        last: BTreeMap::new(),
        error: None,
    }
}

/// Begins the run's record, without the lines behind its checkpoint.
fn begin(folder: &Path, checkpoint: &Path, about: About) -> Result<Run> {
    let found = trainer::train::Checkpoint::read(checkpoint)?;
    let from = found.map_or((0, 0), |found| (found.state.epoch, found.state.step));
    let keep = |line: &Map<String, Value>| {
        let number = |name: &str| line.get(name).and_then(Value::as_u64);
        let epoch = number("epoch").unwrap_or(0);
        match number("step") {
            Some(step) => (epoch, step) <= (u64::from(from.0) + 1, from.1),
            None => epoch <= u64::from(from.0),
        }
    };
    Ok(Run::begin(folder, about, keep)?)
}

struct Teller {
    bar: ProgressBar,
    steps: u64,
    json: bool,
    broken: Option<anyhow::Error>,
}

impl Teller {
    fn tell(&mut self, event: Event, run: Option<&mut Run>, out: &mut impl io::Write) -> Flow {
        let Some(run) = run else { return Flow::Go }; // the first rank speaks for all
        match self.note(event, run, out) {
            Ok(()) => Flow::Go,
            Err(error) => {
                self.broken = Some(error);
                Flow::Stop
            }
        }
    }

    fn note(&mut self, event: Event, run: &mut Run, out: &mut impl io::Write) -> Result<()> {
        match event {
            Event::Begun { parameters, steps, from } => {
                self.steps = steps;
                self.bar = bar(steps, "steps");
                self.bar.set_position(from.1);
                if from != (0, 0) {
                    eprintln!("sightline-train: goes on after pass {}, step {}", from.0, from.1);
                }
                eprintln!("sightline-train: {parameters} parameters, {steps} steps a pass");
            }
            Event::Step { epoch, step, loss, rate } => {
                self.bar.set_position(step);
                self.bar.set_message(format!("pass {epoch} loss {loss:.4}"));
                let at = u64::from(epoch - 1) * self.steps + step;
                run.happened(at, &Line::Step { epoch, step, loss, rate })?;
            }
            Event::Epoch(pass) => self.pass(pass, run, out)?,
        }
        Ok(())
    }

    fn pass(&mut self, pass: Epoch, run: &mut Run, out: &mut impl io::Write) -> Result<()> {
        let Epoch { epoch, loss, accuracy, validation, best, waited } = pass;
        let (validation_loss, validation_accuracy) = (validation.map(|v| v.0), validation.map(|v| v.1));
        let line =
            Line::Pass { epoch, train_loss: loss, train_accuracy: accuracy, validation_loss, validation_accuracy };
        run.happened(u64::from(epoch) * self.steps, &line)?;
        if self.json {
            return Ok(writeln!(out, "{}", serde_json::to_string(&pass)?)?);
        }
        let validated = validation
            .map(|(loss, right)| format!(", validation loss {loss:.4} and {:.2} % right", right * 100.0))
            .unwrap_or_default();
        let mark = if best { ", the best so far" } else { "" };
        let (right, waited) = (accuracy * 100.0, waited * 100.0);
        self.bar.suspend(|| {
            writeln!(out, "pass {epoch}: loss {loss:.4} and {right:.2} % right{validated}{mark}; waited {waited:.1} %")
        })?;
        Ok(())
    }
}

impl Options {
    /// Defaults, the file, and what the command line says, in this order.
    fn settings(&self) -> Result<Settings> {
        let document = document(self.settings.as_deref(), &self.set)?;
        let mut settings: Settings = document.try_into().context("settings (see --print-settings)")?;
        settings.architecture = self.architecture.unwrap_or(settings.architecture);
        settings.size = self.size.unwrap_or(settings.size);
        settings.epochs = self.epochs.unwrap_or(settings.epochs);
        settings.seed = self.seed.unwrap_or(settings.seed);
        Ok(settings)
    }
}

/// A file of settings, with some of them set on the command line.
pub fn document(path: Option<&Path>, set: &[String]) -> Result<toml::Table> {
    let mut document = match path {
        Some(path) => {
            let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
            text.parse::<toml::Table>().with_context(|| format!("read {}", path.display()))?
        }
        None => toml::Table::new(),
    };
    for pair in set {
        let (key, value) = pair.split_once('=').with_context(|| format!("--set {pair}: write KEY=VALUE"))?;
        // A value that is no TOML is a text.
        let parsed = format!("value = {value}").parse::<toml::Table>().ok().and_then(|mut table| table.remove("value"));
        let value = parsed.unwrap_or_else(|| toml::Value::String(value.into()));
        put(&mut document, key, value).map_err(anyhow::Error::msg).with_context(|| format!("--set {pair}"))?;
    }
    Ok(document)
}
