//! Model packages: opened, checked, and each given an engine.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use inference::{EngineFactory, NoEngine, Package, choose};

use super::EngineFacts;
use crate::{classify::Model, config::Config};

/// A package with its engine.
pub struct Loaded {
    /// The name in `[models]`.
    pub name: String,
    /// The package.
    pub package: Package,
    /// The engine's name, for records.
    pub engine: Arc<str>,
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

/// The factories that are built in; TensorRT's plans are kept in the state folder.
pub fn factories(config: &Config, state: &Path) -> Vec<Box<dyn EngineFactory>> {
    let (onnxruntime, tensorrt) = (config.engines.library.clone(), config.engines.tensorrt.clone());
    engines::all(&engines::Options { onnxruntime, tensorrt, plans: state.join("plans"), driver: None })
}

/// Loads the packages that some region uses.
///
/// # Errors
/// The first that cannot be used.
pub fn load(config: &Config, state: &Path) -> Result<Ready, ModelError> {
    let used: std::collections::BTreeSet<String> = config
        .cameras
        .values()
        .flat_map(|camera| camera.regions().into_values().map(|region| region.model().to_owned()))
        .collect();
    let wanted: BTreeMap<&String, &PathBuf> = config.models.iter().filter(|(name, _)| used.contains(*name)).collect();
    let factories = factories(config, state);
    let factories: Vec<&dyn EngineFactory> = factories.iter().map(AsRef::as_ref).collect();
    let (mut loaded, mut models, mut facts) = (Vec::new(), Vec::new(), Vec::new());
    for (index, (name, path)) in wanted.into_iter().enumerate() {
        let package = Package::open(path)
            .map_err(|source| ModelError::Package { name: name.clone(), source: Box::new(source) })?;
        let chosen = choose(&factories, &config.engines.preference, config.engines.accuracy(), &package)
            .map_err(|source| ModelError::Engine { name: name.clone(), source })?;
        for refused in &chosen.refused {
            tracing::warn!(model = name, engine = refused.engine, why = refused.why, "engine is not used");
        }
        let engine = chosen.engine;
        tracing::info!(model = name, digest = %package.digest(), engine = engine.name(), reason = chosen.reason, "model is ready");
        facts.push(EngineFacts {
            model: name.clone(),
            name: engine.name().into(),
            version: engine.version().into(),
            reason: chosen.reason,
        });
        loaded.push(Loaded {
            name: name.clone(),
            engine: engine.name().into(),
            index,
            max_batch: engine.max_batch(),
            package: package.clone(),
        });
        models.push(Model { engine, tensor_len: package.tensor_len(), classes: package.classes().len() });
    }
    Ok(Ready { loaded, models, engines: facts })
}
