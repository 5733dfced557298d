//! The answers against ONNX Runtime on the CPU, on seeded noise and the package's golden rows.

use contract::model::Precision;
use engine_ort::OrtCpu;
use inference::{Batch, Engine, EngineFactory, Package, golden_check};
use serde_json::json;

use crate::{Subject, report::Report};

/// Inputs that are compared.
const INPUTS: usize = 64;

/// The largest difference of a probability that is taken for rounding. GPUs compute float32 products in TF32 (10
/// bits of mantissa) by default, float16 has 10 bits throughout.
pub fn tolerance(package: &Package) -> f32 {
    match package.precision() {
        Precision::Fp32 => 5e-3,
        _ => 2e-2,
    }
}

/// A name for tables.
pub fn name(package: &Package) -> String {
    format!("{} {}", package.manifest().id, package.precision())
}

/// Runs the same inputs through both.
pub fn check(subject: &Subject, package: &Package, report: &mut Report) {
    let mut gpu = match subject.load(package, 32) {
        Ok(engine) => engine,
        Err(refusal) => return report.must(false, format!("{}: {}", name(package), refusal.full())),
    };
    let golden = golden_check(gpu.as_mut(), package);
    report.must(golden.is_ok(), format!("{}: golden rows: {golden:?}", name(package)));
    // The float32 file, whatever the GPU runs: that is what the model means.
    let exact = package.variant(Precision::Fp32).unwrap();
    let mut cpu = OrtCpu::default().load(&exact).unwrap();
    let (len, classes) = (package.tensor_len(), package.classes().len());
    let input = noise(INPUTS * len, 1);
    let [got, expected] = [gpu.as_mut(), cpu.as_mut()].map(|engine| answers(engine, &input, len, classes));
    let worst = got.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0f32, f32::max);
    let mean = got.iter().zip(&expected).map(|(a, b)| f64::from((a - b).abs())).sum::<f64>() / got.len() as f64;
    let best = |row: &[f32]| row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0;
    let pairs = got.chunks_exact(classes).zip(expected.chunks_exact(classes));
    let agree = pairs.filter(|(a, b)| best(a) == best(b)).count();
    report.row(
        "correct",
        &name(package),
        &[
            ("largest_difference", json!(worst)),
            ("mean_difference", json!(mean)),
            ("top1_agree", json!(agree)),
            ("of", json!(INPUTS)),
        ],
    );
    report.must(worst <= tolerance(package), format!("{}: differs at most {}", name(package), tolerance(package)));
    report.must(got.iter().all(|p| p.is_finite()), format!("{}: every answer is a number", name(package)));
}

/// Every input's answer, in batches as large as the engine takes.
pub fn answers(engine: &mut dyn Engine, input: &[u8], len: usize, classes: usize) -> Vec<f32> {
    let mut all = Vec::new();
    for chunk in input.chunks(engine.max_batch() * len) {
        let n = chunk.len() / len;
        let mut out = vec![f32::NAN; n * classes];
        engine.run(Batch { input: chunk, n }, &mut out, None).unwrap();
        all.extend(out);
    }
    all
}

/// Bytes that look like smooth pictures more than like snow: each a small step from the one before.
pub fn noise(len: usize, seed: u64) -> Vec<u8> {
    let (mut state, mut level) = (seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1, 128i32);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        level = (level + (state >> 59) as i32 - 15).clamp(0, 255);
        level as u8
    };
    (0..len).map(|_| next()).collect()
}
