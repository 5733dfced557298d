//! Makes a package's ONNX file fit TensorRT, without changing what it computes, and refuses what it cannot run.

use inference::graph::{self, GraphError, Quantization};

use crate::library::PRODUCT;

/// Why the model cannot be run by this engine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file is not a readable graph.
    #[error("read the model's graph")]
    Graph(#[from] GraphError),
    /// A weight is no number: every answer would be none either.
    #[error("weight `{tensor}` of the model holds {what}; train or export it again")]
    NotANumber {
        /// The tensor's name.
        tensor: String,
        /// `NaN` or `infinity`.
        what: &'static str,
    },
    /// Quantised as CPUs want it.
    #[error(
        "tensor `{tensor}` is quantised in the style of CPUs (unsigned, or with a zero point); {PRODUCT} needs \
             symmetric signed 8 bits: use the package's variant `int8-trt`, or a float one"
    )]
    QuantizedForCpu {
        /// The first such tensor.
        tensor: String,
    },
}

/// The model as TensorRT takes it: a uint8 input must be cast before anything else is done with it.
///
/// # Errors
/// What is wrong with the model.
pub fn prepare(model: &[u8]) -> Result<Vec<u8>, Error> {
    if let Some((tensor, what)) = graph::not_a_number(model)? {
        return Err(Error::NotANumber { tensor, what });
    }
    if let Some(Quantization::Cpu { tensor }) = graph::quantization(model)? {
        return Err(Error::QuantizedForCpu { tensor });
    }
    Ok(graph::cast_first(model)?.unwrap_or_else(|| model.to_vec()))
}
