//! What the outbox holds, without the bytes: numbers, lengths, and what must go when there is no room. A pure machine.

use std::collections::VecDeque;

use contract::{Kind, Timestamp, archived::ArchivedKind, live::Holding};

use crate::clock::Mono;

/// The kinds that a gateway writes, in the order in which the uplink offers them.
pub const KINDS: [Kind; 5] = [Kind::Gap, Kind::Event, Kind::Health, Kind::Prediction, Kind::Sample];

/// What goes first when there is no room. Gaps never go.
const DROP_ORDER: [Kind; 4] = [Kind::Sample, Kind::Health, Kind::Prediction, Kind::Event];

/// One drop takes at least this part of the bound from a kind, so that a full outbox makes few gap records.
const DROP_SHARE: u64 = 32;

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Length of the record in bytes.
    pub len: u32,
    /// When it was appended.
    pub appended: Mono,
    /// Its header's capture time.
    pub captured_at: Timestamp,
    /// Whatever the writer wanted to remember.
    pub tag: u16,
    /// Committed by the hub, but an older one is not.
    pub archived: bool,
}

/// A run of records that was dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// Whose.
    pub kind: Kind,
    /// First number.
    pub from: u64,
    /// One past the last number.
    pub to: u64,
    /// Capture time of the first.
    pub captured_from: Timestamp,
    /// Capture time of the last.
    pub captured_to: Timestamp,
}

/// The machine.
#[derive(Clone, Debug)]
pub struct Index {
    max_bytes: u64,
    bytes: u64,
    logs: [Log; KINDS.len()],
}

#[derive(Clone, Debug, Default)]
struct Log {
    first: u64,
    bytes: u64,
    entries: VecDeque<Entry>,
}

fn slot(kind: Kind) -> Option<usize> {
    KINDS.iter().position(|k| *k == kind)
}

impl Index {
    /// An empty index with a bound.
    pub fn new(max_bytes: u64) -> Self {
        Self { max_bytes, bytes: 0, logs: Default::default() }
    }

    /// Takes in one record with the next number of its kind.
    pub fn append(&mut self, kind: Kind, entry: Entry) {
        if let Some(slot) = slot(kind) {
            self.bytes += u64::from(entry.len);
            self.logs[slot].bytes += u64::from(entry.len);
            self.logs[slot].entries.push_back(entry);
        }
    }

    /// What must go to be within the bound again; it is gone from the index.
    pub fn make_room(&mut self) -> Vec<Dropped> {
        let mut dropped = Vec::new();
        for kind in DROP_ORDER {
            if self.bytes <= self.max_bytes {
                break;
            }
            let share = (self.max_bytes / DROP_SHARE).max(1);
            let over = self.bytes - self.max_bytes;
            dropped.extend(self.drop_oldest(kind, over.max(share)));
        }
        dropped
    }

    fn drop_oldest(&mut self, kind: Kind, at_least: u64) -> Option<Dropped> {
        let log = &mut self.logs[slot(kind)?];
        let (from, captured_from) = (log.first, log.entries.front()?.captured_at);
        let (mut freed, mut captured_to) = (0, captured_from);
        while freed < at_least {
            let Some(entry) = log.entries.pop_front() else { break };
            freed += u64::from(entry.len);
            captured_to = entry.captured_at;
            log.first += 1;
        }
        log.bytes -= freed;
        self.bytes -= freed;
        Some(Dropped { kind, from, to: log.first, captured_from, captured_to })
    }

    /// Applies a watermark; returns how many records of the kind are deleted, from the oldest on. A watermark beyond the
    /// tail deletes nothing: it is about another log than this one.
    pub fn archived(&mut self, kind: Kind, mark: &ArchivedKind) -> usize {
        let Some(slot) = slot(kind) else { return 0 };
        let log = &mut self.logs[slot];
        let next = log.first + log.entries.len() as u64;
        if mark.upto > next {
            return 0;
        }
        let count = mark.upto.saturating_sub(log.first) as usize;
        let freed: u64 = log.entries.drain(..count).map(|e| u64::from(e.len)).sum();
        log.first += count as u64;
        log.bytes -= freed;
        self.bytes -= freed;
        let first = log.first;
        for [from, to] in &mark.ranges {
            let (from, to) = ((*from).max(first), (*to).min(next));
            for seq in from..to.max(from) {
                log.entries[(seq - first) as usize].archived = true;
            }
        }
        count
    }

    /// Forgets every mark.
    pub fn forget_marks(&mut self) {
        self.logs.iter_mut().flat_map(|log| &mut log.entries).for_each(|entry| entry.archived = false);
    }

    /// A record that is still held.
    pub fn get(&self, kind: Kind, seq: u64) -> Option<&Entry> {
        let log = &self.logs[slot(kind)?];
        log.entries.get(usize::try_from(seq.checked_sub(log.first)?).ok()?)
    }

    /// What is held of a kind.
    pub fn holding(&self, kind: Kind) -> Holding {
        let Some(slot) = slot(kind) else { return Holding::default() };
        let log = &self.logs[slot];
        Holding { first: log.first, next: log.first + log.entries.len() as u64 }
    }

    /// Bytes held, of all kinds.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether nothing waits to be archived.
    pub fn is_empty(&self) -> bool {
        self.logs.iter().all(|log| log.entries.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Step {
        Append(usize, u32),
        Archive(usize, u64, u64, u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..KINDS.len(), 1u32..300).prop_map(|(k, len)| Step::Append(k, len)),
            (0..KINDS.len(), 0u64..60, 0u64..60, 0u64..10).prop_map(|(k, u, f, n)| Step::Archive(k, u, f, n)),
        ]
    }

    proptest! {
        #[test]
        fn bytes_add_up_and_nothing_but_gaps_exceeds_the_bound(steps in proptest::collection::vec(step(), 0..300)) {
            let mut index = Index::new(2000);
            let mut next = [0u64; KINDS.len()];
            for step in steps {
                match step {
                    Step::Append(k, len) => {
                        let entry = Entry { len, appended: Mono(0), captured_at: Timestamp(0), tag: 0, archived: false };
                        index.append(KINDS[k], entry);
                        next[k] += 1;
                        for d in index.make_room() {
                            prop_assert!(d.kind != Kind::Gap && d.from < d.to);
                            prop_assert_eq!(d.to, index.holding(d.kind).first);
                        }
                    }
                    Step::Archive(k, upto, from, n) => {
                        let before = index.holding(KINDS[k]);
                        index.archived(KINDS[k], &ArchivedKind { upto, ranges: vec![[from, from + n]] });
                        let after = index.holding(KINDS[k]);
                        prop_assert!(after.first >= before.first && after.next == before.next);
                    }
                }
                let logs = index.logs.iter();
                let sum: u64 = logs.clone().flat_map(|l| &l.entries).map(|e| u64::from(e.len)).sum();
                prop_assert_eq!(sum, index.bytes());
                prop_assert!(index.bytes() - index.logs[0].bytes <= 2000);
                for (k, kind) in KINDS.iter().enumerate() {
                    prop_assert_eq!(index.holding(*kind).next, next[k]);
                }
            }
        }
    }
}
