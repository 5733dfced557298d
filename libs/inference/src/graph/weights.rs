//! What a graph's stored tensors are.

use std::collections::HashMap;

use prost::Message;

use super::{Fields, GraphError, NODE, Node, graph_of, initializers};

/// `TensorProto.DataType`: the ones that are looked at.
const FLOAT: i32 = 1;
const UINT8: i32 = 2;
const FLOAT16: i32 = 10;

/// A stored tensor. Numbers lie in `raw_data`, or in the field of their type.
#[derive(Clone, PartialEq, prost::Message)]
struct Tensor {
    #[prost(int32, tag = "2")]
    data_type: i32,
    #[prost(float, repeated, tag = "4")]
    float_data: Vec<f32>,
    #[prost(int32, repeated, tag = "5")]
    int32_data: Vec<i32>,
    #[prost(string, tag = "8")]
    name: String,
    #[prost(bytes = "vec", tag = "9")]
    raw_data: Vec<u8>,
}

/// In which style a graph is quantised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Quantization {
    /// Unsigned, or with a zero point: ONNX Runtime's usual style on CPUs.
    Cpu {
        /// The first zero point that says so.
        tensor: String,
    },
    /// Signed and symmetric, as TensorRT needs it.
    Symmetric,
}

/// The first stored float tensor that holds no number somewhere, and what it holds: `NaN` or `infinity`.
///
/// # Errors
/// When the bytes are not an ONNX model.
pub fn not_a_number(model: &[u8]) -> Result<Option<(String, &'static str)>, GraphError> {
    let model = Fields::read(model)?;
    let graph = Fields::read(graph_of(&model)?)?;
    for bytes in initializers(&graph) {
        let tensor = Tensor::decode(bytes)?;
        if let Some(what) = tensor.odd() {
            return Ok(Some((tensor.name, what)));
        }
    }
    Ok(None)
}

/// How the graph is quantised; `None` when it is not.
///
/// # Errors
/// When the bytes are not an ONNX model.
pub fn quantization(model: &[u8]) -> Result<Option<Quantization>, GraphError> {
    let model = Fields::read(model)?;
    let graph = Fields::read(graph_of(&model)?)?;
    let nodes: Vec<Node> = graph.all(NODE).map(Node::decode).collect::<Result<_, _>>()?;
    let quantised = |node: &&Node| matches!(node.op_type.as_str(), "QuantizeLinear" | "DequantizeLinear");
    let points: Vec<&String> = nodes.iter().filter(quantised).filter_map(|node| node.input.get(2)).collect();
    if !nodes.iter().any(|node| quantised(&node)) {
        return Ok(None);
    }
    let tensors: Vec<Tensor> = initializers(&graph).map(Tensor::decode).collect::<Result<_, _>>()?;
    let by_name: HashMap<&str, &Tensor> = tensors.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
    let unfit =
        |name: &&&String| by_name.get(name.as_str()).is_some_and(|point| point.data_type == UINT8 || !point.zero());
    Ok(Some(match points.iter().find(unfit) {
        Some(name) => Quantization::Cpu { tensor: (*name).clone() },
        None => Quantization::Symmetric,
    }))
}

impl Tensor {
    fn odd(&self) -> Option<&'static str> {
        let mut raw32 = self.raw_data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        let mut raw16 = self.raw_data.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]]));
        match self.data_type {
            FLOAT => raw32.find_map(odd).or_else(|| self.float_data.iter().copied().find_map(odd)),
            FLOAT16 => raw16.find_map(odd16).or_else(|| self.int32_data.iter().find_map(|&bits| odd16(bits as u16))),
            _ => None,
        }
    }

    fn zero(&self) -> bool {
        self.raw_data.iter().all(|&byte| byte == 0) && self.int32_data.iter().all(|&number| number == 0)
    }
}

fn odd(value: f32) -> Option<&'static str> {
    if value.is_nan() {
        Some("NaN")
    } else if value.is_infinite() {
        Some("infinity")
    } else {
        None
    }
}

/// Five bits of exponent, all ones.
fn odd16(bits: u16) -> Option<&'static str> {
    match (bits & 0x7C00 == 0x7C00, bits & 0x03FF) {
        (false, _) => None,
        (true, 0) => Some("infinity"),
        (true, _) => Some("NaN"),
    }
}
