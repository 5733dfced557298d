//! Batches: which examples a step sees, and what the network is given of them.

use contract::dataset::Split;
use fastrand::Rng;
use rayon::prelude::*;

use super::{
    Examples, Normal,
    augment::{Augmenter, mixing},
    settings::Settings,
};

/// A part of a step.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// `[N, C, H, W]`, normalised.
    pub pictures: Vec<f32>,
    /// `[N, classes]`: what the softmax ought to be, times the example's weight.
    pub targets: Vec<f32>,
    /// The examples.
    pub numbers: Vec<u32>,
}

/// Makes batches.
pub struct Batches<'e> {
    examples: &'e Examples,
    settings: &'e Settings,
    normal: &'e Normal,
    train: Vec<u32>,
    weights: Vec<f32>,
}

impl<'e> Batches<'e> {
    /// Of the training examples.
    pub fn new(examples: &'e Examples, settings: &'e Settings, normal: &'e Normal) -> Self {
        let train = examples.of(Split::Train);
        let weights = class_weights(examples, &train, settings.class_weights);
        Self { examples, settings, normal, train, weights }
    }

    /// Whole steps in a pass; what is left over is another pass's.
    pub fn steps(&self) -> u64 {
        (self.train.len() / self.settings.batch) as u64
    }

    /// The training examples in the order of a pass.
    pub fn order(&self, epoch: u32) -> Vec<u32> {
        let mut order = self.train.clone();
        dice(self.settings.seed, &[0, u64::from(epoch)]).shuffle(&mut order);
        order
    }

    /// The examples of one part of a step.
    pub fn part<'o>(&self, order: &'o [u32], step: u64, micro: usize) -> &'o [u32] {
        let part = self.settings.batch / self.settings.micro_batches;
        let from = step as usize * self.settings.batch + micro * part;
        &order[from..from + part]
    }

    /// What the network learns from.
    pub fn drawn(&self, epoch: u32, numbers: &[u32]) -> Batch {
        let classes = self.examples.classes.len();
        let shape = self.shape();
        let length = shape.iter().product();
        let mut pictures = vec![0.0; numbers.len() * length];
        pictures.par_chunks_mut(length).zip(numbers).for_each_init(
            || Augmenter::new(&self.settings.augment, self.normal, shape),
            |augmenter, (out, number)| {
                let mut dice = dice(self.settings.seed, &[1, u64::from(epoch), u64::from(*number)]);
                augmenter.drawn(self.examples.tensor(*number), &mut dice, out);
            },
        );
        let mut targets = vec![0.0; numbers.len() * classes];
        for (target, number) in targets.chunks_exact_mut(classes).zip(numbers) {
            let class = usize::from(self.examples.labels[*number as usize].class);
            let spread = self.settings.label_smoothing as f32;
            target.fill(spread / classes as f32);
            target[class] += 1.0 - spread;
            target.iter_mut().for_each(|target| *target *= self.weights[class]);
        }
        let mut batch = Batch { pictures, targets, numbers: numbers.to_vec() };
        if self.settings.augment.mixup > 0.0 {
            batch.mix(epoch, self.settings, length, classes);
        }
        batch
    }

    /// Pictures as they are.
    pub fn plain(&self, numbers: &[u32]) -> Vec<f32> {
        let shape = self.shape();
        let length = shape.iter().product();
        let mut pictures = vec![0.0; numbers.len() * length];
        pictures.par_chunks_mut(length).zip(numbers).for_each_init(
            || Augmenter::new(&self.settings.augment, self.normal, shape),
            |augmenter, (out, number)| augmenter.plain(self.examples.tensor(*number), out),
        );
        pictures
    }

    fn shape(&self) -> [usize; 3] {
        let spec = self.examples.spec;
        [spec.height as usize, spec.width as usize, spec.color.channels()]
    }
}

impl Batch {
    /// Each picture with the one behind it, all by one share.
    fn mix(&mut self, epoch: u32, settings: &Settings, length: usize, classes: usize) {
        let first = self.numbers.first().copied().unwrap_or_default();
        let mut dice = dice(settings.seed, &[2, u64::from(epoch), u64::from(first)]);
        let share = mixing(&mut dice, settings.augment.mixup) as f32;
        for (all, length) in [(&mut self.pictures, length), (&mut self.targets, classes)] {
            let mut behind = all.clone();
            behind.rotate_left(length);
            all.iter_mut().zip(behind).for_each(|(one, other)| *one = share * *one + (1.0 - share) * other);
        }
    }
}

/// So that a class's examples together weigh as much as those of any other; 1 on average.
fn class_weights(examples: &Examples, train: &[u32], weigh: bool) -> Vec<f32> {
    let mut counts = vec![0u64; examples.classes.len()];
    train.iter().for_each(|number| counts[usize::from(examples.labels[*number as usize].class)] += 1);
    let even = train.len() as f32 / counts.len() as f32;
    counts.into_iter().map(|count| if weigh { even / count.max(1) as f32 } else { 1.0 }).collect()
}

/// Dice of their own for each thing that is drawn: the seed and the thing's numbers, stirred by splitmix64 (Steele et al. 2014).
pub fn dice(seed: u64, of: &[u64]) -> Rng {
    let stir = |state: u64| {
        let state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        state ^ (state >> 31)
    };
    Rng::with_seed(of.iter().fold(stir(seed), |state, number| stir(state ^ *number)))
}
