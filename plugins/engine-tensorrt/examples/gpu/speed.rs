//! Load times, latency and throughput by batch, through the trait that gateways use.

use std::time::{Duration, Instant};

use cudarc::driver::CudaContext;
use inference::{Batch, Engine, Package};
use serde_json::json;

use crate::{
    Subject,
    correct::{name, noise},
    report::Report,
};

/// The batches of the table.
pub const BATCHES: [usize; 4] = [1, 8, 32, 128];
/// How long each figure is measured.
pub const TIME: Duration = Duration::from_millis(1500);

/// All figures of one package.
pub fn measure(subject: &Subject, package: &Package, report: &mut Report) {
    let before = gpu_used();
    let load = || {
        let begun = Instant::now();
        subject.load(package, 128).map(|engine| (engine, begun.elapsed().as_secs_f64() * 1e3))
    };
    let (first, mut engine, again) = match (load(), load()) {
        (Ok((engine, first)), Ok((_, again))) => (first, engine, again),
        (Err(refusal), _) | (_, Err(refusal)) => {
            return report.must(false, format!("{}: {}", name(package), refusal.full()));
        }
    };
    let mut out = vec![0.0; package.classes().len()];
    let begun = Instant::now();
    engine.run(Batch { input: &noise(package.tensor_len(), 2), n: 1 }, &mut out, None).unwrap();
    let run = begun.elapsed().as_secs_f64() * 1e3;
    let largest = engine.max_batch();
    let batches = BATCHES.into_iter().filter(|n| *n <= largest);
    let figures: Vec<_> = batches.map(|n| batch(engine.as_mut(), package, n)).collect();
    report.row(
        "load",
        &name(package),
        &[
            ("first_load_ms", json!(first)),
            ("load_again_ms", json!(again)),
            ("first_run_ms", json!(run)),
            ("gpu_memory_mb", json!(gpu_used().saturating_sub(before) >> 20)),
        ],
    );
    for (n, p50, p99, rate) in figures {
        report.row(
            "batch",
            &name(package),
            &[("n", json!(n)), ("p50_ms", json!(p50)), ("p99_ms", json!(p99)), ("per_s", json!(rate))],
        );
    }
}

/// Median and 99th percentile in ms, and tensors a second, one batch at a time.
fn batch(engine: &mut dyn Engine, package: &Package, n: usize) -> (usize, f64, f64, f64) {
    let input = noise(n * package.tensor_len(), n as u64);
    let mut out = vec![0.0; n * package.classes().len()];
    let batch = Batch { input: &input, n };
    for _ in 0..20 {
        engine.run(batch, &mut out, None).unwrap();
    }
    let mut times = Vec::new();
    let begun = Instant::now();
    while begun.elapsed() < TIME {
        let start = Instant::now();
        engine.run(batch, &mut out, None).unwrap();
        times.push(start.elapsed().as_secs_f64());
    }
    let rate = n as f64 * times.len() as f64 / times.iter().sum::<f64>();
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize] * 1e3;
    (n, at(0.5), at(0.99), rate)
}

/// Bytes of the GPU's memory in use, by all programs.
pub fn gpu_used() -> usize {
    let (free, all) = CudaContext::new(0).unwrap().mem_get_info().unwrap();
    all - free
}
