//! The optimiser on flat arrays: one pass over all numbers, in their order, so that the same gradients always give the same
//! weights.

use super::settings::Optimiser;
use crate::net::{Net, weights::Role};

/// An optimiser's memory: one or two numbers for each learnt number.
#[derive(Clone, Debug, PartialEq)]
pub struct Memory {
    /// Momentum, or the mean gradient.
    pub first: Vec<f32>,
    /// The mean squared gradient; empty for SGD.
    pub second: Vec<f32>,
}

impl Memory {
    /// What an optimiser begins with.
    pub fn new(optimiser: Optimiser, parameters: usize) -> Self {
        let second = if matches!(optimiser, Optimiser::Adamw { .. }) { parameters } else { 0 };
        Self { first: vec![0.0; parameters], second: vec![0.0; second] }
    }
}

/// How one step is made.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Which optimiser.
    pub optimiser: Optimiser,
    /// The learning rate now.
    pub rate: f64,
    /// Weights' decay.
    pub decay: f64,
    /// Steps made before.
    pub done: u64,
}

/// Moves `values` by `gradient`.
pub fn step(net: &Net, with: Step, values: &mut [f32], gradient: &[f32], memory: &mut Memory) {
    for slot in &net.slots {
        let part = slot.offset..slot.offset + slot.len();
        let decay = if slot.role == Role::Weight { with.decay as f32 } else { 0.0 };
        let (values, gradient) = (&mut values[part.clone()], &gradient[part.clone()]);
        match with.optimiser {
            Optimiser::Sgd { momentum } => {
                sgd(values, gradient, &mut memory.first[part], [with.rate as f32, momentum as f32, decay]);
            }
            Optimiser::Adamw { beta1, beta2 } => {
                let after = (with.done + 1).min(i32::MAX as u64) as i32;
                let adam = Adam {
                    rate: with.rate as f32,
                    decay,
                    betas: [beta1 as f32, beta2 as f32],
                    biases: [1.0 - beta1.powi(after), 1.0 - beta2.powi(after)].map(|bias| bias as f32),
                };
                adam.step(values, gradient, &mut memory.first[part.clone()], &mut memory.second[part]);
            }
        }
    }
}

fn sgd(values: &mut [f32], gradient: &[f32], momenta: &mut [f32], [rate, momentum, decay]: [f32; 3]) {
    for ((value, gradient), kept) in values.iter_mut().zip(gradient).zip(momenta) {
        let pull = gradient + decay * *value;
        *kept = momentum * *kept + pull;
        *value -= rate * (pull + momentum * *kept);
    }
}

struct Adam {
    rate: f32,
    decay: f32,
    betas: [f32; 2],
    biases: [f32; 2],
}

/// Added to the root of the mean squared gradient.
const ADAM_EPSILON: f32 = 1e-8;

impl Adam {
    fn step(&self, values: &mut [f32], gradient: &[f32], means: &mut [f32], squares: &mut [f32]) {
        let [beta1, beta2] = self.betas;
        let [bias1, bias2] = self.biases;
        for (((value, gradient), mean), square) in values.iter_mut().zip(gradient).zip(means).zip(squares) {
            *mean = beta1 * *mean + (1.0 - beta1) * gradient;
            *square = beta2 * *square + (1.0 - beta2) * gradient * gradient;
            let pull = (*mean / bias1) / ((*square / bias2).sqrt() + ADAM_EPSILON);
            *value -= self.rate * (pull + self.decay * *value);
        }
    }
}
