//! A segment: one file of one kind's log. A short header, then records as the very frames of the archive lane, so that a
//! message is cut out of the file and not made again.
//!
//! ```text
//! <kind>-<first>.seg           the segment that is being written
//! <kind>-<first>-<next>.seg    a sealed one: numbers from first to before next; the name alone says what is in it
//!
//!  0  "SLOG"   4  u16 version, 1   6  u8 kind   7  u8 reserved   8  16 epoch, most significant byte first
//! 24  u64 first   32  i64 made at, microseconds since 1970   40  u32 CRC-32C of bytes 0 to 39   44  frames …
//! ```
//! Integers are little-endian where nothing else is said.

use std::{fmt, str::FromStr};

use contract::{Epoch, Kind, Timestamp};

/// The first bytes of every segment.
const MAGIC: &[u8; 4] = b"SLOG";
/// The version that this program writes, and the newest that it reads.
pub const VERSION: u16 = 1;
/// Bytes of the header.
pub const HEADER: usize = 44;

/// What stands at the beginning of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Whose records follow.
    pub kind: Kind,
    /// Of which log.
    pub epoch: Epoch,
    /// The number of the first record.
    pub first: u64,
    /// When the segment was made, by the wall clock.
    pub made_at: Timestamp,
}

/// What the first bytes of a file are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// A header that this version reads.
    Header(Header),
    /// A header of a newer version.
    Newer(u16),
    /// Nothing that can be trusted.
    Damaged,
}

impl Header {
    /// As it stands in the file.
    pub fn encode(&self) -> [u8; HEADER] {
        let mut out = [0; HEADER];
        out[..4].copy_from_slice(MAGIC);
        out[4..6].copy_from_slice(&VERSION.to_le_bytes());
        out[6] = self.kind.number();
        out[8..24].copy_from_slice(&self.epoch.0.to_be_bytes());
        out[24..32].copy_from_slice(&self.first.to_le_bytes());
        out[32..40].copy_from_slice(&self.made_at.0.to_le_bytes());
        let checksum = crc32c::crc32c(&out[..40]);
        out[40..].copy_from_slice(&checksum.to_le_bytes());
        out
    }
}

impl Opening {
    /// Reads the beginning of a file.
    pub fn read(bytes: &[u8]) -> Self {
        let Some((header, checksum)) = bytes.get(..HEADER).and_then(|h| h.split_last_chunk::<4>()) else {
            return Self::Damaged;
        };
        if !header.starts_with(MAGIC) || crc32c::crc32c(header) != u32::from_le_bytes(*checksum) {
            return Self::Damaged;
        }
        let version = u16::from_le_bytes([header[4], header[5]]);
        if version > VERSION {
            return Self::Newer(version);
        }
        let eight = |at: usize| std::array::from_fn(|i| header[at + i]);
        let epoch = Epoch(u128::from_be_bytes(std::array::from_fn(|i| header[8 + i])));
        match Kind::from_number(header[6]) {
            Some(kind) => {
                let (first, made_at) = (u64::from_le_bytes(eight(24)), Timestamp(i64::from_le_bytes(eight(32))));
                Self::Header(Header { kind, epoch, first, made_at })
            }
            None => Self::Damaged,
        }
    }
}

/// The name of a segment's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// Whose records.
    pub kind: Kind,
    /// The first number.
    pub first: u64,
    /// One past the last number; `None` while it is being written.
    pub next: Option<u64>,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Twenty digits hold every number, so that names sort as numbers do.
        write!(f, "{}-{:020}", self.kind, self.first)?;
        self.next.map_or(Ok(()), |next| write!(f, "-{next:020}"))?;
        f.write_str(".seg")
    }
}

impl FromStr for Name {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.strip_suffix(".seg").ok_or(())?.split('-');
        let number = |text: Option<&str>| text.map(|t| t.parse::<u64>().map_err(drop)).transpose();
        let kind = parts.next().and_then(|kind| kind.parse().ok()).ok_or(())?;
        let (first, next) = (number(parts.next())?.ok_or(())?, number(parts.next())?);
        let name = Self { kind, first, next };
        if parts.next().is_none() && next.is_none_or(|next| next >= first) { Ok(name) } else { Err(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_and_names_read_back() {
        let header = Header { kind: Kind::Event, epoch: Epoch(77), first: 9, made_at: Timestamp(-5) };
        let mut bytes = header.encode();
        assert_eq!(Opening::read(&bytes), Opening::Header(header));
        assert_eq!(Opening::read(&bytes[..43]), Opening::Damaged);
        bytes[30] ^= 1;
        assert_eq!(Opening::read(&bytes), Opening::Damaged);
        bytes[30] ^= 1;
        bytes[4] = 2;
        let checksum = crc32c::crc32c(&bytes[..40]);
        bytes[40..].copy_from_slice(&checksum.to_le_bytes());
        assert_eq!(Opening::read(&bytes), Opening::Newer(2));
        for name in [
            Name { kind: Kind::Event, first: 0, next: None },
            Name { kind: Kind::Sample, first: 7, next: Some(u64::MAX) },
        ] {
            assert_eq!(name.to_string().parse(), Ok(name));
        }
        for foreign in ["event-1.tmp", "event.seg", "other-1.seg", "event-2-1.seg", "event-1-2-3.seg", "reserve"] {
            assert!(foreign.parse::<Name>().is_err(), "{foreign}");
        }
    }
}
