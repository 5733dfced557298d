//! Fragments to records: a pure machine with a bound in bytes and in time.
//!
//! Policy *drop*: a record whose fragments stop coming is forgotten after [`Limits::age`], and over the bound the one
//! that waited longest goes first. Nothing is lost by that: the gateway sends again what no watermark passes.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use contract::{Principal, frame};

/// Bounds of what waits for its missing fragments.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of payload held, all records together.
    pub bytes: usize,
    /// Records held.
    pub records: usize,
    /// How long a record may wait for its next fragment.
    pub age: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 64 << 20, records: 4096, age: Duration::from_secs(60) }
    }
}

/// What became of a fragment.
#[derive(Debug, PartialEq, Eq)]
pub enum Assembled {
    /// More are missing.
    Waiting,
    /// The record, whole.
    Whole(Vec<u8>),
    /// It cannot belong to the others of its record.
    Contradicts,
    /// Together they are longer than a record may be.
    TooLong,
}

/// Whose fragment of which record.
type Key = (Principal, frame::Address);

/// Records that wait for fragments.
pub struct Assembler {
    limits: Limits,
    partial: HashMap<Key, Partial>,
    /// By the order in which records were last touched, so that the longest waiting is found at once.
    order: BTreeMap<u64, Key>,
    touches: u64,
    bytes: usize,
    dropped: u64,
}

struct Partial {
    parts: Vec<Option<Box<[u8]>>>,
    missing: usize,
    bytes: usize,
    touch: u64,
    touched: Instant,
}

impl Assembler {
    /// An empty one.
    pub fn new(limits: Limits) -> Self {
        Self { limits, partial: HashMap::new(), order: BTreeMap::new(), touches: 0, bytes: 0, dropped: 0 }
    }

    /// Bytes that wait now.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Records given up so far.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Takes one fragment of several.
    pub fn add(&mut self, from: &Principal, frame: &frame::Frame<'_>, now: Instant) -> Assembled {
        let key = (from.clone(), frame.address);
        let count = usize::from(frame.count);
        self.touches += 1;
        let touch = self.touches;
        let partial = self.partial.entry(key.clone()).or_insert_with(|| Partial {
            parts: vec![None; count],
            missing: count,
            bytes: 0,
            touch,
            touched: now,
        });
        if partial.parts.len() != count {
            self.forget(&key); // cut anew for another message size: the newer cut wins
            self.dropped += 1;
            return Assembled::Contradicts;
        }
        self.order.remove(&partial.touch);
        self.order.insert(touch, key.clone());
        (partial.touch, partial.touched) = (touch, now);
        let part = &mut partial.parts[usize::from(frame.index)];
        if part.is_none() {
            *part = Some(frame.payload.into());
            partial.missing -= 1;
            partial.bytes += frame.payload.len();
            self.bytes += frame.payload.len();
        }
        if partial.bytes > frame::RECORD_MAX {
            self.forget(&key);
            return Assembled::TooLong;
        }
        if partial.missing == 0 {
            return Assembled::Whole(self.take(&key));
        }
        self.make_room(&key);
        Assembled::Waiting
    }

    /// Forgets what waited too long.
    pub fn expire(&mut self, now: Instant) {
        while let Some((_, key)) = self.order.first_key_value() {
            let Some(partial) = self.partial.get(key) else { break };
            if now.saturating_duration_since(partial.touched) < self.limits.age {
                break;
            }
            let key = key.clone();
            self.forget(&key);
            self.dropped += 1;
        }
    }

    fn make_room(&mut self, keep: &Key) {
        while self.bytes > self.limits.bytes || self.partial.len() > self.limits.records {
            let Some(oldest) = self.order.values().find(|key| *key != keep).cloned() else { break };
            self.forget(&oldest);
            self.dropped += 1;
        }
    }

    fn take(&mut self, key: &Key) -> Vec<u8> {
        let Some(partial) = self.forget(key) else { return Vec::new() };
        let mut whole = Vec::with_capacity(partial.bytes);
        partial.parts.iter().flatten().for_each(|part| whole.extend_from_slice(part));
        whole
    }

    fn forget(&mut self, key: &Key) -> Option<Partial> {
        let partial = self.partial.remove(key)?;
        self.order.remove(&partial.touch);
        self.bytes -= partial.bytes;
        Some(partial)
    }
}

#[cfg(test)]
mod tests {
    use contract::Epoch;
    use proptest::prelude::*;

    use super::*;

    fn who() -> Principal {
        Principal { site: "plant".parse().unwrap(), gateway: "gw".parse().unwrap() }
    }

    fn fragment(seq: u64, index: u16, count: u16, payload: &[u8]) -> frame::Frame<'_> {
        let address = frame::Address { epoch: Epoch(1), kind: 3, seq };
        frame::Frame { version: 1, address, index, count, payload }
    }

    proptest! {
        #[test]
        fn any_order_with_repetitions_gives_the_record(
            record in prop::collection::vec(any::<u8>(), 1..400),
            room in 1usize..50,
            picks in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
        ) {
            let parts: Vec<&[u8]> = record.chunks(room).collect();
            let mut assembler = Assembler::new(Limits::default());
            let order = picks.iter().map(|p| p.index(parts.len())).chain(0..parts.len());
            let whole = order
                .map(|i| assembler.add(&who(), &fragment(0, i as u16, parts.len() as u16, parts[i]), Instant::now()))
                .find_map(|a| if let Assembled::Whole(record) = a { Some(record) } else { None });
            prop_assert_eq!(whole.unwrap(), record);
        }
    }

    #[test]
    fn what_waits_is_bounded_in_bytes_and_time() {
        let limits = Limits { bytes: 100, records: 10, age: Duration::from_secs(5) };
        let mut assembler = Assembler::new(limits);
        let start = Instant::now();
        for seq in 0..20 {
            assert_eq!(assembler.add(&who(), &fragment(seq, 0, 2, &[0; 40]), start), Assembled::Waiting);
            assert!(assembler.bytes() <= 100);
        }
        assert_eq!(assembler.dropped(), 18);
        assembler.expire(start + Duration::from_secs(5));
        assert_eq!((assembler.bytes(), assembler.dropped()), (0, 20));
        let lost = assembler.add(&who(), &fragment(19, 1, 2, &[0; 40]), start);
        assert_eq!(lost, Assembled::Waiting, "the first half is gone");
        assert_eq!(assembler.add(&who(), &fragment(19, 1, 3, &[0; 40]), start), Assembled::Contradicts);
        assert_eq!(assembler.bytes(), 0);
    }

    #[test]
    fn a_record_cannot_outgrow_its_limit() {
        let mut assembler = Assembler::new(Limits { bytes: 1 << 30, ..Limits::default() });
        let chunk = vec![0; 1 << 20];
        let last = (0..17).map(|i| assembler.add(&who(), &fragment(0, i, 20, &chunk), Instant::now())).last();
        assert_eq!(last, Some(Assembled::TooLong));
        assert_eq!(assembler.bytes(), 0);
    }
}
