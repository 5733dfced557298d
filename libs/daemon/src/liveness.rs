//! Whether the loops that a process lives by still turn. Each has a [`Pulse`] and touches it once a round, also when there
//! is nothing to do; one that has not for too long is stuck, and systemd's watchdog is told no more.

use std::{
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// How often a loop with nothing to do should turn.
pub const IDLE_TURN: Duration = Duration::from_secs(1);

/// The loops of a process; cheap to clone.
#[derive(Clone, Debug)]
pub struct Liveness {
    bound: Duration,
    loops: Arc<Mutex<Vec<Weak<Turns>>>>,
}

/// One loop's side of [`Liveness`]. When it is dropped, the loop has ended in order and is watched no longer.
#[derive(Clone, Debug)]
pub struct Pulse(Arc<Turns>);

#[derive(Debug)]
struct Turns {
    name: &'static str,
    since: Instant,
    last_ms: AtomicU64,
}

impl Liveness {
    /// A loop that does not turn for `bound` is stuck.
    pub fn new(bound: Duration) -> Self {
        Self { bound, loops: Arc::default() }
    }

    /// Adds a loop, which turns now.
    pub fn pulse(&self, name: &'static str) -> Pulse {
        let turns = Arc::new(Turns { name, since: Instant::now(), last_ms: AtomicU64::new(0) });
        self.loops.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&turns));
        Pulse(turns)
    }

    /// The loops that are stuck.
    pub fn stuck(&self) -> Vec<&'static str> {
        let mut loops = self.loops.lock().unwrap_or_else(PoisonError::into_inner);
        loops.retain(|turns| turns.strong_count() > 0);
        let late = |turns: &Arc<Turns>| turns.still() > self.bound;
        loops.iter().filter_map(Weak::upgrade).filter(late).map(|turns| turns.name).collect()
    }

    /// Whether none is stuck; says which are in the log.
    pub fn is_alive(&self) -> bool {
        let stuck = self.stuck();
        if !stuck.is_empty() {
            tracing::error!(loops = ?stuck, "process is stuck");
        }
        stuck.is_empty()
    }
}

impl Pulse {
    /// The loop turns.
    pub fn turn(&self) {
        let now = u64::try_from(self.0.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.last_ms.store(now, Ordering::Relaxed);
    }

    /// How long ago the loop last turned.
    pub fn still(&self) -> Duration {
        self.0.still()
    }
}

impl Turns {
    fn still(&self) -> Duration {
        self.since.elapsed().saturating_sub(Duration::from_millis(self.last_ms.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_that_stands_still_is_named_until_it_turns_or_ends() {
        let liveness = Liveness::new(Duration::from_millis(50));
        let (engine, session) = (liveness.pulse("engine"), liveness.pulse("session"));
        assert!(liveness.is_alive());
        std::thread::sleep(Duration::from_millis(80));
        session.turn();
        assert_eq!(liveness.stuck(), ["engine"]);
        engine.turn();
        assert!(liveness.is_alive());
        drop((engine, session));
        std::thread::sleep(Duration::from_millis(80));
        assert!(liveness.is_alive(), "what has ended in order is not stuck");
    }
}
