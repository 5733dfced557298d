//! What the API asks of roles that it does not import; the assembly passes these in.

use std::{ops::Range, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use contract::{
    CameraId, Epoch, Event, FrameId, GatewayId, Header, Kind, Prediction, Principal, RegionId, SiteId, Timestamp,
    frame::Address,
};
use serde::Serialize;
use tokio::sync::{broadcast, oneshot};
use utoipa::ToSchema;

use crate::lake::Row;

/// Why ingest does not take records now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Its queue is full.
    #[error("ingest's queue is full")]
    Full,
    /// It is stopping, or gone.
    #[error("ingest is stopping")]
    Stopping,
}

/// Ingest, as a gateway without a broker between.
pub trait Archive: Send + Sync {
    /// Hands over whole records ([`contract::frame::encode_record`]) that belong together; never waits.
    ///
    /// The receiver answers once all of them are committed, and fails when ingest stops before.
    fn submit(&self, from: &Principal, records: Vec<(Address, Bytes)>) -> Result<oneshot::Receiver<()>, Refused>;
}

/// A record as it arrives, for the stream.
#[derive(Clone, Debug)]
pub struct Notice {
    /// The record's header; its kind is `prediction` or `event`.
    pub header: Header,
    /// What filters look at: a prediction's best label, an event's `after`.
    pub label: Option<Arc<str>>,
    /// Its score, 0 to 1.
    pub score: f32,
    /// The record as on the live lane, one line of JSON.
    pub json: Arc<str>,
}

impl Notice {
    /// Of a prediction.
    pub fn prediction(header: &Header, body: &Prediction) -> Option<Self> {
        let score = body.scores.first().copied().unwrap_or(0.0);
        Self::new(header, body, body.labels.first().cloned(), score)
    }

    /// Of an event.
    pub fn event(header: &Header, body: &Event) -> Option<Self> {
        Self::new(header, body, body.after.clone(), body.score)
    }

    fn new(header: &Header, body: impl serde::Serialize, label: Option<Arc<str>>, score: f32) -> Option<Self> {
        #[derive(serde::Serialize)]
        struct Live<'a, B> {
            #[serde(flatten)]
            header: &'a Header,
            #[serde(flatten)]
            body: B,
        }
        let json = serde_json::to_string(&Live { header, body }).ok()?;
        Some(Self { header: header.clone(), label, score, json: json.into() })
    }

    /// Which kind of record.
    pub fn kind(&self) -> Kind {
        self.header.kind
    }
}

/// Where arriving records are announced to the open streams. Policy *drop*: sending never waits, and a stream that
/// falls behind is told how many records it missed.
#[derive(Clone, Debug)]
pub struct Feed(broadcast::Sender<Arc<Notice>>);

impl Feed {
    /// A feed that holds the last `capacity` notices for slow streams.
    pub fn new(capacity: usize) -> Self {
        Self(broadcast::Sender::new(capacity.max(1)))
    }

    /// Whether anybody listens: without, a notice need not be made.
    pub fn is_watched(&self) -> bool {
        self.0.receiver_count() > 0
    }

    /// Announces a record.
    pub fn send(&self, notice: Notice) {
        let _ = self.0.send(Arc::new(notice)); // fails only when nobody listens
    }

    /// What will be announced from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Notice>> {
        self.0.subscribe()
    }
}

/// Which rows. All that is given must hold.
#[derive(Clone, Debug)]
pub struct Filter {
    /// From this moment of `corrected_at` on.
    pub from: Timestamp,
    /// Before this moment of `corrected_at`.
    pub to: Timestamp,
    /// Of this site.
    pub site: Option<SiteId>,
    /// Of this gateway.
    pub gateway: Option<GatewayId>,
    /// Of this camera.
    pub camera: Option<CameraId>,
    /// Of this region.
    pub region: Option<RegionId>,
    /// With this best label; of an event, this `after`.
    pub label: Option<String>,
    /// With a score not below this.
    pub min_score: Option<f32>,
}

/// A place in the lake's order: newest first, then epoch, then number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// `corrected_at`.
    pub at: Timestamp,
    /// The log.
    pub epoch: Epoch,
    /// The number in the log.
    pub seq: u64,
}

/// Some rows, newest first.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The rows; there may be fewer than asked for although more follow.
    pub rows: Vec<Row>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<Position>,
}

/// The lake could not be read.
pub type LakeError = Box<dyn std::error::Error + Send + Sync>;

/// The lake as the API reads it.
#[async_trait]
pub trait Lake: Send + Sync {
    /// A page of rows.
    async fn page(&self, kind: Kind, filter: &Filter, after: Option<Position>, limit: usize)
    -> Result<Page, LakeError>;
    /// The sample of one region of one frame.
    async fn sample(&self, frame: &FrameId, region: &RegionId) -> Result<Option<Row>, LakeError>;
    /// Bytes of one of the lake's objects.
    async fn bytes(&self, object: &str, range: Range<u64>) -> Result<Bytes, LakeError>;
    /// How the lake is.
    async fn report(&self) -> Result<LakeReport, LakeError>;
}

/// How the lake is.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct LakeReport {
    /// Which lake: 32 hex digits.
    pub lake: String,
    /// Which life of it.
    pub incarnation: String,
    /// Why the tables must be rebuilt from the objects; null when they need not.
    pub rebuild_due: Option<String>,
    /// How much is in it.
    pub contents: Vec<LakeContents>,
    /// Records that had come before, since the hub's start; null where ingest runs elsewhere.
    pub duplicates: Option<u64>,
    /// Of these, how many could not be compared with their first arrival.
    pub duplicates_unchecked: Option<u64>,
    /// Of these, how many had other contents than the first, and are kept under `dead/`.
    pub duplicates_differing: Option<u64>,
    /// Ids that two gateways use.
    pub gateway_twins: Vec<GatewayTwins>,
    /// Times that the tables were found to be rolled back.
    pub rollbacks: Vec<Rollback>,
}

/// How much of one kind is in the lake.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct LakeContents {
    /// The kind.
    pub kind: &'static str,
    /// How the objects are written: parquet, shard, dead, newer or removed.
    pub format: &'static str,
    /// Objects.
    pub objects: u64,
    /// Rows in them.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// An id that two gateways use; their records are not mixed, since their logs are two.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct GatewayTwins {
    /// The site.
    pub site: String,
    /// The id.
    pub gateway: String,
    /// Their logs.
    pub epochs: Vec<String>,
    /// When one of them was last seen.
    #[schema(value_type = String, format = DateTime)]
    pub seen_at: Timestamp,
}

/// The tables knew less than a gateway had been told.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Rollback {
    /// When it was noticed.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// The gateway, `<site>/<gateway>`.
    pub gateway: String,
    /// Of which kind.
    pub kind: &'static str,
    /// Every number below was archived, as the gateway had been told.
    pub told: u64,
    /// Every number below is, as the tables had it.
    pub known: u64,
}
