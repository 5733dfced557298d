//! Turns a float32 graph into a float16 one: half the memory and traffic, and on GPUs twice the speed or more. Inputs and
//! outputs keep their types, so that a package needs no other preprocessing and gives the same kind of answer.
//!
//! Stored tensors and Casts to float32 become float16; before the last Softmax, else at the very end, the value is cast
//! back to float32. Numbers are rounded to the nearest, ties to even; those beyond float16's range (65504) are set to
//! its end and counted, those below its least step (6e-8) become 0.

use half::f16;
use prost::Message;

use super::{
    Fields, GRAPH, GraphError, INITIALIZER, NODE, NODE_INPUT, NODE_OUTPUT, Named, Node, OUTPUT, VALUE_INFO, graph_of,
};

/// `TensorProto`: `data_type`, `float_data`, `raw_data`.
const DATA_TYPE: u32 = 2;
const FLOAT_DATA: u32 = 4;
const RAW_DATA: u32 = 9;
/// `NodeProto`: `name`, `op_type`, `attribute`.
const NODE_NAME: u32 = 3;
const OPERATOR: u32 = 4;
const ATTRIBUTE: u32 = 5;
/// `AttributeProto`: `name`, `i`, `type`.
const ATTRIBUTE_NAME: u32 = 1;
const ATTRIBUTE_I: u32 = 3;
const ATTRIBUTE_TYPE: u32 = 20;
/// `AttributeProto.AttributeType.INT`.
const INT: u64 = 2;
const FLOAT: u64 = 1;
const FLOAT16: u64 = 10;

/// Operators whose inputs and outputs may all be float16 (ONNX 13), and which hold no float32 elsewhere than in stored
/// tensors. Others are refused by name rather than guessed.
const KNOWN: [&str; 29] = [
    "Add",
    "AveragePool",
    "BatchNormalization",
    "Cast",
    "Clip",
    "Concat",
    "Conv",
    "Div",
    "Dropout",
    "Flatten",
    "Gemm",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "LeakyRelu",
    "MatMul",
    "MaxPool",
    "Mul",
    "Pad",
    "ReduceMean",
    "Relu",
    "Reshape",
    "Sigmoid",
    "Softmax",
    "Squeeze",
    "Sub",
    "Transpose",
];

/// A graph in float16, and what became of its numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Half {
    /// The ONNX file.
    pub model: Vec<u8>,
    /// Stored numbers that were converted.
    pub numbers: u64,
    /// Of these, how many were beyond the range and stand at its end now.
    pub clamped: u64,
}

/// Why there is no float16 graph.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HalfError {
    /// It is no graph at all.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// It has float16 tensors already.
    #[error("the model holds float16 tensors already (`{0}`): convert the float32 one")]
    Already(String),
    /// An operator that is not known to work in float16.
    #[error("operator {0} of the model is not known to work in float16; use the float32 model")]
    Operator(String),
    /// Nothing gives the output.
    #[error("no node of the model gives its output `{0}`; export it again")]
    Output(String),
}

impl From<prost::DecodeError> for HalfError {
    fn from(error: prost::DecodeError) -> Self {
        Self::Graph(error.into())
    }
}

/// The parts of a stored tensor that matter here.
#[derive(Clone, PartialEq, prost::Message)]
struct Tensor {
    #[prost(uint64, tag = "2")]
    data_type: u64,
    #[prost(float, repeated, tag = "4")]
    float_data: Vec<f32>,
    #[prost(string, tag = "8")]
    name: String,
    #[prost(bytes = "vec", tag = "9")]
    raw_data: Vec<u8>,
}

/// An integer attribute.
#[derive(Clone, PartialEq, prost::Message)]
struct Attribute {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(uint64, tag = "3")]
    i: u64,
}

/// The model in float16.
///
/// # Errors
/// What the model holds that cannot be converted, by name.
pub fn half(model: &[u8]) -> Result<Half, HalfError> {
    let mut file = Fields::read(model)?;
    let mut graph = Fields::read(graph_of(&file)?)?;
    let nodes: Vec<(usize, Node)> =
        graph.positions(NODE).map(|(at, bytes)| Ok((at, Node::decode(bytes)?))).collect::<Result<_, HalfError>>()?;
    if let Some((_, node)) = nodes.iter().find(|(_, node)| !KNOWN.contains(&node.op_type.as_str())) {
        return Err(HalfError::Operator(node.op_type.clone()));
    }
    let mut made = Half { model: Vec::new(), numbers: 0, clamped: 0 };
    let places: Vec<usize> = graph.positions(INITIALIZER).map(|(at, _)| at).collect();
    for at in places {
        if let Some(tensor) = narrow(graph.at(at), &mut made)? {
            graph.set(at, tensor);
        }
    }
    for (at, _) in nodes.iter().filter(|(_, node)| node.op_type == "Cast") {
        let cast = to_half(graph.at(*at))?;
        graph.set(*at, cast);
    }
    widen_output(&mut graph, &nodes)?;
    // Types of values in between were told as float32; they are found again by whoever reads the graph.
    graph.retain(|field| field.number != VALUE_INFO);
    file.replace(GRAPH, graph.write());
    made.model = file.write();
    Ok(made)
}

/// A float32 tensor as float16; other types stay.
fn narrow(bytes: &[u8], made: &mut Half) -> Result<Option<Vec<u8>>, HalfError> {
    let tensor = Tensor::decode(bytes)?;
    match tensor.data_type {
        FLOAT => {}
        FLOAT16 => return Err(HalfError::Already(tensor.name)),
        _ => return Ok(None),
    }
    let raw = tensor.raw_data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    let numbers: Vec<f32> = tensor.float_data.iter().copied().chain(raw).collect();
    made.numbers += numbers.len() as u64;
    made.clamped += numbers.iter().filter(|n| n.is_finite() && !f16::from_f32(**n).is_finite()).count() as u64;
    let narrow = |n: &f32| f16::from_f32(n.clamp(f16::MIN.to_f32(), f16::MAX.to_f32())).to_le_bytes();
    let mut fields = Fields::read(bytes)?;
    fields.retain(|field| ![FLOAT_DATA, RAW_DATA].contains(&field.number));
    fields.replace_number(DATA_TYPE, FLOAT16);
    fields.push(RAW_DATA, numbers.iter().flat_map(narrow).collect());
    Ok(Some(fields.write()))
}

/// A Cast to float32 becomes one to float16.
fn to_half(node: &[u8]) -> Result<Vec<u8>, HalfError> {
    let mut fields = Fields::read(node)?;
    let places: Vec<(usize, Attribute)> = fields
        .positions(ATTRIBUTE)
        .map(|(at, bytes)| Ok((at, Attribute::decode(bytes)?)))
        .collect::<Result<_, HalfError>>()?;
    for (at, _) in places.iter().filter(|(_, attribute)| attribute.name == "to" && attribute.i == FLOAT) {
        let attribute = {
            let mut inner = Fields::read(fields.at(*at))?;
            inner.replace_number(ATTRIBUTE_I, FLOAT16);
            inner.write()
        };
        fields.set(*at, attribute);
    }
    Ok(fields.write())
}

/// Casts the graph's output back: before a Softmax that gives it, so that the sum of many small numbers is exact, else
/// behind the last node.
fn widen_output(graph: &mut Fields<'_>, nodes: &[(usize, Node)]) -> Result<(), HalfError> {
    let output = graph.all(OUTPUT).next().ok_or(GraphError::NoGraph)?;
    let output = Named::decode(output)?.name;
    let last = nodes.iter().find(|(_, node)| node.output.first() == Some(&output));
    let (at, node) = last.ok_or_else(|| HalfError::Output(output.clone()))?;
    let narrow = format!("{output}.float16");
    let mut fields = Fields::read(graph.at(*at))?;
    if node.op_type == "Softmax" {
        let from = node.input.first().cloned().unwrap_or_default();
        fields.replace(NODE_INPUT, narrow.clone().into_bytes());
        let fields = fields.write();
        graph.set(*at, fields);
        graph.insert(*at, NODE, widening(&from, &narrow));
    } else {
        fields.replace(NODE_OUTPUT, narrow.clone().into_bytes());
        let fields = fields.write();
        graph.set(*at, fields);
        graph.insert(*at + 1, NODE, widening(&narrow, &output));
    }
    Ok(())
}

/// A Cast to float32.
fn widening(from: &str, to: &str) -> Vec<u8> {
    let mut attribute = Fields::default();
    attribute.push(ATTRIBUTE_NAME, b"to".to_vec());
    attribute.push_number(ATTRIBUTE_I, FLOAT);
    attribute.push_number(ATTRIBUTE_TYPE, INT);
    let mut node = Fields::default();
    node.push(NODE_INPUT, from.as_bytes().to_vec());
    node.push(NODE_OUTPUT, to.as_bytes().to_vec());
    node.push(NODE_NAME, format!("{to}.widen").into_bytes());
    node.push(OPERATOR, b"Cast".to_vec());
    node.push(ATTRIBUTE, attribute.write());
    node.write()
}
