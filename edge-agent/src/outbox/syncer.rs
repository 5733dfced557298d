//! The thread that makes records durable: group commit outside the lock, so that nobody who makes records waits for a disk.

use std::{
    sync::{Condvar, Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{Now, Outbox};

/// How often age, the disk's recovery and the like are looked at.
const LOOK_AFTER: Duration = Duration::from_secs(1);

/// How the thread is called.
pub(super) struct Bell {
    every: Duration,
    rung: Mutex<Rung>,
    changed: Condvar,
}

#[derive(Clone, Copy, Default)]
struct Rung {
    urgent: bool,
    all: bool,
    end: bool,
}

impl Bell {
    pub fn new(every: Duration) -> Self {
        Self { every, rung: Mutex::default(), changed: Condvar::new() }
    }

    /// Something urgent was appended.
    pub fn ring(&self) {
        self.set(|rung| rung.urgent = true);
    }

    fn set(&self, change: impl FnOnce(&mut Rung)) {
        change(&mut self.rung.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_one();
    }

    /// Waits for a call, until a moment.
    fn wait(&self, until: Instant) -> Rung {
        let rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        let timeout = until.saturating_duration_since(Instant::now());
        let quiet = |rung: &mut Rung| !(rung.urgent || rung.all || rung.end);
        let (mut rung, _) =
            self.changed.wait_timeout_while(rung, timeout, quiet).unwrap_or_else(PoisonError::into_inner);
        let heard = *rung;
        *rung = Rung { end: rung.end, ..Rung::default() };
        heard
    }
}

impl Outbox {
    /// Syncs until [`Outbox::stop_syncer`]; then once more.
    pub fn run_syncer(&self) {
        let (mut due, mut look) = (Instant::now() + self.bell.every, Instant::now() + LOOK_AFTER);
        loop {
            let heard = self.bell.wait(due);
            let now = Instant::now();
            let all = heard.all || heard.end || now >= due;
            if all {
                due = now + self.bell.every;
            }
            self.sync_dirty(!all);
            if now >= look || heard.end {
                look = now + LOOK_AFTER;
                self.lock().maintain(Now::read());
            }
            if heard.end {
                self.lock().save_superblock(Now::read());
                return;
            }
        }
    }

    /// Everything is made durable as soon as possible.
    pub fn sync_soon(&self) {
        self.bell.set(|rung| rung.all = true);
    }

    /// Ends the thread.
    pub fn stop_syncer(&self) {
        self.bell.set(|rung| rung.end = true);
    }

    fn sync_dirty(&self, urgent_only: bool) {
        let jobs = self.lock().unsynced(urgent_only);
        let quiet = jobs.is_empty() && !urgent_only;
        for job in jobs {
            let outcome = job.sync();
            self.lock().synced(&job, outcome, Now::read());
        }
        // Who rang has perhaps synced itself: a gap is durable before what it names is deleted.
        if !quiet {
            self.appended.notify_one();
        }
    }
}
