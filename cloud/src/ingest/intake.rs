//! From messages to a batch: a pure machine. What each frame is, is decided here; the shell feeds messages and flushes.
//!
//! Nothing that a gateway sends can stop this: what is torn or has a wrong checksum is dropped and counted (it will be
//! sent again); what has a right checksum and cannot be read becomes a dead letter and a gap `rejected`; what is of a
//! newer version is kept whole.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Instant,
};

use bytes::Bytes;
use contract::{
    CaptureSource, Epoch, Gap, GatewayId, Kind, Principal, Timestamp, Topic,
    frame::{self, Frame, RecordParts},
    scan::Scanner,
};
use foldhash::fast::RandomState;
use serde::Deserialize;
use store::lake_index::{Hashes, RangeSet, SEQ_END, StreamId};

use super::{
    Arrived,
    assemble::{Assembled, Assembler, Limits},
    batch::{Batch, Kept},
    clocks::Clocks,
    complaints::{Complaint, Complaints},
    duplicates::{self, Compared, Duplicates, Second},
    flush::chain,
    handle::Arrivals,
    own_gaps::OwnGaps,
    stats::{Fact, Stats},
    streams::{Number, Streams},
};
use crate::{
    clock,
    lake::{Body, Record, Row, Unreadable},
};

/// A dead letter longer than this is cut: enough to see what it is.
const DEAD_BYTES_MAX: usize = 1 << 20;

/// Topic names remembered.
const TOPICS_MAX: usize = 65_536;

/// A message, or records of this process, with what is known of its way.
#[derive(Clone, Debug)]
pub struct Lot {
    /// Whose it is, by the topic.
    pub from: Principal,
    /// The topic's kind; `None` for records of this process.
    pub kind: Option<Kind>,
    /// When it was received.
    pub received_at: Timestamp,
    /// When the gateway says that it was sent.
    pub sent_at: Option<Timestamp>,
    /// The same moment as `received_at`, for timers.
    pub now: Instant,
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It will be in the next commit, as a row or kept whole.
    Accepted,
    /// It is committed or on its way already.
    Duplicate,
    /// It waits for the other fragments.
    Waiting,
    /// It is not accepted: dropped, held back or a dead letter.
    Refused,
}

/// The machine.
pub struct Intake {
    /// What is committed and on its way.
    pub streams: Streams,
    /// What will be flushed next.
    pub batch: Batch,
    /// Epochs that gap records name and whose owner is not known yet: to be asked before they come again.
    pub unknown: Vec<(Principal, Epoch)>,
    /// Gateways that sent again what is committed: their watermark may not have reached them.
    pub behind: HashSet<Principal>,
    /// Records that came with a known number, to be compared with the first.
    pub duplicates: Duplicates,
    /// The version up to which frames and records are read.
    readable: u16,
    assembler: Assembler,
    clocks: Clocks,
    own_gaps: OwnGaps,
    complaints: Complaints,
    stats: Arc<Stats>,
    arrivals: Arrivals,
    scanner: Scanner,
    /// Records of the message in hand that will be rows.
    fresh: Vec<Record>,
    /// What topic names say: a gateway has one for each kind, and they are the same with every message.
    topics: HashMap<String, (Principal, Kind), RandomState>,
}

/// The version of a record's form, read before anything else is.
#[derive(Deserialize)]
struct Version {
    schema: u16,
}

/// A frame that passed the first look: what it will be.
#[derive(Clone, Copy)]
enum Passed {
    /// The next of the fresh records.
    Row,
    Verdict(Verdict),
}

impl Intake {
    /// An empty one; `gateway` is the name under which the hub writes gap records.
    pub fn new(gateway: GatewayId, readable: u16, limits: Limits, stats: Arc<Stats>, arrivals: Arrivals) -> Self {
        Self {
            readable,
            streams: Streams::default(),
            batch: Batch::default(),
            unknown: Vec::new(),
            behind: HashSet::new(),
            duplicates: Duplicates::default(),
            assembler: Assembler::new(limits),
            clocks: Clocks::default(),
            own_gaps: OwnGaps::new(gateway, clock::mono()),
            complaints: Complaints::default(),
            stats,
            arrivals,
            scanner: Scanner::default(),
            fresh: Vec::new(),
            topics: HashMap::default(),
        }
    }

    /// The lot that a topic name announces; `None` (and counted) when it is none of ours.
    pub fn lot(
        &mut self,
        prefix: &str,
        topic: &str,
        sent_at: Option<Timestamp>,
        received_at: Timestamp,
        now: Instant,
    ) -> Option<Lot> {
        let (from, kind) = match self.topics.get(topic) {
            Some(known) => known.clone(),
            None => {
                let Some(Topic::Up(from, kind)) = Topic::parse(prefix, topic) else {
                    self.stats.count(Fact::NoBundle);
                    return None;
                };
                if self.topics.len() >= TOPICS_MAX {
                    self.topics.clear();
                }
                self.topics.insert(topic.to_owned(), (from.clone(), kind));
                (from, kind)
            }
        };
        Some(Lot { from, kind: Some(kind), received_at, sent_at, now })
    }

    /// The frames of a message up to the first that is damaged, which is counted.
    pub fn frames<'m>(&self, message: &'m [u8]) -> Vec<Frame<'m>> {
        self.stats.count(Fact::Messages);
        self.stats.add(Fact::Bytes, message.len() as u64);
        let mut good = Vec::new();
        for frame in frame::frames(message) {
            match frame {
                Ok(frame) => good.push(frame),
                Err(error) => {
                    tracing::debug!(%error, "archive message is damaged");
                    self.stats.count(match error {
                        frame::Error::Magic => Fact::NoBundle,
                        frame::Error::Checksum { .. } => Fact::Checksum,
                        frame::Error::Fragment { .. } => Fact::Fragment,
                        _ => Fact::Torn,
                    });
                }
            }
        }
        good
    }

    /// The epochs of these frames whose owner must be asked first.
    pub fn unknown_epochs(&self, frames: &[Frame<'_>]) -> Vec<Epoch> {
        let mut unknown: Vec<_> = frames.iter().map(|f| f.address.epoch).collect();
        unknown.dedup();
        unknown.sort();
        unknown.dedup();
        unknown.retain(|epoch| self.streams.owner(*epoch).is_none());
        unknown
    }

    /// Takes the frames of one lot; the owners of their epochs are known.
    pub fn take(&mut self, lot: &Lot, frames: &[Frame<'_>]) -> Vec<Verdict> {
        let passed: Vec<_> = frames.iter().map(|frame| self.look(lot, frame)).collect();
        let mut fresh = std::mem::take(&mut self.fresh);
        let arrived = |record: &&Record| record.header.captured_source == CaptureSource::Arrival;
        let newest = fresh.iter().filter(arrived).map(|record| &record.header);
        if let (Some(newest), Some(_)) = (newest.max_by_key(|header| header.monotonic_us), lot.kind) {
            self.clocks.observe(&lot.from, newest, lot.received_at, lot.sent_at);
        }
        for record in fresh.drain(..) {
            let offset_us = self.clocks.offset_us(&lot.from, &record.header);
            self.keep(lot, record, offset_us);
        }
        self.fresh = fresh; // its room serves the next message
        let verdict = |passed| match passed {
            Passed::Verdict(verdict) => verdict,
            Passed::Row => Verdict::Accepted,
        };
        passed.into_iter().map(verdict).collect()
    }

    /// The lake's tables are others now, in a new incarnation: everything about them is asked again, and the hub's own gap
    /// records go on in a new log.
    pub fn new_incarnation(&mut self) {
        self.streams.forget();
        self.own_gaps.forget();
    }

    /// Forgets fragments that waited too long.
    pub fn expire(&mut self, now: Instant) {
        let before = self.assembler.dropped();
        self.assembler.expire(now);
        self.stats.add(Fact::Incomplete, self.assembler.dropped() - before);
    }

    /// Takes the batch for a flush and begins a new one. What another ingest has committed since it was accepted, as the
    /// last flush or a new look at the tables has shown, is left out: its stream's version is known, so no conflict would
    /// tell of it.
    pub fn take_batch(&mut self) -> Batch {
        let mut batch = std::mem::take(&mut self.batch);
        if self.streams.careless {
            return batch;
        }
        let known: Vec<_> = batch.adds.keys().map(|id| self.streams.known(*id)).collect();
        batch.drop_committed(&known);
        batch
    }

    /// Bytes that wait: in the batch and as fragments.
    pub fn weight(&self) -> usize {
        self.batch.weight + self.assembler.bytes()
    }

    fn look(&mut self, lot: &Lot, frame: &Frame<'_>) -> Passed {
        let refused = |stats: &Stats, fact| {
            stats.count(fact);
            Passed::Verdict(Verdict::Refused)
        };
        let Some(kind) = Kind::from_number(frame.address.kind) else {
            self.complaints.tell(&lot.from, &frame.address, Complaint::UnknownKind);
            return refused(&self.stats, Fact::UnknownKind);
        };
        match self.streams.owner(frame.address.epoch) {
            Some(owner) if *owner == lot.from => {}
            owner => {
                if let Some(owner) = owner {
                    self.complaints.tell(&lot.from, &frame.address, Complaint::ForeignEpoch(owner));
                }
                return refused(&self.stats, Fact::Foreign);
            }
        }
        let id = StreamId { epoch: frame.address.epoch, kind };
        match self.streams.look(id, frame.address.seq) {
            Number::New => {}
            known @ (Number::Committed | Number::Pending) => {
                if known == Number::Committed && !self.behind.contains(&lot.from) {
                    self.behind.insert(lot.from.clone());
                }
                self.duplicate(lot, frame, kind);
                return Passed::Verdict(Verdict::Duplicate);
            }
            Number::HeldBack => {
                if frame.address.seq >= SEQ_END {
                    self.complaints.tell(&lot.from, &frame.address, Complaint::ImpossibleNumber);
                }
                return refused(&self.stats, Fact::HeldBack);
            }
        }
        if frame.count == 1 {
            return self.whole(lot, frame, kind, frame.payload);
        }
        let dropped = self.assembler.dropped();
        let assembled = self.assembler.add(&lot.from, frame, lot.now);
        self.stats.add(Fact::Incomplete, self.assembler.dropped() - dropped);
        match assembled {
            Assembled::Waiting => Passed::Verdict(Verdict::Waiting),
            Assembled::Whole(record) => self.whole(lot, frame, kind, &record),
            Assembled::Contradicts => Passed::Verdict(Verdict::Refused),
            Assembled::TooLong => self.reject(lot, frame, kind, b"", "its fragments are longer than a record may be"),
        }
    }

    /// A number that is known: to be compared, once the record is there in one piece.
    fn duplicate(&mut self, lot: &Lot, frame: &Frame<'_>, kind: Kind) {
        self.stats.count(Fact::Duplicates);
        let bytes = match frame.count {
            1 => Bytes::copy_from_slice(frame.payload),
            _ => match self.assembler.add(&lot.from, frame, lot.now) {
                Assembled::Whole(record) => record.into(),
                Assembled::Waiting | Assembled::Contradicts | Assembled::TooLong => return,
            },
        };
        let Lot { from, received_at, sent_at, .. } = lot.clone();
        if !self.duplicates.add(Second { from, address: frame.address, kind, received_at, sent_at, bytes }) {
            self.stats.count(Fact::Unchecked);
        }
    }

    /// Judges second arrivals of one stream by the hashes that are kept of it, by number.
    pub fn compare(&mut self, seconds: Vec<Second>, kept: &[Hashes], now: Instant) {
        for second in seconds {
            match self.duplicates.compare(&second, kept) {
                Compared::Same | Compared::Told => {}
                Compared::Unchecked => self.stats.count(Fact::Unchecked),
                Compared::Differs => self.keep_beside(second, now),
            }
        }
    }

    /// Another record has this number: this one is kept beside it, and somebody must look.
    fn keep_beside(&mut self, second: Second, now: Instant) {
        self.stats.count(Fact::Differing);
        let Second { from, address, kind, received_at, sent_at, bytes } = second;
        tracing::error!(gateway = %from, record = %address, "a record differs from the one of its number that came first; it is kept under dead/");
        let why = "differs from the record of its number that came first".to_owned();
        let bytes = bytes.slice(..bytes.len().min(DEAD_BYTES_MAX));
        self.batch
            .dead(Kept { owner: from, address, kind, received_at, sent_at, bytes, why, version: 0, beside: true }, now);
    }

    /// A whole record with a right checksum: from here on its number is accounted for, whatever it is.
    fn whole(&mut self, lot: &Lot, frame: &Frame<'_>, kind: Kind, record: &[u8]) -> Passed {
        if let Some(topic) = lot.kind.filter(|topic| *topic != kind) {
            return self.reject(lot, frame, kind, record, &format!("a {kind} record came on the topic of {topic}"));
        }
        if u16::from(frame.version) > self.readable {
            return self.keep_newer(lot, frame, kind, record, u16::from(frame.version));
        }
        let read = RecordParts::split(record).map_err(Unreadable::from).and_then(|parts| {
            let header = match self.scanner.header(parts.header) {
                Some(header) if header.schema <= self.readable => header,
                _ => {
                    let version = serde_json::from_slice::<Version>(parts.header).map_or(0, |v| v.schema);
                    if version > self.readable {
                        return Ok(Err(version));
                    }
                    parts.parse_header()?
                }
            };
            Record::read(header, &parts, &mut self.scanner).map(Ok)
        });
        match read {
            Ok(Err(version)) => self.keep_newer(lot, frame, kind, record, version),
            Err(Unreadable::Kind(_)) => self.keep_newer(lot, frame, kind, record, self.readable + 1),
            Err(error) => self.reject(lot, frame, kind, record, &chain(&error)),
            Ok(Ok(read)) => match mismatch(lot, frame, kind, &read) {
                Some(why) => self.reject(lot, frame, kind, record, &why),
                None => self.admit(lot, frame, kind, record, read),
            },
        }
    }

    fn admit(&mut self, lot: &Lot, frame: &Frame<'_>, kind: Kind, bytes: &[u8], record: Record) -> Passed {
        if let Body::Gap(gap) = &record.body {
            match self.gap_numbers(lot, gap, frame.address.seq) {
                Ok(Some(numbers)) => {
                    self.batch.add(StreamId { epoch: gap.epoch, kind: gap.kind }, &lot.from, &numbers);
                }
                Ok(None) => return Passed::Verdict(Verdict::Refused),
                Err(why) => return self.reject(lot, frame, kind, bytes, why),
            }
        }
        self.account(lot, frame, kind);
        let id = StreamId { epoch: frame.address.epoch, kind };
        self.batch.hash(id, frame.address.seq, duplicates::hash(bytes));
        self.fresh.push(record);
        Passed::Row
    }

    /// The numbers that the gap record `seq` accounts for; `None` when the epoch's owner must be asked first. A gap of gap
    /// records, which were damaged, speaks of earlier ones.
    fn gap_numbers(&mut self, lot: &Lot, gap: &Gap, seq: u64) -> Result<Option<RangeSet>, &'static str> {
        let of_later_ones = gap.kind == Kind::Gap && gap.to > seq;
        if of_later_ones || gap.from >= gap.to || gap.to > SEQ_END || gap.count != gap.to - gap.from {
            return Err("its range makes no sense");
        }
        match self.streams.owner(gap.epoch) {
            Some(owner) if *owner == lot.from => {}
            Some(_) => return Err("it speaks of another gateway's log"),
            None => {
                self.unknown.push((lot.from.clone(), gap.epoch));
                self.stats.count(Fact::HeldBack);
                return Ok(None);
            }
        }
        Ok(Some(self.streams.pend_range(StreamId { epoch: gap.epoch, kind: gap.kind }, gap.from, gap.to)))
    }

    fn account(&mut self, lot: &Lot, frame: &Frame<'_>, kind: Kind) {
        let id = StreamId { epoch: frame.address.epoch, kind };
        self.streams.pend(id, frame.address.seq);
        self.batch.add_one(id, &lot.from, frame.address.seq);
    }

    fn keep(&mut self, lot: &Lot, record: Record, clock_offset_us: i64) {
        self.stats.count(Fact::Records);
        if self.arrivals.are_wanted() {
            let (header, body) = (record.header.clone(), record.body.clone());
            let record = Record { header, body, blobs: Bytes::new() };
            self.arrivals.announce(Arrived { record, received_at: lot.received_at });
        }
        self.batch.row(Row { record, received_at: lot.received_at, clock_offset_us, place: None }, lot.now);
    }

    fn keep_newer(&mut self, lot: &Lot, frame: &Frame<'_>, kind: Kind, record: &[u8], version: u16) -> Passed {
        self.stats.count(Fact::Newer);
        self.account(lot, frame, kind);
        self.batch.newer(
            Kept {
                owner: lot.from.clone(),
                address: frame.address,
                kind,
                received_at: lot.received_at,
                sent_at: lot.sent_at,
                bytes: reframed(frame, record),
                why: format!("version {version} is newer than this hub reads"),
                version,
                beside: false,
            },
            lot.now,
        );
        Passed::Verdict(Verdict::Accepted)
    }

    /// Keeps a dead letter, accounts for its number, and says so in a gap record of the hub's own.
    fn reject(&mut self, lot: &Lot, frame: &Frame<'_>, kind: Kind, record: &[u8], why: &str) -> Passed {
        tracing::warn!(gateway = %lot.from, record = %frame.address, why, "record cannot be read and is kept aside");
        self.stats.count(Fact::Rejected);
        self.account(lot, frame, kind);
        let bytes = Bytes::copy_from_slice(&record[..record.len().min(DEAD_BYTES_MAX)]);
        let kept = Kept {
            owner: lot.from.clone(),
            address: frame.address,
            kind,
            received_at: lot.received_at,
            sent_at: lot.sent_at,
            bytes,
            why: why.to_owned(),
            version: 0,
            beside: false,
        };
        self.batch.dead(kept, lot.now);
        let seq = frame.address.seq;
        let gap = Gap {
            kind,
            epoch: frame.address.epoch,
            from: seq,
            to: seq + 1,
            count: 1,
            reason: "rejected".into(),
            detail: Some(format!("{}: {why}", lot.from)),
            captured_from: None,
            captured_to: None,
        };
        self.write_gap(lot, gap);
        Passed::Verdict(Verdict::Refused)
    }

    fn write_gap(&mut self, lot: &Lot, gap: Gap) {
        let (owner, header) = self.own_gaps.next(&lot.from.site, lot.received_at, lot.now);
        let id = StreamId { epoch: header.epoch, kind: Kind::Gap };
        if header.seq == 0 {
            self.streams.learn(header.epoch, owner.clone(), Vec::new());
        }
        self.streams.pend(id, header.seq);
        self.batch.add_one(id, &owner, header.seq);
        let record = Record { header, body: Body::Gap(gap), blobs: Bytes::new() };
        self.batch.row(Row { record, received_at: lot.received_at, clock_offset_us: 0, place: None }, lot.now);
    }
}

/// How a record contradicts the frame or the topic that brought it.
fn mismatch(lot: &Lot, frame: &Frame<'_>, kind: Kind, record: &Record) -> Option<String> {
    let header = &record.header;
    if (&header.site, &header.gateway) != (&lot.from.site, &lot.from.gateway) {
        return Some(format!("its header names {}/{} and it came from {}", header.site, header.gateway, lot.from));
    }
    if (header.kind, header.epoch, header.seq) != (kind, frame.address.epoch, frame.address.seq) {
        let named = format!("{} {} of epoch {}", header.kind, header.seq, header.epoch);
        return Some(format!("its header names {named} and its frame {}", frame.address));
    }
    let about_frame = header.frame_id.is_some() && header.camera.is_some() && header.region.is_some();
    (kind == Kind::Sample && !about_frame).then(|| "a sample must name its frame, camera and region".to_owned())
}

/// One frame around a whole record, with its own version and a checksum of its own.
fn reframed(frame: &Frame<'_>, record: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(frame::OVERHEAD + record.len());
    frame::write_frame(&mut out, frame.address, 0, 1, record);
    out[8] = frame.version;
    let checksum = crc32c::crc32c(&out[8..]);
    out[4..8].copy_from_slice(&checksum.to_le_bytes());
    out.into()
}
