//! A loaded model: one ONNX Runtime session with one thread.

use std::{sync::Arc, time::Duration};

use contract::model::{Dtype, ModelInput, OutputForm};
use inference::{Batch, Engine, EngineError, Health, Package, Refusal, engine::check_batch};
use ort::{
    session::{RunOptions, Session as OrtSession, SessionInputValue},
    value::TensorRef,
};
use vision::{Normalizer, Spec};

use crate::{provider::Provider, runtime::Runtime, watchdog::Watchdog};

/// One model on the device of its provider.
pub struct Session {
    provider: Provider,
    session: OrtSession,
    options: Arc<RunOptions>,
    watchdog: Option<Watchdog>,
    version: String,
    health: Health,
    input: Input,
    output_name: String,
    spec: Spec,
    classes: usize,
    form: OutputForm,
    max_batch: usize,
}

impl Session {
    /// Reads the package's model and makes a session of it.
    pub fn load(
        runtime: &Runtime,
        provider: Provider,
        package: &Package,
        max_batch: Option<usize>,
    ) -> Result<Self, Refusal> {
        let manifest = package.manifest();
        let input = Input::new(&manifest.input).map_err(|error| Refusal::caused("prepare the model's input", error))?;
        let model = package.model().map_err(|error| Refusal::caused("read the model", error))?;
        let cannot = |error: ort::Error| {
            let model = package.path().display();
            let (version, device) = (&runtime.version, provider.device());
            Refusal::caused(format!("ONNX Runtime {version} cannot load the model of `{model}` on {device}"), error)
        };
        let session = provider.session(runtime, &model).map_err(cannot)?;
        drop(model);
        give_back_memory();
        // Inputs are given by position, which a package allows only one of; here the runtime's word is taken for it.
        if !matches!(session.inputs(), [only] if only.name() == manifest.input.name) {
            let names: Vec<&str> = session.inputs().iter().map(|input| input.name()).collect();
            return Err(Refusal::new(format!(
                "the runtime sees the inputs {}, not one as the manifest",
                names.join(", ")
            )));
        }
        let options = Arc::new(RunOptions::new().map_err(cannot)?);
        Ok(Self {
            provider,
            session,
            options,
            watchdog: None,
            version: runtime.version.clone(),
            health: Health::Ready,
            input,
            output_name: manifest.output.name.clone(),
            spec: package.spec(),
            classes: package.classes().len(),
            form: manifest.output.form,
            max_batch: if package.batch().is_some() {
                1
            } else {
                max_batch.unwrap_or_else(|| provider.usual_batch(package.tensor_len()))
            },
        })
    }

    fn infer(&mut self, batch: Batch<'_>, out: &mut [f32]) -> Result<(), Failure> {
        let [_, rest @ ..] = self.spec.shape();
        let shape = [batch.n, rest[0], rest[1], rest[2]];
        let input = match &mut self.input {
            Input::Uint8 => TensorRef::from_array_view((shape, batch.input))?.into_dyn(),
            Input::Float32 { normalizer, floats } => {
                floats.resize(batch.input.len(), 0.0);
                let one = self.spec.len();
                for (bytes, floats) in batch.input.chunks_exact(one).zip(floats.chunks_exact_mut(one)) {
                    normalizer.run(bytes, self.spec.layout, floats)?;
                }
                TensorRef::from_array_view((shape, floats.as_slice()))?.into_dyn()
            }
        };
        let outputs = self.session.run_with_options([SessionInputValue::from(input)], &*self.options)?;
        let (shape, values) = outputs[self.output_name.as_str()].try_extract_tensor::<f32>()?;
        if values.len() != out.len() {
            return Err(Failure::Output { shape: shape.to_string(), classes: self.classes });
        }
        match self.form {
            OutputForm::Probabilities => out.copy_from_slice(values),
            OutputForm::Logits => {
                for (row, logits) in out.chunks_exact_mut(self.classes).zip(values.chunks_exact(self.classes)) {
                    vision::softmax(logits, row);
                }
            }
        }
        Ok(())
    }

    /// Runs with the deadline armed; true in the answer when it was the deadline that ended the run.
    fn infer_within(&mut self, batch: Batch<'_>, out: &mut [f32], limit: Duration) -> (bool, Result<(), Failure>) {
        if self.watchdog.is_none() {
            match Watchdog::start(Arc::clone(&self.options)) {
                Ok(watchdog) => self.watchdog = Some(watchdog),
                Err(source) => return (false, Err(Failure::Thread(source))),
            }
        }
        if let Some(watchdog) = &self.watchdog {
            watchdog.arm(limit);
        }
        let result = self.infer(batch, out);
        let fired = self.watchdog.as_ref().is_some_and(Watchdog::disarm);
        (fired && result.is_err(), result)
    }
}

impl Engine for Session {
    fn name(&self) -> &str {
        self.provider.name()
    }

    fn version(&self) -> &str {
        &self.version
    }

    fn max_batch(&self) -> usize {
        self.max_batch
    }

    fn run(&mut self, batch: Batch<'_>, out: &mut [f32], deadline: Option<Duration>) -> Result<(), EngineError> {
        check_batch(&batch, out, self.spec.len(), self.classes, self.max_batch)?;
        let n = batch.n;
        let (late, result) = match deadline {
            None => (false, self.infer(batch, out)),
            Some(limit) => self.infer_within(batch, out, limit),
        };
        let result = result.map_err(|failure| match deadline {
            Some(after) if late => EngineError::Deadline { n, after },
            _ => EngineError::Runtime { engine: self.provider.name().into(), n, source: Box::new(failure) },
        });
        self.health = match &result {
            Ok(()) => Health::Ready,
            Err(error) => Health::Failing(error.to_string()),
        };
        result
    }

    fn health(&self) -> Health {
        self.health.clone()
    }
}

/// How the batch's bytes reach the model.
enum Input {
    /// As they are, without a copy.
    Uint8,
    /// By a fixed table, into a buffer that is kept.
    Float32 { normalizer: Normalizer, floats: Vec<f32> },
}

impl Input {
    fn new(input: &ModelInput) -> Result<Self, vision::Error> {
        match &input.normalize {
            Some(normalize) if input.dtype == Dtype::Float32 => {
                Ok(Self::Float32 { normalizer: Normalizer::new(normalize, input.color)?, floats: Vec::new() })
            }
            _ => Ok(Self::Uint8),
        }
    }
}

/// What can go wrong in a run.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Runtime(#[from] ort::Error),
    #[error(transparent)]
    Normalize(#[from] vision::Error),
    #[error("the model gave an output of shape {shape}, expected {classes} classes a row; export the model again")]
    Output { shape: String, classes: usize },
    #[error("start the deadline thread")]
    Thread(#[source] std::io::Error),
}

/// Gives the system back what loading has freed: glibc keeps it otherwise, as its own, for good.
fn give_back_memory() {
    // SAFETY: takes a number, works on the C library's own heap under its own lock, and may be called at any time.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}
