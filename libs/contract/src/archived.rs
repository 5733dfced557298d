//! The watermark: what the hub has committed of a gateway's logs. The gateway deletes only what this names.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Epoch, Kind};

/// User property of the watermark: the kinds that this hub archives, separated by commas. A newer gateway sends no
/// record of another kind, and holds it until the hub is upgraded: it would stand in its window for ever.
pub const KINDS: &str = "kinds";

/// Retained on `down/<site>/<gateway>/archived`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Archived {
    /// Version of the document's form.
    pub schema: u16,
    /// Which lake: random, made with it.
    pub lake: String,
    /// Which life of the lake: new when it is created or restored from a backup.
    pub incarnation: String,
    /// The epochs last seen, newest first; several, so that two gateways with one id do not overwrite each other.
    pub epochs: Vec<ArchivedEpoch>,
}

/// What is committed of one epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchivedEpoch {
    /// The log.
    pub epoch: Epoch,
    /// What is committed of each kind.
    #[serde(deserialize_with = "crate::kind::known")]
    pub kinds: BTreeMap<Kind, ArchivedKind>,
}

/// What is committed of one kind of one epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchivedKind {
    /// Every number below this one is committed.
    pub upto: u64,
    /// A few later ranges that are committed too: `[from, to)`, ascending, disjoint, not touching `upto`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ranges: Vec<[u64; 2]>,
}

impl Archived {
    /// What is committed of one log and kind; `None` when the hub does not know the epoch or kind.
    pub fn of(&self, epoch: Epoch, kind: Kind) -> Option<&ArchivedKind> {
        self.epochs.iter().find(|e| e.epoch == epoch)?.kinds.get(&kind)
    }
}

impl ArchivedKind {
    /// Whether a number is committed.
    pub fn contains(&self, seq: u64) -> bool {
        seq < self.upto || self.ranges.iter().any(|[from, to]| (*from..*to).contains(&seq))
    }
}
