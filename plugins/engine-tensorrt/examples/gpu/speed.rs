//! Build and load times, latency and throughput by batch, against a bare loop that only enqueues.

use std::time::{Duration, Instant};

use engine_tensorrt::{Options, Session, TensorRt};
use inference::{Batch, Engine, Package};
use serde_json::json;

use crate::{
    Bench,
    correct::{name, noise},
    report::Report,
};

const BATCHES: [usize; 4] = [1, 8, 32, 128];
/// How long each figure is measured.
const TIME: Duration = Duration::from_millis(1500);
/// Rounds in which engine and bare loop take turns.
const ROUNDS: usize = 5;

/// All figures of one package.
pub fn measure(bench: &Bench, package: &Package, report: &mut Report) {
    let factory = TensorRt::new(Options { batch_max: 128, ..bench.options.clone() });
    let key = factory.key(package, &bench.library, Some(&bench.device)).unwrap();
    let begun = Instant::now();
    let plan = match factory.plan(package, &bench.library, &key) {
        Ok(plan) => plan,
        Err(refusal) => return report.must(false, format!("{}: {}", name(package), refusal.full())),
    };
    let built = begun.elapsed();
    let begun = Instant::now();
    factory.plan(package, &bench.library, &key).unwrap();
    let cached = begun.elapsed();
    let begun = Instant::now();
    let mut session = match Session::load(&bench.library, &bench.device, package, &plan, key.profile) {
        Ok(session) => session,
        Err(refusal) => return report.must(false, format!("{}: {}", name(package), refusal.full())),
    };
    let loaded = begun.elapsed();
    let len = package.tensor_len();
    let mut out = vec![0.0; package.classes().len()];
    let begun = Instant::now();
    session.run(Batch { input: &noise(len, 2), n: 1 }, &mut out, None).unwrap();
    let first = begun.elapsed();
    let (used, _) = session.memory().unwrap();
    report.row("plan", &name(package), &[
        ("build_s", json!(built.as_secs_f64())),
        ("bytes", json!(plan.len())),
        ("from_cache_ms", json!(cached.as_secs_f64() * 1e3)),
        ("load_ms", json!(loaded.as_secs_f64() * 1e3)),
        ("first_run_ms", json!(first.as_secs_f64() * 1e3)),
        ("gpu_memory_mb", json!(used >> 20)),
    ]);
    let largest = session.max_batch();
    for n in BATCHES.into_iter().filter(|n| *n <= largest) {
        batch(&mut session, package, n, report);
    }
}

fn batch(session: &mut Session, package: &Package, n: usize, report: &mut Report) {
    let input = noise(n * package.tensor_len(), n as u64);
    let mut out = vec![0.0; n * package.classes().len()];
    let batch = Batch { input: &input, n };
    for _ in 0..20 {
        session.run(batch, &mut out, None).unwrap();
    }
    let mut alone = Vec::new();
    let begun = Instant::now();
    while begun.elapsed() < TIME {
        let start = Instant::now();
        session.run(batch, &mut out, None).unwrap();
        alone.push(start.elapsed());
    }
    alone.sort();
    let at = |share: f64| alone[((alone.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(two_under_way(session, batch, &mut out));
        bare.push(session.bare_loop(batch, TIME / ROUNDS as u32).unwrap());
    }
    let median = |values: &mut Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let (ours, bare) = (median(&mut ours), median(&mut bare));
    report.row("batch", &name(package), &[
        ("n", json!(n)),
        ("p50_ms", json!(at(0.5))),
        ("p99_ms", json!(at(0.99))),
        ("one_at_a_time_per_s", json!(n as f64 * alone.len() as f64 / alone.iter().sum::<Duration>().as_secs_f64())),
        ("two_under_way_per_s", json!(ours)),
        ("bare_loop_per_s", json!(bare)),
        ("share_of_bare", json!(ours / bare)),
    ]);
    if n == 32 {
        report.must(ours >= 0.9 * bare, format!("{}: batch 32 reaches 0.9 of a bare loop: {:.3}", name(package), ours / bare));
    }
}

/// Tensors a second with a second batch on its way while the first computes.
fn two_under_way(session: &mut Session, batch: Batch<'_>, out: &mut [f32]) -> f64 {
    let begun = Instant::now();
    let mut done = 0;
    session.submit(batch).unwrap();
    while begun.elapsed() < TIME / ROUNDS as u32 {
        session.submit(batch).unwrap();
        session.collect(out, None).unwrap();
        done += batch.n;
    }
    session.collect(out, None).unwrap();
    (done + batch.n) as f64 / begun.elapsed().as_secs_f64()
}
