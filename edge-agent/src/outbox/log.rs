//! The segment log of every kind behind one index: numbers records, writes them, makes them durable, drops what the bound
//! does not allow. No thread, no lock and no clock of its own, on any [`Disk`]: a simulator drives it as the agent does.
//!
//! Policy: *hold*, within the bound; over it whole segments go, and a gap record says which numbers, durable before the
//! segment is deleted. What the disk does not take is lost, counted, and named by a gap as soon as the disk takes that.

use std::{collections::BTreeMap, io, sync::Arc, time::Duration};

use contract::{
    Gap, Kind, Timestamp,
    archived::ArchivedKind,
    frame::{self, Address},
};

use super::{
    disk::{Disk, File, is_full},
    index::{Bound, Index, KINDS, Look, slot},
    outage::Outage,
    ranges::Ranges,
    segment::{HEADER, Header, Name},
    superblock::{self, Superblock},
};
use crate::clock::Mono;

/// Lost numbers that a segment may have in its middle: each costs the memory of a record there.
const HOLE_MAX: u64 = 4096;

/// How long what the hub has said may be known to this process alone: it is only needed to notice a rolled back hub.
const KNOWN_EVERY: Duration = Duration::from_secs(60);

/// What a gap record's header needs that only the gateway knows: makes the whole record for a gap at an address.
pub type GapWriter = Box<dyn Fn(Address, &Gap) -> Result<Vec<u8>, frame::Error> + Send + Sync>;

/// What somebody chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How much may wait.
    pub bound: Bound,
    /// A segment is sealed at this size.
    pub segment_bytes: u64,
}

/// The monotonic and the wall clock, read together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// For waiting.
    pub mono: Mono,
    /// For dating.
    pub wall: Timestamp,
}

impl Now {
    /// Reads both.
    pub fn read() -> Self {
        Self { mono: Mono::now(), wall: crate::clock::wall() }
    }
}

/// Why a record was not taken.
#[derive(Debug, thiserror::Error)]
#[error("append {kind} record to the outbox")]
pub struct AppendError {
    pub(super) kind: Kind,
    pub(super) source: frame::Error,
}

/// What happened since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records that the bound has dropped.
    pub dropped: BTreeMap<Kind, u64>,
    /// Records that the disk did not take.
    pub lost: BTreeMap<Kind, u64>,
    /// Records that were found damaged.
    pub damaged: BTreeMap<Kind, u64>,
    /// Bytes of a torn tail that the start cut off.
    pub torn_bytes: u64,
    /// Files synced.
    pub syncs: u64,
}

/// The log.
pub struct Log {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) settings: Settings,
    pub(super) superblock: Superblock,
    pub(super) index: Index,
    pub(super) writers: [Option<Writer>; KINDS.len()],
    /// Open files of segments that are read, by kind and first number.
    pub(super) readers: BTreeMap<(usize, u64), Arc<dyn File>>,
    /// Numbers of this log that a gap names: one that is held, or one that is owed.
    pub(super) explained: [Ranges; KINDS.len()],
    /// Gaps that must be written as soon as the disk takes them.
    pub(super) owed: Vec<Gap>,
    pub(super) fault: Option<Outage>,
    pub(super) counts: Counts,
    pub(super) gap_writer: GapWriter,
    /// First numbers of this run.
    pub(super) since: [u64; KINDS.len()],
    /// Every number that the hub may have heard of is below: made by an earlier run, read to be sent, or named by a gap.
    /// A hub that knows more knows it of another life of this log.
    pub(super) said: [u64; KINDS.len()],
    pub(super) trash: Vec<String>,
    pub(super) known_saved: Mono,
    pub(super) known_changed: bool,
    /// The reserve is there.
    pub(super) reserve: bool,
    /// When a failing disk was last told to people.
    pub(super) told: Option<Mono>,
    /// The file that is being carried over, and how many of its records are.
    pub(super) carried: Option<(String, u64)>,
}

/// The segment that is written.
pub(super) struct Writer {
    pub file: Arc<dyn File>,
    pub first: u64,
    pub bytes: u64,
    /// Written since the last sync began.
    pub dirty: bool,
    /// A part of a record could not be cut off: nothing more is written to this file.
    pub broken: bool,
    /// A sync failed: what the system still shows may never reach the medium, so the file is written anew.
    pub suspect: bool,
}

impl Log {
    /// Numbers a record, makes it and writes it. `make` sees its address. A record that the disk does not take uses a
    /// number too: it is lost, and a gap will say so.
    ///
    /// # Errors
    /// What `make` returns; then no number is used up.
    pub fn append(
        &mut self,
        kind: Kind,
        captured_at: Timestamp,
        now: Now,
        make: impl FnOnce(Address) -> Result<Vec<u8>, frame::Error>,
    ) -> Result<u64, AppendError> {
        let address = self.address(kind, self.index.next(kind));
        let record = make(address).map_err(|source| AppendError { kind, source })?;
        let mut bytes = Vec::with_capacity(frame::OVERHEAD + record.len());
        frame::write_frame(&mut bytes, address, 0, 1, &record);
        match self.keep(kind, &bytes, now) {
            Ok(()) => self.keep_within_bound(now),
            Err(error) => {
                self.failed(&error, now);
                self.lose(kind, captured_at);
            }
        }
        Ok(address.seq)
    }

    /// The log's epoch.
    pub fn epoch(&self) -> contract::Epoch {
        self.superblock.epoch
    }

    /// Where this run counts a camera's frames from.
    pub fn frames_from(&self) -> u64 {
        self.superblock.frames_from()
    }

    /// Below which numbers the hub may have heard of this log.
    pub fn said(&self, kind: Kind) -> u64 {
        self.said[slot(kind)]
    }

    /// The hub may hear of everything below this number.
    pub(super) fn say(&mut self, kind: Kind, upto: u64) {
        let said = &mut self.said[slot(kind)];
        *said = upto.max(*said);
    }

    /// What is held.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// What happened since the start.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    pub(super) fn address(&self, kind: Kind, seq: u64) -> Address {
        Address { epoch: self.superblock.epoch, kind: kind.number(), seq }
    }

    fn keep(&mut self, kind: Kind, bytes: &[u8], now: Now) -> io::Result<()> {
        if let Some(outage) = self.fault.as_ref().filter(|outage| now.mono < outage.until) {
            return Err(io::Error::other(outage.text.clone()));
        }
        loop {
            match self.pay_gaps(now).and_then(|()| self.write(kind, bytes, now)) {
                // What is worth no more than the newcomer makes room for it.
                Err(error) if is_full(&error) => match self.index.victim(Some(kind)) {
                    Some((victim, first)) => self.drop_segment(victim, first, "overflow", DISK_FULL, now)?,
                    None => return Err(error),
                },
                result => {
                    result?;
                    self.mended(now);
                    return Ok(());
                }
            }
        }
    }

    /// Writes one frame with the next number of its kind.
    pub(super) fn write(&mut self, kind: Kind, bytes: &[u8], now: Now) -> io::Result<()> {
        let at = slot(kind);
        let hole = self.index.hole(kind);
        let must_roll = |w: &Writer| w.broken || hole > HOLE_MAX;
        if self.writers[at].as_ref().is_none_or(|w| must_roll(w) || w.bytes >= self.settings.segment_bytes)
            && let Err(error) = self.roll(kind, now)
        {
            if self.writers[at].as_ref().is_none_or(must_roll) {
                return Err(error);
            }
            self.failed(&error, now); // the old segment takes more until a new one can begin
        }
        let Some(writer) = &mut self.writers[at] else { return Err(io::Error::other("no segment is open")) };
        if let Err(error) = writer.file.append(bytes) {
            writer.broken = writer.file.truncate(writer.bytes).is_err();
            return Err(error);
        }
        writer.bytes += bytes.len() as u64;
        writer.dirty = true;
        self.index.append(kind, bytes.len() as u64, now.wall);
        Ok(())
    }

    /// Seals the segment that is written, and begins the next one. The old one is durable before the new one has a name.
    pub(super) fn roll(&mut self, kind: Kind, now: Now) -> io::Result<()> {
        let (at, next) = (slot(kind), self.index.next(kind));
        let old = self.writers[at].as_ref().and_then(|w| self.index.segment(kind, w.first)).map(|s| (s.first, s.next));
        if let (Some(writer), Some((first, end))) = (&mut self.writers[at], old) {
            if end == next && first == next && !writer.broken {
                return Ok(());
            }
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
            if first == next {
                self.abandon(kind, first)?; // its name is needed
            }
        }
        let file = self.begin_file(kind, next, now)?;
        match old {
            Some((first, end)) if first == end && first != next => self.abandon(kind, first)?,
            Some((first, end)) if first != end => {
                let (open, sealed) = names(kind, first, end);
                if let Err(error) = self.disk.rename(&open, &sealed) {
                    let _ = self.disk.remove(&Name { kind, first: next, next: None }.to_string());
                    return Err(error);
                }
            }
            _ => {}
        }
        let named = self.disk.sync_folder();
        if let Some(old) = self.writers[at].take() {
            self.readers.insert((at, old.first), old.file);
        }
        self.index.begin(kind, HEADER as u64, now.wall);
        self.close_unloaded(kind);
        let (broken, suspect, dirty) = (false, named.is_err(), false);
        self.writers[at] = Some(Writer { file, first: next, bytes: HEADER as u64, dirty, broken, suspect });
        if let Err(error) = named {
            self.failed(&error, now); // its name may not survive: it is written anew before it is trusted
        }
        Ok(())
    }

    /// Removes the segment that is written, in which no record is.
    fn abandon(&mut self, kind: Kind, first: u64) -> io::Result<()> {
        self.disk.remove(&Name { kind, first, next: None }.to_string())?;
        self.index.remove(kind, first);
        self.writers[slot(kind)] = None;
        Ok(())
    }

    fn begin_file(&self, kind: Kind, first: u64, now: Now) -> io::Result<Arc<dyn File>> {
        let name = Name { kind, first, next: None }.to_string();
        let file = match self.disk.create(&name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // Left by an attempt that failed half way: no record is in it.
                if self.disk.open(&name)?.len()? > HEADER as u64 {
                    return Err(error);
                }
                self.disk.remove(&name)?;
                self.disk.create(&name)?
            }
            file => file?,
        };
        let header = Header { kind, epoch: self.superblock.epoch, first, made_at: now.wall }.encode();
        match file.append(&header).and_then(|()| file.sync()) {
            Ok(()) => Ok(file),
            Err(error) => {
                let _ = self.disk.remove(&name);
                Err(error)
            }
        }
    }

    fn keep_within_bound(&mut self, now: Now) {
        while let Some((kind, first)) = self.index.over() {
            if let Err(error) = self.drop_segment(kind, first, "overflow", OVERFLOW, now) {
                self.failed(&error, now);
                return;
            }
        }
    }

    /// Drops a whole segment: the gap is durable before the file goes. Where the gap cannot be written, nothing is dropped.
    pub(super) fn drop_segment(
        &mut self,
        kind: Kind,
        first: u64,
        reason: &str,
        detail: &str,
        now: Now,
    ) -> io::Result<()> {
        if self.writers[slot(kind)].as_ref().is_some_and(|w| w.first == first)
            && let Err(error) = self.roll(kind, now)
        {
            if !is_full(&error) {
                return Err(error);
            }
            if self.give_up_reserve().is_err() {
                return Err(error); // it names the file
            }
            self.roll(kind, now)?;
        }
        let Some(next) = self.index.segment(kind, first).map(|s| s.next) else { return Ok(()) };
        let open = self.index.uncommitted(kind, first, next);
        let unexplained = |(a, b): &(u64, u64)| self.explained[slot(kind)].missing(*a, *b);
        let runs: Vec<_> = open.iter().flat_map(unexplained).collect();
        let captured = if runs.is_empty() { None } else { self.captured(kind, first) };
        for run in runs {
            self.write_gap(&self.gap(kind, run, reason, detail, captured), now)?;
            self.explained[slot(kind)].insert(run.0, run.1);
            self.say(kind, run.1);
            *self.counts.dropped.entry(kind).or_default() += run.1 - run.0;
        }
        self.sync_kind(Kind::Gap)?;
        if open != [(first, next)] {
            self.remember(now)?; // the rest of it is in the lake, and then only the lake has it
        }
        self.delete(kind, first);
        Ok(())
    }

    /// Deletes a sealed segment's file. A file that cannot be deleted now is deleted later, or after the next start.
    pub(super) fn delete(&mut self, kind: Kind, first: u64) {
        let Some(segment) = self.index.remove(kind, first) else { return };
        self.readers.remove(&(slot(kind), first));
        let name = segment.name(kind).to_string();
        if self.disk.remove(&name).is_err() {
            self.trash.push(name);
        }
    }

    /// Applies a watermark of this log: deletes whole segments that are committed; what the hub waits for and nobody holds
    /// or explains becomes a gap `not_held`.
    pub fn archived(&mut self, kind: Kind, mark: &ArchivedKind, now: Now) {
        self.index.commit(kind, mark);
        self.known_changed |= self.superblock.known.hear(kind, mark);
        self.delete_archived(now);
        let mut held = self.index.held_from(kind, mark.upto).unwrap_or(self.index.next(kind));
        // A segment that is held may have lost the very record that the hub waits for.
        while held < self.index.next(kind) && self.index.look(kind, held) == Look::Absent {
            held += 1;
        }
        for (a, b) in self.index.uncommitted(kind, mark.upto, held) {
            for run in self.explained[slot(kind)].missing(a, b) {
                self.owe(kind, run, "not_held", "the lake lacks them, and the gateway no longer has them", None);
            }
        }
        if let Err(error) = self.pay_gaps(now) {
            self.failed(&error, now);
        }
    }

    /// Deletes the segments that the lake has whole. It is on disk before that the lake has them: a log that lacks them and
    /// does not know who has them could never tell that the tables were rolled back. A full disk gets its room first.
    fn delete_archived(&mut self, now: Now) {
        let retired = |kind| self.index.retired(kind).into_iter().map(move |first| (kind, first));
        let retired: Vec<_> = KINDS.into_iter().flat_map(retired).collect();
        if retired.is_empty() {
            return;
        }
        if let Err(error) = self.remember(now) {
            self.failed(&error, now);
            if !is_full(&error) {
                return; // the next look at the log tries again
            }
        }
        for (kind, first) in retired {
            self.delete(kind, first);
        }
        let _ = self.remember(now);
    }

    /// Another lake, or another life of it: what the old one had counts no longer. Gap records that are no longer held
    /// explain nothing to it.
    pub fn forget_marks(&mut self, lake: (String, String), now: Now) {
        self.index.forget_marks();
        self.superblock.known.turn_to(lake);
        self.explain_anew();
        self.save_superblock(now);
    }

    /// What must be looked at now and then: age, the disk's recovery, files that could not be deleted.
    pub fn maintain(&mut self, now: Now) {
        if self.fault.as_ref().is_some_and(|outage| now.mono < outage.until) {
            return;
        }
        match self.look_after(now) {
            // Room is only proven by a record that found it.
            Ok(()) if self.fault.as_ref().is_some_and(|outage| outage.full) => {}
            Ok(()) => self.mended(now),
            Err(error) => self.failed(&error, now),
        }
        self.delete_archived(now);
        if now.mono - self.known_saved >= KNOWN_EVERY
            && let Err(error) = self.remember(now)
        {
            self.failed(&error, now);
        }
    }

    fn look_after(&mut self, now: Now) -> io::Result<()> {
        let disk = &self.disk;
        self.trash.retain(|name| disk.remove(name).is_err());
        self.mend(now)?;
        self.pay_gaps(now)?;
        while let Some((kind, first)) = self.index.aged(now.wall) {
            self.drop_segment(kind, first, "age", AGED, now)?;
        }
        for kind in self.index.stale(now.wall) {
            self.roll(kind, now)?;
        }
        self.carry_step(now)?;
        self.keep_reserve();
        Ok(())
    }

    /// Writes down who the log is and what the hub has said.
    pub fn save_superblock(&mut self, now: Now) {
        self.known_changed = true;
        if let Err(error) = self.remember(now) {
            self.failed(&error, now);
        }
    }

    /// Writes it down, if it is not what stands on the disk.
    pub(super) fn remember(&mut self, now: Now) -> io::Result<()> {
        if !self.known_changed {
            return Ok(());
        }
        self.known_saved = now.mono;
        let bytes = self.superblock.encode();
        let mut saved = self.disk.replace(superblock::FILE, &bytes);
        if saved.as_ref().is_err_and(is_full) && self.give_up_reserve().is_ok() {
            saved = self.disk.replace(superblock::FILE, &bytes);
        }
        self.known_changed = saved.is_err();
        saved
    }
}

const OVERFLOW: &str = "the outbox was full; raise [outbox] max_bytes, or mend the way to the hub";
const DISK_FULL: &str = "the disk of the outbox was full";
const AGED: &str = "they were older than [outbox] max_age";

/// The names of a segment before and after it is sealed.
pub(super) fn names(kind: Kind, first: u64, next: u64) -> (String, String) {
    (Name { kind, first, next: None }.to_string(), Name { kind, first, next: Some(next) }.to_string())
}
