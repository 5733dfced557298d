//! `make test-gpu`: the engine on a real GPU. Correctness against ONNX Runtime, times, memory, bad input, endurance, and
//! a GPU lost in mid-run. Prints one line a finding and a table for docs/benchmarks.md; exit 1 when a check failed, 2
//! when there is no GPU to check on.
//!
//! ```text
//! cargo run --release -p engine-tensorrt --example gpu -- [--seconds N] [--json FILE] MODEL...
//! ```
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a program for people that stops at the first surprise")]

mod bad_input;
mod correct;
mod endure;
mod lost;
mod report;
mod speed;

use std::{path::PathBuf, process::ExitCode, time::Instant};

use engine_tensorrt::{Build, Options, Session, TensorRt, library, probe};
use inference::{EngineFactory, Package};
use report::Report;

/// What the command line says.
struct Arguments {
    seconds: u64,
    json: Option<PathBuf>,
    only: Option<String>,
    models: Vec<PathBuf>,
}

fn arguments() -> Arguments {
    let mut found = Arguments { seconds: 600, json: None, only: None, models: Vec::new() };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--seconds" => found.seconds = words.next().unwrap().parse().unwrap(),
            "--json" => found.json = words.next().map(PathBuf::from),
            "--only" => found.only = words.next(),
            _ => found.models.push(word.into()),
        }
    }
    if found.models.is_empty() {
        let models = [".sightline/models", ".sightline/variants"].map(PathBuf::from);
        let folders = models.iter().flat_map(|folder| folder.read_dir().into_iter().flatten().flatten());
        found.models = folders.map(|entry| entry.path()).filter(|path| path.join("manifest.json").exists()).collect();
        found.models.sort();
    }
    found
}

/// What every part works with.
pub struct Bench {
    /// The factory, with plans in a folder that goes away.
    pub factory: TensorRt,
    /// Its options.
    pub options: Options,
    /// TensorRT.
    pub library: library::Library,
    /// The GPU.
    pub device: probe::Device,
    _cache: tempfile::TempDir,
}

impl Bench {
    /// A session of this package with batches of up to `batch_max`.
    pub fn session(&self, package: &Package, batch_max: usize) -> Result<Session, inference::Refusal> {
        let options = Options { batch_max, ..self.options.clone() };
        let factory = TensorRt::new(options);
        let key = factory.key(package, &self.library, Some(&self.device))?;
        let plan = factory.plan(package, &self.library, &key)?;
        Session::load(&self.library, &self.device, package, &plan, key.profile)
    }
}

fn main() -> ExitCode {
    let arguments = arguments();
    let cache = tempfile::tempdir().unwrap();
    let options = Options {
        build: Build::Wait,
        portable: std::env::var_os("SIGHTLINE_GPU_PORTABLE").is_some(),
        ..Options::new(cache.path())
    };
    let factory = TensorRt::new(options.clone());
    if let Err(refusal) = factory.probe() {
        println!("no GPU to check on: {}", refusal.full());
        return ExitCode::from(2);
    }
    let device = probe::look(&options.driver, 0).unwrap();
    let library = library::open(None).unwrap();
    let bench = Bench { factory, options, library, device, _cache: cache };
    let mut report = Report::begin(&bench);
    let packages: Vec<Package> = arguments.models.iter().map(|path| Package::open(path).unwrap()).collect();
    let begun = Instant::now();
    let part = |name: &str| arguments.only.as_deref().is_none_or(|only| only.split(',').any(|one| one == name));
    for package in &packages {
        if part("correct") {
            correct::check(&bench, package, &mut report);
        }
        if part("speed") {
            speed::measure(&bench, package, &mut report);
        }
        println!("# {:.0} s", begun.elapsed().as_secs_f32());
    }
    if part("bad-input") {
        bad_input::check(&bench, &packages[0], &mut report);
    }
    if part("endure") {
        let chosen = packages.iter().find(|p| p.manifest().id.starts_with("efficientnet")).unwrap_or(&packages[0]);
        endure::check(&bench, chosen, arguments.seconds, &mut report);
    }
    // Last: the process's GPU context is of no more use afterwards.
    if part("lost") {
        lost::check(&bench, &packages[0], &mut report);
    }
    report.end(arguments.json.as_deref())
}
