//! Training: from preprocessed examples to weights, each step a function of the settings, the examples and the seed alone.
//!
//! Whatever is drawn by chance derives from (seed, epoch, example), never from a stream that runs along: so the number of loader
//! threads changes nothing, a run that was killed goes on bit for bit, and a rank makes its part of a batch without the others.

pub mod augment;
pub mod batches;
pub mod calibrate;
pub mod checkpoint;
pub mod memory;
#[cfg(feature = "mpi")]
pub mod mpi;
pub mod optimiser;
pub mod ranks;
pub mod run;
pub mod schedule;
pub mod settings;

pub use checkpoint::Checkpoint;
pub use ranks::{Alone, Ranks};
pub use run::{Event, Trained, train};
pub use settings::Settings;

use std::sync::Arc;

use contract::dataset::Split;
use vision::Spec;

/// Preprocessed pictures with their classes.
#[derive(Clone)]
pub struct Examples {
    /// Form of each tensor; `[height, width, channels]`.
    pub spec: Spec,
    /// Class names.
    pub classes: Vec<Arc<str>>,
    /// The tensors, uint8.
    pub tensors: Arc<dyn Tensors>,
    /// In the order of the tensors.
    pub labels: Vec<Label>,
}

/// Where tensors are.
pub trait Tensors: Send + Sync {
    /// One of them, `[height, width, channels]`.
    fn tensor(&self, number: usize) -> &[u8];
}

/// What an example is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// A place in the class names.
    pub class: u16,
    /// What it is for.
    pub split: Split,
}

impl Examples {
    /// The numbers of a split's examples, ascending.
    pub fn of(&self, split: Split) -> Vec<u32> {
        let of = |(number, label): (usize, &Label)| (label.split == split).then_some(number as u32);
        self.labels.iter().enumerate().filter_map(of).collect()
    }

    /// One tensor, `[height, width, channels]`.
    pub fn tensor(&self, number: u32) -> &[u8] {
        self.tensors.tensor(number as usize)
    }

    /// Mean and standard deviation of the training examples, by channel, 0 to 1.
    pub fn statistics(&self) -> Normal {
        let channels = self.spec.color.channels();
        let mut sums = vec![[0u64; 2]; channels];
        let mut count = 0u64;
        for number in self.of(Split::Train) {
            let tensor = self.tensor(number);
            count += (tensor.len() / channels) as u64;
            for pixel in tensor.chunks_exact(channels) {
                for (sum, value) in sums.iter_mut().zip(pixel) {
                    let value = u64::from(*value);
                    *sum = [sum[0] + value, sum[1] + value * value];
                }
            }
        }
        let count = count.max(1) as f64;
        let mean: Vec<f64> = sums.iter().map(|[sum, _]| *sum as f64 / count).collect();
        let deviation =
            |([_, squares], mean): (&[u64; 2], &f64)| (*squares as f64 / count - mean * mean).max(1.0).sqrt();
        let std = sums.iter().zip(&mean).map(deviation).map(|std| (std / 255.0) as f32).collect();
        Normal { mean: mean.into_iter().map(|mean| (mean / 255.0) as f32).collect(), std }
    }
}

/// How bytes become what the network takes: `(v / 255 - mean) / std`, by channel.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Normal {
    /// One a channel.
    pub mean: Vec<f32>,
    /// One a channel.
    pub std: Vec<f32>,
}
