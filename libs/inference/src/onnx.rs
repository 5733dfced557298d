//! Just enough of ONNX's protobuf to know what a model takes and gives, without running it.
//!
//! Field numbers are those of `onnx.proto3` (ONNX 1.x). Fields that are not named here, the weights' bytes above
//! all, are skipped by the decoder and cost nothing.

use std::collections::BTreeMap;

use prost::Message;

/// `TensorProto.DataType.FLOAT`.
pub const FLOAT: i32 = 1;
/// `TensorProto.DataType.UINT8`.
pub const UINT8: i32 = 2;

/// What a model file says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// Version of the file format.
    pub ir_version: i64,
    /// The program that wrote it, with its version.
    pub producer: String,
    /// Operator sets by domain; the default domain is `ai.onnx`.
    pub opsets: BTreeMap<String, i64>,
    /// Free metadata.
    pub metadata: BTreeMap<String, String>,
    /// Inputs that a caller must give: without those that have a stored value.
    pub inputs: Vec<Value>,
    /// Outputs.
    pub outputs: Vec<Value>,
    /// How many nodes of each operator, in the main graph.
    pub operators: BTreeMap<String, usize>,
    /// Numbers in all stored tensors.
    pub parameters: u64,
    /// A stored tensor that lives in another file, if there is one.
    pub external: Option<String>,
}

/// An input or output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// Its name.
    pub name: String,
    /// ONNX's number for the element type; 0 where it is no tensor.
    pub element: i32,
    /// Its axes; absent where the model does not say even how many.
    pub shape: Option<Vec<Dim>>,
}

/// One axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dim {
    /// Always this long.
    Fixed(i64),
    /// Any length, with the name that the model gives it; may be empty.
    Any(String),
}

/// The file is not an ONNX model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes are not a protobuf message of this form.
    #[error("it is not a readable ONNX file (torn or not ONNX at all); export or copy it again")]
    Decode(#[from] prost::DecodeError),
    /// Readable, but without a graph.
    #[error("it holds no ONNX graph (torn or not ONNX at all); export or copy it again")]
    NoGraph,
}

impl Model {
    /// Reads the facts from a model file's bytes.
    ///
    /// # Errors
    /// When the bytes are not an ONNX model.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let proto = wire::Model::decode(bytes)?;
        let graph = proto.graph.filter(|graph| !graph.output.is_empty()).ok_or(Error::NoGraph)?;
        let mut operators = BTreeMap::new();
        for node in &graph.node {
            *operators.entry(node.op_type.clone()).or_default() += 1;
        }
        // Before IR version 4 every stored tensor was also listed as an input.
        let stored = |name: &str| graph.initializer.iter().any(|tensor| tensor.name == name);
        let domain = |name: String| if name.is_empty() { "ai.onnx".to_owned() } else { name };
        Ok(Self {
            ir_version: proto.ir_version,
            producer: format!("{} {}", proto.producer_name, proto.producer_version).trim().to_owned(),
            opsets: proto.opset_import.into_iter().map(|set| (domain(set.domain), set.version)).collect(),
            metadata: proto.metadata_props.into_iter().map(|entry| (entry.key, entry.value)).collect(),
            inputs: graph.input.iter().filter(|value| !stored(&value.name)).map(Value::read).collect(),
            outputs: graph.output.iter().map(Value::read).collect(),
            operators,
            parameters: graph.initializer.iter().fold(0, |n: u64, tensor| n.saturating_add(tensor.elements())),
            external: graph.initializer.iter().find(|t| t.data_location == wire::EXTERNAL).map(|t| t.name.clone()),
        })
    }
}

impl Value {
    fn read(proto: &wire::ValueInfo) -> Self {
        let tensor = proto.r#type.as_ref().and_then(|t| t.tensor_type.as_ref());
        let shape = tensor.and_then(|t| t.shape.as_ref()).map(|shape| shape.dim.iter().map(Dim::read).collect());
        Self { name: proto.name.clone(), element: tensor.map_or(0, |t| t.elem_type), shape }
    }

    /// Type and shape for people, as in `uint8 [N, 224, 224, 3]`.
    pub fn describe(&self) -> String {
        format!("{} {}", element_name(self.element), describe_shape(self.shape.as_deref()))
    }
}

/// A shape for people, as in `[N, 224, 224, 3]`.
pub fn describe_shape(shape: Option<&[Dim]>) -> String {
    let Some(shape) = shape else { return "of unknown shape".into() };
    let dims: Vec<String> = shape
        .iter()
        .map(|dim| match dim {
            Dim::Fixed(n) => n.to_string(),
            Dim::Any(name) if name.is_empty() => "?".into(),
            Dim::Any(name) => name.clone(),
        })
        .collect();
    format!("[{}]", dims.join(", "))
}

/// An element type's usual name.
pub fn element_name(element: i32) -> &'static str {
    match element {
        1 => "float32",
        2 => "uint8",
        3 => "int8",
        4 => "uint16",
        5 => "int16",
        6 => "int32",
        7 => "int64",
        8 => "string",
        9 => "bool",
        10 => "float16",
        11 => "float64",
        12 => "uint32",
        13 => "uint64",
        16 => "bfloat16",
        _ => "another type",
    }
}

impl Dim {
    fn read(proto: &wire::Dimension) -> Self {
        match &proto.value {
            Some(wire::DimValue::Value(n)) => Dim::Fixed(*n),
            Some(wire::DimValue::Param(name)) => Dim::Any(name.clone()),
            None => Dim::Any(String::new()),
        }
    }
}

/// The messages as they stand in the file.
mod wire {
    /// `TensorProto.DataLocation.EXTERNAL`.
    pub const EXTERNAL: i32 = 1;

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Model {
        #[prost(int64, tag = "1")]
        pub ir_version: i64,
        #[prost(string, tag = "2")]
        pub producer_name: String,
        #[prost(string, tag = "3")]
        pub producer_version: String,
        #[prost(message, optional, tag = "7")]
        pub graph: Option<Graph>,
        #[prost(message, repeated, tag = "8")]
        pub opset_import: Vec<OperatorSet>,
        #[prost(message, repeated, tag = "14")]
        pub metadata_props: Vec<Entry>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct OperatorSet {
        #[prost(string, tag = "1")]
        pub domain: String,
        #[prost(int64, tag = "2")]
        pub version: i64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Entry {
        #[prost(string, tag = "1")]
        pub key: String,
        #[prost(string, tag = "2")]
        pub value: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Graph {
        #[prost(message, repeated, tag = "1")]
        pub node: Vec<Node>,
        #[prost(message, repeated, tag = "5")]
        pub initializer: Vec<Tensor>,
        #[prost(message, repeated, tag = "11")]
        pub input: Vec<ValueInfo>,
        #[prost(message, repeated, tag = "12")]
        pub output: Vec<ValueInfo>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Node {
        #[prost(string, tag = "4")]
        pub op_type: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Tensor {
        #[prost(int64, repeated, tag = "1")]
        pub dims: Vec<i64>,
        #[prost(string, tag = "8")]
        pub name: String,
        #[prost(int32, tag = "14")]
        pub data_location: i32,
    }

    impl Tensor {
        /// Numbers in the tensor; a negative axis in a hostile file counts as none.
        pub fn elements(&self) -> u64 {
            self.dims.iter().fold(1, |n: u64, &dim| n.saturating_mul(u64::try_from(dim).unwrap_or(0)))
        }
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct ValueInfo {
        #[prost(string, tag = "1")]
        pub name: String,
        #[prost(message, optional, tag = "2")]
        pub r#type: Option<Type>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Type {
        #[prost(message, optional, tag = "1")]
        pub tensor_type: Option<TensorType>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct TensorType {
        #[prost(int32, tag = "1")]
        pub elem_type: i32,
        #[prost(message, optional, tag = "2")]
        pub shape: Option<Shape>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Shape {
        #[prost(message, repeated, tag = "1")]
        pub dim: Vec<Dimension>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Dimension {
        #[prost(oneof = "DimValue", tags = "1, 2")]
        pub value: Option<DimValue>,
    }

    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum DimValue {
        #[prost(int64, tag = "1")]
        Value(i64),
        #[prost(string, tag = "2")]
        Param(String),
    }
}
