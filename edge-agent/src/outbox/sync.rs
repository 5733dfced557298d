//! What makes records durable: the log says which files wait for a sync, somebody syncs them outside its lock, and the log
//! hears how it went. A file whose sync failed is trusted no more until it is written anew.

use std::{io, sync::Arc};

use contract::Kind;

use super::{
    disk::File,
    index::{KINDS, slot},
    log::{Log, Now},
};

/// A file to sync outside the lock, and what is durable then.
pub struct Unsynced {
    kind: Kind,
    first: u64,
    upto: u64,
    file: Arc<dyn File>,
}

impl Unsynced {
    /// Syncs it.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}

impl Log {
    /// Makes what was written of a kind durable, at once.
    pub(super) fn sync_kind(&mut self, kind: Kind) -> io::Result<()> {
        let next = self.index.next(kind);
        let durable = self.index.durable(kind) >= next;
        // Not only what is dirty: somebody else's sync of it may still be under way.
        let Some(writer) = self.writers[slot(kind)].as_mut().filter(|w| w.dirty || !durable) else { return Ok(()) };
        if writer.suspect {
            return Err(io::Error::other("the segment could not be synced"));
        }
        if let Err(error) = writer.file.sync() {
            writer.suspect = true;
            return Err(error);
        }
        self.counts.syncs += 1;
        writer.dirty = false;
        self.index.mark_durable(kind, next);
        Ok(())
    }

    /// What waits for a sync: everything, or only what is urgent: events and gaps.
    pub fn unsynced(&mut self, urgent_only: bool) -> Vec<Unsynced> {
        let mut jobs = Vec::new();
        for (at, kind) in KINDS.into_iter().enumerate() {
            let urgent = matches!(kind, Kind::Event | Kind::Gap);
            let Some(writer) = self.writers[at].as_mut().filter(|w| w.dirty && !w.suspect && (urgent || !urgent_only))
            else {
                continue;
            };
            writer.dirty = false;
            jobs.push(Unsynced { kind, first: writer.first, upto: self.index.next(kind), file: writer.file.clone() });
        }
        jobs
    }

    /// A sync has ended.
    pub fn synced(&mut self, job: &Unsynced, outcome: io::Result<()>, now: Now) {
        let writer = self.writers[slot(job.kind)].as_mut().filter(|w| w.first == job.first);
        match (outcome, writer) {
            (Ok(()), _) => {
                self.counts.syncs += 1;
                self.index.mark_durable(job.kind, job.upto);
            }
            (Err(error), Some(writer)) => {
                writer.suspect = true;
                self.failed(&error, now);
            }
            // Sealed meanwhile: what did not reach the medium is found damaged when it is read, and named.
            (Err(error), None) => self.failed(&error, now),
        }
    }

    /// Makes everything durable, without a thread: for simulators, and for the end.
    pub fn sync(&mut self, now: Now) {
        for job in self.unsynced(false) {
            let outcome = job.sync();
            self.synced(&job, outcome, now);
        }
    }
}
