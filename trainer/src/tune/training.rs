//! The objective that is tuned most: a training, with some settings drawn from a space.

use std::{path::PathBuf, time::Instant};

use burn::tensor::Device;
use engine_ort::OrtCpu;
use inference::{Batch, EngineFactory, Package};

use super::{Ended, Objective, Outcome, Parameters, Trial, Value, Verdict};
use crate::{
    export::{self, Exported},
    net::Input,
    train::{
        Alone, Checkpoint, Event, Examples, Settings,
        run::{Flow, Job},
        train,
    },
};

/// What is made small.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// Share of wrong answers in validation.
    Error,
    /// Milliseconds a picture on this machine's processor, by ONNX Runtime: the median of some.
    LatencyMs,
    /// Learnt numbers.
    Parameters,
}

impl std::str::FromStr for Goal {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "error" => Ok(Self::Error),
            "latency" => Ok(Self::LatencyMs),
            "parameters" => Ok(Self::Parameters),
            _ => Err(format!("`{text}` cannot be made small: use error, latency or parameters")),
        }
    }
}

/// A training as an objective.
pub struct Training<'e> {
    /// What is learnt from.
    pub examples: &'e Examples,
    /// Names the examples.
    pub name: &'e str,
    /// Settings that are not in the space.
    pub base: toml::Table,
    /// What is made small: one or two.
    pub goals: Vec<Goal>,
    /// Learnt numbers at most.
    pub parameters_max: Option<usize>,
    /// Milliseconds a picture at most.
    pub latency_ms_max: Option<f64>,
    /// The file of libonnxruntime.
    pub library: Option<PathBuf>,
}

/// Runs by which latency is measured, after as many that warm up.
const MEASURED: usize = 50;

impl Objective for Training<'_> {
    fn run(&mut self, trial: &Trial, report: &mut dyn FnMut(u64, f64) -> Verdict) -> Result<Ended, String> {
        let settings = settings(&self.base, &trial.parameters)?;
        let spec = self.examples.spec;
        let input = Input { width: spec.width as usize, height: spec.height as usize, channels: spec.color.channels() };
        let net = settings.architecture.net(settings.size, input, self.examples.classes.len());
        let mut constraints: Vec<f64> =
            self.parameters_max.map(|most| net.parameters() as f64 - most as f64).into_iter().collect();
        let job = Job {
            examples: self.examples,
            name: self.name,
            settings: &settings,
            ranks: &Alone,
            device: Device::flex(),
            checkpoint: None,
        };
        let mut pruned = false;
        let trained = train(&job, &mut |event| {
            let Event::Epoch(epoch) = event else { return Flow::Go };
            let accuracy = epoch.validation.map_or(epoch.accuracy, |(_, accuracy)| accuracy);
            pruned = report(epoch.epoch.into(), 1.0 - accuracy) == Verdict::Prune;
            if pruned { Flow::Stop } else { Flow::Go }
        });
        let trained = trained.map_err(|error| error.to_string())?;
        if pruned {
            return Ok(Ended::Pruned);
        }
        let needs_latency = self.goals.contains(&Goal::LatencyMs) || self.latency_ms_max.is_some();
        let latency = if needs_latency { self.latency_ms(&trained.checkpoint)? } else { 0.0 };
        constraints.extend(self.latency_ms_max.map(|most| latency - most));
        let error = 1.0 - trained.checkpoint.state.best.map_or(0.0, |best| best.accuracy);
        let value = |goal: &Goal| match goal {
            Goal::Error => error,
            Goal::LatencyMs => latency,
            Goal::Parameters => net.parameters() as f64,
        };
        Ok(Ended::Complete(Outcome { values: self.goals.iter().map(value).collect(), constraints }))
    }
}

impl Training<'_> {
    /// On the engine that gateways without a GPU use.
    fn latency_ms(&self, checkpoint: &Checkpoint) -> Result<f64, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let out = folder.path().join("package");
        let exported = Exported {
            id: "trial".into(),
            version: "1".into(),
            classes: self.examples.classes.clone(),
            temperature: 1.0,
            thresholds: Default::default(),
            commit: None,
            dataset: None,
            preprocess: vision::PREPROCESS_VERSION,
            licence: None,
        };
        let inputs = vec![self.examples.tensor(0).to_vec()];
        export::export(checkpoint, &exported, &inputs, &out, self.library.clone())
            .map_err(|error| error.to_string())?;
        let package = Package::open(&out).map_err(|error| error.to_string())?;
        let factory = OrtCpu::new(self.library.clone()).with_max_batch(1);
        let mut engine = factory.load(&package).map_err(|refusal| refusal.full())?;
        let mut answer = vec![0.0; self.examples.classes.len()];
        let mut times = Vec::with_capacity(MEASURED);
        for at in 0..2 * MEASURED {
            let begun = Instant::now();
            engine.run(Batch { input: &inputs[0], n: 1 }, &mut answer, None).map_err(|error| error.to_string())?;
            if at >= MEASURED {
                times.push(begun.elapsed().as_secs_f64() * 1e3);
            }
        }
        times.sort_by(f64::total_cmp);
        Ok(times[MEASURED / 2])
    }
}

/// Base settings with what the trial tries: names are keys with dots.
///
/// # Errors
/// A name that is no setting, or a value that it cannot have.
pub fn settings(base: &toml::Table, parameters: &Parameters) -> Result<Settings, String> {
    let mut document = base.clone();
    for (key, value) in parameters {
        let value = match value {
            Value::Int(int) => toml::Value::Integer(*int),
            Value::Float(float) => toml::Value::Float(*float),
            Value::Text(text) => toml::Value::String(text.clone()),
        };
        put(&mut document, key, value)?;
    }
    document.try_into().map_err(|error: toml::de::Error| error.message().to_owned())
}

/// Puts a value under a key with dots.
///
/// # Errors
/// A part of the key is a value already.
pub fn put(document: &mut toml::Table, key: &str, value: toml::Value) -> Result<(), String> {
    let mut names: Vec<&str> = key.split('.').collect();
    let last = names.pop().unwrap_or(key);
    let mut table = document;
    for name in names {
        let inner = table.entry(name).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        table = inner.as_table_mut().ok_or_else(|| format!("`{name}` is a value, not a table"))?;
    }
    table.insert(last.into(), value);
    Ok(())
}
