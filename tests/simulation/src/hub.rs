//! A hub's process: ingest as the program starts it, on gated tables and objects, with a simulated session.

use std::time::Duration;

use cloud::{
    clock,
    ingest::{self, Ingest},
    upkeep::{self, Claim, Findings},
};
use contract::{Principal, live::GatewayStatus};
use daemon::{
    admin::Readiness,
    liveness::Liveness,
    tasks::{Stop, Tasks},
};
use link::FarEnd;
use store::{lake_index::LakeIndex, objects::Objects, simulation::Careless};

use crate::{gate::Life, lake::Lake};

/// The longest time that a record waits for its flush.
pub const FLUSH: Duration = Duration::from_secs(10);
/// How old an object without a commit must be to be deleted: the shortest that a hub allows.
const ORPHAN_GRACE: Duration = Duration::from_secs(3600);
const READER_GRACE: Duration = Duration::from_secs(600);

/// A running hub.
pub struct Hub {
    pub life: Life,
    pub far: FarEnd,
    pub connected: bool,
    pub ingest: Ingest,
    index: LakeIndex,
    objects: Objects,
    findings: Findings,
    tasks: Tasks,
    _readiness: Readiness,
}

/// One turn of upkeep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Retired objects.
    Sweep,
    /// Objects without a commit.
    Orphans,
    /// Small objects into larger ones.
    Compact,
}

impl Hub {
    /// Starts; `None` when the lake must be rebuilt first.
    pub async fn start(life: Life, lake: &Lake, careless: Careless) -> anyhow::Result<Option<Self>> {
        let (index, objects) = lake.reached_by(&life, careless).await?;
        if let Claim::Rebuild(_) = upkeep::claim(&index, &objects, clock::wall()).await? {
            return Ok(None);
        }
        let (session, events, far) = link::simulated();
        let readiness = Readiness::new();
        let tasks = Tasks::new(Stop::new());
        let options = ingest::Options {
            prefix: "sightline".into(),
            gateway: "hub-simulated".parse()?,
            flush_interval: FLUSH,
            flush_bytes: 6 << 10,
            fragments: ingest::Limits::default(),
            dead_bytes: 1 << 20,
        };
        let parts = ingest::Parts {
            bus: (session, events),
            objects: objects.clone(),
            index: index.clone(),
            ready: readiness.component("broker"),
            tasks: tasks.clone(),
            pulse: Liveness::new(FLUSH).pulse("ingest"),
        };
        let ingest = ingest::start(options, parts);
        let findings = Findings::default();
        Ok(Some(Self { life, far, connected: false, ingest, index, objects, findings, tasks, _readiness: readiness }))
    }

    /// A birth was heard.
    pub fn hear(&self, who: Principal, status: GatewayStatus) {
        let (index, findings) = (self.index.clone(), self.findings.clone());
        tokio::spawn(async move { upkeep::birth(&index, &findings, &who, &status, clock::wall()).await });
    }

    /// Does one of upkeep's turns, some time.
    pub fn keep_up(&self, turn: Turn, has_grace: bool) {
        let (index, objects) = (self.index.clone(), self.objects.clone());
        tokio::spawn(async move {
            let now = clock::wall();
            let orphan_grace = if has_grace { ORPHAN_GRACE } else { Duration::ZERO };
            match turn {
                Turn::Sweep => upkeep::sweep(&index, &objects, READER_GRACE, now).await.map(drop),
                Turn::Orphans => upkeep::orphans(&index, &objects, orphan_grace, now).await.map(drop),
                Turn::Compact => upkeep::compact(&index, &objects, Duration::ZERO, now).await.map(drop),
            }
        });
    }

    /// Killed.
    pub fn kill(self) {
        self.life.end();
        for name in self.tasks.running() {
            self.tasks.abort(&name);
        }
    }
}
