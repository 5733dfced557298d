//! What every handler shares.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicU64},
};

use contract::{Digest, GatewayId, Timestamp};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::{
    classify::Classifier,
    handles::{Archive, Feed, Lake},
    limits::Limits,
    logs::Logs,
};
use crate::directory::Directory;

/// What the assembly gives the API.
pub struct Parts {
    /// Who is there now.
    pub directory: Directory,
    /// The lake.
    pub lake: Arc<dyn Lake>,
    /// The gateway that records made by this hub name, `hub-<instance>`.
    pub gateway: GatewayId,
    /// Ingest, when this process has the role.
    pub archive: Option<Arc<dyn Archive>>,
    /// The model that posted pictures are classified with, when one is configured.
    pub classifier: Option<Arc<Classifier>>,
    /// Every model that can be asked, that one included, by the digest of its package.
    pub models: BTreeMap<Digest, Arc<Classifier>>,
    /// What arrives.
    pub feed: Feed,
    /// The bounds.
    pub limits: Limits,
    /// Ends the streams, so that a stopping hub does not wait for them.
    pub stop: CancellationToken,
}

/// The handlers' state; a cheap clone.
pub type Shared = Arc<Api>;

/// What every handler shares.
pub struct Api {
    /// What the assembly gave.
    pub parts: Parts,
    /// The hub as a gateway.
    pub logs: Logs,
    /// Requests under way.
    pub requests: Arc<Semaphore>,
    /// Posted pictures on their way in.
    pub uploads: Arc<Semaphore>,
    /// Open streams.
    pub streams: Arc<Semaphore>,
    /// Requests that wait for a commit.
    pub commits: Arc<Semaphore>,
    /// What happened so far.
    pub facts: Arc<Facts>,
}

/// What the API counts; the hub's metrics show them.
#[derive(Debug, Default)]
pub struct Facts {
    /// Requests that came.
    pub requests: AtomicU64,
    /// Requests refused because a bound was reached.
    pub shed: AtomicU64,
    /// Answers of 500 and above, shed requests not counted.
    pub errors: AtomicU64,
    /// Frames classified.
    pub frames: AtomicU64,
    /// Records given to streams.
    pub streamed: AtomicU64,
    /// Records that streams missed because they were slow.
    pub lagged: AtomicU64,
}

impl Api {
    /// Puts the bounds up around what the assembly gave.
    pub fn new(parts: Parts) -> Shared {
        let limits = &parts.limits;
        Arc::new(Self {
            requests: Arc::new(Semaphore::new(limits.concurrency_max)),
            uploads: Arc::new(Semaphore::new(limits.uploads_max)),
            streams: Arc::new(Semaphore::new(limits.streams_max)),
            commits: Arc::new(Semaphore::new(limits.concurrency_max / 2)),
            facts: Arc::default(),
            logs: Logs::new(parts.gateway.clone()),
            parts,
        })
    }
}

/// The wall clock.
pub fn now() -> Timestamp {
    Timestamp::from_system(std::time::SystemTime::now())
}
