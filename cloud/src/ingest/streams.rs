//! What is committed or on its way of each stream: how a second arrival is recognised. Pure.
//!
//! A mirror of the tables, filled when a stream is first seen; the tables decide at commit. Bounded: beyond
//! [`STREAMS_MAX`] the streams without anything on its way that were used longest ago are forgotten and read again later.

use std::collections::HashMap;

use contract::{Epoch, Principal};
use foldhash::fast::RandomState;
use store::lake_index::{Advance, RangeSet, SEQ_END, Stream, StreamId};

/// Streams mirrored; one costs about 300 bytes.
const STREAMS_MAX: usize = 65_536;
/// Ranges that the tables take for one stream, less what one flush may add.
const RANGES_HELD: usize = store::lake_index::RANGES_MAX - 256;

/// Anything by its stream: looked up several times a record, and so with a hash that is quick, seeded against gateways that
/// choose their epochs to collide.
pub type ByStream<T> = HashMap<StreamId, T, RandomState>;

/// The mirror.
#[derive(Default)]
pub struct Streams {
    streams: ByStream<Mirror>,
    epochs: HashMap<Epoch, Principal, RandomState>,
    used: u64,
    /// Every number is new: only for simulators, which must notice.
    pub(super) careless: bool,
}

struct Mirror {
    stream: Stream,
    /// In a batch that is being filled or flushed.
    pending: RangeSet,
    used: u64,
}

/// What a number is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    /// Not seen before.
    New,
    /// Committed already.
    Committed,
    /// On its way already.
    Pending,
    /// Too many holes before it, or beyond what the tables can count: held back until they close.
    HeldBack,
}

impl Streams {
    /// To whom the epoch belongs, where that was asked already.
    pub fn owner(&self, epoch: Epoch) -> Option<&Principal> {
        self.epochs.get(&epoch)
    }

    /// Takes note of what the tables say of an epoch: its owner and its streams.
    pub fn learn(&mut self, epoch: Epoch, owner: Principal, streams: Vec<Stream>) {
        if self.epochs.len() >= STREAMS_MAX {
            self.forget_idle();
        }
        self.epochs.insert(epoch, owner);
        for stream in streams {
            let id = stream.id;
            self.mirror(id).stream = stream;
        }
    }

    /// What a number is; does not change anything.
    pub fn look(&mut self, id: StreamId, seq: u64) -> Number {
        if self.careless {
            return Number::New;
        }
        let mirror = self.mirror(id);
        if mirror.stream.committed.contains(seq) {
            Number::Committed
        } else if mirror.pending.contains(seq) {
            Number::Pending
        } else if seq >= SEQ_END || mirror.holes_full(seq) {
            Number::HeldBack
        } else {
            Number::New
        }
    }

    /// Marks one number as on its way.
    pub fn pend(&mut self, id: StreamId, seq: u64) {
        self.mirror(id).pending.insert_range(seq, seq + 1);
    }

    /// Marks what is new of a range as on its way, and says which numbers these are.
    pub fn pend_range(&mut self, id: StreamId, from: u64, to: u64) -> RangeSet {
        let mirror = self.mirror(id);
        let asked = RangeSet::from(vec![[from, to.min(SEQ_END)]]);
        let new = asked.without(&mirror.stream.committed).without(&mirror.pending);
        mirror.pending.extend(&new);
        new
    }

    /// A stream as the tables had it last.
    pub fn known(&mut self, id: StreamId) -> Stream {
        self.mirror(id).stream.clone()
    }

    /// The version that a commit builds upon.
    pub fn version(&mut self, id: StreamId) -> u64 {
        self.mirror(id).stream.version
    }

    /// A flush is over: its numbers are no longer on their way, and the streams are as the tables say.
    pub fn settle(&mut self, flushed: &[Advance], now: Vec<Stream>) {
        for advance in flushed {
            let mirror = self.mirror(advance.stream);
            mirror.pending = mirror.pending.without(&advance.add);
        }
        for stream in now {
            let mirror = self.mirror(stream.id);
            mirror.pending = mirror.pending.without(&stream.committed);
            mirror.stream = stream;
        }
    }

    /// The tables are others now: nothing that was learnt of them counts. What is on its way stays so, and meets a conflict.
    pub fn forget(&mut self) {
        self.epochs.clear();
        self.streams.retain(|_, mirror| !mirror.pending.is_empty());
        for (id, mirror) in &mut self.streams {
            mirror.stream = Stream { id: *id, version: 0, committed: RangeSet::new() };
        }
    }

    fn mirror(&mut self, id: StreamId) -> &mut Mirror {
        self.used += 1;
        let used = self.used;
        let fresh =
            || Mirror { stream: Stream { id, version: 0, committed: RangeSet::new() }, pending: RangeSet::new(), used };
        let mirror = self.streams.entry(id).or_insert_with(fresh);
        mirror.used = used;
        mirror
    }

    /// Forgets the half of the epochs that was used longest ago and has nothing on its way.
    fn forget_idle(&mut self) {
        let mut newest: HashMap<Epoch, u64> = HashMap::new();
        for (id, mirror) in &self.streams {
            let used = if mirror.pending.is_empty() { mirror.used } else { u64::MAX };
            let entry = newest.entry(id.epoch).or_default();
            *entry = (*entry).max(used);
        }
        let middle = self.used.saturating_sub(self.used / 2);
        let keep = |epoch: &Epoch| newest.get(epoch).is_some_and(|used| *used >= middle);
        self.epochs.retain(|epoch, _| keep(epoch));
        self.streams.retain(|id, _| keep(&id.epoch));
    }
}

impl Mirror {
    fn holes_full(&self, seq: u64) -> bool {
        let ranges = self.stream.committed.ranges().len() + self.pending.ranges().len();
        let touches = seq == 0
            || [&self.stream.committed, &self.pending].iter().any(|s| s.contains(seq - 1) || s.contains(seq + 1));
        ranges >= RANGES_HELD && !touches
    }
}
