//! The model package's manifest: `manifest.json` beside `model.onnx` in a folder or tar.
//!
//! The package's digest is the SHA-256 of the manifest's bytes, and the manifest names the SHA-256 of every other file:
//! one digest names the whole.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::Digest;

/// The manifest's file name in a package.
pub const MANIFEST: &str = "manifest.json";

/// What a package is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelManifest {
    /// Version of the manifest's form.
    pub schema: u16,
    /// The model's name, as in `efficientnet-lite0`.
    pub id: String,
    /// Its version.
    pub version: Arc<str>,
    /// Every other file of the package by its path, with its digest; must name `model.onnx`.
    pub files: BTreeMap<String, Digest>,
    /// What the model takes.
    pub input: ModelInput,
    /// What the model gives.
    pub output: ModelOutput,
    /// Class names, in the order of the scores.
    pub classes: Vec<Arc<str>>,
    /// Least score for an event, by class; where a class is absent, the region's rule holds.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub thresholds: BTreeMap<Arc<str>, f32>,
    /// Other files of the same model, by what they compute in; `model.onnx` itself is the [`Precision::Fp32`] one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub variants: BTreeMap<Precision, Variant>,
    /// The file with golden rows, JSON [`Golden`]; checked after loading.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub golden: Option<String>,
    /// Commit of the code that trained or converted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Hash of the dataset manifest that it was trained on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<Digest>,
    /// SPDX licence expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
    /// Where the weights come from, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// What a model file computes in. TensorRT 11 and TensorRT-RTX take it from the file, so it is a property of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Precision {
    /// 32-bit floating point.
    #[serde(rename = "fp32")]
    Fp32,
    /// 16-bit floating point between an input and an output of the usual types.
    #[serde(rename = "fp16")]
    Fp16,
    /// 8-bit integers in the style of CPUs: unsigned activations, signed weights, QDQ. Reserved: not made yet.
    #[serde(rename = "int8-cpu")]
    Int8Cpu,
    /// 8-bit integers in the style of TensorRT: signed and symmetric, weights per channel, bias not quantised. Reserved:
    /// not made yet.
    #[serde(rename = "int8-trt")]
    Int8Trt,
}

impl Precision {
    /// As in manifests and commands.
    pub fn as_str(self) -> &'static str {
        match self {
            Precision::Fp32 => "fp32",
            Precision::Fp16 => "fp16",
            Precision::Int8Cpu => "int8-cpu",
            Precision::Int8Trt => "int8-trt",
        }
    }
}

impl std::fmt::Display for Precision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Another file of the same model, with the same input and output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Variant {
    /// Its name in [`ModelManifest::files`], which holds its digest.
    pub file: String,
    /// How well it agrees with `model.onnx`, measured when it was made.
    pub agreement: Agreement,
}

/// How two files of a model agree on the same inputs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// How many inputs were compared.
    pub inputs: u32,
    /// The share of them for which both give the same class the highest score, 0 to 1.
    pub top1: f32,
    /// The largest difference of a probability.
    pub difference_max: f32,
    /// The mean difference of a probability.
    pub difference_mean: f32,
}

/// What the model takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelInput {
    /// Name of the ONNX input.
    pub name: String,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Colour of the pixels.
    pub color: Color,
    /// Order of the axes.
    pub layout: Layout,
    /// Element type of the ONNX input.
    pub dtype: Dtype,
    /// How a region becomes the uint8 tensor.
    pub preprocess: Preprocess,
    /// For `float32` only: how a uint8 value `v` of channel `c` becomes a float: `(v * scale - mean[c]) / std[c]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normalize: Option<Normalize>,
}

/// Colour of the pixels that a model takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Color {
    /// Three channels: red, green, blue.
    Rgb,
    /// One channel: luma, full range.
    Gray,
}

impl Color {
    /// How many channels.
    pub fn channels(self) -> usize {
        match self {
            Color::Rgb => 3,
            Color::Gray => 1,
        }
    }
}

/// Order of a tensor's axes, after the batch axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Layout {
    /// `[N,H,W,C]`.
    Nhwc,
    /// `[N,C,H,W]`.
    Nchw,
}

/// Element type of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// 0 to 255, normalisation inside the model.
    Uint8,
    /// Made from uint8 by a fixed table.
    Float32,
}

/// How a region becomes the uint8 tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Preprocess {
    /// Version of `vision::preprocess` that the model was trained with: its bits never change within a version.
    pub version: u16,
    /// The resize filter: antialiased.
    pub filter: Filter,
}

/// The resize filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Filter {
    /// Triangle over the source area, as in Pillow's `BILINEAR`.
    Triangle,
}

/// Float from uint8: `(v * scale - mean[c]) / std[c]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Normalize {
    /// Multiplies the uint8 value, as in 1/255.
    pub scale: f32,
    /// One a channel.
    pub mean: Vec<f32>,
    /// One a channel.
    pub std: Vec<f32>,
}

/// What the model gives: `[N, classes]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelOutput {
    /// Name of the ONNX output.
    pub name: String,
    /// What its numbers are.
    pub form: OutputForm,
}

/// What an output's numbers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputForm {
    /// Softmax is still to be applied.
    Logits,
    /// They are probabilities.
    Probabilities,
}

/// Inputs with the answers that the model must give: checked after loading, on every engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Golden {
    /// Largest allowed difference of a probability.
    pub tolerance: f32,
    /// The rows.
    pub rows: Vec<GoldenRow>,
}

/// One golden row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GoldenRow {
    /// The package's file with the uint8 input, in the model's layout.
    pub input: String,
    /// Probabilities by class index; classes that are not named are not checked.
    pub probabilities: BTreeMap<usize, f32>,
}
