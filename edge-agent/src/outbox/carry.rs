//! A new epoch for a log that was restored from a snapshot: the hub knows more of it than is here, so its numbers would mean
//! two things. The log is given up; what of it the hub does not have is written again under the new epoch, file by file.
//!
//! A record is carried over when the hub has not committed its number, or when it was written by this run of the agent: the
//! hub's record of that number is then another one. How far a file has got is known after a kill, so none is carried twice.

use std::{collections::BTreeMap, io};

use contract::{
    Epoch, Kind,
    archived::ArchivedKind,
    frame::{self, Address, RecordParts},
};

use super::{
    disk::read_leniently,
    index::{KINDS, Segment, slot},
    log::{Log, Now, names},
    scan::{Wanted, scan},
    segment::Name,
    superblock::{self, Carry, Left},
};

/// What the name of a segment of the given up log begins with.
pub(super) const PREFIX: &str = "carry-";

impl Log {
    /// Gives the log up and begins a new one. `marks` is what the hub has committed of the old one.
    ///
    /// # Errors
    /// The disk refuses it; the old log goes on.
    pub fn begin_epoch(&mut self, epoch: Epoch, marks: &BTreeMap<Kind, ArchivedKind>, now: Now) -> io::Result<()> {
        while self.superblock.carry.is_some() {
            self.carry_step(now)?; // what an earlier log left belongs to this one now
        }
        let mut next = self.superblock.clone();
        let left =
            |kind: Kind| Left { since: self.since[slot(kind)], mark: marks.get(&kind).cloned().unwrap_or_default() };
        let kinds = KINDS.map(|kind| (kind, left(kind))).into();
        next.carry = Some(Carry { epoch: next.epoch, kinds, under_way: None });
        next.epoch = epoch;
        next.known.forget();
        self.disk.replace(superblock::FILE, &next.encode())?;
        tracing::error!(
            old = %self.superblock.epoch, new = %epoch,
            "hub knows more of this log than is here: it was restored from a snapshot; a new epoch begins"
        );
        self.superblock = next;
        for kind in KINDS {
            let named = |s: &Segment| (s.name(kind).to_string(), names(kind, s.first, s.next).1);
            let segments: Vec<_> = self.index.segments(kind).map(named).collect();
            for (name, sealed) in segments {
                self.disk.rename(&name, &format!("{PREFIX}{sealed}"))?;
            }
            self.index.clear(kind);
        }
        self.disk.sync_folder()?;
        self.writers = Default::default();
        self.readers.clear();
        self.explained = Default::default();
        self.since = [0; KINDS.len()];
        self.said = [0; KINDS.len()];
        Ok(())
    }

    /// Carries one file over, if one is left.
    pub(super) fn carry_step(&mut self, now: Now) -> io::Result<()> {
        let Some(carry) = self.superblock.carry.clone() else { return Ok(()) };
        let Some((file, name)) = self.next_carried()? else {
            tracing::info!("what the old log held is written again");
            self.superblock.carry = None;
            return self.disk.replace(superblock::FILE, &self.superblock.encode());
        };
        let kind = name.kind;
        let done = match &self.carried {
            Some((under_way, done)) if *under_way == file => *done,
            _ => {
                let mut superblock = self.superblock.clone();
                if let Some(carry) = &mut superblock.carry {
                    carry.under_way = Some((file.clone(), self.index.next(kind)));
                }
                self.disk.replace(superblock::FILE, &superblock.encode())?;
                self.superblock = superblock;
                self.carried = Some((file.clone(), 0));
                0
            }
        };
        let bytes = read_leniently(&*self.disk.open(&file)?)?;
        let wanted = Wanted { epoch: carry.epoch, kind, first: name.first, next: name.next };
        let left = carry.kinds.get(&kind).cloned().unwrap_or_default();
        let held = scan(&bytes, wanted).spans.into_iter().zip(name.first..).filter(|(span, _)| span.len > 0);
        let kept = held.filter(|(_, seq)| *seq >= left.since || !left.mark.contains(*seq));
        for (span, _) in kept.skip(done as usize) {
            let record = &bytes[span.at as usize + frame::OVERHEAD..(span.at + span.len) as usize];
            let address = self.address(kind, self.index.next(kind));
            if let Ok(record) = readdressed(record, address) {
                let mut out = Vec::with_capacity(frame::OVERHEAD + record.len());
                frame::write_frame(&mut out, address, 0, 1, &record);
                self.write(kind, &out, now)?;
            }
            if let Some((_, done)) = &mut self.carried {
                *done += 1;
            }
        }
        self.sync_kind(kind)?;
        self.disk.remove(&file)?;
        self.carried = None;
        self.disk.sync_folder()
    }

    fn next_carried(&self) -> io::Result<Option<(String, Name)>> {
        let carried = self.disk.list()?.into_iter().filter_map(|found| {
            let name: Name = found.name.strip_prefix(PREFIX)?.parse().ok()?;
            Some((found.name, name))
        });
        // Gaps first, as the uplink has it; then by number.
        Ok(carried.min_by_key(|(_, name)| (slot(name.kind), name.first)))
    }
}

/// A record with another address: in its header, in the frame's id, and in an event's own id.
fn readdressed(record: &[u8], address: Address) -> Result<Vec<u8>, frame::Error> {
    let parts = RecordParts::split(record)?;
    let mut header = parts.parse_header()?;
    let mut body: serde_json::Value = parts.parse_body()?;
    (header.epoch, header.seq) = (address.epoch, address.seq);
    if let Some(frame) = &mut header.frame_id {
        frame.epoch = address.epoch;
    }
    if header.kind == Kind::Event {
        body["id"] = format!("{}-{}", address.epoch, address.seq).into();
    }
    frame::encode_record(&header, &body, &[parts.blobs])
}
