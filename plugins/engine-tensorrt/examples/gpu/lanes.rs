//! TensorRT's two lanes against a bare loop that only enqueues, and what a plan costs.

use std::time::Instant;

use engine_tensorrt::{Options, Session, TensorRt, library};
use inference::{Batch, Package};
use serde_json::json;

use crate::{
    correct::{name, noise},
    report::Report,
    speed::{BATCHES, TIME},
};

/// Rounds in which lanes and bare loop take turns.
const ROUNDS: u32 = 5;

/// Build time, size, and throughput of one package's plan.
pub fn measure(options: &Options, package: &Package, report: &mut Report) {
    let cache = tempfile::tempdir().unwrap();
    let options = Options { batch_max: 128, cache: cache.path().into(), ..options.clone() };
    let (gpu, library) = (nvidia::look(&options.driver, 0).unwrap(), library::open(None).unwrap());
    let factory = TensorRt::new(options);
    let key = factory.key(package, &library, Some(&gpu)).unwrap();
    let begun = Instant::now();
    let plan = factory.plan(package, &library, &key).unwrap();
    let built = begun.elapsed().as_secs_f64();
    let begun = Instant::now();
    factory.plan(package, &library, &key).unwrap();
    report.row(
        "plan",
        &name(package),
        &[
            ("build_s", json!(built)),
            ("bytes", json!(plan.len())),
            ("from_cache_ms", json!(begun.elapsed().as_secs_f64() * 1e3)),
        ],
    );
    let mut session = Session::load(&library, &gpu, package, &plan, key.profile).unwrap();
    for n in BATCHES.into_iter().filter(|n| *n <= key.profile.max) {
        batch(&mut session, package, n, report);
    }
}

fn batch(session: &mut Session, package: &Package, n: usize, report: &mut Report) {
    let input = noise(n * package.tensor_len(), n as u64);
    let mut out = vec![0.0; n * package.classes().len()];
    let batch = Batch { input: &input, n };
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(two_under_way(session, batch, &mut out));
        bare.push(session.bare_loop(batch, TIME / ROUNDS).unwrap());
    }
    let [ours, bare] = [ours, bare].map(|mut values| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    });
    report.row(
        "lanes",
        &name(package),
        &[
            ("n", json!(n)),
            ("two_under_way_per_s", json!(ours)),
            ("bare_loop_per_s", json!(bare)),
            ("share_of_bare", json!(ours / bare)),
        ],
    );
    if n == 32 {
        let share = ours / bare;
        report.must(share >= 0.9, format!("{}: batch 32 reaches 0.9 of a bare loop: {share:.3}", name(package)));
    }
}

/// Tensors a second with a second batch on its way while the first computes.
fn two_under_way(session: &mut Session, batch: Batch<'_>, out: &mut [f32]) -> f64 {
    let begun = Instant::now();
    let mut done = 0;
    session.submit(batch).unwrap();
    while begun.elapsed() < TIME / ROUNDS {
        session.submit(batch).unwrap();
        session.collect(out, None).unwrap();
        done += batch.n;
    }
    session.collect(out, None).unwrap();
    (done + batch.n) as f64 / begun.elapsed().as_secs_f64()
}
