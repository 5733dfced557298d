//! The outbox: every record waits here until the hub says that it is archived. Policy: *hold*, within a bound of bytes.
//!
//! Records are numbered `(epoch, kind, seq)` without holes. Over the bound the oldest samples go first, then health,
//! predictions, and events last; each loss becomes a gap record, and gap records are never dropped. What is on which
//! side of the bound is decided by [`Index`], a pure machine; this module keeps the bytes beside it, in memory, with a
//! new epoch at each start. A disk can stand behind the same interface.

mod index;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use contract::{
    Epoch, Gap, Kind, Timestamp,
    archived::ArchivedKind,
    frame::{self, Address},
    live::Holding,
};
use tokio::sync::Notify;

pub use index::{Dropped, Entry, Index, KINDS};

use crate::clock::Mono;

/// Why a record was not taken.
#[derive(Debug, thiserror::Error)]
#[error("append {kind} record to the outbox")]
pub struct AppendError {
    kind: Kind,
    source: frame::Error,
}

/// What a gap record's header needs that only the gateway knows: makes the whole record for a gap at an address.
pub type GapWriter = Box<dyn Fn(Address, &Gap) -> Result<Vec<u8>, frame::Error> + Send + Sync>;

/// The records that are not archived yet. Shared by all who make records and by the uplink.
pub struct Outbox {
    epoch: Epoch,
    inner: Mutex<Inner>,
    appended: Notify,
    gap_writer: GapWriter,
}

struct Inner {
    index: Index,
    bytes: BTreeMap<Kind, VecDeque<Bytes>>,
    dropped: BTreeMap<Kind, u64>,
}

impl Outbox {
    /// An empty outbox of a new log.
    pub fn new(epoch: Epoch, max_bytes: u64, gap_writer: GapWriter) -> Self {
        let inner = Inner { index: Index::new(max_bytes), bytes: BTreeMap::new(), dropped: BTreeMap::new() };
        Self { epoch, inner: Mutex::new(inner), appended: Notify::new(), gap_writer }
    }

    /// The log's epoch.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Numbers a record, makes it and keeps it. `tag` comes back in [`Entry::tag`]; `make` sees the record's address.
    ///
    /// # Errors
    /// What `make` returns; then no number is used up.
    pub fn append(
        &self,
        kind: Kind,
        captured_at: Timestamp,
        tag: u16,
        now: Mono,
        make: impl FnOnce(Address) -> Result<Vec<u8>, frame::Error>,
    ) -> Result<u64, AppendError> {
        let seq = {
            let mut inner = self.lock();
            let seq = inner.push(self.epoch, kind, captured_at, tag, now, make)?;
            for dropped in inner.index.make_room() {
                inner.forget(&dropped);
                // A gap that cannot be written would leave a hole that nobody explains; it is small and cannot be too long.
                let gap = gap_of(self.epoch, &dropped);
                inner.push(self.epoch, Kind::Gap, captured_at, 0, now, |a| (self.gap_writer)(a, &gap))?;
            }
            seq
        };
        // Whoever sends looks every few hundred milliseconds anyway; a frame is not worth waking a thread for.
        if matches!(kind, Kind::Event | Kind::Gap) {
            self.appended.notify_one();
        }
        Ok(seq)
    }

    /// Waits until something urgent was appended since the last wait: an event or a gap.
    pub async fn appended(&self) {
        self.appended.notified().await;
    }

    /// Wakes whoever waits in [`Outbox::appended`].
    pub fn wake(&self) {
        self.appended.notify_one();
    }

    /// Looks at the index.
    pub fn index<T>(&self, look: impl FnOnce(&Index) -> T) -> T {
        look(&self.lock().index)
    }

    /// The bytes of a record that is still held.
    pub fn read(&self, kind: Kind, seq: u64) -> Option<(Entry, Bytes)> {
        let inner = self.lock();
        let entry = *inner.index.get(kind, seq)?;
        let at = usize::try_from(seq - inner.index.holding(kind).first).ok()?;
        Some((entry, inner.bytes.get(&kind)?.get(at)?.clone()))
    }

    /// Deletes what the watermark passed, marks what it names beyond.
    pub fn archived(&self, kind: Kind, mark: &ArchivedKind) {
        let mut inner = self.lock();
        let deleted = inner.index.archived(kind, mark);
        if let Some(bytes) = inner.bytes.get_mut(&kind) {
            bytes.drain(..deleted.min(bytes.len()));
        }
    }

    /// Forgets marks beyond `upto`: another lake does not have what the old one had.
    pub fn forget_marks(&self) {
        self.lock().index.forget_marks();
    }

    /// What is held of each kind.
    pub fn holds(&self) -> BTreeMap<Kind, Holding> {
        self.index(|index| KINDS.iter().map(|kind| (*kind, index.holding(*kind))).collect())
    }

    /// Records that the bound has dropped, by kind.
    pub fn dropped(&self) -> BTreeMap<Kind, u64> {
        self.lock().dropped.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn push(
        &mut self,
        epoch: Epoch,
        kind: Kind,
        captured_at: Timestamp,
        tag: u16,
        now: Mono,
        make: impl FnOnce(Address) -> Result<Vec<u8>, frame::Error>,
    ) -> Result<u64, AppendError> {
        let seq = self.index.holding(kind).next;
        let record =
            make(Address { epoch, kind: kind.number(), seq }).map_err(|source| AppendError { kind, source })?;
        let entry = Entry { len: record.len() as u32, appended: now, captured_at, tag, archived: false };
        self.index.append(kind, entry);
        self.bytes.entry(kind).or_default().push_back(record.into());
        Ok(seq)
    }

    fn forget(&mut self, dropped: &Dropped) {
        let count = (dropped.to - dropped.from) as usize;
        if let Some(bytes) = self.bytes.get_mut(&dropped.kind) {
            bytes.drain(..count.min(bytes.len()));
        }
        *self.dropped.entry(dropped.kind).or_default() += dropped.to - dropped.from;
    }
}

fn gap_of(epoch: Epoch, dropped: &Dropped) -> Gap {
    Gap {
        kind: dropped.kind,
        epoch,
        from: dropped.from,
        to: dropped.to,
        count: dropped.to - dropped.from,
        reason: "overflow".into(),
        detail: Some("the outbox was full; raise [outbox] max_bytes, or mend the way to the hub".into()),
        captured_from: Some(dropped.captured_from),
        captured_to: Some(dropped.captured_to),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outbox(max: u64) -> Outbox {
        Outbox::new(Epoch(7), max, Box::new(|_, gap| Ok(serde_json::to_vec(gap).unwrap())))
    }

    fn append(outbox: &Outbox, kind: Kind, bytes: usize) -> u64 {
        outbox.append(kind, Timestamp(1), 0, Mono(1), |_| Ok(vec![0; bytes])).unwrap()
    }

    #[test]
    fn numbers_are_dense_and_a_failed_record_uses_none() {
        let outbox = outbox(1000);
        assert_eq!((append(&outbox, Kind::Event, 10), append(&outbox, Kind::Event, 10)), (0, 1));
        let failed = outbox.append(Kind::Event, Timestamp(1), 0, Mono(1), |_| Err(frame::Error::TooLong { bytes: 1 }));
        assert!(failed.is_err());
        assert_eq!((append(&outbox, Kind::Event, 10), append(&outbox, Kind::Health, 10)), (2, 0));
    }

    #[test]
    fn the_watermark_deletes_and_ranges_only_mark() {
        let outbox = outbox(1000);
        for _ in 0..5 {
            append(&outbox, Kind::Prediction, 10);
        }
        outbox.archived(Kind::Prediction, &ArchivedKind { upto: 2, ranges: vec![[3, 4]] });
        assert_eq!(outbox.holds()[&Kind::Prediction], Holding { first: 2, next: 5 });
        assert!(outbox.read(Kind::Prediction, 1).is_none() && outbox.read(Kind::Prediction, 3).unwrap().0.archived);
        outbox.forget_marks();
        assert!(!outbox.read(Kind::Prediction, 3).unwrap().0.archived);
    }

    #[test]
    fn over_the_bound_samples_go_first_and_leave_a_gap() {
        let outbox = outbox(1000);
        append(&outbox, Kind::Event, 300);
        append(&outbox, Kind::Sample, 400);
        append(&outbox, Kind::Prediction, 200);
        append(&outbox, Kind::Prediction, 200);
        assert_eq!(outbox.holds()[&Kind::Sample], Holding { first: 1, next: 1 });
        let gap: Gap = serde_json::from_slice(&outbox.read(Kind::Gap, 0).unwrap().1).unwrap();
        assert_eq!((gap.kind, gap.from, gap.to, gap.count), (Kind::Sample, 0, 1, 1));
        assert_eq!(outbox.dropped()[&Kind::Sample], 1);
    }
}
