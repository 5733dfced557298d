//! Replay: archived inputs through the model that saw them must give the archived scores, bit for bit.

use std::{collections::BTreeMap, fs::File, os::unix::fs::FileExt as _, path::PathBuf};

use contract::Digest;
use engine_ort::OrtCpu;
use inference::{Batch, EngineFactory, Package};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::{Copies, Error, Sample, found::name};

/// Differences that are told in full.
const TOLD: usize = 20;

/// What a replay found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Replayed {
    /// Samples whose scores came out the same, bit for bit.
    pub same: u64,
    /// Samples whose scores differ.
    pub different: u64,
    /// Samples that could not be tried, by reason.
    pub skipped: BTreeMap<&'static str, u64>,
    /// The greatest difference of a score.
    pub greatest: f32,
    /// The first of those that differ, each with what differs.
    pub told: Vec<String>,
}

/// Runs every sample of this model again.
///
/// # Errors
/// The lake, the disk, or the model cannot be loaded or fails.
pub async fn replay(
    samples: &[Sample],
    package: &Package,
    library: Option<PathBuf>,
    copies: &mut Copies<'_>,
    progress: &dyn Fn(u64),
) -> Result<Replayed, Error> {
    let mut engine = OrtCpu::new(library)
        .with_max_batch(1)
        .load(package)
        .map_err(|refusal| Error::Model(format!("load the model: {}", refusal.full())))?;
    let mut out = vec![0.0; package.classes().len()];
    let mut done = Replayed::default();
    for sample in samples {
        progress(1);
        let Some(input) = sample.input.as_ref() else {
            *done.skipped.entry("no input was kept").or_default() += 1;
            continue;
        };
        if sample.model != Some(package.digest()) {
            *done.skipped.entry("another model").or_default() += 1;
            continue;
        }
        let path = copies.bring(&sample.shard).await?;
        let mut packed = vec![0; usize::try_from(input.at[1]).unwrap_or(usize::MAX)];
        let read = File::open(&path).and_then(|file| file.read_exact_at(&mut packed, input.at[0]));
        read.map_err(|source| Error::Io { what: "read", path: path.clone(), source })?;
        let wrong =
            |why: String| Error::Object { key: sample.shard.clone(), why: format!("input of {}: {why}", name(sample)) };
        let tensor = zstd::bulk::decompress(&packed, package.spec().len()).map_err(|error| wrong(error.to_string()))?;
        if Digest(Sha256::digest(&tensor).into()) != input.sha256 {
            return Err(wrong("its digest is another one".into()));
        }
        engine
            .run(Batch { input: &tensor, n: 1 }, &mut out, None)
            .map_err(|error| Error::Model(format!("run the model: {error}")))?;
        compare(sample, package, &out, &mut done);
    }
    Ok(done)
}

fn compare(sample: &Sample, package: &Package, out: &[f32], done: &mut Replayed) {
    let (labels, scores) = &sample.answer;
    let best = vision::top_k(out, scores.len());
    let mut differs = false;
    for ((label, score), (class, now)) in labels.iter().zip(scores).zip(&best) {
        let class = &package.classes()[*class];
        if now.to_bits() != score.to_bits() || **class != **label {
            differs = true;
            done.greatest = done.greatest.max((now - score).abs());
            if done.told.len() < TOLD {
                done.told.push(format!("{}: {label} {score} then, {class} {now} now", name(sample)));
            }
        }
    }
    if differs { done.different += 1 } else { done.same += 1 }
}
