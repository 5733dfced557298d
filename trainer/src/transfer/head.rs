//! The last layer: multinomial logistic regression on standardised features, trained with burn.

use burn::tensor::Device;
use contract::dataset::Split;
use serde::Serialize;

use super::{Error, Features};
use crate::{
    net::{Input, Layer, Linear, Net, Slot, Weights, forward, weights::Role},
    train::{
        Label,
        batches::dice,
        calibrate::{surprise, temperature},
        optimiser::{self, Memory, Step},
        schedule,
        settings::Optimiser,
    },
};

/// How the layer is trained.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HeadSettings {
    /// Passes over the training examples.
    pub epochs: u32,
    /// Examples in a step.
    pub batch: usize,
    /// Learning rate at its peak.
    pub rate: f64,
    /// Weights' decay: each is tried, and the one that validates best is kept.
    pub decays: Vec<f64>,
    /// Share of the target that is spread over all classes.
    pub label_smoothing: f64,
    /// Everything drawn by chance derives from it.
    pub seed: u64,
}

impl Default for HeadSettings {
    fn default() -> Self {
        let decays = vec![1e-2, 1e-1, 3e-1, 1.0];
        Self { epochs: 60, batch: 128, rate: 0.02, decays, label_smoothing: 0.0, seed: 1 }
    }
}

/// A trained layer, on features as the backbone gives them.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// `[width, classes]`.
    pub weight: Vec<f32>,
    /// `[classes]`.
    pub bias: Vec<f32>,
    /// The decay that was kept.
    pub decay: f64,
    /// Share of right answers in validation; in training where there is none.
    pub accuracy: f64,
    /// By which logits are to be divided.
    pub temperature: f32,
}

impl Head {
    /// Trains a layer for each decay, and keeps the best.
    ///
    /// # Errors
    /// There is nothing to learn from.
    pub fn train(
        features: &Features,
        labels: &[Label],
        classes: usize,
        settings: &HeadSettings,
        progress: &dyn Fn(f64, f64),
    ) -> Result<Self, Error> {
        let of = |split: Split| -> Vec<usize> {
            (0..labels.len()).filter(|number| labels[*number].split == split).collect()
        };
        let (train, validation) = (of(Split::Train), of(Split::Validation));
        if train.is_empty() {
            return Err(Error::Examples("there is no training example".into()));
        }
        let held = if validation.is_empty() { &train } else { &validation };
        let truth: Vec<u16> = held.iter().map(|number| labels[*number].class).collect();
        let scale = Scale::of(features, &train);
        let mut best: Option<(f64, Self)> = None;
        for decay in &settings.decays {
            let mut head = one(features, labels, &train, classes, &scale, *decay, settings);
            let logits: Vec<f32> = held.iter().flat_map(|number| head.logits(features.row(*number))).collect();
            head.accuracy = share_right(&logits, &truth);
            if !validation.is_empty() {
                head.temperature = temperature(&logits, &truth);
            }
            progress(*decay, head.accuracy);
            let cost = surprise(&logits, &truth, head.temperature.into());
            // Accuracy first; of equals the one that is less surprised.
            let worth = head.accuracy - 1e-6 * cost;
            if best.as_ref().is_none_or(|(most, _)| worth > *most) {
                best = Some((worth, head));
            }
        }
        best.map(|(_, head)| head).ok_or_else(|| Error::Examples("no decay was given to be tried".into()))
    }

    /// Of a picture's features.
    pub fn logits(&self, row: &[f32]) -> Vec<f32> {
        let classes = self.bias.len();
        let mut logits = self.bias.clone();
        for (value, weights) in row.iter().zip(self.weight.chunks_exact(classes)) {
            logits.iter_mut().zip(weights).for_each(|(logit, weight)| *logit += value * weight);
        }
        logits
    }
}

/// Mean and standard deviation of each feature in training.
struct Scale {
    mean: Vec<f32>,
    std: Vec<f32>,
}

impl Scale {
    fn of(features: &Features, train: &[usize]) -> Self {
        let mut sums = vec![[0f64; 2]; features.width];
        for number in train {
            for (sum, value) in sums.iter_mut().zip(features.row(*number)) {
                let value = f64::from(*value);
                *sum = [sum[0] + value, sum[1] + value * value];
            }
        }
        let n = train.len() as f64;
        let mean = sums.iter().map(|[sum, _]| (sum / n) as f32).collect();
        // A feature that never changes says nothing, and is not blown up.
        let deviation = |[sum, squares]: &[f64; 2]| (squares / n - (sum / n).powi(2)).max(1e-8).sqrt() as f32;
        Self { mean, std: sums.iter().map(deviation).collect() }
    }

    fn apply(&self, row: &[f32], out: &mut Vec<f32>) {
        out.extend(row.iter().zip(self.mean.iter().zip(&self.std)).map(|(value, (mean, std))| (value - mean) / std));
    }
}

/// A picture of one pixel with as many channels as there are features. Its pooling gives each feature twice.
fn net(width: usize, classes: usize) -> Net {
    let slots = vec![
        Slot { name: "linear.weight".into(), shape: vec![width, classes], offset: 0, role: Role::Weight },
        Slot { name: "linear.bias".into(), shape: vec![classes], offset: width * classes, role: Role::Shift },
    ];
    let layers = vec![Layer::GlobalPool, Layer::Linear(Linear { weight: 0, bias: 1 })];
    Net { input: Input { width: 1, height: 1, channels: width }, classes, layers, slots, statistics: 0 }
}

fn one(
    features: &Features,
    labels: &[Label],
    train: &[usize],
    classes: usize,
    scale: &Scale,
    decay: f64,
    settings: &HeadSettings,
) -> Head {
    let net = net(features.width, classes);
    let optimiser = Optimiser::Sgd { momentum: 0.9 };
    let mut weights = Weights { values: vec![0.0; net.parameters()], statistics: vec![] };
    let mut memory = Memory::new(optimiser, net.parameters());
    let steps = train.len().div_ceil(settings.batch) as u64;
    let all = steps * u64::from(settings.epochs);
    let mut done = 0;
    for epoch in 0..settings.epochs {
        let mut order = train.to_vec();
        dice(settings.seed, &[9, u64::from(epoch)]).shuffle(&mut order);
        for some in order.chunks(settings.batch) {
            let mut rows = Vec::with_capacity(some.len() * features.width);
            let mut targets = vec![(settings.label_smoothing / classes as f64) as f32; some.len() * classes];
            for (at, number) in some.iter().enumerate() {
                scale.apply(features.row(*number), &mut rows);
                let right = at * classes + usize::from(labels[*number].class);
                targets[right] += (1.0 - settings.label_smoothing) as f32;
            }
            let lesson = forward::learn(&net, &weights, rows, targets, &Device::flex());
            let rate = schedule::rate(settings.rate, 0.1, done, all);
            let step = Step { optimiser, rate, decay, done };
            optimiser::step(&net, step, &mut weights.values, &lesson.gradient, &mut memory);
            done += 1;
        }
    }
    unscaled(&weights.values, scale, classes, decay)
}

/// The same layer on features that are not standardised, and pooled once.
fn unscaled(values: &[f32], scale: &Scale, classes: usize, decay: f64) -> Head {
    let (weight, bias) = values.split_at(scale.mean.len() * classes);
    let mut bias: Vec<f64> = bias.iter().map(|value| f64::from(*value)).collect();
    let mut moved = Vec::with_capacity(weight.len());
    for (row, (mean, std)) in weight.chunks_exact(classes).zip(scale.mean.iter().zip(&scale.std)) {
        for (weight, bias) in row.iter().zip(&mut bias) {
            let weight = 2.0 * f64::from(*weight) / f64::from(*std);
            *bias -= weight * f64::from(*mean);
            moved.push(weight as f32);
        }
    }
    let bias = bias.into_iter().map(|value| value as f32).collect();
    Head { weight: moved, bias, decay, accuracy: 0.0, temperature: 1.0 }
}

/// Share of rows whose greatest logit is the right one.
fn share_right(logits: &[f32], truth: &[u16]) -> f64 {
    let classes = logits.len() / truth.len().max(1);
    let right = logits.chunks_exact(classes.max(1)).zip(truth).filter(|(row, class)| {
        let best = row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map(|(at, _)| at);
        best == Some(usize::from(**class))
    });
    right.count() as f64 / truth.len().max(1) as f64
}
