//! Minutes of batches: the same answers from the first to the last, and no memory that grows.

use std::{
    fs,
    time::{Duration, Instant},
};

use inference::{Batch, Package};
use serde_json::json;

use crate::{
    Subject,
    correct::{name, noise},
    report::Report,
    speed::gpu_used,
};

/// Runs batches of 32 for so many seconds.
pub fn check(subject: &Subject, package: &Package, seconds: u64, report: &mut Report) {
    let mut engine = subject.load(package, 32).unwrap();
    let input = noise(32 * package.tensor_len(), 3);
    let batch = Batch { input: &input, n: 32 };
    let mut first = vec![0.0; 32 * package.classes().len()];
    engine.run(batch, &mut first, None).unwrap();
    let mut out = first.clone();
    let (begun, mut batches, mut different) = (Instant::now(), 0u64, 0u64);
    let warm = Duration::from_secs((seconds / 10).min(10));
    let mut before = None;
    while begun.elapsed() < Duration::from_secs(seconds) {
        engine.run(batch, &mut out, Some(Duration::from_secs(1))).unwrap();
        batches += 1;
        different += u64::from(out != first);
        if before.is_none() && begun.elapsed() > warm {
            before = Some((resident_kb(), gpu_used()));
        }
    }
    let (host, gpu) = before.unwrap_or((resident_kb(), gpu_used()));
    let host_grew = resident_kb().saturating_sub(host);
    let gpu_grew = gpu_used().saturating_sub(gpu);
    report.row(
        "endure",
        &name(package),
        &[
            ("seconds", json!(seconds)),
            ("batches_of_32", json!(batches)),
            ("answers_that_changed", json!(different)),
            ("host_grew_kb", json!(host_grew)),
            ("gpu_grew_kb", json!(gpu_grew >> 10)),
        ],
    );
    report.must(different == 0, "endurance: the same input gives the same answer each time".into());
    report.must(host_grew < 8 << 10, "endurance: the process grows by less than 8 MiB".into());
    report.must(gpu_grew < 8 << 20, "endurance: the GPU's memory in use grows by less than 8 MiB".into());
}

fn resident_kb() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
