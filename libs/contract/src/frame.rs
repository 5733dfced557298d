//! The archive lane, byte by byte: records, the frames that carry them, and bundles of frames.
//!
//! A **record** is a header and a body in JSON, then the body's blobs. All integers are little-endian.
//!
//! ```text
//! record  u32 header length | header, JSON | u32 body length | body, JSON | blobs, to the end
//! frame    0  u32  length of what follows the checksum (32 + payload)
//!          4  u32  CRC-32C of what follows
//!          8  u8   frame version, 1
//!          9  u8   kind
//!         10  u16  fragment index, from 0
//!         12  u16  fragment count, 1 for a whole record
//!         14  u16  reserved, 0
//!         16  16   epoch, most significant byte first
//!         32  u64  seq
//!         40  …    payload: the record, or this fragment of it
//! bundle  "SLB1" | frame | frame | …           one MQTT message
//! ```
//!
//! A record larger than a message travels as fragments of the same `(epoch, kind, seq)`; it has arrived when all are there.

use std::fmt;

use serde::{Serialize, de::DeserializeOwned};

use crate::{Epoch, Header, Kind};

/// The first bytes of every bundle.
pub const MAGIC: &[u8; 4] = b"SLB1";
/// The frame version that this version writes.
pub const VERSION: u8 = 1;
/// Bytes of a frame before its payload.
pub const OVERHEAD: usize = 40;
/// The longest record, fragments together: 16 MiB. A larger one is refused where it is made.
pub const RECORD_MAX: usize = 16 << 20;
/// The longest message on the archive lane unless configured otherwise: brokers of cloud vendors cap it here.
pub const MESSAGE_MAX: usize = 256 << 10;

/// User property of an archive message: when it was sent, RFC 3339 by the gateway's clock. Lets the hub tell a slow
/// clock from an old record.
pub const SENT_AT: &str = "sent_at";

/// Where a frame belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    /// The log.
    pub epoch: Epoch,
    /// The kind's wire number; see [`Kind::from_number`].
    pub kind: u8,
    /// The record's number in its log and kind.
    pub seq: u64,
}

/// One frame, borrowed from the bundle that brought it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The frame version; payloads of a version above [`VERSION`] cannot be read yet and are kept whole.
    pub version: u8,
    /// Where it belongs.
    pub address: Address,
    /// Which fragment, from 0.
    pub index: u16,
    /// Of how many; 1 for a whole record.
    pub count: u16,
    /// The record, or this fragment of it.
    pub payload: &'a [u8],
}

/// Why bytes are not a bundle, a frame or a record.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The message does not begin with [`MAGIC`].
    #[error("message is not a bundle: it does not begin with SLB1")]
    Magic,
    /// The message ends inside a frame.
    #[error("bundle is torn at byte {at}: it ends inside a frame")]
    Torn {
        /// Offset of the frame in the message.
        at: usize,
    },
    /// The checksum is wrong.
    #[error("frame at byte {at} has a wrong checksum")]
    Checksum {
        /// Offset of the frame in the message.
        at: usize,
    },
    /// A right checksum over nonsense: a fragment index at or beyond its count.
    #[error("frame at byte {at} is fragment {index} of {count}")]
    Fragment {
        /// Offset of the frame in the message.
        at: usize,
        /// The fragment's index.
        index: u16,
        /// The fragments' count.
        count: u16,
    },
    /// The record is longer than [`RECORD_MAX`] or needs more than 65535 fragments.
    #[error("record of {bytes} bytes is longer than {RECORD_MAX}")]
    TooLong {
        /// The record's length.
        bytes: usize,
    },
    /// The record ends inside one of its parts.
    #[error("record ends inside its {part}")]
    Short {
        /// Which part.
        part: &'static str,
    },
    /// A part is not the JSON that it should be.
    #[error("record's {part} cannot be read")]
    Json {
        /// Which part.
        part: &'static str,
        /// What the parser says.
        source: serde_json::Error,
    },
}

/// Writes a record: header, body, blobs.
pub fn encode_record<B: Serialize>(header: &Header, body: &B, blobs: &[&[u8]]) -> Result<Vec<u8>, Error> {
    let mut out = Vec::with_capacity(1024 + blobs.iter().map(|b| b.len()).sum::<usize>());
    json_part(&mut out, "header", header)?;
    json_part(&mut out, "body", body)?;
    blobs.iter().for_each(|blob| out.extend_from_slice(blob));
    if out.len() > RECORD_MAX {
        return Err(Error::TooLong { bytes: out.len() });
    }
    Ok(out)
}

fn json_part<T: Serialize>(out: &mut Vec<u8>, part: &'static str, value: &T) -> Result<(), Error> {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    serde_json::to_writer(&mut *out, value).map_err(|source| Error::Json { part, source })?;
    let length = u32::try_from(out.len() - at - 4).map_err(|_| Error::TooLong { bytes: out.len() })?;
    out[at..at + 4].copy_from_slice(&length.to_le_bytes());
    Ok(())
}

/// A record's three parts, borrowed.
#[derive(Clone, Copy, Debug)]
pub struct RecordParts<'a> {
    /// JSON of the [`Header`].
    pub header: &'a [u8],
    /// JSON of the body.
    pub body: &'a [u8],
    /// The blobs, one after the other; their lengths stand in the body.
    pub blobs: &'a [u8],
}

impl<'a> RecordParts<'a> {
    /// Finds the parts of a whole record.
    pub fn split(record: &'a [u8]) -> Result<Self, Error> {
        let (header, rest) = length_prefixed(record, "header")?;
        let (body, blobs) = length_prefixed(rest, "body")?;
        Ok(Self { header, body, blobs })
    }

    /// Parses the header.
    pub fn parse_header(&self) -> Result<Header, Error> {
        parse("header", self.header)
    }

    /// Parses the body as what the header's kind says.
    pub fn parse_body<B: DeserializeOwned>(&self) -> Result<B, Error> {
        parse("body", self.body)
    }
}

fn parse<T: DeserializeOwned>(part: &'static str, json: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(json).map_err(|source| Error::Json { part, source })
}

fn length_prefixed<'a>(bytes: &'a [u8], part: &'static str) -> Result<(&'a [u8], &'a [u8]), Error> {
    let (length, rest) = bytes.split_first_chunk().ok_or(Error::Short { part })?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or(Error::Short { part })
}

/// Appends one frame to `out`.
pub fn write_frame(out: &mut Vec<u8>, address: Address, index: u16, count: u16, payload: &[u8]) {
    let start = out.len();
    out.extend_from_slice(&((OVERHEAD - 8 + payload.len()) as u32).to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&[VERSION, address.kind]);
    out.extend_from_slice(&index.to_le_bytes());
    out.extend_from_slice(&count.to_le_bytes());
    out.extend_from_slice(&[0; 2]);
    out.extend_from_slice(&address.epoch.0.to_be_bytes());
    out.extend_from_slice(&address.seq.to_le_bytes());
    out.extend_from_slice(payload);
    let checksum = crc32c::crc32c(&out[start + 8..]);
    out[start + 4..start + 8].copy_from_slice(&checksum.to_le_bytes());
}

/// How a record is cut so that no message is longer than `message_max`: ranges of the record, in order.
pub fn fragments(record_len: usize, message_max: usize) -> Result<impl Iterator<Item = std::ops::Range<usize>>, Error> {
    let room = message_max.saturating_sub(MAGIC.len() + OVERHEAD).max(1);
    let count = record_len.div_ceil(room).max(1);
    if record_len > RECORD_MAX || count > usize::from(u16::MAX) {
        return Err(Error::TooLong { bytes: record_len });
    }
    Ok((0..count).map(move |i| i * room..((i + 1) * room).min(record_len)))
}

/// The frames of a bundle, in order. After the first error nothing more comes: lengths can no longer be trusted.
pub fn frames(message: &[u8]) -> Frames<'_> {
    Frames { message, at: 0 }
}

/// Iterator over the frames of a bundle; see [`frames`].
pub struct Frames<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Frame<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at == 0 {
            if !self.message.starts_with(MAGIC) {
                self.at = usize::MAX;
                return Some(Err(Error::Magic));
            }
            self.at = MAGIC.len();
        }
        if self.at >= self.message.len() {
            return None;
        }
        let at = self.at;
        let result = read_frame(&self.message[at..], at);
        self.at = match &result {
            Ok(frame) => at + OVERHEAD + frame.payload.len(),
            Err(_) => usize::MAX,
        };
        Some(result)
    }
}

/// The frame at the beginning of `bytes`, as a log's file holds it: without a bundle around it. What follows is not looked at.
pub fn first_frame(bytes: &[u8]) -> Result<Frame<'_>, Error> {
    read_frame(bytes, 0)
}

fn read_frame(bytes: &[u8], at: usize) -> Result<Frame<'_>, Error> {
    let torn = || Error::Torn { at };
    let (length, rest) = bytes.split_first_chunk().ok_or_else(torn)?;
    let (checksum, rest) = rest.split_first_chunk().ok_or_else(torn)?;
    let length = u32::from_le_bytes(*length) as usize;
    let covered = rest.get(..length).filter(|c| c.len() >= OVERHEAD - 8).ok_or_else(torn)?;
    if crc32c::crc32c(covered) != u32::from_le_bytes(*checksum) {
        return Err(Error::Checksum { at });
    }
    let u16_at = |i: usize| u16::from_le_bytes([covered[i], covered[i + 1]]);
    let (index, count) = (u16_at(2), u16_at(4));
    if index >= count {
        return Err(Error::Fragment { at, index, count });
    }
    let (head, payload) = covered.split_at(OVERHEAD - 8);
    let mut epoch = [0; 16];
    epoch.copy_from_slice(&head[8..24]);
    let mut seq = [0; 8];
    seq.copy_from_slice(&head[24..32]);
    let address = Address { epoch: Epoch(u128::from_be_bytes(epoch)), kind: head[1], seq: u64::from_le_bytes(seq) };
    Ok(Frame { version: head[0], address, index, count, payload })
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = Kind::from_number(self.kind).map_or_else(|| format!("kind {}", self.kind), |k| k.to_string());
        write!(f, "{kind} {} of epoch {}", self.seq, self.epoch)
    }
}
