//! Runs a network with burn: logits, and where it learns, gradients and the batch's statistics.

use burn::tensor::{
    Device, Gradients, Tensor, TensorData,
    activation::{log_softmax, relu},
    module,
    ops::ConvOptions,
};

use super::{Conv, EPSILON, Layer, Net, Weights};

/// What one batch teaches.
#[derive(Clone, Debug, PartialEq)]
pub struct Lesson {
    /// The mean loss of the batch.
    pub loss: f32,
    /// The loss's gradient by every learnt number.
    pub gradient: Vec<f32>,
    /// Mean and unbiased variance of the batch in each normalisation, as running statistics lie.
    pub statistics: Vec<f32>,
    /// `[N, classes]`.
    pub logits: Vec<f32>,
}

/// Logits `[N, classes]` of `[N, C, H, W]` pictures, by running statistics.
pub fn logits(net: &Net, weights: &Weights, pictures: Vec<f32>, device: &Device) -> Vec<f32> {
    let mut pass = Pass::new(net, weights, device, false);
    let pictures = pass.pictures(pictures);
    floats(pass.run(pictures))
}

/// Passes a batch forwards and backwards. `targets` are `[N, classes]`: what the softmax ought to be, times the item's weight.
///
/// The loss is `-mean over N of sum over classes of target * log softmax`.
pub fn learn(net: &Net, weights: &Weights, pictures: Vec<f32>, targets: Vec<f32>, device: &Device) -> Lesson {
    let device = device.clone().autodiff();
    let mut pass = Pass::new(net, weights, &device, true);
    let pictures = pass.pictures(pictures);
    let n = pictures.dims()[0];
    let logits = pass.run(pictures);
    let targets = Tensor::<2>::from_data(TensorData::new(targets, [n, net.classes]), &device);
    let loss = (log_softmax(logits.clone(), 1) * targets).sum() / (-(n as f32));
    let mut gradients = loss.backward();
    let gradient = pass.gradient(&mut gradients);
    Lesson {
        loss: floats(loss)[0],
        gradient,
        statistics: std::mem::take(&mut pass.statistics),
        logits: floats(logits.detach()),
    }
}

fn floats<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    // Every tensor here is made of 32-bit floats.
    tensor.into_data().try_to_vec().unwrap_or_default()
}

/// A learnt array as burn has it.
enum Leaf {
    One(Tensor<1>),
    Two(Tensor<2>),
    Four(Tensor<4>),
}

struct Pass<'n> {
    net: &'n Net,
    device: &'n Device,
    leaves: Vec<Leaf>,
    /// What is learnt from, where it is learnt.
    learns: bool,
    running: &'n [f32],
    statistics: Vec<f32>,
}

impl<'n> Pass<'n> {
    fn new(net: &'n Net, weights: &'n Weights, device: &'n Device, learns: bool) -> Self {
        let leaf = |slot: &super::Slot| {
            let data = TensorData::new(slot.of(&weights.values).to_vec(), slot.shape.clone());
            match slot.shape.len() {
                1 => Leaf::One(tracked(Tensor::from_data(data, device), learns)),
                2 => Leaf::Two(tracked(Tensor::from_data(data, device), learns)),
                _ => Leaf::Four(tracked(Tensor::from_data(data, device), learns)),
            }
        };
        let leaves = net.slots.iter().map(leaf).collect();
        let statistics = if learns { vec![0.0; net.statistics] } else { Vec::new() };
        Self { net, device, leaves, learns, running: &weights.statistics, statistics }
    }

    fn pictures(&self, pictures: Vec<f32>) -> Tensor<4> {
        let input = self.net.input;
        let n = pictures.len() / input.len();
        Tensor::from_data(TensorData::new(pictures, [n, input.channels, input.height, input.width]), self.device)
    }

    fn run(&mut self, pictures: Tensor<4>) -> Tensor<2> {
        let net = self.net;
        let (planes, rest): (Vec<_>, Vec<_>) =
            net.layers.iter().partition(|layer| !matches!(layer, Layer::GlobalPool | Layer::Linear(_)));
        let mut x = pictures;
        for layer in planes {
            x = self.layer(layer, x);
        }
        let mut row = pooled(x);
        for layer in rest {
            if let Layer::Linear(linear) = layer {
                row = module::linear(row, self.two(linear.weight), Some(self.one(linear.bias)));
            }
        }
        row
    }

    fn layer(&mut self, layer: &Layer, x: Tensor<4>) -> Tensor<4> {
        match layer {
            Layer::Conv(conv) => self.conv(conv, x),
            Layer::Relu => relu(x),
            Layer::Residual(branch) => {
                let mut inside = x.clone();
                for layer in branch {
                    inside = self.layer(layer, inside);
                }
                x + inside
            }
            Layer::GlobalPool | Layer::Linear(_) => x,
        }
    }

    fn conv(&mut self, conv: &Conv, x: Tensor<4>) -> Tensor<4> {
        let pad = conv.side / 2;
        let options = ConvOptions::new([conv.stride; 2], [pad; 2], [1; 2], conv.groups);
        let x = module::conv2d(x, self.four(conv.kernel), None, options);
        let (scale, shift) = (self.one(conv.scale), self.one(conv.shift));
        let [mean, variance] = [conv.statistics, conv.statistics + conv.out];
        if self.learns {
            let [n, _, height, width] = x.dims();
            let normal = module::batch_norm_train(x, scale, shift, EPSILON);
            // Unbiased, as running variances are kept; the batch itself is normalised by the biased one.
            let count = (n * height * width) as f32;
            let unbiased = count / (count - 1.0).max(1.0);
            self.statistics[mean..variance].copy_from_slice(&floats(normal.mean));
            let variances = floats(normal.variance).into_iter().map(|variance| variance * unbiased);
            self.statistics[variance..variance + conv.out].iter_mut().zip(variances).for_each(|(to, from)| *to = from);
            return normal.output;
        }
        let of = |from: usize| Tensor::<1>::from_floats(&self.running[from..from + conv.out], self.device);
        module::batch_norm(x, scale, shift, of(mean), of(variance), EPSILON)
    }

    fn one(&self, slot: usize) -> Tensor<1> {
        match &self.leaves[slot] {
            Leaf::One(tensor) => tensor.clone(),
            _ => unreachable!("slot {slot} has one axis"),
        }
    }

    fn two(&self, slot: usize) -> Tensor<2> {
        match &self.leaves[slot] {
            Leaf::Two(tensor) => tensor.clone(),
            _ => unreachable!("slot {slot} has two axes"),
        }
    }

    fn four(&self, slot: usize) -> Tensor<4> {
        match &self.leaves[slot] {
            Leaf::Four(tensor) => tensor.clone(),
            _ => unreachable!("slot {slot} has four axes"),
        }
    }

    fn gradient(&self, gradients: &mut Gradients) -> Vec<f32> {
        let mut all = Vec::with_capacity(self.net.parameters());
        for (slot, leaf) in self.net.slots.iter().zip(&self.leaves) {
            let found = match leaf {
                Leaf::One(tensor) => tensor.grad_remove(gradients).map(floats),
                Leaf::Two(tensor) => tensor.grad_remove(gradients).map(floats),
                Leaf::Four(tensor) => tensor.grad_remove(gradients).map(floats),
            };
            all.extend(found.unwrap_or_else(|| vec![0.0; slot.len()]));
        }
        all
    }
}

fn tracked<const D: usize>(tensor: Tensor<D>, learns: bool) -> Tensor<D> {
    if learns { tensor.require_grad() } else { tensor }
}

/// The average and the maximum over the picture, added.
fn pooled(x: Tensor<4>) -> Tensor<2> {
    let [n, channels, height, width] = x.dims();
    let x = x.reshape([n, channels, height * width]);
    let average = x.clone().mean_dim(2);
    let maximum = x.max_dim(2);
    (average + maximum).reshape([n, channels])
}
