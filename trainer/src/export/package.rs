//! The package around the graph: manifest, golden rows, and the proof that ONNX Runtime answers as burn did.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use burn::tensor::Device;
use contract::{
    Digest,
    model::{
        Color, Dtype, Filter, Golden, GoldenRow, Layout, MANIFEST, ModelInput, ModelManifest, ModelOutput, OutputForm,
        Preprocess,
    },
};
use engine_ort::OrtCpu;
use inference::{Batch, EngineFactory, Package};
use prost::Message as _;
use sha2::{Digest as _, Sha256};

use super::{
    Error, Exported, PARITY,
    graph::{INPUT, OUTPUT, graph},
};
use crate::{net::forward, train::Checkpoint};

/// Golden rows' tolerance of a probability: what engines on GPUs may differ by.
const TOLERANCE: f32 = 1e-3;
/// Golden rows in a package.
const GOLDEN: usize = 8;
/// Below it a probability says nothing of a logit.
const LEAST: f32 = 1e-30;

/// How well the package agrees with what was trained.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Parity {
    /// Inputs that were compared.
    pub inputs: usize,
    /// The largest difference of a log-probability.
    pub difference: f32,
}

/// Writes the best weights of a checkpoint as a package to `out`, which must not exist, and holds ONNX Runtime's answers to
/// `inputs` (uint8 tensors, `[height, width, channels]`) against burn's. The first of them become golden rows. Gives the
/// package's digest.
///
/// # Errors
/// The disk does not let us, ONNX Runtime does not run it, or it answers otherwise.
pub fn export(
    checkpoint: &Checkpoint,
    exported: &Exported,
    inputs: &[Vec<u8>],
    out: &Path,
    library: Option<PathBuf>,
) -> Result<(Digest, Parity), Error> {
    if out.exists() {
        return Err(Error::Exists(out.into()));
    }
    let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let failed = |source| Error::Write { path: parent.into(), source };
    fs::create_dir_all(parent).map_err(failed)?;
    let scratch = tempfile::Builder::new().prefix(".export-").tempdir_in(parent).map_err(failed)?;
    let expected = expected(checkpoint, exported.temperature, inputs);
    let net = checkpoint.net();
    let model = graph(&net, &checkpoint.best, &checkpoint.state.normal, exported.temperature, exported.metadata());
    let input = model_input(super::input(checkpoint), exported.preprocess);
    let digest = write(&model.encode_to_vec(), input, exported, inputs, &expected, scratch.path())?;
    let parity = compare(&Package::open(scratch.path())?, inputs, &expected, library)?;
    fs::rename(scratch.keep(), out).map_err(|source| Error::Write { path: out.into(), source })?;
    Ok((digest, parity))
}

/// Log-probabilities by burn, a row an input.
fn expected(checkpoint: &Checkpoint, temperature: f32, inputs: &[Vec<u8>]) -> Vec<Vec<f32>> {
    let (net, normal) = (checkpoint.net(), &checkpoint.state.normal);
    let channels = net.input.channels;
    let pixels = net.input.len() / channels;
    let mut pictures = Vec::with_capacity(inputs.len() * net.input.len());
    for input in inputs {
        for channel in 0..channels {
            let (mean, std) = (normal.mean[channel], normal.std[channel]);
            let (factor, shift) = (1.0 / (255.0 * std), -mean / std);
            let plane = input.iter().skip(channel).step_by(channels).take(pixels);
            pictures.extend(plane.map(|value| f32::from(*value) * factor + shift));
        }
    }
    let logits = forward::logits(&net, &checkpoint.best, pictures, &Device::flex());
    logits.chunks_exact(net.classes).map(|row| log_softmax(row, temperature)).collect()
}

/// Log-probabilities of logits that are divided by a temperature.
pub(crate) fn log_softmax(row: &[f32], temperature: f32) -> Vec<f32> {
    let row: Vec<f32> = row.iter().map(|value| value / temperature).collect();
    let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum = most + row.iter().map(|value| (value - most).exp()).sum::<f32>().ln();
    row.into_iter().map(|value| value - sum).collect()
}

/// The package's files; gives its digest.
pub(crate) fn write(
    model: &[u8],
    input: ModelInput,
    exported: &Exported,
    inputs: &[Vec<u8>],
    expected: &[Vec<f32>],
    folder: &Path,
) -> Result<Digest, Error> {
    let mut files = BTreeMap::new();
    let mut put = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        let made = fs::create_dir_all(path.parent().unwrap_or(folder)).and_then(|()| fs::write(&path, bytes));
        made.map_err(|source| Error::Write { path, source })?;
        files.insert(name.to_owned(), Digest(Sha256::digest(bytes).into()));
        Ok::<_, Error>(())
    };
    put("model.onnx", model)?;
    let mut golden = Golden { tolerance: TOLERANCE, rows: Vec::new() };
    for (at, (input, expected)) in inputs.iter().zip(expected).take(GOLDEN).enumerate() {
        let name = format!("golden/{at}.u8");
        put(&name, input)?;
        let probabilities = expected.iter().map(|value| value.exp()).enumerate().collect();
        golden.rows.push(GoldenRow { input: name, probabilities });
    }
    put("golden.json", &json(&golden))?;
    let document = json(&manifest(input, exported, files));
    let path = folder.join(MANIFEST);
    fs::write(&path, &document).map_err(|source| Error::Write { path, source })?;
    Ok(Digest(Sha256::digest(&document).into()))
}

fn json(document: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec_pretty(document).unwrap_or_default() // our documents have text keys and finite numbers alone
}

fn model_input([width, height, channels]: [usize; 3], preprocess: u16) -> ModelInput {
    ModelInput {
        name: INPUT.into(),
        width: width as u32,
        height: height as u32,
        color: if channels == 1 { Color::Gray } else { Color::Rgb },
        layout: Layout::Nhwc,
        dtype: Dtype::Uint8,
        preprocess: Preprocess { version: preprocess, filter: Filter::Triangle },
        normalize: None,
    }
}

fn manifest(input: ModelInput, exported: &Exported, files: BTreeMap<String, Digest>) -> ModelManifest {
    ModelManifest {
        schema: contract::SCHEMA,
        id: exported.id.clone(),
        version: Arc::from(&*exported.version),
        files,
        input,
        output: ModelOutput { name: OUTPUT.into(), form: OutputForm::Logits },
        classes: exported.classes.clone(),
        thresholds: exported.thresholds.clone(),
        variants: BTreeMap::new(),
        golden: Some("golden.json".into()),
        commit: exported.commit.clone(),
        dataset: exported.dataset,
        licence: exported.licence.clone(),
        source: Some(format!("trained by sightline-train {}", env!("CARGO_PKG_VERSION"))),
    }
}

/// Runs the package, and its golden rows as a gateway does when it loads it.
pub(crate) fn compare(
    package: &Package,
    inputs: &[Vec<u8>],
    expected: &[Vec<f32>],
    library: Option<PathBuf>,
) -> Result<Parity, Error> {
    let mut engine = OrtCpu::new(library).with_max_batch(1).load(package)?;
    let mut largest = 0.0f32;
    for (input, expected) in inputs.iter().zip(expected) {
        let mut out = vec![0.0; expected.len()];
        engine.run(Batch { input, n: 1 }, &mut out, None)?;
        for (got, expected) in
            out.iter().zip(expected).filter(|(got, expected)| **got > LEAST && expected.exp() > LEAST)
        {
            let difference = (got.ln() - expected).abs();
            // `max` would pass a NaN by.
            largest = if difference > largest || difference.is_nan() { difference } else { largest };
        }
    }
    if largest > PARITY || largest.is_nan() {
        return Err(Error::Parity { found: largest });
    }
    Ok(Parity { inputs: inputs.len(), difference: largest })
}
