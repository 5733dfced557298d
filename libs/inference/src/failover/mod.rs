//! One model on whichever engine works: when the one in use fails, the next in the order of preference takes over with
//! the very batch that failed, and the better ones are tried again, apart from the frames, until one of them is back.
//!
//! A [`Failover`] is an engine itself. Whoever runs it finds the engine that answered in [`Engine::name`].

mod absent;
mod turns;

use std::{
    hash::{BuildHasher, RandomState},
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    time::{Duration, Instant},
};

use contract::model::Precision;

use self::{absent::Absent, turns::Turns};
use crate::{
    Batch, Engine, EngineError, EngineFactory, Health, NoEngine, Package, Refused,
    choose::{Accuracy, Candidates, Found},
    engine::{check_batch, full},
};

pub use turns::Pace;

/// Which engine is in use, and why none that is better.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its name.
    pub engine: Arc<str>,
    /// The version of its runtime.
    pub version: String,
    /// What the model file that it runs computes in.
    pub precision: Precision,
    /// Why this one, for people.
    pub reason: String,
    /// Those that come before it, each with the latest reason why not.
    pub refused: Vec<Refused>,
    /// How often another engine has taken over.
    pub changes: u64,
}

/// The engine.
pub struct Failover {
    candidates: Arc<Candidates>,
    place: usize,
    engine: Box<dyn Engine>,
    tensor_len: usize,
    classes: usize,
    turns: Turns,
    /// The engine in use failed, and no other could take over.
    stuck: bool,
    coming: Option<mpsc::Receiver<Tried>>,
    standing: Arc<Mutex<Standing>>,
}

/// What came of trying some engines in turn.
struct Tried {
    found: Option<Found>,
    refused: Vec<Refused>,
}

impl Failover {
    /// Begins with the first engine that can run the package, as [`crate::choose`] does; with none, where one of them may
    /// come later ([`EngineFactory::may_come`]).
    ///
    /// # Errors
    /// [`NoEngine`] with the reason of each.
    pub fn start(
        factories: Arc<[Box<dyn EngineFactory>]>,
        preference: &[String],
        accuracy: Accuracy,
        package: &Package,
        pace: Pace,
    ) -> Result<Self, NoEngine> {
        let candidates = Arc::new(Candidates::new(factories, preference, accuracy, package));
        let Tried { found, refused } = try_each(&candidates, 0..candidates.len());
        let stuck = found.is_none();
        let found = match found {
            Some(found) => found,
            None if candidates.may_come() => Found {
                place: candidates.len() - 1,
                engine: Box::new(Absent::new(&refused)),
                precision: package.precision(),
                proof: "none works yet".into(),
            },
            None => return Err(NoEngine { model: package.manifest().id.clone(), refused }),
        };
        let reason = candidates.reason(&found, &refused);
        let standing = Standing {
            engine: found.engine.name().into(),
            version: found.engine.version().to_owned(),
            precision: found.precision,
            reason,
            refused,
            changes: 0,
        };
        Ok(Self {
            turns: Turns::new(pace, found.place == 0 && !stuck, Instant::now()),
            place: found.place,
            engine: found.engine,
            tensor_len: package.tensor_len(),
            classes: package.classes().len(),
            stuck,
            coming: None,
            standing: Arc::new(Mutex::new(standing)),
            candidates,
        })
    }

    /// Which engine is in use, for others to read at any time.
    pub fn standing(&self) -> Arc<Mutex<Standing>> {
        self.standing.clone()
    }

    /// A better engine is taken when it is there, and looked for when that is due.
    fn look_up(&mut self) {
        let now = Instant::now();
        let Some(coming) = &self.coming else {
            if self.turns.is_due(now) {
                self.coming = self.try_apart();
            }
            return;
        };
        let Tried { found, refused } = match coming.try_recv() {
            Ok(tried) => tried,
            Err(mpsc::TryRecvError::Empty) => return,
            Err(mpsc::TryRecvError::Disconnected) => Tried { found: None, refused: Vec::new() }, // it panicked
        };
        self.coming = None;
        self.note(refused);
        match found {
            Some(found) => {
                self.turns.came_back(found.place == 0, spread(), now);
                self.take(found);
            }
            None => self.turns.in_vain(spread(), now),
        }
    }

    /// Tries the better engines on a thread of its own: loading may take minutes. An engine that fails and has no
    /// successor is loaded anew as well.
    fn try_apart(&mut self) -> Option<mpsc::Receiver<Tried>> {
        let (candidates, upto) = (self.candidates.clone(), self.place + usize::from(self.stuck));
        let (sender, receiver) = mpsc::channel();
        let work = move || drop(sender.send(try_each(&candidates, 0..upto)));
        let started = std::thread::Builder::new().name("engine-return".into()).spawn(work);
        if started.is_err() {
            self.turns.in_vain(spread(), Instant::now());
        }
        started.ok().map(|_| receiver)
    }

    /// The engine in use has failed: the next one that can takes over. `false` when there is none.
    fn step_down(&mut self, error: &EngineError) -> bool {
        let before = Refused { engine: self.engine.name().to_owned(), why: full(error) };
        self.note(vec![before]);
        self.turns.left(spread(), Instant::now());
        let Tried { found, refused } = try_each(&self.candidates, self.place + 1..self.candidates.len());
        self.note(refused);
        self.stuck = found.is_none();
        found.map(|found| self.take(found)).is_some()
    }

    fn answered(&mut self) {
        self.turns.answered();
        if std::mem::take(&mut self.stuck) {
            lock(&self.standing).refused.retain(|refused| refused.engine != self.engine.name());
            if self.place == 0 {
                self.turns.settled();
            }
        }
    }

    fn take(&mut self, found: Found) {
        let mut standing = lock(&self.standing);
        let better = self.candidates.names(0..found.place);
        standing.refused.retain(|refused| better.contains(&refused.engine));
        standing.reason = self.candidates.reason(&found, &standing.refused);
        standing.engine = found.engine.name().into();
        standing.version = found.engine.version().to_owned();
        standing.precision = found.precision;
        standing.changes += 1;
        drop(standing);
        self.place = found.place;
        self.stuck = false;
        self.engine = found.engine;
        self.coming = None; // what is being tried may be no better
    }

    /// The latest reason of each counts.
    fn note(&self, refused: Vec<Refused>) {
        let mut standing = lock(&self.standing);
        for news in refused {
            match standing.refused.iter_mut().find(|old| old.engine == news.engine) {
                Some(old) => *old = news,
                None => standing.refused.push(news),
            }
        }
    }

    /// An engine that took over may take smaller batches than the one that the batch was made for.
    fn run_in_parts(
        &mut self,
        batch: Batch<'_>,
        out: &mut [f32],
        deadline: Option<Duration>,
    ) -> Result<(), EngineError> {
        let most = self.engine.max_batch().max(1);
        let inputs = batch.input.chunks(most * self.tensor_len);
        for (input, out) in inputs.zip(out.chunks_mut(most * self.classes)) {
            self.engine.run(Batch { input, n: input.len() / self.tensor_len }, out, deadline)?;
        }
        Ok(())
    }
}

impl Engine for Failover {
    fn name(&self) -> &str {
        self.engine.name()
    }

    fn version(&self) -> &str {
        self.engine.version()
    }

    fn max_batch(&self) -> usize {
        self.engine.max_batch()
    }

    fn run(&mut self, batch: Batch<'_>, out: &mut [f32], deadline: Option<Duration>) -> Result<(), EngineError> {
        check_batch(&batch, out, self.tensor_len, self.classes, usize::MAX)?;
        self.look_up();
        loop {
            let error = match self.run_in_parts(batch, out, deadline) {
                Ok(()) => {
                    self.answered();
                    return Ok(());
                }
                Err(error) => error,
            };
            if matches!(error, EngineError::Skipped { .. }) {
                return Err(error);
            }
            let late = matches!(error, EngineError::Deadline { .. });
            // One that has no successor is not left again with each frame.
            if self.stuck || !self.turns.failed(late) || !self.step_down(&error) {
                return Err(error);
            }
        }
    }

    fn health(&self) -> Health {
        self.engine.health()
    }
}

/// The first of these places whose engine works, and why those before it do not.
fn try_each(candidates: &Candidates, places: Range<usize>) -> Tried {
    let mut refused = Vec::new();
    for place in places {
        match candidates.attempt(place) {
            Ok(found) => return Tried { found: Some(found), refused },
            Err(why) => refused.push(why),
        }
    }
    Tried { found: None, refused }
}

fn lock(standing: &Mutex<Standing>) -> MutexGuard<'_, Standing> {
    standing.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Anything from 0 to 1: the seed of a hash map, which is random.
fn spread() -> f64 {
    (RandomState::new().hash_one(()) >> 11) as f64 / (1u64 << 53) as f64
}
