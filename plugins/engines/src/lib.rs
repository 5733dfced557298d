//! Every engine of this build, by name: for the programs and elements that let a person choose.
//!
//! The order is that of preference where nobody says another: an accelerator before the CPU, and the hub last.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod survey;

use std::path::PathBuf;

use engine_ort::{OrtCpu, OrtCuda};
use inference::EngineFactory;

pub use survey::{Surveyed, survey, table};

/// The name of the engine that asks the hub: what it answers was not computed on the gateway.
pub use engine_hub::NAME as HUB;
pub use engine_hub::Options as HubOptions;

/// What engines need to know of the place they run in.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The file `libonnxruntime.so`, where somebody named it.
    pub onnxruntime: Option<PathBuf>,
    /// The folder with TensorRT's libraries, where somebody named it.
    pub tensorrt: Option<PathBuf>,
    /// Where compiled plans are kept.
    pub plans: PathBuf,
    /// How the hub is asked, where it may be.
    pub hub: Option<HubOptions>,
    /// Another file as the NVIDIA driver's library: to look at a machine as if it had none.
    pub driver: Option<PathBuf>,
}

/// The factories, the best first.
pub fn all(options: &Options) -> Vec<Box<dyn EngineFactory>> {
    let mut all: Vec<Box<dyn EngineFactory>> = Vec::new();
    #[cfg(feature = "tensorrt")]
    all.push(Box::new(tensorrt(options)));
    let mut cuda = OrtCuda::new(options.onnxruntime.clone());
    if let Some(driver) = &options.driver {
        cuda = cuda.with_driver(driver);
    }
    all.push(Box::new(cuda));
    all.push(Box::new(OrtCpu::new(options.onnxruntime.clone())));
    if let Some(hub) = &options.hub {
        all.push(Box::new(engine_hub::Hub::new(hub.clone())));
    }
    all
}

#[cfg(feature = "tensorrt")]
fn tensorrt(options: &Options) -> engine_tensorrt::TensorRt {
    let usual = engine_tensorrt::Options::new(&options.plans);
    engine_tensorrt::TensorRt::new(engine_tensorrt::Options {
        libraries: options.tensorrt.clone(),
        driver: options.driver.clone().unwrap_or_else(|| usual.driver.clone()),
        ..usual
    })
}
