//! Model packages: opened, checked, and each given an engine.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use inference::{Engine, EngineFactory, Failover, NoEngine, Pace, Package};

use super::EngineFacts;
use crate::{
    classify::Model,
    config::{Config, Hub},
};

/// A package with its engine.
pub struct Loaded {
    /// The name in `[models]`.
    pub name: String,
    /// The package.
    pub package: Package,
    /// Index among the engine thread's models.
    pub index: usize,
    /// The largest batch.
    pub max_batch: usize,
}

/// All models, in the order of their indices.
pub struct Ready {
    /// Packages.
    pub loaded: Vec<Loaded>,
    /// What the engine thread runs.
    pub models: Vec<Model>,
    /// Which engine, and why.
    pub engines: Vec<EngineFacts>,
}

/// Why a model cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The package is not one, or contradicts itself.
    #[error("model `{name}` cannot be used")]
    Package {
        /// The name in `[models]`.
        name: String,
        /// Which file, what is wrong.
        source: Box<inference::package::Error>,
    },
    /// Nothing runs it.
    #[error("model `{name}` cannot be run")]
    Engine {
        /// The name in `[models]`.
        name: String,
        /// Each engine with its reason.
        source: NoEngine,
    },
}

/// Engines, the best first; shared by all models.
pub type Factories = Arc<[Box<dyn EngineFactory>]>;

/// The factories that are built in; TensorRT's plans are kept in the state folder.
pub fn factories(config: &Config, state: &Path) -> Vec<Box<dyn EngineFactory>> {
    let (onnxruntime, tensorrt) = (config.engines.library.clone(), config.engines.tensorrt.clone());
    let hub = config.engines.hub.as_ref().map(Hub::options);
    engines::all(&engines::Options { onnxruntime, tensorrt, plans: state.join("plans"), hub, driver: None })
}

/// Loads the packages that some region uses.
///
/// # Errors
/// The first that cannot be used.
pub fn load(config: &Config, factories: &Factories, pace: Pace) -> Result<Ready, ModelError> {
    let used: std::collections::BTreeSet<String> = config
        .cameras
        .values()
        .flat_map(|camera| camera.regions().into_values().map(|region| region.model().to_owned()))
        .collect();
    let wanted: BTreeMap<&String, &PathBuf> = config.models.iter().filter(|(name, _)| used.contains(*name)).collect();
    let (mut loaded, mut models, mut facts) = (Vec::new(), Vec::new(), Vec::new());
    for (index, (name, path)) in wanted.into_iter().enumerate() {
        let package = Package::open(path)
            .map_err(|source| ModelError::Package { name: name.clone(), source: Box::new(source) })?;
        let engines = &config.engines;
        let engine = Failover::start(factories.clone(), &engines.preference, engines.accuracy(), &package, pace)
            .map_err(|source| ModelError::Engine { name: name.clone(), source })?;
        let known = EngineFacts { model: name.clone(), standing: engine.standing() };
        let standing = known.standing();
        for refused in &standing.refused {
            tracing::warn!(model = name, engine = refused.engine, why = refused.why, "engine is not used");
        }
        let digest = package.digest();
        tracing::info!(model = name, %digest, engine = &*standing.engine, reason = standing.reason, "model is ready");
        facts.push(known);
        loaded.push(Loaded { name: name.clone(), index, max_batch: engine.max_batch(), package: package.clone() });
        models.push(Model::new(Box::new(engine), package.tensor_len(), package.classes().len()));
    }
    Ok(Ready { loaded, models, engines: facts })
}
