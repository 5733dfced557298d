//! What a simulator needs of this crate: an S3 server in memory, tables whose transactions wait to be let through, and ids
//! that come from a seed. Nothing of it is reached by a program.
//!
//! A [`Gate`] stands before every request and every transaction. The simulator decides when each goes on and how it ends, so
//! that a process can be stopped, overtaken or killed between any two of its effects.

mod s3;

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::Notify;

pub use crate::chance::Seeded;
pub use s3::Bucket;

/// How an effect ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is done, and its answer arrives.
    Do,
    /// It is not done, and fails as a server that is overloaded or away.
    Fail,
    /// It is done, and its answer is lost.
    Lose,
}

/// What wants to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A request to S3: method and key.
    Object(&'static str, String),
    /// A transaction that reads.
    Read,
    /// A transaction that writes.
    Write,
}

/// The answer of a [`Gate`], once it is there.
pub type Waiting = Pin<Box<dyn Future<Output = Verdict> + Send + Sync>>;

/// Decides when each effect of one process goes on, and how it ends.
pub trait Gate: Send + Sync {
    /// Something wants to go on.
    fn ask(&self, effect: Effect) -> Waiting;
}

/// Effects that are being carried out by other threads: a simulator moves on when there are none.
#[derive(Clone, Default)]
pub struct Busy(Arc<Counted>);

#[derive(Default)]
struct Counted {
    running: AtomicUsize,
    changed: Notify,
}

impl Busy {
    /// Whether nothing is being carried out.
    pub fn is_idle(&self) -> bool {
        self.0.running.load(Ordering::Acquire) == 0
    }

    /// Waits until that may have changed.
    pub async fn changed(&self) {
        self.0.changed.notified().await;
    }

    pub(crate) fn begin(&self) -> Running {
        self.0.running.fetch_add(1, Ordering::AcqRel);
        Running(self.clone())
    }
}

/// One effect that is being carried out.
pub(crate) struct Running(Busy);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.0.running.fetch_sub(1, Ordering::AcqRel);
        self.0.0.changed.notify_one();
    }
}

/// How tables are reached in a simulation.
#[derive(Clone)]
pub(crate) struct Gated {
    pub gate: Arc<dyn Gate>,
    pub busy: Busy,
    pub careless: Careless,
}

impl fmt::Debug for Gated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gated")
    }
}

/// What is left undone on purpose: a simulator that does not notice is blind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Careless {
    /// Commits do not compare the versions of streams.
    pub of_versions: bool,
    /// Nobody asks whether a number has come before.
    pub of_numbers: bool,
    /// Commits do not ask whether their objects may have been taken for orphans.
    pub of_grace: bool,
}
