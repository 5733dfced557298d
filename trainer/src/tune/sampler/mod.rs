//! What to try next.

mod kernel;
mod tpe;

use fastrand::Rng;
use serde::{Deserialize, Serialize};

use super::{
    Outcome, Parameters, Value,
    space::{Domain, Space},
};

/// A rule by which the next trial's parameters are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sampler {
    /// Anything, equally likely.
    Random,
    /// Where good trials were dense and others rare: a multivariate tree-structured Parzen estimator.
    Tpe,
}

impl std::str::FromStr for Sampler {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "random" => Ok(Self::Random),
            "tpe" => Ok(Self::Tpe),
            _ => Err(format!("`{text}` is no sampler: use tpe or random")),
        }
    }
}

/// A trial that has ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Past {
    /// Its parameters.
    pub parameters: Parameters,
    /// What came out; pruned and failed trials have nothing.
    pub outcome: Option<Outcome>,
    /// Where it was pruned: after so many epochs, with this value.
    pub pruned: Option<(u64, f64)>,
}

impl Sampler {
    /// Draws parameters from the space, given what has ended.
    pub fn draw(self, space: &Space, past: &[Past], dice: &mut Rng) -> Parameters {
        match self {
            Self::Random => random(space, dice),
            Self::Tpe => tpe::draw(space, past, dice),
        }
    }
}

/// Anything.
fn random(space: &Space, dice: &mut Rng) -> Parameters {
    let mut drawn = Parameters::new();
    for parameter in &space.parameters {
        if parameter.is_active(&drawn) {
            drawn.insert(parameter.name.clone(), anything(&parameter.domain, dice));
        }
    }
    drawn
}

fn anything(domain: &Domain, dice: &mut Rng) -> Value {
    match domain {
        Domain::Choice(values) => values[dice.usize(0..values.len())].clone(),
        _ => {
            let (low, high) = scale(domain);
            unscale(domain, low + dice.f64() * (high - low))
        }
    }
}

/// The ends of a number's scale: its logarithm where orders of magnitude are alike; whole numbers and steps have half a step more on
/// either side, so that each has the same width.
fn scale(domain: &Domain) -> (f64, f64) {
    match *domain {
        Domain::Float { low, high, log: true, .. } => (low.ln(), high.ln()),
        Domain::Float { low, high, step: Some(step), .. } => (low - step / 2.0, high + step / 2.0),
        Domain::Float { low, high, .. } => (low, high),
        Domain::Int { low, high, log: true } => ((low as f64 - 0.5).ln(), (high as f64 + 0.5).ln()),
        Domain::Int { low, high, .. } => (low as f64 - 0.5, high as f64 + 0.5),
        Domain::Choice(_) => (0.0, 1.0),
    }
}

/// A place on the scale as a value.
fn unscale(domain: &Domain, at: f64) -> Value {
    match *domain {
        Domain::Float { low, high, log: true, .. } => Value::Float(at.exp().clamp(low, high)),
        Domain::Float { low, high, step: Some(step), .. } => {
            Value::Float((low + ((at - low) / step).round() * step).clamp(low, high))
        }
        Domain::Float { low, high, .. } => Value::Float(at.clamp(low, high)),
        Domain::Int { low, high, log: true } => Value::Int((at.exp().round() as i64).clamp(low, high)),
        Domain::Int { low, high, .. } => Value::Int((at.round() as i64).clamp(low, high)),
        Domain::Choice(ref values) => values[0].clone(),
    }
}

/// A value's place on the scale.
fn place(domain: &Domain, value: &Value) -> Option<f64> {
    let number = match value {
        Value::Int(int) => *int as f64,
        Value::Float(float) => *float,
        Value::Text(_) => return None,
    };
    let is_log = matches!(domain, Domain::Float { log: true, .. } | Domain::Int { log: true, .. });
    Some(if is_log { number.ln() } else { number })
}

/// Half the width that a value has on the scale: zero for continuous ones.
fn half_width(domain: &Domain, at: f64) -> (f64, f64) {
    match *domain {
        Domain::Float { step: Some(step), .. } => (at - step / 2.0, at + step / 2.0),
        Domain::Int { log: false, .. } => (at - 0.5, at + 0.5),
        Domain::Int { log: true, .. } => ((at.exp() - 0.5).max(0.5).ln(), (at.exp() + 0.5).ln()),
        _ => (at, at),
    }
}
