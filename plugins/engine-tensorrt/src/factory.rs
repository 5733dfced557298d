//! Makes engines: looks for driver, GPU and libraries, finds or makes the plan, loads it.

use std::path::PathBuf;

use contract::model::Precision;
use inference::{Engine, EngineFactory, Package, Probe, Refusal};
use nvidia::Device;
use sha2::{Digest as _, Sha256};

use crate::{
    Key, Session,
    builds::{Builds, State},
    cache::{Cache, Found},
    compile::{self, Source, compile},
    key::{Profile, RECIPE, Target},
    library::{self, Library, PRODUCT},
    prepare::prepare,
};

/// The engine's name in configuration, predictions and metrics.
pub const NAME: &str = "tensorrt";

/// The largest batch when nobody said.
const MAX_BATCH: usize = 32;

/// How the factory works.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder with TensorRT's libraries, where the user named one.
    pub libraries: Option<PathBuf>,
    /// The driver's library.
    pub driver: PathBuf,
    /// Which GPU, counted from 0.
    pub device: usize,
    /// Where plans are kept.
    pub cache: PathBuf,
    /// The most bytes of plans that are kept.
    pub cache_bytes_max: u64,
    /// The largest batch that engines take. Models with a fixed batch take theirs all the same.
    pub batch_max: usize,
    /// Compile for the GPU that is there, or for all that are portable.
    pub portable: bool,
    /// Whether loading waits for a plan that must be compiled first.
    pub build: Build,
}

impl Options {
    /// The usual ones, with plans kept in this folder.
    pub fn new(cache: impl Into<PathBuf>) -> Self {
        Self {
            libraries: None,
            driver: nvidia::DRIVER.into(),
            device: 0,
            cache: cache.into(),
            cache_bytes_max: 2 << 30,
            batch_max: MAX_BATCH,
            portable: false,
            build: Build::Background,
        }
    }
}

/// What loading does when there is no plan yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Build {
    /// Compiles it and waits.
    Wait,
    /// Compiles it in a thread and refuses for now: the next engine serves until loading is tried again.
    Background,
}

/// Makes `tensorrt` engines.
#[derive(Clone, Debug)]
pub struct TensorRt {
    options: Options,
    builds: Builds,
}

impl TensorRt {
    /// A factory with these options. Nothing is opened yet.
    pub fn new(options: Options) -> Self {
        Self { options, builds: Builds::default() }
    }

    fn device(&self) -> Result<(Device, Library), Refusal> {
        let device = nvidia::look(&self.options.driver, self.options.device)?;
        let library = library::open(self.options.libraries.as_deref())?;
        library.runs_on(&device)?;
        Ok((device, library))
    }

    /// What a plan of this package for this GPU is made of; without a GPU, a portable one.
    ///
    /// # Errors
    /// The model cannot be read.
    pub fn key(&self, package: &Package, library: &Library, device: Option<&Device>) -> Result<Key, Refusal> {
        let model = package.model().map_err(|error| Refusal::caused("read the model", error))?;
        Ok(Key {
            model: hex::encode(Sha256::digest(&model)),
            library: format!("{PRODUCT} {}", library.version),
            target: match device {
                Some(gpu) if !self.options.portable => {
                    Target::Sm((gpu.capability.major * 10 + gpu.capability.minor) as u16)
                }
                _ => Target::Portable,
            },
            driver_major: device.map(Device::driver_major),
            profile: self.profile(package),
            recipe: RECIPE,
        })
    }

    fn profile(&self, package: &Package) -> Profile {
        match package.batch() {
            Some(fixed) => Profile { min: fixed, opt: fixed, max: fixed },
            None => Profile::up_to(self.options.batch_max.max(1)),
        }
    }

    /// The plan out of the cache, or compiled now and kept. Needs no GPU for a portable key.
    ///
    /// # Errors
    /// The model cannot be compiled, or the cache not be written.
    pub fn plan(&self, package: &Package, library: &Library, key: &Key) -> Result<Vec<u8>, Refusal> {
        let model = package.model().map_err(|error| Refusal::caused("read the model", error))?;
        let cache = self.cache()?;
        make(&cache, library, key, &model, &package_source(package))
    }

    fn cache(&self) -> Result<Cache, Refusal> {
        Cache::open(&self.options.cache, self.options.cache_bytes_max)
            .map_err(|error| Refusal::caused("keep TensorRT plans; name a writable folder", error))
    }

    /// The cached plan, or what to tell while it is compiled.
    fn find(&self, package: &Package, library: &Library, key: &Key) -> Result<Vec<u8>, Refusal> {
        let cache = self.cache()?;
        match cache.get(key).map_err(|error| Refusal::caused("use the TensorRT plan", error))? {
            Found::Plan(plan) => return Ok(plan),
            _ if self.options.build == Build::Wait => return self.plan(package, library, key),
            _ => {}
        }
        let model = package.model().map_err(|error| Refusal::caused("read the model", error))?;
        let (source, work_key, work_library) = (package_source(package), key.clone(), library.clone());
        let work =
            move || make(&cache, &work_library, &work_key, &model, &source).map(drop).map_err(|refusal| refusal.full());
        match self.builds.start(key, work) {
            Ok(State::Running(since)) => Err(Refusal::new(format!(
                "its plan for this GPU is being compiled in the background (for {} s now); the next engine serves until \
                 it is done",
                since.elapsed().as_secs()
            ))),
            Ok(State::Failed(why)) => Err(Refusal::new(why)),
            Err(error) => Err(Refusal::caused("start a thread to compile the plan", error)),
        }
    }
}

/// The parts of a package that compiling needs, on any thread.
#[derive(Clone)]
struct PackageSource {
    input: String,
    shape: [usize; 3],
}

fn package_source(package: &Package) -> PackageSource {
    let [_, shape @ ..] = package.spec().shape();
    PackageSource { input: package.manifest().input.name.clone(), shape }
}

/// One process at a time; the second finds what the first made.
fn make(
    cache: &Cache,
    library: &Library,
    key: &Key,
    model: &[u8],
    package: &PackageSource,
) -> Result<Vec<u8>, Refusal> {
    let kept = |error| Refusal::caused("keep the TensorRT plan", error);
    let _lock = cache.lock(key).map_err(kept)?;
    if let Found::Plan(plan) = cache.get(key).map_err(kept)? {
        return Ok(plan);
    }
    let onnx = prepare(model).map_err(|error| Refusal::caused("prepare the model", error))?;
    let source = Source { onnx: &onnx, input: &package.input, shape: package.shape };
    let begun = std::time::Instant::now();
    let plan = compile(library, source, key.profile, key.target).map_err(|error: compile::Error| {
        Refusal::caused(format!("compile the model with {PRODUCT} {}", library.version), error)
    })?;
    tracing::info!(target = %key.target, bytes = plan.len(), seconds = begun.elapsed().as_secs_f32(), "compiled a TensorRT plan");
    cache.put(key, &plan).map_err(kept)?;
    Ok(plan)
}

impl EngineFactory for TensorRt {
    fn name(&self) -> &str {
        NAME
    }

    fn probe(&self) -> Result<Probe, Refusal> {
        let (device, library) = self.device()?;
        Ok(Probe {
            version: format!("{PRODUCT} {}", library.version),
            device: format!("{} (compute capability {})", device.name, device.capability),
            library: Some(library.folder),
        })
    }

    fn precisions(&self) -> &[Precision] {
        &[Precision::Fp16, Precision::Fp32]
    }

    fn load(&self, package: &Package) -> Result<Box<dyn Engine>, Refusal> {
        let (device, library) = self.device()?;
        let key = self.key(package, &library, Some(&device))?;
        let plan = self.find(package, &library, &key)?;
        match Session::load(&library, &device, package, &plan, key.profile) {
            Ok(session) => Ok(Box::new(session)),
            Err(refusal) => {
                // The runtime knows better than the digest: the plan is made again at the next try.
                self.cache()?.remove(&key).map_err(|error| Refusal::caused("forget the TensorRT plan", error))?;
                Err(refusal)
            }
        }
    }
}
