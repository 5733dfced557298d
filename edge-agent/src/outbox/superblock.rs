//! Who the log is and what it has been told: one small file, replaced as a whole, beside the segments.

use std::collections::BTreeMap;

use contract::{Epoch, GatewayId, Kind, Principal, SiteId, archived::ArchivedKind};
use serde::{Deserialize, Serialize};

/// The file's name in the outbox folder.
pub const FILE: &str = "superblock.json";
/// The version that this program writes, and the newest that it reads.
pub const VERSION: u16 = 1;

/// Frames of one camera that one run of the agent may number: ten years at 30 frames a second.
const FRAMES_A_RUN: u64 = 10_000_000_000;

/// The file's contents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Superblock {
    /// Version of the folder's form.
    pub version: u16,
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
    /// The same, by any life of this lake: tables that were rolled back may show a life that was over.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub told: BTreeMap<Kind, u64>,
}

impl Known {
    /// A kind is committed up to here; whether that is news.
    pub fn hear(&mut self, kind: Kind, upto: u64) -> bool {
        let (known, told) = (self.upto.entry(kind).or_default(), self.told.entry(kind).or_default());
        let news = upto > *known;
        *known = upto.max(*known);
        *told = upto.max(*told);
        news
    }

    /// Another lake speaks, or another life of the same one.
    pub fn turn_to(&mut self, lake: (String, String)) {
        if self.lake.as_ref().is_none_or(|(before, _)| *before != lake.0) {
            self.told.clear();
        }
        self.upto.clear();
        self.lake = Some(lake);
    }
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
        Self { version: VERSION, epoch, site, gateway, starts: 0, known: Known::default(), carry: None }
    }

    /// Whether the log is this gateway's.
    pub fn belongs_to(&self, owner: &Principal) -> bool {
        self.site == owner.site && self.gateway == owner.gateway
    }

    /// As it stands in the file.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).unwrap_or_default()
    }

    /// Reads the file.
    pub fn decode(bytes: &[u8]) -> Contents {
        match serde_json::from_slice::<Version>(bytes) {
            Ok(Version { version }) if version > VERSION => return Contents::Newer(version),
            _ => {}
        }
        serde_json::from_slice(bytes).map_or(Contents::Damaged, |known| Contents::Known(Box::new(known)))
    }

    /// Where this run counts frames from, so that a frame's id is unique in its log.
    pub fn frames_from(&self) -> u64 {
        self.starts.saturating_sub(1).saturating_mul(FRAMES_A_RUN)
    }
}
