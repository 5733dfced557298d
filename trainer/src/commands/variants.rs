//! `sightline-train variants`: makes a package's other files, and measures how well they agree with the float32 one.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use contract::{
    Digest,
    model::{Agreement, MANIFEST, Precision, Variant},
};
use engine_ort::OrtCpu;
use inference::{Batch, Engine, EngineFactory, Package, graph};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

/// The file of the float16 variant.
const HALF: &str = "model.fp16.onnx";

/// Add a float16 file to a model package, for engines on GPUs.
///
/// Reads a package and writes a new one that holds the same files and `model.fp16.onnx`: the same graph with 16-bit
/// weights, and with input and output of the usual types. Both files are then run by ONNX Runtime on the CPU on the
/// package's golden inputs and on seeded ones; how well they agree stands in the new manifest, and an engine takes the
/// file only when the configuration allows that loss (`engines.precision = "fast"`). The float32 file is not changed.
#[derive(Args)]
#[command(after_help = "\
Examples:
  sightline-train variants .sightline/models/efficientnet-lite0 --out efficientnet-with-fp16
  sightline-train variants people-3.tar --out people-3-fp16 --inputs 500 --json

Exit codes: 0 made, 1 it cannot be made (the reason stands on stderr), 2 the command line is wrong.")]
pub struct Options {
    /// A model package: a folder or a plain tar
    model: PathBuf,
    /// The folder to write the new package to; must not exist
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// How many seeded inputs to compare besides the golden ones
    #[arg(long, default_value_t = 64, value_name = "N")]
    inputs: u32,
    /// Print one JSON document instead of text
    #[arg(long)]
    json: bool,
    /// The file of libonnxruntime; else ORT_DYLIB_PATH names it, or it is looked for in the usual places
    #[arg(long, value_name = "FILE")]
    library: Option<PathBuf>,
}

/// What was made.
#[derive(Debug, Serialize)]
struct Made {
    out: PathBuf,
    digest: Digest,
    precision: Precision,
    file: &'static str,
    bytes: usize,
    bytes_fp32: usize,
    /// Stored numbers that were converted, and how many of them were beyond float16's range.
    numbers: u64,
    clamped: u64,
    agreement: Agreement,
}

/// Makes the new package and says how it agrees.
pub fn run(options: &Options, out: &mut impl io::Write) -> Result<()> {
    ensure!(!options.out.exists(), "`{}` exists already: name another folder by --out", options.out.display());
    let package = Package::open(&options.model)?;
    if package.variant(Precision::Fp16).is_some() {
        bail!("`{}` has an fp16 file already: start from the package it was made of", options.model.display());
    }
    let model = package.model()?;
    let half = graph::half(&model).with_context(|| format!("convert `{}`", options.model.display()))?;
    // Written under another name, and under the right one when all of it is there.
    let parent = options.out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let scratch = tempfile::Builder::new().prefix(".variants-").tempdir_in(parent);
    let scratch = scratch.with_context(|| format!("write to `{}`", parent.display()))?;
    let write = |agreement| write(&package, scratch.path(), &half.model, agreement);
    write(Agreement { inputs: 0, top1: 1.0, difference_max: 0.0, difference_mean: 0.0 })?;
    let agreement = compare(scratch.path(), options)?;
    let digest = write(agreement)?;
    let made = Made {
        out: options.out.clone(),
        digest,
        precision: Precision::Fp16,
        file: HALF,
        bytes: half.model.len(),
        bytes_fp32: model.len(),
        numbers: half.numbers,
        clamped: half.clamped,
        agreement,
    };
    fs::rename(scratch.keep(), &options.out).with_context(|| format!("write `{}`", options.out.display()))?;
    print(&made, options.json, out)
}

/// The package's files, the new one, and a manifest that names them all. Gives the new package's digest.
fn write(package: &Package, folder: &Path, half: &[u8], agreement: Agreement) -> Result<Digest> {
    let mut manifest = package.manifest().clone();
    let put = |name: &str, bytes: &[u8]| -> Result<()> {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap_or(folder))?;
        fs::write(&path, bytes).with_context(|| format!("write `{}`", path.display()))
    };
    for name in manifest.files.keys() {
        put(name, &package.read(name)?)?;
    }
    put(HALF, half)?;
    manifest.files.insert(HALF.into(), Digest(Sha256::digest(half).into()));
    manifest.variants.insert(Precision::Fp16, Variant { file: HALF.into(), agreement });
    let document = serde_json::to_vec_pretty(&manifest)?;
    put(MANIFEST, &document)?;
    Ok(Digest(Sha256::digest(&document).into()))
}

/// Runs both files on the same inputs.
fn compare(folder: &Path, options: &Options) -> Result<Agreement> {
    let exact = Package::open(folder)?;
    let half = exact.variant(Precision::Fp16).context("the package that was just made has no fp16 file")?;
    let factory = OrtCpu::new(options.library.clone()).with_max_batch(1);
    let mut engines = [factory.load(&exact)?, factory.load(&half)?];
    let mut sum = Sum::default();
    for input in inputs(&exact, options.inputs)? {
        let [a, b] = &mut engines;
        sum.add(&answer(a.as_mut(), &exact, &input)?, &answer(b.as_mut(), &exact, &input)?);
    }
    sum.agreement()
}

fn answer(engine: &mut dyn Engine, package: &Package, input: &[u8]) -> Result<Vec<f32>> {
    let mut out = vec![0.0; package.classes().len()];
    engine.run(Batch { input, n: 1 }, &mut out, None)?;
    Ok(out)
}

/// The golden inputs, then seeded ones: a random walk, whose neighbours are alike as in pictures.
fn inputs(package: &Package, seeded: u32) -> Result<Vec<Vec<u8>>> {
    let golden = package.golden().map(|golden| golden.rows.iter().map(|row| package.read(&row.input)));
    let mut all: Vec<Vec<u8>> = golden.into_iter().flatten().collect::<Result<_, _>>()?;
    all.extend((0..seeded).map(|seed| walk(package.tensor_len(), u64::from(seed))));
    ensure!(!all.is_empty(), "there is nothing to compare with: the package has no golden rows and --inputs is 0");
    Ok(all)
}

/// Bytes by xorshift (Marsaglia 2003), each at most 15 from the one before.
fn walk(len: usize, seed: u64) -> Vec<u8> {
    let (mut state, mut level) = (seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1, 128i64);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        level = (level + (state >> 59) as i64 - 15).clamp(0, 255);
        level as u8
    };
    (0..len).map(|_| next()).collect()
}

/// What the comparison has seen.
#[derive(Default)]
struct Sum {
    inputs: u32,
    same: u32,
    largest: f32,
    total: f64,
    numbers: u64,
}

impl Sum {
    fn add(&mut self, exact: &[f32], half: &[f32]) {
        let best = |row: &[f32]| row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map(|(index, _)| index);
        self.inputs += 1;
        self.same += u32::from(best(exact) == best(half));
        for (a, b) in exact.iter().zip(half) {
            let difference = (a - b).abs();
            // `max` would pass a NaN by.
            self.largest = if difference > self.largest || difference.is_nan() { difference } else { self.largest };
            self.total += f64::from(difference);
            self.numbers += 1;
        }
    }

    fn agreement(&self) -> Result<Agreement> {
        ensure!(self.largest.is_finite(), "the float16 file answers with what is no number: this model needs float32");
        Ok(Agreement {
            inputs: self.inputs,
            top1: self.same as f32 / self.inputs as f32,
            difference_max: self.largest,
            difference_mean: (self.total / self.numbers.max(1) as f64) as f32,
        })
    }
}

fn print(made: &Made, json: bool, out: &mut impl io::Write) -> Result<()> {
    if json {
        serde_json::to_writer_pretty(&mut *out, made).map_err(io::Error::from)?;
        return Ok(writeln!(out)?);
    }
    let Agreement { inputs, top1, difference_max, difference_mean } = made.agreement;
    writeln!(out, "package     {} {}", made.out.display(), made.digest)?;
    writeln!(out, "file        {} ({} bytes, float32 has {})", made.file, made.bytes, made.bytes_fp32)?;
    writeln!(out, "numbers     {} converted, {} beyond float16's range", made.numbers, made.clamped)?;
    writeln!(out, "same label  {:.2} % of {inputs} inputs", top1 * 100.0)?;
    writeln!(out, "difference  {difference_max:.1e} at most, {difference_mean:.1e} on average, of a probability")?;
    Ok(())
}
