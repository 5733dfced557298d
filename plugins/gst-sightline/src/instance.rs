//! A model with its engine on a thread of its own. Elements that name the same instance share it, also those of other
//! pipelines of the process: what they send is run in batches.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use inference::{Accuracy, Batch, Engine, Failover, Pace, Package};
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
        let chain = |error: &dyn std::error::Error| {
            std::iter::successors(Some(error), |error| error.source())
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(": ")
        };
        let package = Package::open(&recipe.model).map_err(|error| chain(&error))?;
        let plans = std::env::temp_dir().join("sightline-plans");
        let factories = engines::all(&engines::Options { plans, ..engines::Options::default() }).into();
        let engine = Failover::start(factories, &recipe.engines, Accuracy::Exact, &package, Pace::default())
            .map_err(|error| chain(&error))?;
        let manifest = package.manifest();
        let (work, inbox) = channel();
        let worker = Worker {
            batch_size: recipe.batch_size.clamp(1, engine.max_batch()),
            batch_timeout: recipe.batch_timeout,
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
            spec: Spec::from(&manifest.input),
            model: manifest.id.clone(),
            version: manifest.version.to_string(),
            digest: package.digest().to_string(),
            classes: package.classes().to_vec(),
        })
    }

    /// Sends a tensor; the answer comes when it comes.
    pub fn ask(&self, tensor: Vec<u8>) -> Receiver<Answer> {
        let (answer, receiver) = sync_channel(1);
        let _ = self.work.send(Work { tensor, answer }); // a worker that is gone answers nothing, which the receiver sees
        receiver
    }
}

struct Worker {
    engine: Failover,
    batch_size: usize,
    batch_timeout: Duration,
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
            let ran = ran.map_err(|error| error.to_string());
            let name: Arc<str> = self.engine.name().into();
            for (work, probabilities) in batch.drain(..).zip(output.chunks_exact(self.classes)) {
                let outcome = ran.clone().map(|()| (probabilities.to_vec(), name.clone()));
                let _ = work.answer.send(Answer { tensor: work.tensor, outcome }); // who asked may be gone
            }
        }
    }

    fn gather(&self, inbox: &Receiver<Work>, batch: &mut Vec<Work>) {
        let until = Instant::now() + self.batch_timeout;
        while batch.len() < self.batch_size {
            match inbox.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(work) => batch.push(work),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
            }
        }
    }
}
