//! Puts a graph together, node by node.

use super::message::{
    Attribute, Dim, Graph, Length, Model, Node, OperatorSet, Shape, Tensor, TensorType, Type, Value, entries,
};

/// `TensorProto.DataType.FLOAT`.
pub const FLOAT: i32 = 1;
/// `TensorProto.DataType.UINT8`.
pub const UINT8: i32 = 2;
/// Version of the operators that are written: old enough for every runtime of the last years.
const OPSET: i64 = 13;
/// Version of the file's form that goes with it.
const IR: i64 = 8;
/// `AttributeProto.AttributeType`.
const INT: i32 = 2;
const INTS: i32 = 7;

/// A graph that is being made; each call gives the name of what its node gives.
#[derive(Debug, Default)]
pub struct Builder {
    graph: Graph,
    names: usize,
}

impl Builder {
    /// An empty graph.
    pub fn new(name: &str) -> Self {
        Self { graph: Graph { name: name.into(), ..Graph::default() }, names: 0 }
    }

    /// On top of another graph, whose outputs are taken away.
    pub fn on(mut graph: Graph) -> Self {
        graph.output.clear();
        Self { graph, names: 0 }
    }

    /// What goes in: `[N, axes]`.
    pub fn input(&mut self, name: &str, element: i32, axes: &[usize]) -> String {
        self.graph.input.push(value(name, element, axes));
        name.into()
    }

    /// What comes out: `[N, axes]`.
    pub fn output(&mut self, name: &str, element: i32, axes: &[usize]) {
        self.graph.output.push(value(name, element, axes));
    }

    /// A stored tensor.
    pub fn constant(&mut self, name: &str, dims: &[usize], values: &[f32]) -> String {
        let dims = dims.iter().map(|dim| *dim as i64).collect();
        let raw_data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.graph.initializer.push(Tensor {
            dims,
            data_type: FLOAT,
            name: name.into(),
            raw_data,
            ..Tensor::default()
        });
        name.into()
    }

    /// A node with one output, whose name is made up.
    pub fn node(&mut self, operator: &str, inputs: &[&str], attributes: Vec<Attribute>) -> String {
        self.names += 1;
        let output = format!("{}_{}", operator.to_lowercase(), self.names);
        self.named(operator, inputs, attributes, &output);
        output
    }

    /// A node with one output of this name.
    pub fn named(&mut self, operator: &str, inputs: &[&str], attribute: Vec<Attribute>, output: &str) {
        let input = inputs.iter().map(ToString::to_string).collect();
        self.graph.node.push(Node {
            input,
            output: vec![output.into()],
            name: format!("node_{output}"),
            op_type: operator.into(),
            attribute,
            ..Node::default()
        });
    }

    /// The graph, for a model that is there.
    pub fn into_graph(self) -> Graph {
        self.graph
    }

    /// The model.
    pub fn finish(self, metadata: impl IntoIterator<Item = (String, String)>) -> Model {
        Model {
            ir_version: IR,
            producer_name: "sightline".into(),
            producer_version: env!("CARGO_PKG_VERSION").into(),
            graph: Some(self.graph),
            opset_import: vec![OperatorSet { domain: String::new(), version: OPSET }],
            metadata_props: entries(metadata),
            ..Model::default()
        }
    }
}

/// A whole number as a setting.
pub fn int(name: &str, i: i64) -> Attribute {
    Attribute { name: name.into(), i, kind: INT, ..Attribute::default() }
}

/// Whole numbers as a setting.
pub fn ints(name: &str, ints: impl IntoIterator<Item = usize>) -> Attribute {
    let ints = ints.into_iter().map(|int| int as i64).collect();
    Attribute { name: name.into(), ints, kind: INTS, ..Attribute::default() }
}

fn value(name: &str, elem_type: i32, axes: &[usize]) -> Value {
    let batch = Dim { length: Some(Length::Named("N".into())) };
    let rest = axes.iter().map(|axis| Dim { length: Some(Length::Fixed(*axis as i64)) });
    let shape = Some(Shape { dim: std::iter::once(batch).chain(rest).collect() });
    let kind = Some(Type { tensor: Some(TensorType { elem_type, shape }) });
    Value { name: name.into(), kind, doc_string: String::new() }
}
