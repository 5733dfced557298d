//! What a model file or package says of itself, as a document: [`print`] makes it text.

mod text;

use std::{collections::BTreeMap, fs, path::Path, path::PathBuf, sync::Arc};

use anyhow::{Context, Result, bail};
use contract::{
    Digest,
    model::{ModelInput, OutputForm},
};
use engine_ort::OrtCpu;
use inference::{
    Accuracy, Package, choose,
    onnx::{Dim, Model, Value, element_name},
    package::{MAX_FILE_BYTES, MODEL},
};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

pub use text::print;

/// All that `inspect` says.
#[derive(Debug, Serialize)]
pub struct Report {
    /// `onnx` or `package`.
    pub kind: &'static str,
    /// The file or folder.
    pub path: PathBuf,
    /// Of an ONNX file the file's SHA-256; of a package that of its manifest, by which the system names it.
    pub digest: Digest,
    /// What only a package has.
    #[serde(flatten)]
    pub package: Option<PackageFacts>,
    /// Inputs of the graph.
    pub inputs: Vec<Tensor>,
    /// Outputs of the graph.
    pub outputs: Vec<Tensor>,
    /// Class names in order; empty where the model does not say.
    pub classes: Vec<Arc<str>>,
    /// The model file.
    pub onnx: OnnxFacts,
    /// What the golden check said, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check: Option<String>,
}

/// What the manifest says.
#[derive(Debug, Serialize)]
pub struct PackageFacts {
    pub id: String,
    pub version: Arc<str>,
    pub preprocessing: ModelInput,
    pub form: OutputForm,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub thresholds: BTreeMap<Arc<str>, f32>,
    pub files: BTreeMap<String, Digest>,
    pub golden: Option<GoldenFacts>,
    pub commit: Option<String>,
    pub dataset: Option<Digest>,
    pub licence: Option<String>,
    pub source: Option<String>,
}

/// How the package can be proved.
#[derive(Debug, Serialize)]
pub struct GoldenFacts {
    pub rows: usize,
    pub tolerance: f32,
}

/// An input or output: `shape` holds numbers, and names for axes of any length.
#[derive(Debug, Serialize)]
pub struct Tensor {
    pub name: String,
    pub dtype: &'static str,
    pub shape: Option<Vec<Axis>>,
    #[serde(skip)]
    pub described: String,
}

/// One axis.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Axis {
    Fixed(i64),
    Any(String),
}

/// What the model file says.
#[derive(Debug, Serialize)]
pub struct OnnxFacts {
    pub bytes: usize,
    pub ir_version: i64,
    pub opsets: BTreeMap<String, i64>,
    pub producer: String,
    pub parameters: u64,
    pub operators: BTreeMap<String, usize>,
    pub metadata: BTreeMap<String, String>,
}

/// Looks at an ONNX file or opens a package.
pub fn inspect(path: &Path) -> Result<Report> {
    let metadata = fs::metadata(path).with_context(|| format!("open model `{}`", path.display()))?;
    if metadata.is_file() && !looks_like_tar(path)? { file(path, metadata.len()) } else { package(path) }
}

/// Runs the golden rows, and says what came out.
pub fn check(path: &Path, library: Option<PathBuf>) -> Result<String> {
    if path.is_file() && !looks_like_tar(path)? {
        bail!(
            "`{}` is an ONNX file: --check needs a package, whose manifest says what to give and expect",
            path.display()
        );
    }
    let package = Package::open(path)?;
    Ok(choose(&[&OrtCpu::new(library)], &[], Accuracy::Exact, &package)?.reason)
}

fn file(path: &Path, bytes: u64) -> Result<Report> {
    if bytes > MAX_FILE_BYTES {
        bail!("`{}` has {bytes} bytes, more than the {MAX_FILE_BYTES} that a model may have", path.display());
    }
    let content = fs::read(path).with_context(|| format!("read `{}`", path.display()))?;
    let model = Model::parse(&content).with_context(|| format!("read `{}`", path.display()))?;
    let classes = model.metadata.get("classes").and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let digest = Digest(Sha256::digest(&content).into());
    Ok(report("onnx", path, digest, classes, &model, content.len()))
}

fn package(path: &Path) -> Result<Report> {
    let package = Package::open(path)?;
    let manifest = package.manifest().clone();
    let bytes = package.model().with_context(|| format!("read `{MODEL}`"))?.len();
    let mut report = report("package", path, package.digest(), manifest.classes, package.graph(), bytes);
    let golden = package.golden();
    report.package = Some(PackageFacts {
        id: manifest.id,
        version: manifest.version,
        preprocessing: manifest.input,
        form: manifest.output.form,
        thresholds: manifest.thresholds,
        files: manifest.files,
        golden: golden.map(|golden| GoldenFacts { rows: golden.rows.len(), tolerance: golden.tolerance }),
        commit: manifest.commit,
        dataset: manifest.dataset,
        licence: manifest.licence,
        source: manifest.source,
    });
    Ok(report)
}

fn report(
    kind: &'static str,
    path: &Path,
    digest: Digest,
    classes: Vec<Arc<str>>,
    model: &Model,
    bytes: usize,
) -> Report {
    Report {
        kind,
        path: path.to_owned(),
        digest,
        package: None,
        inputs: model.inputs.iter().map(Tensor::of).collect(),
        outputs: model.outputs.iter().map(Tensor::of).collect(),
        classes,
        onnx: OnnxFacts {
            bytes,
            ir_version: model.ir_version,
            opsets: model.opsets.clone(),
            producer: model.producer.clone(),
            parameters: model.parameters,
            operators: model.operators.clone(),
            metadata: model.metadata.clone(),
        },
        check: None,
    }
}

impl Tensor {
    fn of(value: &Value) -> Self {
        let axis = |dim: &Dim| match dim {
            Dim::Fixed(length) => Axis::Fixed(*length),
            Dim::Any(name) => Axis::Any(name.clone()),
        };
        Self {
            name: value.name.clone(),
            dtype: element_name(value.element),
            shape: value.shape.as_ref().map(|shape| shape.iter().map(axis).collect()),
            described: value.describe(),
        }
    }
}

/// A tar has `ustar` at 257. Anything else that is a file is taken for ONNX, whose files begin with nothing certain;
/// an archive that is compressed goes to the package reader, which says so.
fn looks_like_tar(path: &Path) -> Result<bool> {
    use std::io::Read;
    let mut head = Vec::new();
    let file = fs::File::open(path).with_context(|| format!("open model `{}`", path.display()))?;
    file.take(262).read_to_end(&mut head).with_context(|| format!("read `{}`", path.display()))?;
    let compressed = head.starts_with(&[0x1f, 0x8b]) || head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]);
    Ok(compressed || head.get(257..262) == Some(b"ustar"))
}
