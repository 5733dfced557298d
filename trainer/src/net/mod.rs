//! Networks: what they are made of, said once, for training, for export and for counting.
//!
//! A network is a list of layers over one flat array of weights. [`forward`] runs it with burn, `export` writes it as ONNX, and
//! the optimiser, the averages, the checkpoints and the ranks of a distributed run see nothing but the array.

pub mod architecture;
pub mod forward;
pub mod weights;

pub use architecture::{Architecture, Size};
pub use weights::{Slot, Weights};

/// What goes in: `[N, channels, height, width]`, float, normalised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Input {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// 1 for gray, 3 for colour.
    pub channels: usize,
}

impl Input {
    /// Numbers in one picture.
    pub fn len(self) -> usize {
        self.width * self.height * self.channels
    }

    /// Whether there is nothing in it.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
}

/// A classifier.
#[derive(Clone, Debug, PartialEq)]
pub struct Net {
    /// What goes in.
    pub input: Input,
    /// How many classes come out, as logits.
    pub classes: usize,
    /// The layers, in the order in which they are passed.
    pub layers: Vec<Layer>,
    /// Every learnt array's place, in the order of the layers.
    pub slots: Vec<Slot>,
    /// Numbers in all running statistics: a mean and a variance for each normalised channel.
    pub statistics: usize,
}

impl Net {
    /// Learnt numbers, without running statistics.
    pub fn parameters(&self) -> usize {
        self.slots.iter().map(Slot::len).sum()
    }

    /// Numbers that all layers give out for one picture, about.
    pub fn activations(&self) -> usize {
        let mut area = self.input.width * self.input.height;
        given_out(&self.layers, &mut area) + self.input.len()
    }
}

/// A convolution's output stands twice, before and after its normalisation, and a third time behind what follows it.
fn given_out(layers: &[Layer], area: &mut usize) -> usize {
    let of = |layer: &Layer| match layer {
        Layer::Conv(conv) => {
            *area = area.div_ceil(conv.stride * conv.stride);
            3 * *area * conv.out
        }
        Layer::Residual(branch) => given_out(branch, area),
        _ => 0,
    };
    layers.iter().map(of).sum()
}

/// One layer.
#[derive(Clone, Debug, PartialEq)]
pub enum Layer {
    /// A convolution without bias, then batch normalisation: always together, so that one folds into the other.
    Conv(Conv),
    /// `max(x, 0)`.
    Relu,
    /// `x + f(x)`.
    Residual(Vec<Layer>),
    /// `[N, C, H, W]` to `[N, C]`: the average and the maximum over the picture, added.
    GlobalPool,
    /// `[N, C]` to `[N, classes]`.
    Linear(Linear),
}

/// A convolution with batch normalisation (Ioffe and Szegedy 2015).
#[derive(Clone, Debug, PartialEq)]
pub struct Conv {
    /// Kernel `[out, in / groups, side, side]`: the slot's number.
    pub kernel: usize,
    /// Factor and shift of the normalisation, `[out]`: the slots' numbers.
    pub scale: usize,
    /// See `scale`.
    pub shift: usize,
    /// Where the running mean begins; the running variance follows it.
    pub statistics: usize,
    /// Channels that come in.
    pub channels: usize,
    /// Channels that go out.
    pub out: usize,
    /// Side of the kernel; padded by half of it.
    pub side: usize,
    /// Step, both ways.
    pub stride: usize,
    /// Groups; as many as channels in a depthwise convolution.
    pub groups: usize,
}

/// The last layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Linear {
    /// `[in, classes]`: the slot's number.
    pub weight: usize,
    /// `[classes]`: the slot's number.
    pub bias: usize,
}

/// Added to a variance before its root is taken.
pub const EPSILON: f64 = 1e-5;
