//! The hub as a gateway: records made in this process, handed to ingest without the broker.
//!
//! The hub is the gateway `hub-<instance>` of whatever site a request names, with a new epoch for each site at each
//! start. Policy *refuse*: when ingest's inbox is full, the caller is told at once. Numbers are given out only with a
//! place in the inbox, so that logs stay dense.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use contract::{
    CameraId, CaptureSource, Epoch, FrameId, GatewayId, Header, Kind, ModelRef, RegionId, SiteId, Timestamp,
};
use tokio::sync::{broadcast, mpsc, oneshot};

use crate::lake::{Body, Record};

/// How many sites one hub process can stand in for; each costs a few hundred bytes.
const SITES_MAX: usize = 4096;

/// A record to be, without what ingest gives: gateway, epoch and number.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The site, from the request.
    pub site: SiteId,
    /// The camera, from the request.
    pub camera: Option<CameraId>,
    /// The region.
    pub region: Option<RegionId>,
    /// When the picture was taken.
    pub captured_at: Timestamp,
    /// Where that time comes from.
    pub captured_source: CaptureSource,
    /// The trace, when one is recorded.
    pub traceparent: Option<String>,
    /// The model that was asked.
    pub model: Option<ModelRef>,
    /// The frame; see [`Handle::frame_id`].
    pub frame_id: Option<FrameId>,
    /// What is recorded.
    pub body: Body,
    /// A sample's picture and input, one after the other; else empty.
    pub blobs: Bytes,
}

/// What arrived and was accepted, for those who watch; blobs are left out.
#[derive(Clone, Debug)]
pub struct Arrived {
    /// The record.
    pub record: Record,
    /// When the hub received it.
    pub received_at: Timestamp,
}

/// Why drafts were not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// The inbox is full: try again later.
    #[error("ingest is overloaded: its inbox is full; try again in a second")]
    Overloaded,
    /// Ingest has stopped.
    #[error("ingest is stopping and takes no more records")]
    Stopped,
    /// More sites than one process stands in for.
    #[error("site {0} is one more than the {SITES_MAX} sites that one hub process can stand in for")]
    TooManySites(SiteId),
    /// A draft contradicts itself.
    #[error("record cannot be taken: {0}")]
    Invalid(String),
}

/// Accepted records; see [`Receipt::committed`].
#[derive(Debug)]
pub struct Receipt {
    done: oneshot::Receiver<()>,
}

impl Receipt {
    /// Waits until the records are in the lake. `Err` when ingest stopped before: then nothing is promised.
    pub async fn committed(self) -> Result<(), SubmitError> {
        self.done.await.map_err(|_| SubmitError::Stopped)
    }
}

/// Records that came in together and are committed together.
pub(super) struct Submission {
    pub records: Vec<Record>,
    pub done: oneshot::Sender<()>,
}

/// The way into ingest for the other roles; a cheap clone.
#[derive(Clone)]
pub struct Handle(Arc<Shared>);

struct Shared {
    gateway: GatewayId,
    boot_id: Arc<str>,
    started: std::time::Instant,
    inbox: mpsc::Sender<Submission>,
    arrived: broadcast::Sender<Arc<Arrived>>,
    sites: Mutex<HashMap<SiteId, Log>>,
}

/// The hub's log for one site.
struct Log {
    epoch: Epoch,
    next: HashMap<Kind, u64>,
    frames: HashMap<CameraId, u64>,
}

/// Cameras counted for one site before their counters are forgotten with the epoch.
const CAMERAS_MAX: usize = 4096;

impl Handle {
    pub(super) fn new(
        gateway: GatewayId,
        inbox: mpsc::Sender<Submission>,
        arrived: broadcast::Sender<Arc<Arrived>>,
    ) -> Self {
        // `monotonic_us` counts from this process's start, so its "boot" is the process.
        let boot_id = format!("{:032x}", crate::lake::random_u128());
        Self(Arc::new(Shared {
            gateway,
            boot_id: boot_id.into(),
            started: std::time::Instant::now(),
            inbox,
            arrived,
            sites: Mutex::default(),
        }))
    }

    /// The gateway that the hub's own records name.
    pub fn gateway(&self) -> &GatewayId {
        &self.0.gateway
    }

    /// The next frame's id for a camera of a site.
    pub fn frame_id(&self, site: &SiteId, camera: &CameraId) -> Result<FrameId, SubmitError> {
        self.with_log(site, |log| {
            if log.frames.len() >= CAMERAS_MAX && !log.frames.contains_key(camera) {
                *log = Log::new(); // a new epoch: counters may begin again
            }
            let counter = log.frames.entry(camera.clone()).or_default();
            let id = FrameId { epoch: log.epoch, camera: camera.clone(), counter: *counter };
            *counter += 1;
            id
        })
    }

    /// Hands over records that belong together (as a prediction and its sample): all are taken, or none.
    pub fn submit(&self, drafts: Vec<Draft>) -> Result<Receipt, SubmitError> {
        for draft in &drafts {
            check(draft)?;
        }
        let permit = self.0.inbox.try_reserve().map_err(|error| match error {
            mpsc::error::TrySendError::Full(()) => SubmitError::Overloaded,
            mpsc::error::TrySendError::Closed(()) => SubmitError::Stopped,
        })?;
        for site in drafts.iter().map(|d| &d.site) {
            self.with_log(site, |_| ())?; // every log is there before the first number is given out
        }
        let records = drafts.into_iter().map(|draft| self.number(draft)).collect::<Result<Vec<_>, _>>()?;
        let (sender, done) = oneshot::channel();
        permit.send(Submission { records, done: sender });
        Ok(Receipt { done })
    }

    /// Everything that arrives from now on. Bounded: a receiver that lags is told how many it missed.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Arrived>> {
        self.0.arrived.subscribe()
    }

    fn number(&self, draft: Draft) -> Result<Record, SubmitError> {
        let kind = draft.body.kind();
        let (epoch, seq) = self.with_log(&draft.site, |log| {
            let next = log.next.entry(kind).or_default();
            *next += 1;
            (log.epoch, *next - 1)
        })?;
        let header = Header {
            schema: contract::SCHEMA,
            kind,
            site: draft.site,
            gateway: self.0.gateway.clone(),
            camera: draft.camera,
            region: draft.region,
            epoch,
            seq,
            captured_at: draft.captured_at,
            captured_source: draft.captured_source,
            monotonic_us: u64::try_from(self.0.started.elapsed().as_micros()).unwrap_or(u64::MAX),
            boot_id: self.0.boot_id.clone(),
            traceparent: draft.traceparent,
            model: draft.model,
            frame_id: draft.frame_id,
        };
        Ok(Record { header, body: draft.body, blobs: draft.blobs })
    }

    fn with_log<T>(&self, site: &SiteId, act: impl FnOnce(&mut Log) -> T) -> Result<T, SubmitError> {
        let mut sites = self.0.sites.lock().unwrap_or_else(PoisonError::into_inner);
        if !sites.contains_key(site) {
            if sites.len() >= SITES_MAX {
                return Err(SubmitError::TooManySites(site.clone()));
            }
            sites.insert(site.clone(), Log::new());
        }
        sites.get_mut(site).map(act).ok_or(SubmitError::Stopped)
    }
}

impl Log {
    fn new() -> Self {
        Self { epoch: Epoch(crate::lake::random_u128()), next: HashMap::new(), frames: HashMap::new() }
    }
}

fn check(draft: &Draft) -> Result<(), SubmitError> {
    let record_len = draft.blobs.len() + 4096;
    if record_len > contract::frame::RECORD_MAX {
        return Err(SubmitError::Invalid(format!("{} bytes of blobs are too many", draft.blobs.len())));
    }
    if let Body::Sample(sample) = &draft.body {
        let input = sample.input.as_ref().map_or(0, |i| i.bytes);
        if sample.picture.bytes.checked_add(input) != Some(draft.blobs.len() as u64) {
            return Err(SubmitError::Invalid("blobs are not as long as the sample states".to_owned()));
        }
    }
    Ok(())
}
