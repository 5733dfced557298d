//! Benchmark: our ONNX Runtime session against Python's onnxruntime with the same library, model and batch of one; and what our
//! own code around it costs: trait, failing over, batching, copying. CPU time; missed bars end it with status 1.

#![allow(clippy::print_stdout, missing_docs)]

use std::{
    hint::black_box,
    path::Path,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use engine_ort::OrtCpu;
use inference::{
    Accuracy, Batch, Engine, EngineError, EngineFactory, Failover, Health, Pace, Package, Probe, Refusal,
    batcher::{Batcher, Source},
};

#[expect(dead_code, reason = "the peer says its own time")]
mod cpu;
#[expect(dead_code, reason = "rounds are not counted")]
mod rounds;

use rounds::Rounds;

/// CPU time a model gets in a round.
const ROUND_US: f64 = 2e6;

fn main() -> Result<()> {
    let root = world::runtime::root();
    let python = root.join(".sightline/bench-venv/bin/python");
    ensure!(python.exists(), "{} is absent: run `make bench`, which prepares it", python.display());
    let library = root.join(".sightline/lib/libonnxruntime.so");
    let mut missed = Vec::new();
    println!(
        "| model | ours, us a run (min / median / max) | Python onnxruntime | ratio, median | bar |\n|---|---|---|---|---|"
    );
    let mut tiny_us = 0.0;
    for name in ["tiny-gray64", "efficientnet-lite0", "resnet18-seeded"] {
        let path = root.join(".sightline/models").join(name);
        let package = Package::open(&path)?;
        let mut engine = OrtCpu::new(Some(library.clone())).load(&package)?;
        let runs = (ROUND_US / per_run(engine.as_mut(), &package, 10)?).clamp(20.0, 50_000.0) as u64;
        let (mut ours, mut theirs, mut version) = (Rounds::default(), Rounds::default(), String::new());
        for round in 0..=rounds::setting("BENCH_ROUNDS", 5) {
            let a = per_run(engine.as_mut(), &package, runs)?;
            let (b, said) = peer(&python, &root.join("tests/bench/peers/onnxruntime_cpu.py"), &path, runs)?;
            version = said;
            if round > 0 {
                ours.push(a);
                theirs.push(b);
            }
        }
        ensure!(version == engine.version(), "Python has onnxruntime {version}, we {}", engine.version());
        let ratio = ours.over(&theirs).median();
        println!("| {name} | {} | {} | {ratio:.3} | <= 1.03 |", ours.show(1), theirs.show(1));
        if ratio > 1.03 {
            missed.push(name);
        }
        if name == "tiny-gray64" {
            tiny_us = ours.median();
        }
    }
    let around = around(&Package::open(root.join(".sightline/models/tiny-gray64"))?)?;
    let share = around / tiny_us;
    println!(
        "\nTrait, failing over, batching and copying of one input: {around:.3} us, {share:.4} of tiny-gray64's run (<= 0.05)"
    );
    println!("load {}", rounds::load());
    if share > 0.05 {
        missed.push("the code around");
    }
    ensure!(missed.is_empty(), "bars missed: {}", missed.join(", "));
    Ok(())
}

fn per_run(engine: &mut dyn Engine, package: &Package, runs: u64) -> Result<f64> {
    let mut state = 7u32;
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let input: Vec<u8> = (0..package.tensor_len()).map(|_| noise()).collect();
    let mut out = vec![0.0; package.classes().len()];
    for _ in 0..(runs / 20).max(3) {
        engine.run(Batch { input: &input, n: 1 }, &mut out, None)?;
    }
    let before = cpu::own();
    for _ in 0..runs {
        engine.run(Batch { input: &input, n: 1 }, &mut out, None)?;
        black_box(&out);
    }
    Ok((cpu::own() - before) / runs as f64)
}

fn peer(python: &Path, script: &Path, model: &Path, runs: u64) -> Result<(f64, String)> {
    let output = Command::new(python).arg(script).arg(model.join("model.onnx")).arg(runs.to_string()).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    Ok((said["us"].as_f64().context("no time")?, said["version"].as_str().unwrap_or_default().to_owned()))
}

/// An engine that does nothing: what is left is ours.
struct Nothing;

impl Engine for Nothing {
    fn name(&self) -> &str {
        "nothing"
    }
    fn version(&self) -> &str {
        "1"
    }
    fn max_batch(&self) -> usize {
        8
    }
    fn run(&mut self, batch: Batch<'_>, out: &mut [f32], _: Option<Duration>) -> Result<(), EngineError> {
        black_box(batch.input);
        out.fill(1.0 / out.len() as f32);
        Ok(())
    }
    fn health(&self) -> Health {
        Health::Ready
    }
}

struct Nothings;

impl EngineFactory for Nothings {
    fn name(&self) -> &str {
        "nothing"
    }
    fn probe(&self) -> Result<Probe, Refusal> {
        Ok(Probe { version: "1".into(), device: "none".into(), library: None })
    }
    fn load(&self, _: &Package) -> Result<Box<dyn Engine>, Refusal> {
        Ok(Box::new(Nothing))
    }
}

/// CPU microseconds that one input costs on its way through the batcher, the copy into a batch (as if it had company), and
/// the failover around an engine that does nothing.
fn around(package: &Package) -> Result<f64> {
    let manifest = tempfile::tempdir()?;
    let package = without_golden(package, manifest.path())?;
    let factories: Arc<[Box<dyn EngineFactory>]> = Arc::new([Box::new(Nothings)]);
    let mut engine = Failover::start(factories, &[], Accuracy::Exact, &package, Pace::default())?;
    let mut batcher = Batcher::new();
    let model = batcher.add_model(8);
    let slot = batcher.add(Source { model, camera: "cam".parse()?, region: "full".parse()? });
    let (mut due, mut input) = (Vec::new(), Vec::new());
    let mut out = vec![0.0; package.classes().len()];
    let mut tensor = vec![0u8; package.tensor_len()];
    let runs = 200_000;
    let before = cpu::own();
    for _ in 0..runs {
        batcher.offer(slot, std::mem::take(&mut tensor), Instant::now());
        batcher.take(Instant::now(), &mut due);
        input.clear();
        due.iter().for_each(|due| input.extend_from_slice(&due.item));
        engine.run(Batch { input: &input, n: due.len() }, &mut out, Some(Duration::from_secs(1)))?;
        tensor = due.pop().context("nothing was due")?.item;
    }
    Ok((cpu::own() - before) / f64::from(runs))
}

/// An engine that does nothing gives no golden answers: the same package without them.
fn without_golden(package: &Package, folder: &Path) -> Result<Package> {
    let from = world::runtime::tiny_model()?;
    let mut manifest: serde_json::Value = serde_json::from_slice(&std::fs::read(from.join("manifest.json"))?)?;
    let manifest_object = manifest.as_object_mut().context("manifest")?;
    manifest_object.remove("golden");
    if let Some(files) = manifest_object["files"].as_object_mut() {
        files.retain(|name, _| name == "model.onnx");
    }
    std::fs::write(folder.join("manifest.json"), serde_json::to_vec(&manifest)?)?;
    std::fs::copy(from.join("model.onnx"), folder.join("model.onnx"))?;
    let bare = Package::open(folder)?;
    ensure!(bare.tensor_len() == package.tensor_len(), "another model");
    Ok(bare)
}
