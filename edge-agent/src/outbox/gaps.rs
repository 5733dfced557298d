//! Gap records: what is lost is named, once, by a durable record of its own kind, as soon as the disk takes it.

use std::io;

use contract::{
    Gap, Kind, Timestamp,
    frame::{self, RecordParts},
};

use super::{
    disk::{is_full, read_leniently},
    index::{KINDS, slot},
    log::{Log, Now},
    ranges::Ranges,
    scan::{Span, scan},
};

impl Log {
    /// The numbers that are lost with one record.
    pub(super) fn lose(&mut self, kind: Kind, captured_at: Timestamp) {
        let seq = self.index.next(kind);
        self.index.lose(kind);
        *self.counts.lost.entry(kind).or_default() += 1;
        self.owe(
            kind,
            (seq, seq + 1),
            "disk",
            "the disk of the outbox did not take them",
            Some((captured_at, captured_at)),
        );
    }

    /// A gap must be written; it joins one of the same kind and reason that it continues.
    pub(super) fn owe(
        &mut self,
        kind: Kind,
        (from, to): (u64, u64),
        reason: &str,
        detail: &str,
        captured: Option<(Timestamp, Timestamp)>,
    ) {
        self.explained[slot(kind)].insert(from, to);
        self.say(kind, to);
        let continued = self.owed.iter_mut().find(|g| g.kind == kind && g.to == from && &*g.reason == reason);
        if let Some(gap) = continued {
            gap.to = to;
            gap.count = gap.to - gap.from;
            gap.captured_to = captured.map(|c| c.1);
            return;
        }
        self.owed.push(self.gap(kind, (from, to), reason, detail, captured));
    }

    pub(super) fn gap(
        &self,
        kind: Kind,
        (from, to): (u64, u64),
        reason: &str,
        detail: &str,
        captured: Option<(Timestamp, Timestamp)>,
    ) -> Gap {
        let (captured_from, captured_to) = captured.unzip();
        let (epoch, count, reason, detail) = (self.superblock.epoch, to - from, reason.into(), Some(detail.into()));
        Gap { kind, epoch, from, to, count, reason, detail, captured_from, captured_to }
    }

    /// Writes the gaps that are owed, durably.
    pub(super) fn pay_gaps(&mut self, now: Now) -> io::Result<()> {
        while let Some(gap) = self.owed.first().cloned() {
            self.write_gap(&gap, now)?;
            self.owed.remove(0);
        }
        self.sync_kind(Kind::Gap)
    }

    pub(super) fn write_gap(&mut self, gap: &Gap, now: Now) -> io::Result<()> {
        let address = self.address(Kind::Gap, self.index.next(Kind::Gap));
        let record = (self.gap_writer)(address, gap).map_err(io::Error::other)?;
        let mut bytes = Vec::with_capacity(frame::OVERHEAD + record.len());
        frame::write_frame(&mut bytes, address, 0, 1, &record);
        if let Err(error) = self.write(Kind::Gap, &bytes, now) {
            if !is_full(&error) {
                return Err(error);
            }
            if self.give_up_reserve().is_err() {
                return Err(error); // it names the file
            }
            self.write(Kind::Gap, &bytes, now)?;
        }
        tracing::warn!(kind = %gap.kind, from = gap.from, to = gap.to, reason = &*gap.reason, "records are missing");
        Ok(())
    }

    /// Capture times of a segment's first and last record.
    pub(super) fn captured(&mut self, kind: Kind, first: u64) -> Option<(Timestamp, Timestamp)> {
        let segment = self.index.segment(kind, first)?;
        let wanted = self.wanted(kind, segment);
        let bytes = read_leniently(&*self.file(kind, first).ok()?).ok()?;
        let spans = scan(&bytes, wanted).spans;
        let at = |span: &Span| {
            let frame = bytes.get(span.at as usize + frame::OVERHEAD..(span.at + span.len) as usize)?;
            Some(RecordParts::split(frame).ok()?.parse_header().ok()?.captured_at)
        };
        let mut there = spans.iter().filter(|span| span.len > 0);
        let from = at(there.next()?)?;
        Some((from, there.next_back().and_then(at).unwrap_or(from)))
    }

    pub(super) fn owe_damage(&mut self, kind: Kind, first: u64, spans: &[Span], next: u64) {
        let mut here = Ranges::default();
        spans.iter().zip(first..).filter(|(span, _)| span.len > 0).for_each(|(_, seq)| here.insert(seq, seq + 1));
        let before = self.owed.len();
        for (a, b) in here.missing(first, next) {
            for (a, b) in self.explained[slot(kind)].missing(a, b) {
                for run in self.index.uncommitted(kind, a, b) {
                    *self.counts.damaged.entry(kind).or_default() += run.1 - run.0;
                    self.owe(kind, run, "damaged", "they could no longer be read from the gateway's disk", None);
                }
            }
        }
        if kind == Kind::Gap && self.owed.len() > before {
            self.explain_anew(); // what the damaged ones explained is explained no longer
        }
    }

    /// Finds out which numbers gap records explain: those that are held, and those that are owed.
    pub(super) fn explain_anew(&mut self) {
        self.explained = self.explained_by_held_gaps();
        for gap in &self.owed {
            self.explained[slot(gap.kind)].insert(gap.from, gap.to);
        }
    }

    /// What the gap records on this disk name.
    pub(super) fn explained_by_held_gaps(&mut self) -> [Ranges; KINDS.len()] {
        let mut explained: [Ranges; KINDS.len()] = Default::default();
        let firsts: Vec<_> = self.index.segments(Kind::Gap).map(|s| s.first).collect();
        for first in firsts {
            let Ok((file, wanted)) = self.begin_load(Kind::Gap, first) else { continue };
            let Ok(bytes) = read_leniently(&*file) else { continue };
            for span in scan(&bytes, wanted).spans.iter().filter(|span| span.len > 0) {
                let record = &bytes[span.at as usize + frame::OVERHEAD..(span.at + span.len) as usize];
                let gap = RecordParts::split(record).and_then(|parts| parts.parse_body::<Gap>());
                if let Ok(gap) = gap.map_err(drop)
                    && gap.epoch == self.superblock.epoch
                {
                    explained[slot(gap.kind)].insert(gap.from, gap.to);
                }
            }
        }
        self.close_unloaded(Kind::Gap);
        explained
    }
}
