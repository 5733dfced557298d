//! What must be true at any time, whatever has happened so far.

use std::collections::BTreeMap;

use contract::{Archived, Epoch, Kind};
use edge_agent::outbox::{KINDS, LOADED};
use store::lake_index::{LakeIndex, RangeSet};

use super::{HUBS, World};
use crate::gateway::LIMITS;

/// Bytes that ingest may hold: a batch that is filled, one that is flushed, fragments.
const INGEST_BYTES_MAX: u64 = 256 << 10;
/// Bytes by which a gateway may exceed its window: the message that filled it, or one large record.
const BEYOND_WINDOW: u64 = 16 << 10;
/// The least that a record takes of the window.
const RECORD_BYTES_MIN: u64 = 64;

/// A number up to which all of a kind is in the lake, by life of the lake.
type Marks = BTreeMap<(String, Epoch, Kind), u64>;

/// What may only grow.
#[derive(Default)]
pub(super) struct Grown {
    /// What the tables have committed.
    committed: Marks,
    /// What each process has said of it.
    said: BTreeMap<u64, Marks>,
}

impl Grown {
    /// Whether a process has said anything.
    pub fn has_said(&self, process: u64) -> bool {
        self.said.contains_key(&process)
    }

    /// Somebody has put the tables back: the life of the lake is told from the one before only once a gateway has seen it.
    pub fn forget_committed(&mut self) {
        self.committed.clear();
    }
}

impl World<'_> {
    /// Looks at everything.
    pub(super) async fn look(&mut self) -> anyhow::Result<()> {
        self.look_at_memory();
        let published = std::mem::take(&mut self.published);
        if published.is_empty() {
            return Ok(());
        }
        let (index, _) = self.lake.open().await?;
        let lake = index.identity().await?;
        for (process, document) in published {
            if (&document.lake, &document.incarnation) == (&lake.lake, &lake.incarnation) {
                self.look_at_watermark(&index, process, document).await?;
            }
        }
        Ok(())
    }

    /// Memory is bounded by stated numbers.
    fn look_at_memory(&mut self) {
        for at in 0..HUBS {
            let Some(hub) = &self.hubs[at] else { continue };
            let held = hub.ingest.stats.backlog_bytes();
            if held > INGEST_BYTES_MAX {
                self.violation(format!("ingest holds {held} bytes"));
            }
        }
        for at in 0..self.gateways.len() {
            let Some(agent) = &self.gateways[at].agent else { continue };
            let (_, under_way) = agent.archive.progress();
            let remembered = agent.archive.remembered() as u64;
            let loaded = agent.outbox.index(|index| {
                let loaded = |kind| index.segments(kind).filter(|segment| segment.spans.is_some()).count();
                KINDS.into_iter().map(loaded).max().unwrap_or_default()
            });
            if under_way > LIMITS.window_bytes + BEYOND_WINDOW {
                self.violation(format!("gateway {at} has {under_way} bytes under way"));
            }
            if remembered > (LIMITS.window_bytes + BEYOND_WINDOW) / RECORD_BYTES_MIN {
                self.violation(format!("gateway {at} remembers {remembered} runs"));
            }
            if loaded > LOADED + 1 {
                self.violation(format!("gateway {at} knows the places of {loaded} segments of a kind"));
            }
        }
    }

    /// A watermark says what is committed, and in one life of the lake neither the tables nor any process says less than
    /// before.
    async fn look_at_watermark(&mut self, index: &LakeIndex, process: u64, document: Archived) -> anyhow::Result<()> {
        let nothing = RangeSet::default();
        for epoch in document.epochs {
            let streams = index.streams(epoch.epoch).await?;
            for (kind, mark) in epoch.kinds {
                let committed = streams.iter().find(|s| s.id.kind == kind).map_or(&nothing, |s| &s.committed);
                let upto = committed.upto();
                let later = |[from, to]: &[u64; 2]| (*from..*to).all(|number| committed.contains(number));
                let of = format!("{kind} of {}", epoch.epoch);
                if mark.upto > upto || !mark.ranges.iter().all(later) {
                    self.violation(format!("{of} is said to be archived: {mark:?}, committed is {committed:?}"));
                }
                let key = (document.incarnation.clone(), epoch.epoch, kind);
                let before = self.grown.committed.insert(key.clone(), upto).unwrap_or_default();
                if upto < before {
                    self.violation(format!("{of} was committed up to {before}, now up to {upto}"));
                }
                let said = self.grown.said.entry(process).or_default();
                let before = said.insert(key, mark.upto).unwrap_or_default();
                if mark.upto < before {
                    self.violation(format!("{of} was said to be archived up to {before}, then up to {}", mark.upto));
                }
            }
        }
        Ok(())
    }
}
