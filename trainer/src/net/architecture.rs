//! Networks by name and size.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{Conv, Input, Layer, Linear, Net, Slot, weights::Role};

/// A kind of network. All take any input from 8 x 8 on: larger pictures pass more steps of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Architecture {
    /// Three to five convolutions: the quickest to learn and to run.
    SmallCnn,
    /// Steps of two with a residual pair behind each (He et al. 2016): the most accurate for its size on small pictures.
    MiniResnet,
    /// Inverted residuals with depthwise convolutions (Sandler et al. 2018, as in EfficientNet-Lite: plain ReLU, no
    /// squeeze and excitation): the least arithmetic on large pictures.
    MiniMobilenet,
}

impl Architecture {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::SmallCnn, Self::MiniResnet, Self::MiniMobilenet];

    /// As in commands and checkpoints.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SmallCnn => "small-cnn",
            Self::MiniResnet => "mini-resnet",
            Self::MiniMobilenet => "mini-mobilenet",
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Architecture {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = || Self::ALL.map(Self::as_str).join(", ");
        Self::ALL
            .into_iter()
            .find(|one| one.as_str() == text)
            .ok_or_else(|| format!("`{text}` is no architecture: use one of {}", known()))
    }
}

/// How wide a network is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Size {
    /// About a third of the medium one's parameters.
    Small,
    /// The usual one.
    Medium,
    /// About four times as many.
    Large,
}

impl Size {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Small, Self::Medium, Self::Large];

    /// As in commands and checkpoints.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Medium => "medium",
            Self::Large => "large",
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|one| one.as_str() == text);
        found.ok_or_else(|| format!("`{text}` is no size: use small, medium or large"))
    }
}

/// Smallest side of an input.
pub const SIDE_MIN: usize = 8;

impl Architecture {
    /// The network for an input and so many classes.
    pub fn net(self, size: Size, input: Input, classes: usize) -> Net {
        let mut making = Making::new(input);
        match self {
            Self::SmallCnn => small_cnn(&mut making, size),
            Self::MiniResnet => mini_resnet(&mut making, size),
            Self::MiniMobilenet => mini_mobilenet(&mut making, size),
        }
        making.finish(input, classes)
    }
}

fn small_cnn(making: &mut Making, size: Size) {
    let width = match size {
        Size::Small => 8,
        Size::Medium => 16,
        Size::Large => 32,
    };
    making.conv_relu(width, 3, making.first_stride());
    making.conv_relu(width * 2, 3, 2);
    while making.side > 14 {
        making.conv_relu(width * 2, 3, 2);
    }
    making.conv_relu(width * 4, 3, 2);
}

/// At 28 x 28, medium: 16 channels, a step to 32 and a pair, a step to 96 and a pair: 218 thousand parameters.
fn mini_resnet(making: &mut Making, size: Size) {
    let [first, second, third] = match size {
        Size::Small => [16, 32, 48],
        Size::Medium => [16, 32, 96],
        Size::Large => [32, 64, 192],
    };
    making.conv_relu(first, 3, making.first_stride());
    while making.side > 28 {
        making.conv_relu(first, 3, 2);
    }
    making.conv_relu(second, 3, 2);
    making.pair();
    making.conv_relu(third, 3, 2);
    making.pair();
}

fn mini_mobilenet(making: &mut Making, size: Size) {
    let width = match size {
        Size::Small => 8,
        Size::Medium => 16,
        Size::Large => 24,
    };
    making.conv_relu(width, 3, making.first_stride());
    while making.side > 28 {
        making.inverted(width, 2);
    }
    for out in [width * 2, width * 4] {
        making.inverted(out, 2);
        making.inverted(out, 1);
    }
    making.conv_relu(width * 8, 1, 1);
}

/// A network that is being made.
struct Making {
    layers: Vec<Layer>,
    slots: Vec<Slot>,
    statistics: usize,
    values: usize,
    channels: usize,
    side: usize,
    convs: usize,
}

/// How much wider an inverted residual is inside.
const EXPANSION: usize = 4;

impl Making {
    fn new(input: Input) -> Self {
        let side = input.width.max(input.height);
        Self { layers: vec![], slots: vec![], statistics: 0, values: 0, channels: input.channels, side, convs: 0 }
    }

    /// Pictures beyond this lose half their side at once.
    fn first_stride(&self) -> usize {
        if self.side > 64 { 2 } else { 1 }
    }

    fn slot(&mut self, name: String, shape: Vec<usize>, role: Role) -> usize {
        let slot = Slot { name, shape, offset: self.values, role };
        self.values += slot.len();
        self.slots.push(slot);
        self.slots.len() - 1
    }

    fn conv(&mut self, out: usize, side: usize, stride: usize, groups: usize) -> Layer {
        let number = self.convs;
        self.convs += 1;
        let kernel =
            self.slot(format!("conv{number}.kernel"), vec![out, self.channels / groups, side, side], Role::Weight);
        let scale = self.slot(format!("conv{number}.scale"), vec![out], Role::Scale);
        let shift = self.slot(format!("conv{number}.shift"), vec![out], Role::Shift);
        let conv = Conv {
            kernel,
            scale,
            shift,
            statistics: self.statistics,
            channels: self.channels,
            out,
            side,
            stride,
            groups,
        };
        self.statistics += 2 * out;
        self.channels = out;
        self.side = self.side.div_ceil(stride);
        Layer::Conv(conv)
    }

    fn conv_relu(&mut self, out: usize, side: usize, stride: usize) {
        let conv = self.conv(out, side, stride, 1);
        self.layers.extend([conv, Layer::Relu]);
    }

    /// `relu(x + f(x))` with two convolutions in `f`.
    fn pair(&mut self) {
        let width = self.channels;
        let branch = vec![self.conv(width, 3, 1, 1), Layer::Relu, self.conv(width, 3, 1, 1)];
        self.layers.extend([Layer::Residual(branch), Layer::Relu]);
    }

    /// Wider by 1 x 1, depthwise, narrower by 1 x 1; added to what came in where that has the same shape.
    fn inverted(&mut self, out: usize, stride: usize) {
        let (channels, wide) = (self.channels, self.channels * EXPANSION);
        let block = vec![
            self.conv(wide, 1, 1, 1),
            Layer::Relu,
            self.conv(wide, 3, stride, wide),
            Layer::Relu,
            self.conv(out, 1, 1, 1),
        ];
        if stride == 1 && channels == out {
            self.layers.push(Layer::Residual(block));
        } else {
            self.layers.extend(block);
        }
    }

    fn finish(mut self, input: Input, classes: usize) -> Net {
        let weight = self.slot("linear.weight".into(), vec![self.channels, classes], Role::Weight);
        let bias = self.slot("linear.bias".into(), vec![classes], Role::Shift);
        self.layers.extend([Layer::GlobalPool, Layer::Linear(Linear { weight, bias })]);
        Net { input, classes, layers: self.layers, slots: self.slots, statistics: self.statistics }
    }
}
