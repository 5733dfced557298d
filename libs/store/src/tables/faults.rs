//! Faults for tests: a commit whose answer is lost, and which happens later than its caller believes.
//!
//! What a broken connection to a server does: the caller is told `Uncertain` at once, the server commits in its own
//! time, and until then whoever writes the same rows waits.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Faults to come, in order; shared with the test that plans them.
#[derive(Debug, Default)]
pub struct Faults {
    late_commits: Mutex<VecDeque<Duration>>,
}

impl Faults {
    /// The next write without an earlier plan is reported as `Uncertain` at once and committed so much later.
    pub fn commit_late(&self, after: Duration) {
        self.lock().push_back(after);
    }

    /// How many faults are still to come.
    pub fn left(&self) -> usize {
        self.lock().len()
    }

    pub(super) fn next(&self) -> Option<Duration> {
        self.lock().pop_front()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Duration>> {
        self.late_commits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
