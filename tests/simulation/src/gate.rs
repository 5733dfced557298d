//! Where the effects of a hub's process wait until the simulator lets them through.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use store::simulation::{Effect, Gate, Verdict, Waiting};
use tokio::sync::oneshot;

/// All effects that wait, of all processes; a cheap clone.
#[derive(Clone, Default)]
pub struct Gates(Arc<Mutex<Vec<Asked>>>);

struct Asked {
    process: u64,
    effect: Effect,
    answer: oneshot::Sender<Verdict>,
}

/// One process, as long as it lives.
#[derive(Clone)]
pub struct Life {
    process: u64,
    gates: Gates,
    ended: Arc<AtomicBool>,
    /// Nothing waits: while it starts, and once faults have stopped.
    open: Arc<AtomicBool>,
}

impl Gates {
    /// A process begins; its effects pass at once until [`Life::close`].
    pub fn process(&self, process: u64) -> Life {
        Life { process, gates: self.clone(), ended: Arc::default(), open: Arc::new(AtomicBool::new(true)) }
    }

    /// Lets one of the waiting effects through; says which it was.
    pub fn let_through(&self, which: usize, verdict: Verdict) -> Option<Effect> {
        let asked = {
            let mut waiting = self.lock();
            waiting.retain(|asked| !asked.answer.is_closed()); // who asked has given up
            if waiting.is_empty() {
                return None;
            }
            let at = which % waiting.len();
            waiting.remove(at)
        };
        let _ = asked.answer.send(verdict); // who asked may have given up
        Some(asked.effect)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Asked>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Life {
    /// Which process it is.
    pub fn process(&self) -> u64 {
        self.process
    }

    /// From now on its effects wait.
    pub fn close(&self) {
        self.open.store(false, Ordering::Relaxed);
    }

    /// Nothing of it waits any more.
    pub fn open(&self) {
        self.open.store(true, Ordering::Relaxed);
        while let Some(at) = {
            let waiting = self.gates.lock();
            waiting.iter().position(|asked| asked.process == self.process)
        } {
            self.gates.let_through(at, Verdict::Do);
        }
    }

    /// Killed: nothing of it has an effect any more.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
        self.gates.lock().retain(|asked| asked.process != self.process);
    }
}

impl Gate for Life {
    fn ask(&self, effect: Effect) -> Waiting {
        if self.ended.load(Ordering::Relaxed) {
            return Box::pin(std::future::pending());
        }
        if self.open.load(Ordering::Relaxed) {
            return Box::pin(std::future::ready(Verdict::Do));
        }
        let (answer, verdict) = oneshot::channel();
        self.gates.lock().push(Asked { process: self.process, effect, answer });
        Box::pin(async move {
            match verdict.await {
                Ok(verdict) => verdict,
                Err(_) => std::future::pending().await, // its process was killed
            }
        })
    }
}
