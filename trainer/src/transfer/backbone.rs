//! A model's graph up to its features.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs,
    path::Path,
    sync::Arc,
};

use contract::{
    Digest,
    model::{MANIFEST, ModelManifest, ModelOutput, OutputForm},
};
use inference::Package;
use prost::Message as _;
use sha2::{Digest as _, Sha256};

use super::Error;
use crate::onnx::{
    Builder, FLOAT,
    message::{Graph, Model, Node},
};

/// A model without its last layer.
pub struct Backbone {
    /// The package that it is taken from.
    pub package: Package,
    /// Everything up to the features.
    pub model: Model,
    /// The features' name in the graph.
    pub output: String,
    /// How many features a picture has.
    pub width: usize,
}

impl Backbone {
    /// Takes a package's last matrix product away.
    ///
    /// # Errors
    /// The package cannot be read, or its graph has no such product.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let package = Package::open(path)?;
        let wrong = |why: String| Error::Graph { id: package.manifest().id.clone(), why };
        let bytes = package.model().map_err(|error| wrong(error.to_string()))?;
        let mut model = Model::read(&bytes).map_err(|error| wrong(error.to_string()))?;
        let graph = model.graph.take().ok_or_else(|| wrong("it has no graph".into()))?;
        let (output, width) = features(&graph).ok_or_else(|| {
            wrong("no matrix product with stored weights ends its graph: only a classifier with a last linear layer has features".into())
        })?;
        model.graph = Some(upto(graph, &output, width));
        Ok(Self { model, output, width, package })
    }

    /// As a package that gives features where classes would be.
    ///
    /// # Errors
    /// The disk does not let us.
    pub fn write(&self, folder: &Path) -> Result<(), Error> {
        let put = |name: &str, bytes: &[u8]| {
            let path = folder.join(name);
            fs::write(&path, bytes).map_err(|source| Error::Io { what: "write", path, source })
        };
        let bytes = self.model.encode_to_vec();
        let files = BTreeMap::from([("model.onnx".to_owned(), Digest(Sha256::digest(&bytes).into()))]);
        put("model.onnx", &bytes)?;
        let from = self.package.manifest();
        let manifest = ModelManifest {
            files,
            output: ModelOutput { name: self.output.as_str().into(), form: OutputForm::Probabilities },
            classes: (0..self.width).map(|at| Arc::from(format!("feature {at}"))).collect(),
            thresholds: BTreeMap::new(),
            variants: BTreeMap::new(),
            golden: None,
            ..from.clone()
        };
        put(MANIFEST, &serde_json::to_vec(&manifest).unwrap_or_default()) // text keys and finite numbers alone
    }
}

/// What the last matrix product takes, and how wide it is.
fn features(graph: &Graph) -> Option<(String, usize)> {
    let stored: HashMap<&str, &[i64]> =
        graph.initializer.iter().map(|tensor| (tensor.name.as_str(), tensor.dims.as_slice())).collect();
    let of = |node: &Node| {
        let dims = *stored.get(node.input.get(1)?.as_str())?;
        let [rows, columns] = *dims.first_chunk::<2>().filter(|_| dims.len() == 2)?;
        let turned = node.attribute.iter().any(|attribute| attribute.name == "transB" && attribute.i == 1);
        let width = match node.op_type.as_str() {
            "Gemm" if turned => columns,
            "Gemm" | "MatMul" => rows,
            _ => return None,
        };
        Some((node.input.first()?.clone(), usize::try_from(width).ok()?))
    };
    graph.node.iter().rev().find_map(of)
}

/// The part of the graph that the features need.
fn upto(graph: Graph, output: &str, width: usize) -> Graph {
    let mut needed: HashSet<String> = HashSet::from([output.to_owned()]);
    let mut nodes: Vec<Node> = Vec::new();
    // Nodes stand in an order in which they can be computed.
    for node in graph.node.into_iter().rev() {
        if node.output.iter().any(|name| needed.contains(name)) {
            needed.extend(node.input.iter().cloned());
            nodes.push(node);
        }
    }
    nodes.reverse();
    let mut graph = Graph { node: nodes, ..graph };
    graph.initializer.retain(|tensor| needed.contains(&tensor.name));
    graph.input.retain(|input| needed.contains(&input.name));
    graph.value_info.clear();
    let mut builder = Builder::on(graph);
    builder.output(output, FLOAT, &[width]);
    builder.into_graph()
}
