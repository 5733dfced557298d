//! Segments that are read again: their open files, where their records lie, and what is done when they are damaged.

use std::{io, sync::Arc};

use contract::Kind;

use super::{
    disk::File,
    index::{Segment, slot},
    log::{Log, Now},
    scan::{Scan, Wanted},
};

impl Log {
    pub(super) fn wanted(&self, kind: Kind, segment: &Segment) -> Wanted {
        let next = segment.sealed.then_some(segment.next);
        Wanted { epoch: self.superblock.epoch, kind, first: segment.first, next }
    }

    /// The open file of a segment.
    pub fn file(&mut self, kind: Kind, first: u64) -> io::Result<Arc<dyn File>> {
        let at = slot(kind);
        if let Some(writer) = self.writers[at].as_ref().filter(|w| w.first == first) {
            return Ok(writer.file.clone());
        }
        if let Some(file) = self.readers.get(&(at, first)) {
            return Ok(file.clone());
        }
        let name = self.index.segment(kind, first).ok_or(io::ErrorKind::NotFound)?.name(kind);
        let file = self.disk.open(&name.to_string())?;
        self.readers.insert((at, first), file.clone());
        Ok(file)
    }

    /// What must be read to load a segment: its file, and what is looked for in it.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn begin_load(&mut self, kind: Kind, first: u64) -> io::Result<(Arc<dyn File>, Wanted)> {
        let file = self.file(kind, first)?;
        let segment = self.index.segment(kind, first).ok_or(io::ErrorKind::NotFound)?;
        Ok((file, self.wanted(kind, segment)))
    }

    /// A segment was scanned. Numbers that are not there, not committed and not explained become a gap `damaged`.
    pub fn loaded(&mut self, kind: Kind, first: u64, scan: Scan, now: Now) {
        let Some(segment) = self.index.segment(kind, first).filter(|s| s.sealed) else { return };
        let next = segment.next;
        self.owe_damage(kind, first, &scan.spans, next);
        self.index.load(kind, first, scan.spans);
        self.close_unloaded(kind);
        if let Err(error) = self.pay_gaps(now) {
            self.failed(&error, now);
        }
    }

    /// Records could not be read back. A sealed segment is looked through again; one that is written has lost them.
    pub fn unreadable(&mut self, kind: Kind, seqs: &[u64], now: Now) {
        for seq in seqs {
            let Some((first, sealed)) = self.index.segment_of(kind, *seq).map(|s| (s.first, s.sealed)) else {
                continue;
            };
            if sealed {
                self.index.unload(kind, first);
                self.readers.remove(&(slot(kind), first));
                continue;
            }
            self.index.spoil(kind, *seq);
            let spans = self.index.segment(kind, first).and_then(|s| s.spans.clone()).unwrap_or_default();
            self.owe_damage(kind, first, &spans, first + spans.len() as u64);
        }
        if let Err(error) = self.pay_gaps(now) {
            self.failed(&error, now);
        }
    }

    /// Keeps files open only of segments whose records' places are known.
    pub(super) fn close_unloaded(&mut self, kind: Kind) {
        let (at, index) = (slot(kind), &self.index);
        self.readers
            .retain(|(slot, first), _| *slot != at || index.segment(kind, *first).is_some_and(|s| s.spans.is_some()));
    }
}
