//! A model package: `model.onnx`, `manifest.json`, golden rows; a folder or a plain tar.
//!
//! Opening one checks all that can be checked without an engine: names, digests, the manifest's sense, and that the
//! graph takes and gives what the manifest says. Each mistake is found here, not at the first frame.

use std::{path::Path, path::PathBuf, sync::Arc};

use contract::{
    Digest, ModelRef,
    model::{Agreement, Golden, MANIFEST, ModelManifest, Precision},
};
use sha2::{Digest as _, Sha256};
use vision::Spec;

use crate::{
    check,
    files::Files,
    onnx::{self, Dim},
};
pub use crate::{
    check::{Graph as GraphError, Manifest as ManifestError},
    files::{Error as FileError, MAX_FILE_BYTES},
};

/// The model's file name in a package.
pub const MODEL: &str = "model.onnx";

/// Largest manifest or golden file: class names of the largest label sets are far below.
const MAX_DOCUMENT_BYTES: u64 = 16 << 20;

/// Why a package cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("open model package `{}`", path.display())]
pub struct Error {
    /// The package.
    pub path: PathBuf,
    /// What is the matter.
    #[source]
    pub kind: ErrorKind,
}

/// What is the matter with a package.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A file is missing, unreadable, too large, or badly named.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file is not the one that the manifest names.
    #[error("`{name}` has digest {found}, the manifest says {expected}; the file was changed or torn, fetch it again")]
    Digest {
        /// The file.
        name: String,
        /// Of the bytes.
        found: Digest,
        /// In the manifest.
        expected: Digest,
    },
    /// A JSON document does not parse.
    #[error("`{name}` is not valid")]
    Json {
        /// The file.
        name: String,
        /// Where and why.
        source: serde_json::Error,
    },
    /// The manifest contradicts itself or asks for what we do not know.
    #[error("`{MANIFEST}`")]
    Manifest(#[source] ManifestError),
    /// The model file is not ONNX.
    #[error("`{MODEL}`")]
    Onnx(#[source] onnx::Error),
    /// The graph is not what the manifest says.
    #[error("`{MODEL}` does not match `{MANIFEST}`")]
    Graph(#[source] GraphError),
    /// A variant's file is not ONNX.
    #[error("`{name}`")]
    VariantOnnx {
        /// The file.
        name: String,
        /// Why.
        source: onnx::Error,
    },
    /// A variant's graph takes or gives something else than the model.
    #[error("`{name}` does not match `{MANIFEST}`")]
    VariantGraph {
        /// The file.
        name: String,
        /// What differs.
        source: Box<GraphError>,
    },
}

/// An opened, checked package, seen with one of its model files: the float32 one, or by [`Package::variant`] another.
/// Cheap to clone; the weights are read when asked for, not kept.
#[derive(Clone, Debug)]
pub struct Package {
    inner: Arc<Inner>,
    precision: Precision,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    files: Files,
    manifest: ModelManifest,
    digest: Digest,
    golden: Option<Golden>,
    graph: onnx::Model,
}

impl Package {
    /// Opens a folder or plain tar and checks it.
    ///
    /// # Errors
    /// The first mistake: which file, what is wrong, what to do.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let inner = Inner::open(path).map_err(|kind| Error { path: path.to_owned(), kind })?;
        Ok(Self { inner: Arc::new(inner), precision: Precision::Fp32 })
    }

    /// What the package says of itself.
    pub fn manifest(&self) -> &ModelManifest {
        &self.inner.manifest
    }

    /// SHA-256 of the manifest's bytes: names the whole package.
    pub fn digest(&self) -> Digest {
        self.inner.digest
    }

    /// The model as records name it.
    pub fn model_ref(&self) -> ModelRef {
        ModelRef { digest: self.inner.digest, version: Some(self.inner.manifest.version.clone()) }
    }

    /// Class names in the order of the scores.
    pub fn classes(&self) -> &[Arc<str>] {
        &self.inner.manifest.classes
    }

    /// The uint8 tensor that the model wants, for [`vision::Preprocessor`].
    pub fn spec(&self) -> Spec {
        Spec::from(&self.inner.manifest.input)
    }

    /// Bytes of one uint8 input tensor: height x width x channels.
    pub fn tensor_len(&self) -> usize {
        self.spec().len()
    }

    /// The one batch size that the model file takes; `None` where it takes any.
    pub fn batch(&self) -> Option<usize> {
        let input = self.inner.graph.inputs.iter().find(|value| value.name == self.inner.manifest.input.name)?;
        match input.shape.as_deref()?.first()? {
            Dim::Fixed(n) => usize::try_from(*n).ok(),
            Dim::Any(_) => None,
        }
    }

    /// The golden rows, where there are any.
    pub fn golden(&self) -> Option<&Golden> {
        self.inner.golden.as_ref()
    }

    /// What the model file says of itself.
    pub fn graph(&self) -> &onnx::Model {
        &self.inner.graph
    }

    /// Where the package lies.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// The bytes of a file that the manifest names; checked against its digest again, since it is read from disk.
    ///
    /// # Errors
    /// When it cannot be read or has changed.
    pub fn read(&self, name: &str) -> Result<Vec<u8>, Error> {
        self.inner.read(name).map_err(|kind| Error { path: self.inner.path.clone(), kind })
    }

    /// What the model file computes in.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// The same package seen with its file of this precision; `None` when it has none.
    pub fn variant(&self, precision: Precision) -> Option<Self> {
        let there = precision == Precision::Fp32 || self.inner.manifest.variants.contains_key(&precision);
        there.then(|| Self { inner: Arc::clone(&self.inner), precision })
    }

    /// How well the file agrees with the float32 one; `None` for that one itself.
    pub fn agreement(&self) -> Option<Agreement> {
        self.inner.manifest.variants.get(&self.precision).map(|variant| variant.agreement)
    }

    /// The bytes of the model file.
    ///
    /// # Errors
    /// As [`Package::read`].
    pub fn model(&self) -> Result<Vec<u8>, Error> {
        let variant = self.inner.manifest.variants.get(&self.precision);
        self.read(variant.map_or(MODEL, |variant| &variant.file))
    }
}

impl Inner {
    fn open(path: &Path) -> Result<Self, ErrorKind> {
        let files = Files::open(path)?;
        let bytes = files.read(MANIFEST, MAX_DOCUMENT_BYTES)?;
        let manifest: ModelManifest = json(MANIFEST, &bytes)?;
        check::manifest(&manifest).map_err(ErrorKind::Manifest)?;
        let digest = Digest(Sha256::digest(&bytes).into());

        for (name, &expected) in manifest.files.iter().filter(|(name, _)| *name != MODEL) {
            same(name, files.digest(name, MAX_FILE_BYTES)?, expected)?;
        }
        let model = files.read(MODEL, MAX_FILE_BYTES)?;
        same(MODEL, Digest(Sha256::digest(&model).into()), manifest.files[MODEL])?;
        let graph = onnx::Model::parse(&model).map_err(ErrorKind::Onnx)?;
        drop(model);
        check::graph(&manifest, &graph).map_err(ErrorKind::Graph)?;
        for variant in manifest.variants.values() {
            let name = || variant.file.clone();
            let graph = onnx::Model::parse(&files.read(&variant.file, MAX_FILE_BYTES)?)
                .map_err(|source| ErrorKind::VariantOnnx { name: name(), source })?;
            check::graph(&manifest, &graph)
                .map_err(|source| ErrorKind::VariantGraph { name: name(), source: Box::new(source) })?;
        }

        let mut inner = Self { path: path.to_owned(), files, manifest, digest, golden: None, graph };
        inner.golden = inner.open_golden()?;
        Ok(inner)
    }

    fn open_golden(&self) -> Result<Option<Golden>, ErrorKind> {
        let Some(name) = &self.manifest.golden else { return Ok(None) };
        let golden: Golden = json(name, &self.read(name)?)?;
        check::golden(&self.manifest, &golden).map_err(ErrorKind::Manifest)?;
        for row in &golden.rows {
            let got = self.read(&row.input)?.len();
            let expected = Spec::from(&self.manifest.input).len();
            if got != expected {
                let input = row.input.clone();
                return Err(ErrorKind::Manifest(ManifestError::GoldenLength { input, got, expected }));
            }
        }
        Ok(Some(golden))
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, ErrorKind> {
        let expected = *self.manifest.files.get(name).ok_or_else(|| FileError::Missing { name: name.into() })?;
        let bytes = self.files.read(name, MAX_FILE_BYTES)?;
        same(name, Digest(Sha256::digest(&bytes).into()), expected)?;
        Ok(bytes)
    }
}

fn same(name: &str, found: Digest, expected: Digest) -> Result<(), ErrorKind> {
    if found == expected { Ok(()) } else { Err(ErrorKind::Digest { name: name.into(), found, expected }) }
}

fn json<T: serde::de::DeserializeOwned>(name: &str, bytes: &[u8]) -> Result<T, ErrorKind> {
    serde_json::from_slice(bytes).map_err(|source| ErrorKind::Json { name: name.into(), source })
}
