//! A trained network as an ONNX graph: bytes in, normalisation inside, batch normalisation folded into its convolutions.

use super::Exported;
use crate::{
    net::{Conv, EPSILON, Layer, Net, Weights},
    onnx::{
        Builder, FLOAT, UINT8,
        build::{int, ints},
        message::Model,
    },
    train::Normal,
};

/// Name of the input: `[N, height, width, channels]`, uint8.
pub const INPUT: &str = "input";
/// Name of the output: `[N, classes]`, logits.
pub const OUTPUT: &str = "logits";

/// Writes the graph. Logits are divided by `temperature`, so that their softmax is calibrated.
pub fn graph(
    net: &Net,
    weights: &Weights,
    normal: &Normal,
    temperature: f32,
    metadata: Vec<(String, String)>,
) -> Model {
    let mut writing = Writing { net, weights, builder: Builder::new("sightline"), convs: 0 };
    let input = net.input;
    let bytes = writing.builder.input(INPUT, UINT8, &[input.height, input.width, input.channels]);
    let planes = writing.normalised(&bytes, normal);
    let (layers, row) = net.layers.iter().fold((planes, None), |(at, row), layer| match layer {
        Layer::GlobalPool => {
            let pooled = writing.pooled(&at);
            (at, Some(pooled))
        }
        Layer::Linear(_) => (at, row),
        layer => (writing.layer(layer, &at), row),
    });
    let row = row.unwrap_or(layers);
    writing.last(&row, temperature);
    writing.builder.output(OUTPUT, FLOAT, &[net.classes]);
    writing.builder.finish(metadata)
}

struct Writing<'n> {
    net: &'n Net,
    weights: &'n Weights,
    builder: Builder,
    convs: usize,
}

impl Writing<'_> {
    /// Bytes `[N, H, W, C]` to `(v / 255 - mean) / std` in `[N, C, H, W]`.
    fn normalised(&mut self, bytes: &str, normal: &Normal) -> String {
        let builder = &mut self.builder;
        let floats = builder.node("Cast", &[bytes], vec![int("to", FLOAT.into())]);
        let planes = builder.node("Transpose", &[&floats], vec![ints("perm", [0, 3, 1, 2])]);
        let of = |value: &dyn Fn(f32, f32) -> f32| -> Vec<f32> {
            normal.mean.iter().zip(&normal.std).map(|(mean, std)| value(*mean, *std)).collect()
        };
        let axes = [1, self.net.input.channels, 1, 1];
        let factor = builder.constant("normal.factor", &axes, &of(&|_, std| 1.0 / (255.0 * std)));
        let shift = builder.constant("normal.shift", &axes, &of(&|mean, std| -mean / std));
        let scaled = builder.node("Mul", &[&planes, &factor], vec![]);
        builder.node("Add", &[&scaled, &shift], vec![])
    }

    fn layer(&mut self, layer: &Layer, from: &str) -> String {
        match layer {
            Layer::Conv(conv) => self.conv(conv, from),
            Layer::Relu => self.builder.node("Relu", &[from], vec![]),
            Layer::Residual(branch) => {
                let inside = branch.iter().fold(from.to_owned(), |at, layer| self.layer(layer, &at));
                self.builder.node("Add", &[from, &inside], vec![])
            }
            Layer::GlobalPool | Layer::Linear(_) => from.to_owned(),
        }
    }

    /// `scale * (conv(x) - mean) / sqrt(variance + epsilon) + shift` is a convolution with a bias.
    fn conv(&mut self, conv: &Conv, from: &str) -> String {
        let of = |slot: usize| self.net.slots[slot].of(&self.weights.values);
        let statistics = &self.weights.statistics[conv.statistics..conv.statistics + 2 * conv.out];
        let (means, variances) = statistics.split_at(conv.out);
        let factor = |at: usize| f64::from(of(conv.scale)[at]) / (f64::from(variances[at]) + EPSILON).sqrt();
        let each = of(conv.kernel).len() / conv.out;
        let kernel: Vec<f32> = of(conv.kernel)
            .iter()
            .enumerate()
            .map(|(at, value)| (f64::from(*value) * factor(at / each)) as f32)
            .collect();
        let bias: Vec<f32> = (0..conv.out)
            .map(|at| (f64::from(of(conv.shift)[at]) - f64::from(means[at]) * factor(at)) as f32)
            .collect();
        let dims = self.net.slots[conv.kernel].shape.clone();
        let name = format!("conv{}", self.convs);
        self.convs += 1;
        let kernel = self.builder.constant(&format!("{name}.kernel"), &dims, &kernel);
        let bias = self.builder.constant(&format!("{name}.bias"), &[conv.out], &bias);
        let attributes = vec![
            ints("kernel_shape", [conv.side; 2]),
            ints("pads", [conv.side / 2; 4]),
            ints("strides", [conv.stride; 2]),
            int("group", conv.groups as i64),
        ];
        self.builder.node("Conv", &[from, &kernel, &bias], attributes)
    }

    fn pooled(&mut self, from: &str) -> String {
        let average = self.builder.node("GlobalAveragePool", &[from], vec![]);
        let maximum = self.builder.node("GlobalMaxPool", &[from], vec![]);
        let both = self.builder.node("Add", &[&average, &maximum], vec![]);
        self.builder.node("Flatten", &[&both], vec![int("axis", 1)])
    }

    fn last(&mut self, row: &str, temperature: f32) {
        let Some(Layer::Linear(linear)) = self.net.layers.last() else { return };
        let slots = &self.net.slots;
        let cooled = |slot: usize| -> Vec<f32> {
            slots[slot].of(&self.weights.values).iter().map(|value| value / temperature).collect()
        };
        let (weight, bias) = (cooled(linear.weight), cooled(linear.bias));
        let weight = self.builder.constant("linear.weight", &slots[linear.weight].shape, &weight);
        let bias = self.builder.constant("linear.bias", &slots[linear.bias].shape, &bias);
        self.builder.named("Gemm", &[row, &weight, &bias], vec![], OUTPUT);
    }
}

impl Exported {
    /// What stands in the file's own metadata.
    pub(crate) fn metadata(&self) -> Vec<(String, String)> {
        let texts = [
            ("classes", serde_json::to_string(&self.classes).unwrap_or_default()),
            ("commit", self.commit.clone().unwrap_or_default()),
            ("dataset", self.dataset.map(|digest| digest.to_string()).unwrap_or_default()),
            ("preprocessing", format!("version {} triangle, uint8 in, (v / 255 - mean) / std inside", self.preprocess)),
            ("temperature", self.temperature.to_string()),
        ];
        let thresholds = ("thresholds", serde_json::to_string(&self.thresholds).unwrap_or_default());
        texts.into_iter().chain([thresholds]).map(|(key, value)| (key.to_owned(), value)).collect()
    }
}
