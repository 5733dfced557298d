//! `make test-gpu`: the engines on a real GPU. Answers against ONNX Runtime on the CPU, times, memory, bad input,
//! endurance, and a GPU lost in mid-run. Prints a line a finding; exit 1 when a check failed, 2 when there is no GPU
//! that the engine runs on, with its reason.
//!
//! ```text
//! cargo run --release --example gpu -- [--engine tensorrt|ort-cuda] [--seconds N] [--only PART,...] [--json FILE] MODEL...
//! ```
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a program for people that stops at the first surprise")]

mod bad_input;
mod correct;
mod endure;
mod lanes;
mod lost;
mod report;
mod speed;

use std::{path::PathBuf, process::ExitCode, time::Instant};

use contract::model::Precision;
use engine_ort::OrtCuda;
use engine_tensorrt::{Build, Options, TensorRt};
use inference::{Engine, EngineFactory, Package, Probe, Refusal};
use report::Report;

/// What the command line says.
struct Arguments {
    engine: String,
    seconds: u64,
    json: Option<PathBuf>,
    only: Option<String>,
    models: Vec<PathBuf>,
}

fn arguments() -> Arguments {
    let mut found = Arguments { engine: "tensorrt".into(), seconds: 600, json: None, only: None, models: Vec::new() };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--engine" => found.engine = words.next().unwrap(),
            "--seconds" => found.seconds = words.next().unwrap().parse().unwrap(),
            "--json" => found.json = words.next().map(PathBuf::from),
            "--only" => found.only = words.next(),
            _ => found.models.push(word.into()),
        }
    }
    if found.models.is_empty() {
        let folders = PathBuf::from(".sightline/models").read_dir().into_iter().flatten().flatten();
        found.models = folders.map(|entry| entry.path()).filter(|path| path.join("manifest.json").exists()).collect();
        found.models.sort();
    }
    found
}

/// The engine that is tried, with TensorRT's plans in a folder that goes away.
pub struct Subject {
    name: String,
    /// How TensorRT works here.
    pub options: Options,
    _cache: tempfile::TempDir,
}

impl Subject {
    fn new(name: String) -> Self {
        let cache = tempfile::tempdir().unwrap();
        let options = Options { build: Build::Wait, ..Options::new(cache.path()) };
        Self { name, options, _cache: cache }
    }

    /// The factory for batches of up to `batch_max`.
    pub fn factory(&self, batch_max: usize) -> Box<dyn EngineFactory> {
        match self.name.as_str() {
            "tensorrt" => Box::new(TensorRt::new(Options { batch_max, ..self.options.clone() })),
            "ort-cuda" => Box::new(OrtCuda::new(None).with_max_batch(batch_max)),
            other => panic!("no engine `{other}` runs on a GPU; there are tensorrt and ort-cuda"),
        }
    }

    /// An engine for batches of up to `batch_max`.
    pub fn load(&self, package: &Package, batch_max: usize) -> Result<Box<dyn Engine>, Refusal> {
        self.factory(batch_max).load(package)
    }

    fn probe(&self) -> Result<Probe, Refusal> {
        self.factory(1).probe()
    }

    fn is_tensorrt(&self) -> bool {
        self.name == "tensorrt"
    }
}

fn main() -> ExitCode {
    let arguments = arguments();
    let subject = Subject::new(arguments.engine);
    let probe = match subject.probe() {
        Ok(probe) => probe,
        Err(refusal) => {
            println!("{} is not tried: {}", subject.name, refusal.full());
            return ExitCode::from(2);
        }
    };
    let mut report = Report::begin(&subject.name, &probe);
    let opened = arguments.models.iter().map(|path| Package::open(path).unwrap());
    let packages: Vec<Package> = opened
        .flat_map(|one| [Precision::Fp32, Precision::Fp16].map(|precision| one.variant(precision)))
        .flatten()
        .collect();
    let part = |name: &str| arguments.only.as_deref().is_none_or(|only| only.split(',').any(|one| one == name));
    let begun = Instant::now();
    for package in &packages {
        if part("correct") {
            correct::check(&subject, package, &mut report);
        }
        if part("speed") {
            speed::measure(&subject, package, &mut report);
        }
        if part("lanes") && subject.is_tensorrt() {
            lanes::measure(&subject.options, package, &mut report);
        }
        println!("# {:.0} s", begun.elapsed().as_secs_f32());
    }
    let small = packages.iter().find(|p| p.manifest().id.starts_with("tiny")).unwrap_or(&packages[0]);
    if part("bad-input") {
        bad_input::check(&subject, small, &mut report);
    }
    if part("endure") {
        let chosen = packages.iter().find(|p| p.manifest().id.starts_with("efficientnet")).unwrap_or(&packages[0]);
        endure::check(&subject, chosen, arguments.seconds, &mut report);
    }
    // Last: the process's GPU context is of no more use afterwards.
    if part("lost") {
        lost::check(&subject, small, &mut report);
    }
    report.end(arguments.json.as_deref())
}
