//! Makes engines: finds and loads the runtime, then a session for a package.

use std::path::PathBuf;

use inference::{Engine, EngineFactory, Package, Probe, Refusal};

use crate::{provider::Provider, runtime, session::Session};

/// The engine's name in configuration, predictions and metrics.
pub const NAME: &str = "ort-cpu";

/// Makes `ort-cpu` engines.
#[derive(Clone, Debug)]
pub struct OrtCpu {
    library: Option<PathBuf>,
    max_batch: Option<usize>,
}

impl Default for OrtCpu {
    fn default() -> Self {
        Self::new(None)
    }
}

impl OrtCpu {
    /// With the library's file where the user named one. Else `ORT_DYLIB_PATH` names it, else it is looked for in
    /// `.sightline/lib` at or above the working directory and the program, beside the program, and in system folders.
    pub fn new(library: Option<PathBuf>) -> Self {
        Self { library, max_batch: None }
    }

    /// The largest batch that its engines take; by default as many tensors as pay, 1 to 16 by their size. Models with
    /// a fixed batch of 1 take 1 all the same.
    #[must_use]
    pub fn with_max_batch(mut self, max_batch: usize) -> Self {
        self.max_batch = Some(max_batch.max(1));
        self
    }
}

impl EngineFactory for OrtCpu {
    fn name(&self) -> &str {
        NAME
    }

    fn probe(&self) -> Result<Probe, Refusal> {
        let runtime = runtime::load(self.library.as_deref())?;
        Ok(Probe { version: runtime.version, device: "CPU".into(), library: Some(runtime.library) })
    }

    fn load(&self, package: &Package) -> Result<Box<dyn Engine>, Refusal> {
        let runtime = runtime::load(self.library.as_deref())?;
        Ok(Box::new(Session::load(&runtime, Provider::Cpu, package, self.max_batch)?))
    }
}
