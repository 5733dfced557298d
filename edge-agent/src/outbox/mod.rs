//! The outbox: every record waits here, on disk, until the hub says that it is archived. Policy: *hold*, within a bound of
//! bytes and age.
//!
//! Records are numbered `(epoch, kind, seq)` without holes and written to a segment log of each kind ([`log`]); what is on
//! which side of every bound is decided by [`Index`], a pure machine. Over the bound the oldest samples go first, then
//! health, predictions, and events last; each loss becomes a gap record, and gap records are never dropped. A record is
//! written before [`Outbox::append`] returns, so a killed agent loses nothing; it is synced by the syncer's thread, events
//! and gaps at once, the rest together every so often, and only what is synced is offered to the uplink.

pub mod disk;
pub mod log;
pub mod recover;
pub mod segment;

mod carry;
mod gaps;
mod index;
mod load;
mod mend;
mod outage;
mod ranges;
mod scan;
mod superblock;
mod sync;
mod syncer;

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use contract::{
    Epoch, Kind, Timestamp,
    archived::ArchivedKind,
    frame::{self, Address},
    live::{Holding, SeenWatermark},
};
use tokio::sync::Notify;

pub use index::{Bound, Index, KINDS, LOADED, Look, Segment, slot};
pub use log::{AppendError, Counts, GapWriter, Log, Now, Settings};
pub use ranges::Ranges;
pub use recover::{OpenError, Opener};
pub use scan::Span;
pub use superblock::Known;
pub use sync::Unsynced;

/// The records that are not archived yet. Shared by all who make records and by the uplink.
pub struct Outbox {
    log: Mutex<Log>,
    appended: Notify,
    bell: syncer::Bell,
}

/// Why records could not be read back.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The disk does not give them.
    #[error("read {kind} records from the outbox")]
    Disk {
        /// Their kind.
        kind: Kind,
        /// What the system says.
        source: io::Error,
    },
    /// They are not what was written.
    #[error("{kind} records in the outbox are damaged")]
    Damaged {
        /// Their kind.
        kind: Kind,
        /// What is wrong.
        source: frame::Error,
    },
}

/// A piece of a segment's file.
struct Piece {
    file: Arc<dyn disk::File>,
    first: u64,
    at: u64,
    len: usize,
}

impl Outbox {
    /// Around an open log; records that may wait for company are synced this often.
    pub fn new(log: Log, sync_every: Duration) -> Self {
        Self { log: Mutex::new(log), appended: Notify::new(), bell: syncer::Bell::new(sync_every) }
    }

    /// The log's epoch; another one after the log was found restored.
    pub fn epoch(&self) -> Epoch {
        self.lock().epoch()
    }

    /// Where this run counts a camera's frames from.
    pub fn frames_from(&self) -> u64 {
        self.lock().frames_from()
    }

    /// Numbers a record, makes it and writes it; `make` sees its address. What the disk does not take is lost, counted, and
    /// named by a gap later.
    ///
    /// # Errors
    /// What `make` returns; then no number is used up.
    pub fn append(
        &self,
        kind: Kind,
        captured_at: Timestamp,
        make: impl FnOnce(Address) -> Result<Vec<u8>, frame::Error>,
    ) -> Result<u64, AppendError> {
        let seq = self.lock().append(kind, captured_at, Now::read(), make)?;
        // A frame is not worth waking a thread for.
        if kind == Kind::Event {
            self.bell.ring();
        }
        Ok(seq)
    }

    /// Waits until something became durable since the last wait.
    pub async fn appended(&self) {
        self.appended.notified().await;
    }

    /// Acts on the log itself: for simulators, which have no syncer and a clock of their own.
    pub fn log<T>(&self, act: impl FnOnce(&mut Log) -> T) -> T {
        act(&mut self.lock())
    }

    /// Wakes who waits for durable records, as the syncer's thread does: for simulators, which act on the log itself.
    pub fn became_durable(&self) {
        self.appended.notify_one();
    }

    /// Looks at the index.
    pub fn index<T>(&self, look: impl FnOnce(&Index) -> T) -> T {
        look(&self.lock().index)
    }

    /// Finds out where a segment's records lie: reads it through, outside the lock.
    ///
    /// # Errors
    /// The disk does not give any of it.
    pub fn load(&self, kind: Kind, first: u64) -> Result<(), ReadError> {
        let failed = |source| ReadError::Disk { kind, source };
        let (file, wanted) = self.lock().begin_load(kind, first).map_err(failed)?;
        let bytes = disk::read_leniently(&*file).map_err(failed)?;
        let scan = scan::scan(&bytes, wanted);
        self.lock().loaded(kind, first, scan, Now::read());
        self.bell.ring();
        Ok(())
    }

    /// One message with these records: the magic number and the bytes of the file. Records that went meanwhile are left out.
    ///
    /// # Errors
    /// What lies on the disk is not what was written, or cannot be read; the segment is looked through again.
    pub fn bundle(&self, kind: Kind, seqs: &[u64]) -> Result<Bytes, ReadError> {
        let pieces = self.pieces(kind, seqs);
        let mut message = Vec::with_capacity(frame::MAGIC.len() + pieces.iter().map(|piece| piece.len).sum::<usize>());
        message.extend_from_slice(frame::MAGIC);
        let read = pieces.iter().try_for_each(|piece| {
            let at = message.len();
            message.resize(at + piece.len, 0);
            piece.file.read_at(&mut message[at..], piece.at).map_err(|source| ReadError::Disk { kind, source })
        });
        let sound = || {
            frame::frames(&message)
                .find_map(Result::err)
                .map_or(Ok(()), |source| Err(ReadError::Damaged { kind, source }))
        };
        match read.and_then(|()| sound()) {
            Ok(()) => {
                if let Some(last) = seqs.last() {
                    self.lock().say(kind, last + 1);
                }
                Ok(message.into())
            }
            Err(error) if self.is_away(kind, seqs) => Err(error),
            Err(error) => {
                let spoiled = self.spoiled(kind, seqs);
                self.lock().unreadable(kind, &spoiled, Now::read());
                self.bell.ring();
                Err(error)
            }
        }
    }

    /// Whether not even the beginnings of these records' files can be read: then it is the disk that is away, and nothing
    /// is known to be damaged.
    fn is_away(&self, kind: Kind, seqs: &[u64]) -> bool {
        let pieces = self.pieces(kind, seqs);
        !pieces.is_empty() && pieces.iter().all(|piece| piece.file.read_at(&mut [0; segment::HEADER], 0).is_err())
    }

    /// Those of the records that cannot be read back.
    fn spoiled(&self, kind: Kind, seqs: &[u64]) -> Vec<u64> {
        let sound = |seq: &u64| {
            self.pieces(kind, &[*seq]).first().is_some_and(|piece| {
                let mut bytes = vec![0; piece.len];
                piece.file.read_at(&mut bytes, piece.at).is_ok() && frame::first_frame(&bytes).is_ok()
            })
        };
        seqs.iter().filter(|seq| !sound(seq)).copied().collect()
    }

    /// Where these records lie, neighbours together.
    fn pieces(&self, kind: Kind, seqs: &[u64]) -> Vec<Piece> {
        let mut log = self.lock();
        let mut pieces: Vec<Piece> = Vec::new();
        for seq in seqs {
            let Some(first) = log.index.segment_of(kind, *seq).map(|s| s.first) else { continue };
            let Look::Here(span) = log.index.look(kind, *seq) else { continue };
            let (at, len) = (u64::from(span.at), span.len as usize);
            if let Some(last) = pieces.last_mut().filter(|p| p.first == first && p.at + p.len as u64 == at) {
                last.len += len;
            } else if let Ok(file) = log.file(kind, first) {
                pieces.push(Piece { file, first, at, len });
            }
        }
        pieces
    }

    /// A record and where it belongs; `None` when it is held no longer.
    ///
    /// # Errors
    /// As [`Outbox::bundle`].
    pub fn record(&self, kind: Kind, seq: u64) -> Result<Option<(Address, Bytes)>, ReadError> {
        let bundle = self.bundle(kind, &[seq])?;
        let payload = frame::frames(&bundle).find_map(Result::ok).map(|f| (f.address, bundle.slice_ref(f.payload)));
        Ok(payload)
    }

    /// Below which numbers the hub may have heard of this log, by kind in the order of [`KINDS`].
    pub fn said(&self) -> [u64; KINDS.len()] {
        let log = self.lock();
        KINDS.map(|kind| log.said(kind))
    }

    /// Applies a watermark of this log.
    pub fn archived(&self, kind: Kind, mark: &ArchivedKind) {
        self.lock().archived(kind, mark, Now::read());
        self.bell.ring();
    }

    /// Another lake than before: it has none of what the old one had.
    pub fn forget_marks(&self, lake: (String, String)) {
        self.lock().forget_marks(lake, Now::read());
    }

    /// The hub knows more of this log than is here: it was restored from a snapshot. A new epoch begins, and what the hub
    /// does not have is written again under it. Whether that succeeded.
    pub fn restored(&self, fresh: Epoch, marks: &BTreeMap<Kind, ArchivedKind>) -> bool {
        let now = Now::read();
        let mut log = self.lock();
        let begun = log.begin_epoch(fresh, marks, now);
        if let Err(error) = &begun {
            log.failed(error, now);
        }
        begun.is_ok()
    }

    /// What the hub has said so far.
    pub fn known(&self) -> Known {
        self.lock().superblock.known.clone()
    }

    /// The furthest that this lake has said, in any of its lives: for the gateway's status.
    pub fn seen_watermark(&self) -> Option<SeenWatermark> {
        let Known { lake, told, .. } = self.known();
        let (lake, incarnation) = lake?;
        let upto = told.iter().map(|(kind, mark)| (*kind, mark.upto)).collect();
        let ranges =
            told.into_iter().filter(|(_, mark)| !mark.ranges.is_empty()).map(|(kind, mark)| (kind, mark.ranges));
        Some(SeenWatermark { lake, incarnation, upto, ranges: ranges.collect() })
    }

    /// What is held of each kind.
    pub fn holds(&self) -> BTreeMap<Kind, Holding> {
        self.index(|index| KINDS.iter().map(|kind| (*kind, index.holding(*kind))).collect())
    }

    /// What happened since the start.
    pub fn counts(&self) -> Counts {
        self.lock().counts.clone()
    }

    /// What is wrong with the disk, while something is.
    pub fn trouble(&self) -> Option<String> {
        self.lock().fault.as_ref().map(|outage| outage.text.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
