//! A model with its engine on a thread of its own. Elements that name the same instance share it, also those of other
//! pipelines of the process: what they send is run in batches.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use inference::{Accuracy, Batch, Engine, Failover, Pace, Package, Standing};
use vision::Spec;

/// A batch that takes longer has lost its engine.
const DEADLINE: Duration = Duration::from_secs(3);

/// How an instance is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipe {
    /// The package: a folder or tar.
    pub model: PathBuf,
    /// Engines in the order in which they are tried; all when empty.
    pub engines: Vec<String>,
    /// Inputs in one batch at most.
    pub batch_size: usize,
    /// How long the first input of a batch waits for others.
    pub batch_timeout: Duration,
}

/// An instance that runs.
pub struct Instance {
    recipe: Recipe,
    work: Sender<Work>,
    /// Regions of all elements that ask: with as many inputs there is nothing left to wait for.
    askers: Arc<AtomicUsize>,
    standing: Arc<Mutex<Standing>>,
    /// The tensors that it takes.
    pub spec: Spec,
    /// The model's id.
    pub model: String,
    /// Its version.
    pub version: String,
    /// The digest of its package.
    pub digest: String,
    /// Names of the classes.
    pub classes: Vec<Arc<str>>,
}

/// One input's answer.
pub struct Answer {
    /// The tensor's memory, for the next frame.
    pub tensor: Vec<u8>,
    /// Probabilities by class, and the engine; or why there are none.
    pub outcome: Result<(Vec<f32>, Arc<str>), String>,
}

struct Work {
    tensor: Vec<u8>,
    answer: SyncSender<Answer>,
}

static SHARED: Mutex<BTreeMap<String, Weak<Instance>>> = Mutex::new(BTreeMap::new());

impl Instance {
    /// The instance of this name, made when it does not run yet; one of its own without a name.
    ///
    /// # Errors
    /// In words for people: a package or engine that cannot be used, or an instance of this name that was made otherwise.
    pub fn named(name: Option<&str>, recipe: &Recipe) -> Result<Arc<Self>, String> {
        // However it is written, the same package is the same one.
        let model = recipe.model.canonicalize().unwrap_or_else(|_| recipe.model.clone());
        let recipe = &Recipe { model, ..recipe.clone() };
        let Some(name) = name else { return Self::make(recipe).map(Arc::new) };
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = shared.get(name).and_then(Weak::upgrade) {
            if running.recipe != *recipe {
                return Err(format!(
                    "model-instance-id `{name}` runs {:?} already; elements that share it need the same model, engine, \
                     batch-size and batch-timeout",
                    running.recipe
                ));
            }
            return Ok(running);
        }
        let made = Arc::new(Self::make(recipe)?);
        shared.insert(name.to_owned(), Arc::downgrade(&made));
        shared.retain(|_, instance| instance.strong_count() > 0);
        Ok(made)
    }

    fn make(recipe: &Recipe) -> Result<Self, String> {
        let package = Package::open(&recipe.model).map_err(|error| chain(&error))?;
        let plans = cache();
        let factories = engines::all(&engines::Options { plans, ..engines::Options::default() }).into();
        let engine = Failover::start(factories, &recipe.engines, Accuracy::Exact, &package, Pace::default())
            .map_err(|error| chain(&error))?;
        let manifest = package.manifest();
        let (work, inbox) = channel();
        let (askers, standing) = (Arc::<AtomicUsize>::default(), engine.standing());
        let worker = Worker {
            batch_size: recipe.batch_size,
            batch_timeout: recipe.batch_timeout,
            askers: askers.clone(),
            classes: package.classes().len(),
            engine,
        };
        thread::Builder::new()
            .name("sightline-model".into())
            .spawn(move || worker.run(&inbox))
            .map_err(|error| format!("start a thread: {error}"))?;
        Ok(Self {
            recipe: recipe.clone(),
            work,
            askers,
            standing,
            spec: Spec::from(&manifest.input),
            model: manifest.id.clone(),
            version: manifest.version.to_string(),
            digest: package.digest().to_string(),
            classes: package.classes().to_vec(),
        })
    }

    /// One more element asks, for so many regions, for as long as what it gets here lives.
    pub fn join(self: Arc<Self>, regions: usize) -> Asker {
        self.askers.fetch_add(regions, Ordering::Relaxed);
        Asker { instance: self, regions }
    }

    /// The engine in use, and why none that comes before it.
    pub fn standing(&self) -> Standing {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends a tensor; the answer comes when it comes.
    pub fn ask(&self, tensor: Vec<u8>) -> Receiver<Answer> {
        let (answer, receiver) = sync_channel(1);
        let _ = self.work.send(Work { tensor, answer }); // a worker that is gone answers nothing, which the receiver sees
        receiver
    }
}

/// An element's part in an instance.
pub struct Asker {
    instance: Arc<Instance>,
    regions: usize,
}

impl std::ops::Deref for Asker {
    type Target = Instance;
    fn deref(&self) -> &Instance {
        &self.instance
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        self.instance.askers.fetch_sub(self.regions, Ordering::Relaxed);
    }
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let all = std::iter::successors(Some(error), |error| error.source());
    all.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Where engines keep what they compiled: the user's own folder.
fn cache() -> PathBuf {
    let of = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = of("XDG_CACHE_HOME").or_else(|| Some(of("HOME")?.join(".cache"))).unwrap_or_else(std::env::temp_dir);
    folder.join("sightline").join("plans")
}

struct Worker {
    engine: Failover,
    batch_size: usize,
    batch_timeout: Duration,
    askers: Arc<AtomicUsize>,
    classes: usize,
}

impl Worker {
    /// Runs until nobody holds the instance any more.
    fn run(mut self, inbox: &Receiver<Work>) {
        let (mut batch, mut input, mut output) = (Vec::new(), Vec::new(), Vec::new());
        while let Ok(first) = inbox.recv() {
            batch.push(first);
            self.gather(inbox, &mut batch);
            let n = batch.len();
            output.clear();
            output.resize(n * self.classes, 0.0);
            let bytes = match &batch[..] {
                [one] => &one.tensor, // a batch of one needs no copy
                many => {
                    input.clear();
                    many.iter().for_each(|work| input.extend_from_slice(&work.tensor));
                    &input
                }
            };
            let ran = self.engine.run(Batch { input: bytes, n }, &mut output, Some(DEADLINE));
            let ran = ran.map_err(|error| chain(&error));
            let name: Arc<str> = self.engine.name().into();
            for (work, probabilities) in batch.drain(..).zip(output.chunks_exact(self.classes)) {
                let outcome = ran.clone().map(|()| (probabilities.to_vec(), name.clone()));
                let _ = work.answer.send(Answer { tensor: work.tensor, outcome }); // who asked may be gone
            }
        }
    }

    /// Waits for others, until the batch is as large as it may be, everybody has asked, or the time is over.
    fn gather(&self, inbox: &Receiver<Work>, batch: &mut Vec<Work>) {
        let until = Instant::now() + self.batch_timeout;
        // Another engine may have taken over, which takes fewer.
        let most = self.batch_size.min(self.engine.max_batch()).max(1);
        while batch.len() < most {
            let wait = match batch.len() < self.askers.load(Ordering::Relaxed) {
                true => until.saturating_duration_since(Instant::now()),
                false => Duration::ZERO,
            };
            match inbox.recv_timeout(wait) {
                Ok(work) => batch.push(work),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
            }
        }
    }
}
