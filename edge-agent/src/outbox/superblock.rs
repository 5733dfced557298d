//! Who the log is and what it has been told: one small file, replaced as a whole, beside the segments.

use std::collections::BTreeMap;

use contract::{Epoch, GatewayId, Kind, Principal, SiteId, archived::ArchivedKind};
use serde::{Deserialize, Serialize};

/// The file's name in the outbox folder.
pub const FILE: &str = "superblock.json";
/// The version that this program writes, and the newest that it reads.
pub const VERSION: u16 = 1;

/// As many later ranges as a hub names of one kind.
const RANGES_NAMED: usize = 32;

/// Frames of one camera that one run of the agent may number: ten years at 30 frames a second.
const FRAMES_A_RUN: u64 = 10_000_000_000;

/// The file's contents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Superblock {
    /// Version of the folder's form.
    pub version: u16,
    /// CRC-32C of the file with zeroes in this place, in hex: a flipped bit must not make it another gateway's log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) checksum: Option<String>,
    /// The log.
    pub epoch: Epoch,
    /// Whose site.
    pub site: SiteId,
    /// Whose log.
    pub gateway: GatewayId,
    /// How often an agent has begun to write this log.
    pub starts: u64,
    /// What the hub has said.
    #[serde(default)]
    pub known: Known,
    /// Records of an older log that still have to be written again under this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carry: Option<Carry>,
}

/// The last lake, and the furthest watermark of this log that it gave.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Lake and incarnation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lake: Option<(String, String)>,
    /// Every number below was said to be committed, by this life of the lake.
    #[serde(default)]
    pub upto: BTreeMap<Kind, u64>,
    /// Later numbers that it last said are committed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ranges: BTreeMap<Kind, Vec<[u64; 2]>>,
    /// The furthest that any life of this lake has said: tables that were rolled back may show a life that was over.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub told: BTreeMap<Kind, ArchivedKind>,
}

impl Known {
    /// The lake speaks of a kind; whether that is news.
    pub fn hear(&mut self, kind: Kind, mark: &ArchivedKind) -> bool {
        let (upto, ranges) = (self.upto.entry(kind).or_default(), self.ranges.entry(kind).or_default());
        let news = mark.upto > *upto || mark.ranges != *ranges;
        *upto = mark.upto.max(*upto);
        ranges.clone_from(&mark.ranges);
        let told = self.told.entry(kind).or_default();
        if covers(mark, told) {
            told.clone_from(mark);
        }
        news
    }

    /// Whether a mark of this life says less than was said before. A hub names only so many later numbers, so that one which
    /// names as many as it can may leave some out.
    pub fn is_more_than(&self, kind: Kind, mark: &ArchivedKind) -> bool {
        let upto = self.upto.get(&kind).copied().unwrap_or_default();
        let ranges = self.ranges.get(&kind).cloned().unwrap_or_default();
        mark.upto < upto || mark.ranges.len() < RANGES_NAMED && !covers(mark, &ArchivedKind { upto, ranges })
    }

    /// Another lake speaks, or another life of the same one.
    pub fn turn_to(&mut self, lake: (String, String)) {
        if self.lake.as_ref().is_none_or(|(before, _)| *before != lake.0) {
            self.told.clear();
        }
        self.upto.clear();
        self.ranges.clear();
        self.lake = Some(lake);
    }

    /// Another log begins, of which nothing was said.
    pub fn forget(&mut self) {
        self.upto.clear();
        self.ranges.clear();
        self.told.clear();
    }
}

/// Whether every number of `small` is among those of `large`.
fn covers(large: &ArchivedKind, small: &ArchivedKind) -> bool {
    let held = |[from, to]: [u64; 2]| {
        to <= large.upto
            || large.ranges.iter().any(|[a, b]| (*a <= from || large.upto >= *a && from <= large.upto) && to <= *b)
    };
    small.upto <= large.upto && small.ranges.iter().copied().all(held)
}

/// A log that was given up since the hub knew more of it than was here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carry {
    /// That log.
    pub epoch: Epoch,
    /// What became of each kind.
    pub kinds: BTreeMap<Kind, Left>,
    /// The file that is being written again, and the number that its first record gets; known before the first is written,
    /// so that a killed agent writes none twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub under_way: Option<(String, u64)>,
}

/// What was left of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// Numbers from here on were written after the restoration: the hub's records of the same numbers are others.
    pub since: u64,
    /// What the hub had committed of it.
    pub mark: ArchivedKind,
}

/// What stands in the checksum's place while it is computed.
const UNSIGNED: &str = "00000000";

/// Where the checksum's digits stand in a file.
fn checksum_at(bytes: &[u8]) -> Option<usize> {
    const KEY: &[u8] = b"\"checksum\": \"";
    let at = bytes.windows(KEY.len()).position(|window| window == KEY)? + KEY.len();
    (at + UNSIGNED.len() <= bytes.len()).then_some(at)
}

/// Whether a file is what was written; the first version had no checksum.
fn is_sound(bytes: &[u8]) -> bool {
    let Some(at) = checksum_at(bytes) else { return true };
    let (mut unsigned, end) = (bytes.to_vec(), at + UNSIGNED.len());
    unsigned[at..end].copy_from_slice(UNSIGNED.as_bytes());
    bytes[at..end] == *format!("{:08x}", crc32c::crc32c(&unsigned)).as_bytes()
}

/// What is read before anything else.
#[derive(Deserialize)]
struct Version {
    version: u16,
}

/// What the file says.
#[derive(Debug)]
pub enum Contents {
    /// Who the log is.
    Known(Box<Superblock>),
    /// Written by a newer version.
    Newer(u16),
    /// Nothing that can be read.
    Damaged,
}

impl Superblock {
    /// A new log of a gateway.
    pub fn new(epoch: Epoch, owner: &Principal) -> Self {
        let (site, gateway) = (owner.site.clone(), owner.gateway.clone());
        Self { version: VERSION, checksum: None, epoch, site, gateway, starts: 0, known: Known::default(), carry: None }
    }

    /// Whether the log is this gateway's.
    pub fn belongs_to(&self, owner: &Principal) -> bool {
        self.site == owner.site && self.gateway == owner.gateway
    }

    /// As it stands in the file.
    pub fn encode(&self) -> Vec<u8> {
        let unsigned = Self { checksum: Some(UNSIGNED.into()), ..self.clone() };
        let mut bytes = serde_json::to_vec_pretty(&unsigned).unwrap_or_default();
        if let Some(at) = checksum_at(&bytes) {
            let checksum = format!("{:08x}", crc32c::crc32c(&bytes));
            bytes[at..at + UNSIGNED.len()].copy_from_slice(checksum.as_bytes());
        }
        bytes
    }

    /// Reads the file.
    pub fn decode(bytes: &[u8]) -> Contents {
        match serde_json::from_slice::<Version>(bytes) {
            Ok(Version { version }) if version > VERSION => return Contents::Newer(version),
            _ => {}
        }
        if !is_sound(bytes) {
            return Contents::Damaged;
        }
        serde_json::from_slice(bytes).map_or(Contents::Damaged, |known| Contents::Known(Box::new(known)))
    }

    /// Where this run counts frames from, so that a frame's id is unique in its log.
    pub fn frames_from(&self) -> u64 {
        self.starts.saturating_sub(1).saturating_mul(FRAMES_A_RUN)
    }
}
