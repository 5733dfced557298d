//! Makes engines on an NVIDIA GPU with CUDA's libraries: slower than TensorRT, and on every GPU that CUDA knows.

use std::path::PathBuf;

use contract::model::Precision;
use inference::{Engine, EngineFactory, Package, Probe, Refusal};
use ort::ep::ExecutionProvider;

use crate::{provider::Provider, runtime, session::Session};

/// The engine's name in configuration, predictions and metrics.
pub const CUDA: &str = "ort-cuda";

/// Makes `ort-cuda` engines. Needs ONNX Runtime's GPU build, the driver, CUDA's libraries and cuDNN.
#[derive(Clone, Debug)]
pub struct OrtCuda {
    library: Option<PathBuf>,
    driver: PathBuf,
    device: usize,
    max_batch: Option<usize>,
}

impl Default for OrtCuda {
    fn default() -> Self {
        Self::new(None)
    }
}

impl OrtCuda {
    /// With ONNX Runtime's file where the user named one, as for [`crate::OrtCpu`]: a process loads one ONNX Runtime,
    /// and its GPU build serves the CPU as well.
    pub fn new(library: Option<PathBuf>) -> Self {
        Self { library, driver: nvidia::DRIVER.into(), device: 0, max_batch: None }
    }

    /// Another file as the driver's library.
    #[must_use]
    pub fn with_driver(mut self, driver: impl Into<PathBuf>) -> Self {
        self.driver = driver.into();
        self
    }

    /// Another GPU than the first.
    #[must_use]
    pub fn with_device(mut self, device: usize) -> Self {
        self.device = device;
        self
    }

    /// The largest batch that its engines take; 32 by default.
    #[must_use]
    pub fn with_max_batch(mut self, max_batch: usize) -> Self {
        self.max_batch = Some(max_batch.max(1));
        self
    }

    fn look(&self) -> Result<(runtime::Runtime, nvidia::Device), Refusal> {
        let device = nvidia::look(&self.driver, self.device)?;
        let runtime = runtime::load(self.library.as_deref())?;
        if !ort::ep::CUDA::is_available().unwrap_or(false) {
            return Err(Refusal::new(format!(
                "`{}` is ONNX Runtime's build for CPUs; put the one of the package `onnxruntime-gpu` there with its \
                 provider libraries beside it",
                runtime.library.display()
            )));
        }
        Ok((runtime, device))
    }
}

impl EngineFactory for OrtCuda {
    fn name(&self) -> &str {
        CUDA
    }

    fn probe(&self) -> Result<Probe, Refusal> {
        let (runtime, device) = self.look()?;
        let device = format!("{} (compute capability {})", device.name, device.capability);
        Ok(Probe { version: runtime.version, device, library: Some(runtime.library) })
    }

    fn precisions(&self) -> &[Precision] {
        &[Precision::Fp16, Precision::Fp32]
    }

    fn load(&self, package: &Package) -> Result<Box<dyn Engine>, Refusal> {
        let (runtime, device) = self.look()?;
        Ok(Box::new(Session::load(&runtime, Provider::Cuda(device.ordinal), package, self.max_batch)?))
    }
}
