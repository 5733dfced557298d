//! What the outbox holds, without the bytes: segments, numbers, what is durable and committed, and what must go when there
//! is no room. A pure machine: the shell does to files what it says.
//!
//! Where each record lies is known only for the segment that is written and for [`LOADED`] others of each kind, so that
//! memory does not grow with the backlog: 8 bytes a record of those, about 100 bytes for every other segment.

use std::{collections::VecDeque, time::Duration};

use contract::{Kind, Timestamp, archived::ArchivedKind, live::Holding};

use super::{ranges::Ranges, scan::Span, segment::Name};

/// The kinds that a gateway writes, in the order in which the uplink offers them.
pub const KINDS: [Kind; 5] = [Kind::Gap, Kind::Event, Kind::Health, Kind::Prediction, Kind::Sample];

/// What goes first when there is no room. Gaps never go.
const DROP_ORDER: [Kind; 4] = [Kind::Sample, Kind::Health, Kind::Prediction, Kind::Event];

/// Segments of one kind, besides the one that is written, whose records' places are known: one for the backlog, one for
/// the newest.
pub const LOADED: usize = 2;

/// Files dated before this were written while the clock was not set; their age is unknown. 2020-01-01.
const CLOCK_WAS_SET: Timestamp = Timestamp(1_577_836_800_000_000);

/// How much may wait, all kinds together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Bytes of segments, gap records not counted.
    pub max_bytes: u64,
    /// Time since a segment was last written.
    pub max_age: Duration,
}

/// One segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The first number.
    pub first: u64,
    /// One past the last number.
    pub next: u64,
    /// The file's length.
    pub bytes: u64,
    /// When its first record was written, or its file where that is not known.
    pub oldest: Timestamp,
    /// When its last record was written.
    pub newest: Timestamp,
    /// Nothing is written to it any more.
    pub sealed: bool,
    /// Where its records lie, where that is known.
    pub spans: Option<Vec<Span>>,
}

/// Where a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// There.
    Here(Span),
    /// Lost; a gap says so, or will.
    Absent,
    /// In the segment with this first number, whose records' places must be loaded.
    Unloaded(u64),
}

/// The machine.
#[derive(Clone, Debug)]
pub struct Index {
    bound: Bound,
    lanes: [Lane; KINDS.len()],
    removals: u64,
}

#[derive(Clone, Debug, Default)]
struct Lane {
    segments: VecDeque<Segment>,
    next: u64,
    durable: u64,
    committed: Ranges,
    /// First numbers of loaded segments, the latest used last.
    loaded: VecDeque<u64>,
}

/// A kind's place in [`KINDS`]; kinds that a gateway does not write count as gaps, of which there are none.
pub fn slot(kind: Kind) -> usize {
    KINDS.iter().position(|k| *k == kind).unwrap_or(0)
}

impl Index {
    /// An empty index with a bound.
    pub fn new(bound: Bound) -> Self {
        Self { bound, lanes: Default::default(), removals: 0 }
    }

    /// Takes over what a folder holds of a kind: segments in the order of their numbers, the next number, and below which
    /// number all is durable.
    pub fn restore(&mut self, kind: Kind, segments: Vec<Segment>, next: u64, durable: u64) {
        self.lanes[slot(kind)] = Lane { segments: segments.into(), next, durable, ..Lane::default() };
    }

    /// Forgets all of a kind; its numbers begin again.
    pub fn clear(&mut self, kind: Kind) {
        self.lanes[slot(kind)] = Lane::default();
        self.removals += 1;
    }

    /// A new segment begins with the next number; the one before is sealed, or forgotten when nothing is in it.
    pub fn begin(&mut self, kind: Kind, header_bytes: u64, at: Timestamp) {
        let lane = &mut self.lanes[slot(kind)];
        match lane.segments.back_mut().filter(|last| !last.sealed) {
            Some(last) if last.next == last.first => drop(lane.segments.pop_back()),
            Some(last) => {
                last.sealed = true;
                lane.loaded.push_back(last.first);
            }
            None => {}
        }
        let (first, next) = (lane.next, lane.next);
        let spans = Some(Vec::new());
        lane.segments.push_back(Segment {
            first,
            next,
            bytes: header_bytes,
            oldest: at,
            newest: at,
            sealed: false,
            spans,
        });
        lane.unload_old();
    }

    /// Takes in one record with the next number of its kind, at the end of the segment that is written.
    pub fn append(&mut self, kind: Kind, frame_len: u64, at: Timestamp) {
        let lane = &mut self.lanes[slot(kind)];
        if let Some(segment) = lane.segments.back_mut() {
            let span = Span { at: segment.bytes as u32, len: frame_len as u32 };
            segment.add(lane.next, span, at);
            segment.bytes += frame_len;
        }
        lane.next += 1;
    }

    /// The next number of a kind is lost.
    pub fn lose(&mut self, kind: Kind) {
        self.lanes[slot(kind)].next += 1;
    }

    /// How many numbers were lost since the last record of the segment that is written.
    pub fn hole(&self, kind: Kind) -> u64 {
        let lane = &self.lanes[slot(kind)];
        lane.segments.back().map_or(0, |last| lane.next - last.next)
    }

    /// Numbers below this one survive a power cut.
    pub fn mark_durable(&mut self, kind: Kind, upto: u64) {
        let lane = &mut self.lanes[slot(kind)];
        lane.durable = lane.durable.max(upto.min(lane.next));
    }

    /// Says where a segment's records lie.
    pub fn load(&mut self, kind: Kind, first: u64, spans: Vec<Span>) {
        let lane = &mut self.lanes[slot(kind)];
        if let Some(segment) = lane.segments.iter_mut().find(|s| s.first == first) {
            segment.spans = Some(spans);
            if segment.sealed {
                lane.loaded.retain(|f| *f != first);
                lane.loaded.push_back(first);
            }
            lane.unload_old();
        }
    }

    /// Forgets where a segment's records lie.
    pub fn unload(&mut self, kind: Kind, first: u64) {
        let lane = &mut self.lanes[slot(kind)];
        if let Some(segment) = lane.segments.iter_mut().find(|s| s.first == first) {
            segment.spans = None;
            lane.loaded.retain(|f| *f != first);
        }
    }

    /// A record of the segment that is written can no longer be read.
    pub fn spoil(&mut self, kind: Kind, seq: u64) {
        let written = self.lanes[slot(kind)].segments.back_mut().filter(|s| !s.sealed && seq >= s.first);
        let Some(Segment { first, spans: Some(spans), .. }) = written else { return };
        if let Some(span) = spans.get_mut((seq - *first) as usize) {
            *span = Span::default();
        }
    }

    /// Applies a watermark. Numbers beyond the tail are not about this log.
    pub fn commit(&mut self, kind: Kind, mark: &ArchivedKind) {
        let lane = &mut self.lanes[slot(kind)];
        let next = lane.next;
        let ranges = mark.ranges.iter().map(|[from, to]| (*from, *to));
        for (from, to) in std::iter::once((0, mark.upto)).chain(ranges) {
            lane.committed.insert(from, to.min(next));
        }
    }

    /// Forgets every mark.
    pub fn forget_marks(&mut self) {
        self.lanes.iter_mut().for_each(|lane| lane.committed = Ranges::default());
    }

    /// Sealed segments of a kind of which nothing is wanted any more.
    pub fn retired(&self, kind: Kind) -> Vec<u64> {
        let lane = &self.lanes[slot(kind)];
        let done = |s: &&Segment| s.sealed && lane.committed.covers(s.first, s.next);
        lane.segments.iter().filter(done).map(|s| s.first).collect()
    }

    /// Takes a segment out.
    pub fn remove(&mut self, kind: Kind, first: u64) -> Option<Segment> {
        let lane = &mut self.lanes[slot(kind)];
        let at = lane.segments.iter().position(|s| s.first == first)?;
        lane.loaded.retain(|f| *f != first);
        self.removals += 1;
        lane.segments.remove(at)
    }

    /// The segment that must go to be within the bound again.
    pub fn over(&self) -> Option<(Kind, u64)> {
        let logs = KINDS.iter().zip(&self.lanes).filter(|(kind, _)| **kind != Kind::Gap).map(|(_, lane)| lane);
        let bytes: u64 = logs.flat_map(|lane| &lane.segments).filter(|s| s.next > s.first).map(|s| s.bytes).sum();
        if bytes > self.bound.max_bytes { self.victim(None) } else { None }
    }

    /// The segment that goes first; to make room for `newcomer`, only what is worth no more than it.
    pub fn victim(&self, newcomer: Option<Kind>) -> Option<(Kind, u64)> {
        let last =
            newcomer.map_or(DROP_ORDER.len(), |new| DROP_ORDER.iter().position(|k| *k == new).map_or(0, |p| p + 1));
        let oldest = |kind: &Kind| {
            let segment = self.lanes[slot(*kind)].segments.iter().find(|s| s.next > s.first)?;
            Some((*kind, segment.first))
        };
        DROP_ORDER[..last].iter().find_map(oldest)
    }

    /// A segment that has become too old.
    pub fn aged(&self, now: Timestamp) -> Option<(Kind, u64)> {
        let old = |s: &&Segment| s.next > s.first && age(s.newest, now).is_some_and(|age| age > self.bound.max_age);
        DROP_ORDER
            .iter()
            .find_map(|kind| self.lanes[slot(*kind)].segments.iter().find(old).map(|segment| (*kind, segment.first)))
    }

    /// Kinds whose written segment should be sealed, so that what is old in it can go before what is young.
    pub fn stale(&self, now: Timestamp) -> Vec<Kind> {
        let stale = |kind: &&Kind| {
            let written = self.lanes[slot(**kind)].segments.back().filter(|s| !s.sealed && s.next > s.first);
            written.and_then(|s| age(s.oldest, now)).is_some_and(|age| age > self.bound.max_age / 8)
        };
        DROP_ORDER.iter().filter(stale).copied().collect()
    }

    /// A segment by its first number.
    pub fn segment(&self, kind: Kind, first: u64) -> Option<&Segment> {
        self.lanes[slot(kind)].segments.iter().find(|s| s.first == first)
    }

    /// Every segment of a kind.
    pub fn segments(&self, kind: Kind) -> impl Iterator<Item = &Segment> {
        self.lanes[slot(kind)].segments.iter()
    }

    /// The first number from `from` on that the hub has not committed and that is durably held.
    pub fn wanted(&self, kind: Kind, from: u64) -> Option<u64> {
        let lane = &self.lanes[slot(kind)];
        let mut at = from;
        loop {
            at = lane.committed.next_missing(at);
            at = lane.held_from(at)?;
            if at >= lane.durable {
                return None;
            }
            if !lane.committed.contains(at) {
                return Some(at);
            }
        }
    }

    /// The first number from `from` on that lies in a segment.
    pub fn held_from(&self, kind: Kind, from: u64) -> Option<u64> {
        self.lanes[slot(kind)].held_from(from)
    }

    /// Where a record is.
    pub fn look(&self, kind: Kind, seq: u64) -> Look {
        match self.lanes[slot(kind)].segment_of(seq) {
            None => Look::Absent,
            Some(segment) => match &segment.spans {
                None => Look::Unloaded(segment.first),
                Some(spans) => match spans.get((seq - segment.first) as usize) {
                    Some(span) if span.len > 0 => Look::Here(*span),
                    _ => Look::Absent,
                },
            },
        }
    }

    /// The segment that holds a number.
    pub fn segment_of(&self, kind: Kind, seq: u64) -> Option<&Segment> {
        self.lanes[slot(kind)].segment_of(seq)
    }

    /// The runs of `[from, to)` that the hub has not committed.
    pub fn uncommitted(&self, kind: Kind, from: u64, to: u64) -> Vec<(u64, u64)> {
        self.lanes[slot(kind)].committed.missing(from, to)
    }

    /// How many segments begin after a number.
    pub fn segments_after(&self, kind: Kind, seq: u64) -> usize {
        let segments = &self.lanes[slot(kind)].segments;
        segments.len() - segments.partition_point(|s| s.first <= seq)
    }

    /// The number that the next record of a kind gets.
    pub fn next(&self, kind: Kind) -> u64 {
        self.lanes[slot(kind)].next
    }

    /// Numbers below this one survive a power cut; the uplink sends no others.
    pub fn durable(&self, kind: Kind) -> u64 {
        self.lanes[slot(kind)].durable
    }

    /// What is held of a kind.
    pub fn holding(&self, kind: Kind) -> Holding {
        let lane = &self.lanes[slot(kind)];
        let held = lane.segments.iter().find_map(|s| {
            let wanted = lane.committed.next_missing(s.first);
            (wanted < s.next).then_some(wanted)
        });
        Holding { first: held.unwrap_or(lane.next), next: lane.next }
    }

    /// Bytes of files.
    pub fn bytes(&self) -> u64 {
        self.lanes.iter().flat_map(|lane| &lane.segments).map(|s| s.bytes).sum()
    }

    /// Bytes that are not archived, to within a segment that is so in part.
    pub fn backlog_bytes(&self) -> u64 {
        let waiting = |(kind, lane): (&Kind, &Lane)| {
            let of = |s: &Segment| {
                let open: u64 = self.uncommitted(*kind, s.first, s.next).iter().map(|(a, b)| b - a).sum();
                if s.next > s.first { s.bytes * open / (s.next - s.first) } else { 0 }
            };
            lane.segments.iter().map(of).sum::<u64>()
        };
        KINDS.iter().zip(&self.lanes).map(waiting).sum()
    }

    /// Whether nothing waits to be archived.
    pub fn is_empty(&self) -> bool {
        KINDS.iter().all(|kind| {
            let holding = self.holding(*kind);
            holding.first == holding.next
        })
    }

    /// Counts segments that went, for those who remember numbers.
    pub fn removals(&self) -> u64 {
        self.removals
    }
}

impl Segment {
    /// The name of its file.
    pub fn name(&self, kind: Kind) -> Name {
        Name { kind, first: self.first, next: self.sealed.then_some(self.next) }
    }

    fn add(&mut self, seq: u64, span: Span, at: Timestamp) {
        if self.next == self.first {
            self.oldest = at;
        }
        if let Some(spans) = &mut self.spans {
            spans.resize((seq - self.first) as usize, Span::default()); // numbers that were lost
            spans.push(span);
        }
        self.next = seq + 1;
        self.newest = at;
    }
}

impl Lane {
    fn segment_of(&self, seq: u64) -> Option<&Segment> {
        let at = self.segments.partition_point(|s| s.first <= seq).checked_sub(1)?;
        self.segments.get(at).filter(|s| seq < s.next)
    }

    fn held_from(&self, from: u64) -> Option<u64> {
        if self.segment_of(from).is_some() {
            return Some(from);
        }
        let at = self.segments.partition_point(|s| s.first < from);
        self.segments.iter().skip(at).find(|s| s.next > s.first).map(|s| s.first)
    }

    fn unload_old(&mut self) {
        while self.loaded.len() > LOADED {
            let Some(first) = self.loaded.pop_front() else { return };
            if let Some(segment) = self.segments.iter_mut().find(|s| s.first == first) {
                segment.spans = None;
            }
        }
    }
}

/// How long ago something was written; unknown where the clock was not set.
fn age(written: Timestamp, now: Timestamp) -> Option<Duration> {
    let micros = u64::try_from(now.0.checked_sub(written.0)?).ok()?;
    (written >= CLOCK_WAS_SET).then_some(Duration::from_micros(micros))
}

#[cfg(test)]
mod tests;
