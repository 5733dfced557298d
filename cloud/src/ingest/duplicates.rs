//! Second arrivals: the same record again, or another one with the number of the first.
//!
//! A 64-bit hash of each record goes into the tables with its commit and stays until its object is compacted. What comes
//! with a known number waits here until its first arrival is committed, and is then compared: equal, it is dropped; of
//! other contents, it is kept aside as a dead letter, counted and told, and never takes the first one's place; without a
//! hash to compare with it counts as unchecked. Bounded: beyond [`WAITING_MAX`] bytes second arrivals are dropped unchecked.

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use contract::{Kind, Principal, Timestamp, frame::Address};
use store::lake_index::{Hashes, StreamId};

/// Bytes of second arrivals that wait for the comparison.
const WAITING_MAX: usize = 8 << 20;
/// Differing records that are remembered, so that one which is sent again and again is kept once.
const TOLD_MAX: usize = 4096;

/// The hash of a record's bytes. The seed is part of what is stored: it never changes.
pub fn hash(record: &[u8]) -> u64 {
    twox_hash::XxHash64::oneshot(0, record)
}

/// A second arrival.
#[derive(Clone, Debug)]
pub struct Second {
    /// Whose it is.
    pub from: Principal,
    /// Its number.
    pub address: Address,
    /// Its kind.
    pub kind: Kind,
    /// When it came.
    pub received_at: Timestamp,
    /// When its gateway says that it was sent.
    pub sent_at: Option<Timestamp>,
    /// Its record.
    pub bytes: Bytes,
}

impl Second {
    /// Its log and kind.
    pub fn stream(&self) -> StreamId {
        StreamId { epoch: self.address.epoch, kind: self.kind }
    }
}

/// What a comparison says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compared {
    /// The same record.
    Same,
    /// Another record of the same number.
    Differs,
    /// Another one, and it was told of before.
    Told,
    /// Nothing to compare with.
    Unchecked,
}

/// Second arrivals that wait.
#[derive(Default)]
pub struct Duplicates {
    waiting: Vec<Second>,
    bytes: usize,
    told: HashSet<(StreamId, u64, u64)>,
}

impl Duplicates {
    /// Takes one; `false` when the bound is reached and it is dropped.
    pub fn add(&mut self, second: Second) -> bool {
        if self.bytes + second.bytes.len() > WAITING_MAX {
            return false;
        }
        self.bytes += second.bytes.len();
        self.waiting.push(second);
        true
    }

    /// Those whose first arrival is committed, by stream; the others go on waiting.
    pub fn take(&mut self, mut is_committed: impl FnMut(&Second) -> bool) -> BTreeMap<StreamId, Vec<Second>> {
        let mut taken: BTreeMap<StreamId, Vec<Second>> = BTreeMap::new();
        for second in std::mem::take(&mut self.waiting) {
            if is_committed(&second) {
                self.bytes -= second.bytes.len();
                taken.entry(second.stream()).or_default().push(second);
            } else {
                self.waiting.push(second);
            }
        }
        taken
    }

    /// Compares one with what is kept of its stream, by number.
    pub fn compare(&mut self, second: &Second, kept: &[Hashes]) -> Compared {
        let seq = second.address.seq;
        let at = kept.partition_point(|row| row.from <= seq);
        let first = at.checked_sub(1).and_then(|at| {
            let row = &kept[at];
            row.hashes.get(usize::try_from(seq - row.from).ok()?)
        });
        let now = hash(&second.bytes);
        match first {
            None => Compared::Unchecked,
            Some(first) if *first == now => Compared::Same,
            Some(_) => {
                if self.told.len() >= TOLD_MAX {
                    self.told.clear();
                }
                if self.told.insert((second.stream(), seq, now)) { Compared::Differs } else { Compared::Told }
            }
        }
    }
}

/// The numbers that these are about: `[from, to)`.
pub fn span(seconds: &[Second]) -> (u64, u64) {
    let numbers = || seconds.iter().map(|second| second.address.seq);
    (numbers().min().unwrap_or(0), numbers().max().unwrap_or(0).saturating_add(1))
}

#[cfg(test)]
mod tests {
    use contract::Epoch;

    use super::*;

    fn second(seq: u64, bytes: &'static [u8]) -> Second {
        Second {
            from: Principal { site: "plant".parse().unwrap(), gateway: "gw".parse().unwrap() },
            address: Address { epoch: Epoch(7), kind: Kind::Event.number(), seq },
            kind: Kind::Event,
            received_at: Timestamp(0),
            sent_at: None,
            bytes: Bytes::from_static(bytes),
        }
    }

    #[test]
    fn tells_equal_from_different_and_from_unknown() {
        let stream = second(0, b"").stream();
        let row = |from, of: &[&[u8]]| Hashes {
            object: "a".into(),
            stream,
            from,
            hashes: of.iter().map(|bytes| hash(bytes)).collect(),
        };
        let kept = [row(3, &[b"three", b"four"]), row(9, &[b"nine"])];
        let mut duplicates = Duplicates::default();
        let cases = [
            (second(3, b"three"), Compared::Same),
            (second(4, b"four"), Compared::Same),
            (second(4, b"other"), Compared::Differs),
            (second(4, b"other"), Compared::Told),
            (second(4, b"third"), Compared::Differs),
            (second(9, b"nine"), Compared::Same),
            (second(2, b"two"), Compared::Unchecked),
            (second(5, b"five"), Compared::Unchecked),
            (second(10, b"ten"), Compared::Unchecked),
        ];
        for (second, expected) in cases {
            assert_eq!(duplicates.compare(&second, &kept), expected, "{second:?}");
        }
    }

    #[test]
    fn what_waits_is_bounded_and_waits_for_its_commit() {
        let mut duplicates = Duplicates::default();
        let large = Bytes::from(vec![0; WAITING_MAX / 2]);
        assert!(duplicates.add(Second { bytes: large.clone(), ..second(1, b"") }));
        assert!(duplicates.add(Second { bytes: large.clone(), ..second(2, b"") }));
        assert!(!duplicates.add(second(3, b"x")));
        let taken = duplicates.take(|second| second.address.seq == 1);
        assert_eq!(taken.values().map(Vec::len).sum::<usize>(), 1);
        assert!(duplicates.add(second(3, b"x")));
        assert_eq!(duplicates.take(|_| true).values().map(Vec::len).sum::<usize>(), 2);
    }

    /// What is stored must compare equal for ever: the hash of a known text, as XXH64 gives it.
    #[test]
    fn the_hash_is_xxh64_with_seed_0() {
        assert_eq!(hash(b""), 0xef46_db37_51d8_e999);
        assert_eq!(hash(b"abc"), 0x44bc_2cf5_ad77_0999);
    }
}
