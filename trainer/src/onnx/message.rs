//! The messages, with the field numbers of `onnx.proto3`. Training functions, sparse tensors and types other than tensors are
//! not among them: [`Model::read`] refuses a file that would lose something.

use prost::Message;

/// A model.
#[derive(Clone, PartialEq, Message)]
pub struct Model {
    /// Version of the file's form.
    #[prost(int64, tag = "1")]
    pub ir_version: i64,
    /// Who wrote it.
    #[prost(string, tag = "2")]
    pub producer_name: String,
    /// In which version.
    #[prost(string, tag = "3")]
    pub producer_version: String,
    /// A name space.
    #[prost(string, tag = "4")]
    pub domain: String,
    /// Version of the model.
    #[prost(int64, tag = "5")]
    pub model_version: i64,
    /// For people.
    #[prost(string, tag = "6")]
    pub doc_string: String,
    /// What is computed.
    #[prost(message, optional, tag = "7")]
    pub graph: Option<Graph>,
    /// Versions of the operators.
    #[prost(message, repeated, tag = "8")]
    pub opset_import: Vec<OperatorSet>,
    /// Free words.
    #[prost(message, repeated, tag = "14")]
    pub metadata_props: Vec<Entry>,
}

/// Version of a set of operators.
#[derive(Clone, PartialEq, Message)]
pub struct OperatorSet {
    /// Empty for ONNX's own.
    #[prost(string, tag = "1")]
    pub domain: String,
    /// Its version.
    #[prost(int64, tag = "2")]
    pub version: i64,
}

/// A key and its value.
#[derive(Clone, PartialEq, Message)]
pub struct Entry {
    /// The key.
    #[prost(string, tag = "1")]
    pub key: String,
    /// The value.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// Free words of a model.
pub fn entries(words: impl IntoIterator<Item = (String, String)>) -> Vec<Entry> {
    words.into_iter().map(|(key, value)| Entry { key, value }).collect()
}

/// Nodes in an order in which they can be computed.
#[derive(Clone, PartialEq, Message)]
pub struct Graph {
    /// What is computed.
    #[prost(message, repeated, tag = "1")]
    pub node: Vec<Node>,
    /// A name.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Stored tensors.
    #[prost(message, repeated, tag = "5")]
    pub initializer: Vec<Tensor>,
    /// For people.
    #[prost(string, tag = "10")]
    pub doc_string: String,
    /// What goes in.
    #[prost(message, repeated, tag = "11")]
    pub input: Vec<Value>,
    /// What comes out.
    #[prost(message, repeated, tag = "12")]
    pub output: Vec<Value>,
    /// Types of what is between.
    #[prost(message, repeated, tag = "13")]
    pub value_info: Vec<Value>,
}

/// One computation.
#[derive(Clone, PartialEq, Message)]
pub struct Node {
    /// Names of what it takes.
    #[prost(string, repeated, tag = "1")]
    pub input: Vec<String>,
    /// Names of what it gives.
    #[prost(string, repeated, tag = "2")]
    pub output: Vec<String>,
    /// A name.
    #[prost(string, tag = "3")]
    pub name: String,
    /// The operator.
    #[prost(string, tag = "4")]
    pub op_type: String,
    /// Its settings.
    #[prost(message, repeated, tag = "5")]
    pub attribute: Vec<Attribute>,
    /// For people.
    #[prost(string, tag = "6")]
    pub doc_string: String,
    /// The operator's domain.
    #[prost(string, tag = "7")]
    pub domain: String,
}

/// A setting of an operator.
#[derive(Clone, PartialEq, Message)]
pub struct Attribute {
    /// Which.
    #[prost(string, tag = "1")]
    pub name: String,
    /// A number.
    #[prost(float, tag = "2")]
    pub f: f32,
    /// A whole number.
    #[prost(int64, tag = "3")]
    pub i: i64,
    /// A text.
    #[prost(bytes = "vec", tag = "4")]
    pub s: Vec<u8>,
    /// A tensor.
    #[prost(message, optional, tag = "5")]
    pub t: Option<Tensor>,
    /// Numbers.
    #[prost(float, repeated, tag = "7")]
    pub floats: Vec<f32>,
    /// Whole numbers.
    #[prost(int64, repeated, tag = "8")]
    pub ints: Vec<i64>,
    /// Texts.
    #[prost(bytes = "vec", repeated, tag = "9")]
    pub strings: Vec<Vec<u8>>,
    /// For people.
    #[prost(string, tag = "13")]
    pub doc_string: String,
    /// Which of the fields counts.
    #[prost(int32, tag = "20")]
    pub kind: i32,
}

/// A stored tensor.
#[derive(Clone, PartialEq, Message)]
pub struct Tensor {
    /// Its axes.
    #[prost(int64, repeated, tag = "1")]
    pub dims: Vec<i64>,
    /// Its element type.
    #[prost(int32, tag = "2")]
    pub data_type: i32,
    /// Elements.
    #[prost(float, repeated, tag = "4")]
    pub float_data: Vec<f32>,
    /// Elements.
    #[prost(int32, repeated, tag = "5")]
    pub int32_data: Vec<i32>,
    /// Elements.
    #[prost(int64, repeated, tag = "7")]
    pub int64_data: Vec<i64>,
    /// Its name.
    #[prost(string, tag = "8")]
    pub name: String,
    /// Elements, little endian.
    #[prost(bytes = "vec", tag = "9")]
    pub raw_data: Vec<u8>,
    /// Elements.
    #[prost(double, repeated, tag = "10")]
    pub double_data: Vec<f64>,
    /// For people.
    #[prost(string, tag = "12")]
    pub doc_string: String,
}

/// A named value's type.
#[derive(Clone, PartialEq, Message)]
pub struct Value {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its type.
    #[prost(message, optional, tag = "2")]
    pub kind: Option<Type>,
    /// For people.
    #[prost(string, tag = "3")]
    pub doc_string: String,
}

/// A type.
#[derive(Clone, PartialEq, Message)]
pub struct Type {
    /// Of a tensor.
    #[prost(message, optional, tag = "1")]
    pub tensor: Option<TensorType>,
}

/// Element type and axes.
#[derive(Clone, PartialEq, Message)]
pub struct TensorType {
    /// Element type.
    #[prost(int32, tag = "1")]
    pub elem_type: i32,
    /// Axes.
    #[prost(message, optional, tag = "2")]
    pub shape: Option<Shape>,
}

/// Axes.
#[derive(Clone, PartialEq, Message)]
pub struct Shape {
    /// One each.
    #[prost(message, repeated, tag = "1")]
    pub dim: Vec<Dim>,
}

/// One axis.
#[derive(Clone, PartialEq, Message)]
pub struct Dim {
    /// How long it is.
    #[prost(oneof = "Length", tags = "1, 2")]
    pub length: Option<Length>,
}

/// How long an axis is.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Length {
    /// Always so long.
    #[prost(int64, tag = "1")]
    Fixed(i64),
    /// As long as this name stands for.
    #[prost(string, tag = "2")]
    Named(String),
}

/// Not a model that can be read and written without loss.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No ONNX at all.
    #[error("it is not a readable ONNX file (torn or not ONNX at all); export or copy it again")]
    Decode(#[from] prost::DecodeError),
    /// Something in it would be lost.
    #[error("it holds what we cannot keep (subgraphs, sparse or external tensors, functions): export it without them")]
    Lossy,
}

impl Model {
    /// Reads a model whose every byte is known to us.
    ///
    /// # Errors
    /// It is none, or writing it again would lose something.
    pub fn read(bytes: &[u8]) -> Result<Self, Error> {
        let model = Self::decode(bytes)?;
        // Defaults that a writer spelt out are few bytes and mean nothing; anything larger is something lost.
        let slack = 2 * model.graph.as_ref().map_or(0, |graph| 8 * graph.node.len() + graph.initializer.len()) + 64;
        if model.encoded_len() + slack < bytes.len() { Err(Error::Lossy) } else { Ok(model) }
    }
}
