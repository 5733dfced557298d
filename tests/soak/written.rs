//! What the agents wrote, read from the segments on their disks: the truth that the lake is held against. No counter of the
//! agent or of the hub is asked.

use std::{
    collections::BTreeMap,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use contract::{
    Epoch, Kind,
    frame::{self, RecordParts},
};
use edge_agent::outbox::segment::{HEADER, Name, Opening};

/// Attempts at a folder that changes while it is read.
const ATTEMPTS: usize = 50;

/// One log as it lies on the disk.
#[derive(Debug, Default)]
struct Reading {
    epoch: Option<Epoch>,
    next: BTreeMap<Kind, u64>,
    /// Kind, number, and when it was captured.
    records: Vec<(Kind, u64, i64)>,
}

/// What one gateway ever wrote.
#[derive(Debug, Default)]
pub struct Written {
    /// Its log; none before the first reading.
    pub epoch: Option<Epoch>,
    /// One past the highest number of each kind that was seen on its disk.
    pub next: BTreeMap<Kind, u64>,
    /// When the records were captured that were seen on its disk: not all are there whenever somebody looks.
    pub seen: BTreeMap<Kind, BTreeMap<u64, i64>>,
}

impl Written {
    /// Reads an agent's state folder, whether it runs or not, and remembers what is there.
    ///
    /// # Errors
    /// The log cannot be read, or is not the one that was there: another epoch, or a number that was given again.
    pub fn look(&mut self, state: &Path) -> Result<()> {
        let reading = read(&state.join("outbox"))?;
        if let Some(epoch) = reading.epoch {
            let known = *self.epoch.get_or_insert(epoch);
            ensure!(known == epoch, "{} began another log: {epoch} after {known}", state.display());
        }
        for (kind, next) in reading.next {
            let known = self.next.entry(kind).or_default();
            ensure!(
                next >= *known,
                "{}: {kind} records were written up to {known}, and the log now ends at {next}",
                state.display()
            );
            *known = next;
        }
        for (kind, seq, captured) in reading.records {
            let known = *self.seen.entry(kind).or_default().entry(seq).or_insert(captured);
            ensure!(known == captured, "{}: {kind} record {seq} was written again", state.display());
        }
        Ok(())
    }
}

fn read(folder: &Path) -> Result<Reading> {
    for _ in 0..ATTEMPTS {
        match attempt(folder) {
            // A segment was sealed or deleted between the listing and the look.
            Err(error) if error.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == ErrorKind::NotFound) => {}
            result => return result.with_context(|| format!("read the outbox in {}", folder.display())),
        }
    }
    bail!("the outbox in {} changes too fast to be read", folder.display())
}

fn attempt(folder: &Path) -> Result<Reading> {
    let mut reading = Reading::default();
    let mut segments: Vec<(Name, PathBuf)> = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        ensure!(!name.starts_with("carry-") && !name.starts_with("aside-"), "{name}: the log was given up");
        segments.extend(name.parse().ok().map(|name| (name, entry.path())));
    }
    segments.sort();
    for (name, path) in segments {
        let bytes = std::fs::read(&path)?;
        let Opening::Header(header) = Opening::read(&bytes) else {
            // A segment that was begun at this moment, or on a full disk: nothing is in it.
            ensure!(bytes.len() <= HEADER && name.next.is_none(), "{}: its header is damaged", path.display());
            continue;
        };
        let epoch = *reading.epoch.get_or_insert(header.epoch);
        ensure!(epoch == header.epoch, "{} belongs to another log", path.display());
        let next = records(&bytes, name, &mut reading)?;
        let known = reading.next.entry(name.kind).or_default();
        *known = next.max(*known);
    }
    Ok(reading)
}

/// The records of one segment; gives one past the last number.
fn records(bytes: &[u8], name: Name, reading: &mut Reading) -> Result<u64> {
    let (mut at, mut next) = (HEADER, name.first);
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        let frame = match frame::first_frame(rest) {
            Ok(frame) => frame,
            // The record that is being written, or that a kill has cut short.
            Err(frame::Error::Torn { .. } | frame::Error::Checksum { .. }) if name.next.is_none() => break,
            Err(error) => return Err(error).with_context(|| format!("{name} at byte {at}")),
        };
        ensure!(frame.address.kind == name.kind.number() && frame.address.seq >= next, "{name}: {}", frame.address);
        let header = RecordParts::split(frame.payload).and_then(|parts| parts.parse_header())?;
        reading.records.push((name.kind, frame.address.seq, header.captured_at.0));
        next = frame.address.seq + 1;
        at += frame::OVERHEAD + frame.payload.len();
    }
    Ok(name.next.unwrap_or(next))
}
