//! What is done for a disk that fails: a reserve for the time when it is full, and files written anew whose sync failed.

use std::io;

use super::{
    disk::read_leniently,
    index::{KINDS, slot},
    log::{Log, Now, Writer},
    scan::{Span, Wanted, scan},
    segment::{HEADER, Header, Name},
};

/// A file that is given up when the disk is full, so that a gap record can be written before anything is deleted.
pub(super) const RESERVE: &str = "reserve";
/// Room for hundreds of gap records and a few new segments.
const RESERVE_BYTES: u32 = 256 << 10;

/// The file in which a segment is written anew.
pub(super) const MENDED: &str = "mended.draft";

impl Log {
    /// Best effort: without it, gaps of a full disk are written when there is room again.
    pub(super) fn keep_reserve(&mut self) {
        if self.reserve {
            return;
        }
        let written = self.disk.create(RESERVE).and_then(|file| {
            // No zeroes: some file systems would not give them room.
            let noise: Vec<u8> = (0..RESERVE_BYTES).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
            file.append(&noise)?;
            file.sync()
        });
        self.reserve = written.is_ok();
        if !self.reserve {
            let _ = self.disk.remove(RESERVE);
        }
    }

    /// Makes the room of the reserve free.
    pub(super) fn give_up_reserve(&mut self) -> io::Result<()> {
        if !std::mem::take(&mut self.reserve) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.disk.remove(RESERVE)
    }

    /// Writes files anew whose sync has failed: the system may have dropped what it could not write, and a later sync of
    /// the same file proves nothing.
    pub(super) fn mend(&mut self, now: Now) -> io::Result<()> {
        for kind in KINDS {
            let at = slot(kind);
            let Some(writer) = self.writers[at].as_ref().filter(|w| w.suspect) else { continue };
            let (first, old) = (writer.first, writer.file.clone());
            let bytes = read_leniently(&*old)?;
            let wanted = Wanted { epoch: self.superblock.epoch, kind, first, next: None };
            let mut scan = scan(&bytes, wanted);
            self.disk.remove(MENDED)?;
            let file = self.disk.create(MENDED)?;
            file.append(&Header { kind, epoch: wanted.epoch, first, made_at: now.wall }.encode())?;
            file.append(&bytes[HEADER.min(scan.end as usize)..scan.end as usize])?;
            file.sync()?;
            self.disk.rename(MENDED, &Name { kind, first, next: None }.to_string())?;
            self.disk.sync_folder()?;
            let end = self.index.segment(kind, first).map_or(first, |segment| segment.next);
            scan.spans.resize((end - first) as usize, Span::default());
            self.owe_damage(kind, first, &scan.spans, end);
            self.index.load(kind, first, scan.spans);
            let (bytes, dirty, broken, suspect) = (scan.end, false, false, false);
            self.writers[at] = Some(Writer { file, first, bytes, dirty, broken, suspect });
            self.index.mark_durable(kind, self.index.next(kind));
        }
        Ok(())
    }
}
