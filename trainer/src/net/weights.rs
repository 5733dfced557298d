//! A network's learnt numbers in one flat array, and what they begin with.

use super::{Layer, Net};

/// One learnt array's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Unique in its network, as in `3.kernel`.
    pub name: String,
    /// Its axes.
    pub shape: Vec<usize>,
    /// Where it begins in the flat array.
    pub offset: usize,
    /// What it is.
    pub role: Role,
}

/// What an array is for: weights are decayed, the rest is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Multiplies what comes in.
    Weight,
    /// Factor of a normalisation.
    Scale,
    /// Is added.
    Shift,
}

impl Slot {
    /// How many numbers.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its part of the flat array.
    pub fn of<'a>(&self, values: &'a [f32]) -> &'a [f32] {
        &values[self.offset..self.offset + self.len()]
    }
}

/// A network's state: what is learnt, and the running statistics of its normalisations.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    /// By [`Slot`].
    pub values: Vec<f32>,
    /// Mean and variance of each normalisation, one behind the other.
    pub statistics: Vec<f32>,
}

impl Weights {
    /// Seeded: kernels by He's rule for the fan in (He et al. 2015), the last layer uniform within `1 / sqrt(in)`, scales one,
    /// shifts zero. In a residual branch the last scale begins at zero, so that the branch adds nothing at first (Goyal et
    /// al. 2017).
    pub fn seeded(net: &Net, seed: u64) -> Self {
        let mut dice = fastrand::Rng::with_seed(seed ^ 0x5eed_0fe1_6475);
        let mut values = vec![0.0; net.parameters()];
        for slot in &net.slots {
            let part = &mut values[slot.offset..slot.offset + slot.len()];
            match (slot.role, &slot.shape[..]) {
                (Role::Weight, [_, channels, side, _]) => {
                    let deviation = (2.0 / (channels * side * side) as f64).sqrt();
                    part.iter_mut().for_each(|value| *value = (normal(&mut dice) * deviation) as f32);
                }
                (Role::Weight, [channels, _]) => {
                    let bound = (1.0 / *channels as f64).sqrt();
                    part.iter_mut().for_each(|value| *value = ((dice.f64() * 2.0 - 1.0) * bound) as f32);
                }
                (Role::Scale, _) => part.fill(1.0),
                _ => {}
            }
        }
        let mut made = Self { values, statistics: vec![0.0; net.statistics] };
        made.begin(net, &net.layers, false);
        made
    }

    fn begin(&mut self, net: &Net, layers: &[Layer], in_branch: bool) {
        let last = layers.iter().rposition(|layer| matches!(layer, Layer::Conv(_)));
        for (at, layer) in layers.iter().enumerate() {
            match layer {
                Layer::Conv(conv) => {
                    let variance = conv.statistics + conv.out;
                    self.statistics[variance..variance + conv.out].fill(1.0);
                    if in_branch && Some(at) == last {
                        let slot = &net.slots[conv.scale];
                        self.values[slot.offset..slot.offset + slot.len()].fill(0.0);
                    }
                }
                Layer::Residual(branch) => self.begin(net, branch, true),
                _ => {}
            }
        }
    }
}

/// One number of the standard normal distribution (Box and Muller 1958).
fn normal(dice: &mut fastrand::Rng) -> f64 {
    let radius = (-2.0 * (1.0 - dice.f64()).ln()).sqrt();
    radius * (std::f64::consts::TAU * dice.f64()).cos()
}
