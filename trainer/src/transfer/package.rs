//! Backbone and layer as one graph, in one package.

use std::{
    fs,
    path::{Path, PathBuf},
};

use contract::Digest;
use prost::Message as _;

use super::{Backbone, Error, Features, Head};
use crate::{
    export::{self, Exported, Parity, graph::OUTPUT},
    onnx::{Builder, FLOAT},
};

/// Writes the package to `out`, which must not exist, and holds ONNX Runtime's answers to `inputs` (uint8 tensors) against the
/// features of the same pictures (`numbers` in `features`) passed through the layer.
///
/// # Errors
/// The disk does not let us, ONNX Runtime does not run it, or it answers otherwise.
pub fn write(
    backbone: &Backbone,
    head: &Head,
    exported: &Exported,
    (features, numbers, inputs): (&Features, &[u32], &[Vec<u8>]),
    out: &Path,
    library: Option<PathBuf>,
) -> Result<(Digest, Parity), Error> {
    if out.exists() {
        return Err(export::Error::Exists(out.into()).into());
    }
    let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let failed = |source| Error::Io { what: "write", path: parent.into(), source };
    fs::create_dir_all(parent).map_err(failed)?;
    let scratch = tempfile::Builder::new().prefix(".export-").tempdir_in(parent).map_err(failed)?;
    let expected: Vec<Vec<f32>> = numbers
        .iter()
        .map(|number| export::log_softmax(&head.logits(features.row(*number as usize)), head.temperature))
        .collect();
    let model = graph(backbone, head, exported).encode_to_vec();
    let input = backbone.package.manifest().input.clone();
    let digest = export::write(&model, input, exported, inputs, &expected, scratch.path())?;
    let parity = export::compare(&inference::Package::open(scratch.path())?, inputs, &expected, library)?;
    fs::rename(scratch.keep(), out).map_err(|source| Error::Io { what: "write", path: out.into(), source })?;
    Ok((digest, parity))
}

fn graph(backbone: &Backbone, head: &Head, exported: &Exported) -> crate::onnx::message::Model {
    let mut model = backbone.model.clone();
    let mut builder = Builder::on(model.graph.take().unwrap_or_default());
    let cooled = |values: &[f32]| -> Vec<f32> { values.iter().map(|value| value / head.temperature).collect() };
    let classes = head.bias.len();
    let weight = builder.constant("sightline.weight", &[backbone.width, classes], &cooled(&head.weight));
    let bias = builder.constant("sightline.bias", &[classes], &cooled(&head.bias));
    builder.named("Gemm", &[&backbone.output, &weight, &bias], vec![], OUTPUT);
    builder.output(OUTPUT, FLOAT, &[classes]);
    model.graph = Some(builder.into_graph());
    model.metadata_props = crate::onnx::message::entries(exported.metadata());
    model
}
