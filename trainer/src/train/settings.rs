//! What a training does: every knob, with its default, as TOML tells it and as checkpoints keep it.

use serde::{Deserialize, Serialize};

use crate::net::{Architecture, Size};

/// Settings of one training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The network.
    pub architecture: Architecture,
    /// How wide it is.
    pub size: Size,
    /// Passes over the training examples.
    pub epochs: u32,
    /// Examples in a step, all micro-batches of all ranks together.
    pub batch: usize,
    /// Parts of a step whose gradients are added: what W ranks compute, one process computes with `micro_batches = W`.
    /// Batch normalisation sees a part at a time.
    pub micro_batches: usize,
    /// The optimiser.
    pub optimiser: Optimiser,
    /// Learning rate at its peak.
    pub rate: f64,
    /// Share of all steps in which the rate rises to its peak; then it falls by a half cosine to zero.
    pub warm_up: f64,
    /// Pulls weights to zero; scales and shifts are left alone.
    pub weight_decay: f64,
    /// Share of the target that is spread over all classes (Szegedy et al. 2016).
    pub label_smoothing: f64,
    /// Weigh classes against their frequency, so that all count the same.
    pub class_weights: bool,
    /// Decay a step of the averaged weights that are kept and validated; 0 keeps the last ones.
    pub average: f64,
    /// Epochs without a better validation after which the training ends; 0: it never ends early.
    pub patience: u32,
    /// What befalls a training picture.
    pub augment: Augment,
    /// Everything that is drawn by chance derives from it.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            architecture: Architecture::MiniResnet,
            size: Size::Medium,
            epochs: 20,
            batch: 128,
            micro_batches: 1,
            optimiser: Optimiser::default(),
            rate: 0.1,
            warm_up: 0.2,
            weight_decay: 5e-4,
            label_smoothing: 0.05,
            class_weights: false,
            average: 0.0,
            patience: 0,
            augment: Augment::default(),
            seed: 1,
        }
    }
}

/// How gradients move weights.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Optimiser {
    /// Stochastic gradient descent with Nesterov's momentum (Sutskever et al. 2013).
    Sgd {
        /// How much of the last step goes on, 0 to 1.
        momentum: f64,
    },
    /// Adam with decoupled weight decay (Loshchilov and Hutter 2019).
    Adamw {
        /// Decay of the mean gradient.
        beta1: f64,
        /// Decay of the mean squared gradient.
        beta2: f64,
    },
}

impl Default for Optimiser {
    fn default() -> Self {
        Self::Sgd { momentum: 0.9 }
    }
}

/// What befalls a training picture; everything is off by default. Amounts are the largest that are drawn.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Augment {
    /// Mirror left and right, half of the time.
    pub flip: bool,
    /// Pixels up, down, left and right.
    pub shift: f64,
    /// Degrees either way.
    pub rotate: f64,
    /// Larger or smaller by this share.
    pub scale: f64,
    /// Brighter or darker by this share of the whole range.
    pub brightness: f64,
    /// More or less contrast by this share.
    pub contrast: f64,
    /// Radius of a Gaussian blur in pixels.
    pub blur: f64,
    /// Standard deviation of added noise, as a share of the whole range.
    pub noise: f64,
    /// Lowest JPEG quality, 1 to 100; 0: never through a JPEG.
    pub jpeg: u8,
    /// Side of a square that is made gray (DeVries and Taylor 2017), as a share of the picture's side.
    pub cutout: f64,
    /// Parameter of the beta distribution by which two pictures and their targets are mixed (Zhang et al. 2018).
    pub mixup: f64,
}

/// A setting that cannot be.
#[derive(Debug, thiserror::Error, PartialEq)]
#[error("`{key}` is {value}: {allowed}")]
pub struct Mistake {
    /// The key, with dots.
    pub key: &'static str,
    /// Its value.
    pub value: String,
    /// What it may be.
    pub allowed: &'static str,
}

impl Settings {
    /// Every mistake there is.
    pub fn mistakes(&self) -> Vec<Mistake> {
        let mut found = Vec::new();
        let mut check = |key, value: f64, right: bool, allowed| {
            if !right || !value.is_finite() {
                found.push(Mistake { key, value: value.to_string(), allowed });
            }
        };
        let share = |value: f64| (0.0..1.0).contains(&value);
        check("epochs", self.epochs.into(), self.epochs > 0, "at least one pass is needed");
        check("batch", self.batch as f64, (1..=65_536).contains(&self.batch), "use 1 to 65536");
        let micro = self.micro_batches;
        let parts = micro > 0 && self.batch.is_multiple_of(micro);
        check("micro_batches", micro as f64, parts, "use a divisor of `batch`, so that all parts are equal");
        check("rate", self.rate, self.rate > 0.0, "use a number above zero, as in 0.1");
        check("warm_up", self.warm_up, share(self.warm_up), "use 0 or more and less than 1");
        check("weight_decay", self.weight_decay, self.weight_decay >= 0.0, "use 0 or more");
        check("label_smoothing", self.label_smoothing, share(self.label_smoothing), "use 0 or more and less than 1");
        check("average", self.average, share(self.average), "use 0 or more and less than 1, as in 0.999");
        let amounts = [
            ("augment.shift", self.augment.shift, 1e3),
            ("augment.rotate", self.augment.rotate, 180.0),
            ("augment.scale", self.augment.scale, 0.9),
            ("augment.brightness", self.augment.brightness, 1.0),
            ("augment.contrast", self.augment.contrast, 1.0),
            ("augment.blur", self.augment.blur, 10.0),
            ("augment.noise", self.augment.noise, 1.0),
            ("augment.cutout", self.augment.cutout, 1.0),
            ("augment.mixup", self.augment.mixup, 10.0),
        ];
        for (key, value, most) in amounts {
            check(key, value, (0.0..=most).contains(&value), "it is negative or beyond what makes sense");
        }
        check("augment.jpeg", self.augment.jpeg.into(), self.augment.jpeg <= 100, "use 1 to 100, or 0 for never");
        match self.optimiser {
            Optimiser::Sgd { momentum } => {
                check("optimiser.sgd.momentum", momentum, share(momentum), "use 0 or more and less than 1");
            }
            Optimiser::Adamw { beta1, beta2 } => {
                check("optimiser.adamw.beta1", beta1, share(beta1), "use 0 or more and less than 1");
                check("optimiser.adamw.beta2", beta2, share(beta2), "use 0 or more and less than 1");
            }
        }
        found
    }
}
