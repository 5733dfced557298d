//! What the outbox needs of a disk: one folder of files that grow at their end. Everything above runs on any [`Disk`], so
//! that a simulator can tear writes, fill the disk and cut the power.
//!
//! What an implementation promises: [`File::append`] is seen by later reads at once and survives the end of the process;
//! it survives a power cut after [`File::sync`], and the file's name after [`Disk::sync_folder`]. [`Disk::replace`] is
//! atomic and durable when it returns.

mod posix;
mod simulated;

use std::{io, sync::Arc};

use contract::Timestamp;

pub use posix::Folder;
pub use simulated::{Fault, Operation, Simulated};

/// A file as the folder lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its name in the folder.
    pub name: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// When it was last written, by the wall clock.
    pub modified: Timestamp,
}

/// A folder of files.
pub trait Disk: Send + Sync + 'static {
    /// Every file in the folder.
    fn list(&self) -> io::Result<Vec<Found>>;
    /// A new, empty file; an error when the name is taken.
    fn create(&self, name: &str) -> io::Result<Arc<dyn File>>;
    /// A file that is there.
    fn open(&self, name: &str) -> io::Result<Arc<dyn File>>;
    /// Another name for a file; a file of that name is replaced.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file; it may be gone already.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Names that were made, changed and removed survive a power cut from here on.
    fn sync_folder(&self) -> io::Result<()>;
    /// The contents of a small file.
    fn read(&self, name: &str) -> io::Result<Vec<u8>>;
    /// Replaces a small file as a whole, durably.
    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()>;
}

/// An open file.
pub trait File: Send + Sync + 'static {
    /// Writes at the end. After an error a part may have been written.
    fn append(&self, bytes: &[u8]) -> io::Result<()>;
    /// Fills the buffer from an offset on.
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()>;
    /// What was written survives a power cut from here on.
    fn sync(&self) -> io::Result<()>;
    /// Cuts the file.
    fn truncate(&self, bytes: u64) -> io::Result<()>;
    /// The file's length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether nothing is in it.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// Whether an error says that there is no room left.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Bytes of one read: small enough that a bad sector costs little.
const PIECE: usize = 64 << 10;
/// Bytes of a read where larger ones fail.
const PAGE: usize = 4 << 10;

/// Reads a whole file; places that the medium no longer gives are zeroes. An error only where nothing can be read.
pub fn read_leniently(file: &dyn File) -> io::Result<Vec<u8>> {
    let length = usize::try_from(file.len()?).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    let (mut unreadable, mut last) = (0, None);
    for (piece, at) in bytes.chunks_mut(PIECE).zip((0u64..).step_by(PIECE)) {
        if file.read_at(piece, at).is_ok() {
            continue;
        }
        for (page, at) in piece.chunks_mut(PAGE).zip((at..).step_by(PAGE)) {
            if let Err(error) = file.read_at(page, at) {
                page.fill(0);
                unreadable += page.len();
                last = Some(error);
            }
        }
    }
    match last {
        Some(error) if unreadable == length => Err(error),
        _ => Ok(bytes),
    }
}
