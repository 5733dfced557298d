//! Looks into an ONNX graph and changes it where an engine needs another form of the same computation.
//!
//! Works on the file's protobuf fields as they stand: what is not looked at is passed on byte for byte, so nothing that
//! a newer ONNX writes is lost. Field numbers are those of `onnx.proto3`.

mod fields;
mod half;
mod weights;

use fields::Fields;
pub use half::{Half, HalfError, half};
use prost::Message;
pub use weights::{Quantization, not_a_number, quantization};

/// The file cannot be read as a graph.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GraphError {
    /// The bytes are not a protobuf message of this form.
    #[error("it is not a readable ONNX file (torn or not ONNX at all); export or copy it again")]
    Decode(#[from] prost::DecodeError),
    /// Readable, but without a graph.
    #[error("it holds no ONNX graph (torn or not ONNX at all); export or copy it again")]
    NoGraph,
}

/// `ModelProto.graph`.
const GRAPH: u32 = 7;
/// `GraphProto.node`, `.initializer`, `.output`, `.value_info`.
const NODE: u32 = 1;
const INITIALIZER: u32 = 5;
const OUTPUT: u32 = 12;
const VALUE_INFO: u32 = 13;
/// `NodeProto.input`, `.output`.
const NODE_INPUT: u32 = 1;
const NODE_OUTPUT: u32 = 2;

/// The parts of a node that say how it is connected.
#[derive(Clone, PartialEq, prost::Message)]
struct Node {
    #[prost(string, repeated, tag = "1")]
    input: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    output: Vec<String>,
    #[prost(string, tag = "4")]
    op_type: String,
}

/// The name of a value.
#[derive(Clone, PartialEq, prost::Message)]
struct Named {
    #[prost(string, tag = "1")]
    name: String,
}

/// Turns `input -> Transpose -> Cast` into `input -> Cast -> Transpose`, which gives the same values: TensorRT takes a
/// uint8 input only when it is cast before anything else. `None` when the graph does not begin so.
///
/// # Errors
/// When the bytes are not an ONNX model.
pub fn cast_first(model: &[u8]) -> Result<Option<Vec<u8>>, GraphError> {
    let mut model = Fields::read(model)?;
    let mut graph = Fields::read(graph_of(&model)?)?;
    let Some(pair) = Pair::find(&graph)? else { return Ok(None) };
    pair.swap(&mut graph)?;
    model.replace(GRAPH, graph.write());
    Ok(Some(model.write()))
}

fn graph_of<'a>(model: &'a Fields<'_>) -> Result<&'a [u8], GraphError> {
    model.all(GRAPH).next().ok_or(GraphError::NoGraph)
}

/// A Transpose of the graph's only input whose only reader is a Cast.
struct Pair {
    /// Where the two nodes stand among the graph's fields.
    transpose: usize,
    cast: usize,
    from: String,
    between: String,
    to: String,
}

impl Pair {
    fn find(graph: &Fields<'_>) -> Result<Option<Self>, GraphError> {
        let nodes: Vec<(usize, Node)> = graph
            .positions(NODE)
            .map(|(at, bytes)| Ok((at, Node::decode(bytes)?)))
            .collect::<Result<_, prost::DecodeError>>()?;
        let Some((transpose, first)) = nodes.first().filter(|(_, node)| node.op_type == "Transpose") else {
            return Ok(None);
        };
        let ([from], [between]) = (&first.input[..], &first.output[..]) else { return Ok(None) };
        let readers: Vec<&(usize, Node)> = nodes.iter().filter(|(_, node)| node.input.contains(between)).collect();
        let [(cast, second)] = readers[..] else { return Ok(None) };
        let given = graph.all(OUTPUT).any(|bytes| Named::decode(bytes).is_ok_and(|output| output.name == *between));
        let [to] = &second.output[..] else { return Ok(None) };
        if second.op_type != "Cast" || given {
            return Ok(None);
        }
        let [from, between, to] = [from, between, to].map(Clone::clone);
        Ok(Some(Self { transpose: *transpose, cast: *cast, from, between, to }))
    }

    fn swap(&self, graph: &mut Fields<'_>) -> Result<(), GraphError> {
        let cast = reconnect(graph.at(self.cast), &self.from, &self.between)?;
        let transpose = reconnect(graph.at(self.transpose), &self.between, &self.to)?;
        graph.set(self.transpose, cast);
        graph.set(self.cast, transpose);
        // What was said of the value between was said of uint8 in the other order.
        graph.retain(|field| {
            field.number != VALUE_INFO || !Named::decode(&*field.bytes).is_ok_and(|value| value.name == self.between)
        });
        Ok(())
    }
}

/// The node with another input and output.
fn reconnect(node: &[u8], input: &str, output: &str) -> Result<Vec<u8>, GraphError> {
    let mut fields = Fields::read(node)?;
    fields.replace(NODE_INPUT, input.as_bytes().to_vec());
    fields.replace(NODE_OUTPUT, output.as_bytes().to_vec());
    Ok(fields.write())
}

/// The stored tensors.
fn initializers<'a>(graph: &'a Fields<'_>) -> impl Iterator<Item = &'a [u8]> {
    graph.all(INITIALIZER)
}
