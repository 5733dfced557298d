//! What gateways know and the hub does not: each birth names the watermark that the gateway was told.
//!
//! A watermark is published after its commit, so a gateway can never have been told more than the tables hold; unless the
//! tables were rolled back. Then this life of the lake is over: a new incarnation begins at once, gateways forget the
//! watermark and state what they hold, and a rebuild is due, since the bucket has what the tables forgot.
//!
//! Policy *drop*: births wait in a bounded queue; one that does not fit is looked at when the gateway connects again.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use contract::{
    Kind, Principal, Timestamp,
    live::{GatewayStatus, Presence},
};
use serde::Serialize;
use store::lake_index::{LakeIndex, RangeSet};
use tokio::sync::mpsc;

use super::{
    Error,
    survey::chain,
    twins::{Twin, Twins},
};

/// Births that may wait.
const WAITING_MAX: usize = 4096;
/// Rollbacks that are remembered.
const ROLLBACKS_MAX: usize = 16;

/// The tables were found to be older than what a gateway was told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RolledBack {
    /// When it was noticed.
    pub at: Timestamp,
    /// The gateway that knew more.
    pub gateway: Principal,
    /// Of which kind.
    pub kind: Kind,
    /// Every number below was archived, as the gateway was told.
    pub told: u64,
    /// Every number below is, as the tables have it.
    pub known: u64,
}

/// What was found; a cheap clone.
#[derive(Clone, Default)]
pub struct Findings(Arc<Shared>);

#[derive(Default)]
struct Shared {
    twins: Mutex<Twins>,
    rollbacks: Mutex<VecDeque<RolledBack>>,
    rolled_back: AtomicU64,
}

impl Findings {
    /// Ids that two gateways use now.
    pub fn twins(&self, now: Timestamp) -> Vec<Twin> {
        self.0.twins.lock().unwrap_or_else(PoisonError::into_inner).twins(now)
    }

    /// Rollbacks of the tables since the start, latest last.
    pub fn rollbacks(&self) -> Vec<RolledBack> {
        self.0.rollbacks.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// How many there were.
    pub fn rollback_count(&self) -> u64 {
        self.0.rolled_back.load(Ordering::Relaxed)
    }

    fn born(&self, who: &Principal, status: &GatewayStatus, now: Timestamp) -> bool {
        let Some(epoch) = status.epoch else { return false };
        self.0.twins.lock().unwrap_or_else(PoisonError::into_inner).born(who, epoch, now)
    }

    fn note(&self, found: RolledBack) {
        self.0.rolled_back.fetch_add(1, Ordering::Relaxed);
        let mut all = self.0.rollbacks.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() == ROLLBACKS_MAX {
            all.pop_front();
        }
        all.push_back(found);
    }
}

/// Takes births to be looked at; a cheap clone.
#[derive(Clone)]
pub struct Watch {
    births: mpsc::Sender<(Principal, GatewayStatus)>,
}

impl Watch {
    /// The queue, and what looks at it: to be run as a task, ends with the last `Watch`.
    pub fn new(index: LakeIndex, findings: Findings) -> (Self, impl Future<Output = ()> + Send) {
        let (births, mut waiting) = mpsc::channel(WAITING_MAX);
        let looking = async move {
            while let Some((who, status)) = waiting.recv().await {
                let now = Timestamp::from_system(SystemTime::now());
                if let Err(error) = birth(&index, &findings, &who, &status, now).await {
                    tracing::warn!(gateway = %who, error = chain(&error), "what the gateway was told is not compared");
                }
            }
        };
        (Self { births }, looking)
    }

    /// A status document was heard.
    pub fn heard(&self, who: &Principal, status: &[u8]) {
        let Ok(status) = serde_json::from_slice::<GatewayStatus>(status) else { return };
        if status.status == Presence::Online {
            let _ = self.births.try_send((who.clone(), status)); // full: the next birth is as good
        }
    }
}

/// Looks at one birth.
pub async fn birth(
    index: &LakeIndex,
    findings: &Findings,
    who: &Principal,
    status: &GatewayStatus,
    now: Timestamp,
) -> Result<(), Error> {
    if findings.born(who, status, now) {
        tracing::error!(gateway = %who, "two gateways use one id and take turns; give one of them another id");
    }
    let (Some(told), Some(epoch)) = (&status.archived, status.epoch) else { return Ok(()) };
    let lake = index.identity().await?;
    // In whichever life: tables that were rolled back may show an earlier one.
    if told.lake != lake.lake || index.rebuild_due().await?.is_some() {
        return Ok(());
    }
    let streams = index.streams(epoch).await?;
    let committed =
        |kind: Kind| streams.iter().find(|s| s.id.kind == kind).map_or_else(RangeSet::new, |s| s.committed.clone());
    let of = |kind: &Kind| {
        let ranges = told.ranges.get(kind).into_iter().flatten().copied();
        RangeSet::from(
            std::iter::once([0, told.upto.get(kind).copied().unwrap_or(0)]).chain(ranges).collect::<Vec<_>>(),
        )
    };
    let forgotten = |kind: &&Kind| !of(kind).without(&committed(**kind)).is_empty();
    let Some(kind) = told.upto.keys().chain(told.ranges.keys()).find(forgotten) else { return Ok(()) };
    let (told, known) = (of(kind).end(), committed(*kind).upto());
    let found = RolledBack { at: now, gateway: who.clone(), kind: *kind, told, known };
    let why = format!(
        "gateway {who} was told that {kind} records up to {told} are archived, and the tables know {known}: they were rolled back"
    );
    if index.end_incarnation(&lake.incarnation, &why).await? {
        tracing::error!(why, "the tables are older than the lake; run `sightline-hub rebuild`");
    }
    findings.note(found);
    Ok(())
}
