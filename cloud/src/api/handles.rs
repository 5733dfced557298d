//! What the API asks of the rest of the hub. The assembly passes these in; the API imports no other role.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use contract::{
    CameraId, Digest, Epoch, Event, FrameId, GatewayId, Header, Health, Kind, Prediction, Principal, RegionId, Sample,
    SiteId, Timestamp,
    frame::Address,
    live::{CameraStatus, GatewayStatus, RegionState},
    twin::Reported,
};
use tokio::sync::oneshot;

/// Why the lake, the tables or the directory could not answer. The cause goes to the log.
#[derive(Debug, thiserror::Error)]
#[error("could not read {what}")]
pub struct Unavailable {
    /// What was being read, as in `the lake's index`.
    pub what: String,
    /// Why.
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// What is known of one gateway now, from its retained documents and latest live records.
#[derive(Clone, Debug)]
pub struct GatewayNow {
    /// Who it is.
    pub who: Principal,
    /// Its birth or will.
    pub status: Option<GatewayStatus>,
    /// Its twin document.
    pub reported: Option<Reported>,
    /// Its latest health record, and when it was captured.
    pub health: Option<(Timestamp, Health)>,
    /// When the hub last heard of it.
    pub seen_at: Timestamp,
    /// Its cameras.
    pub cameras: BTreeMap<CameraId, CameraNow>,
}

/// What is known of one camera now.
#[derive(Clone, Debug, Default)]
pub struct CameraNow {
    /// Whether frames come.
    pub status: Option<CameraStatus>,
    /// Its regions.
    pub regions: BTreeMap<RegionId, RegionNow>,
}

/// What is known of one region now.
#[derive(Clone, Debug, Default)]
pub struct RegionNow {
    /// The stable label.
    pub state: Option<RegionState>,
    /// The latest prediction.
    pub prediction: Option<(Header, Prediction)>,
}

/// Who is there now.
#[async_trait]
pub trait Directory: Send + Sync {
    /// Every gateway that is known, by site and gateway.
    async fn gateways(&self) -> Result<Vec<GatewayNow>, Unavailable>;
    /// One gateway; `None` when it is not known.
    async fn gateway(&self, who: &Principal) -> Result<Option<GatewayNow>, Unavailable>;
}

/// A place in the lake's order: by corrected time, then log, then number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// `corrected_at`.
    pub at: Timestamp,
    /// The log.
    pub epoch: Epoch,
    /// The number in the log.
    pub seq: u64,
}

/// Which way a page runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The latest first.
    Newest,
    /// The earliest first.
    Oldest,
}

/// Which rows are asked for.
#[derive(Clone, Debug)]
pub struct Query {
    /// `corrected_at` in `[from, to)`.
    pub range: Range<Timestamp>,
    /// Only this site.
    pub site: Option<SiteId>,
    /// Only this gateway.
    pub gateway: Option<GatewayId>,
    /// Only this camera.
    pub camera: Option<CameraId>,
    /// Only this region.
    pub region: Option<RegionId>,
    /// Only this best label (an event's `after`).
    pub label: Option<String>,
    /// Only scores not below this.
    pub min_score: Option<f32>,
    /// Which way the page runs.
    pub order: Order,
    /// Only rows after this one, in that order.
    pub after: Option<Position>,
    /// At most so many rows.
    pub limit: usize,
}

/// One row of the lake.
#[derive(Clone, Debug)]
pub struct Row<B> {
    /// The record's header.
    pub header: Header,
    /// When the hub received it.
    pub received_at: Timestamp,
    /// The hub's estimate of hub clock minus gateway clock, microseconds.
    pub clock_offset_us: i64,
    /// What rows are ordered and partitioned by.
    pub corrected_at: Timestamp,
    /// The record's body.
    pub body: B,
}

impl<B> Row<B> {
    /// Where the row stands in the lake's order.
    pub fn position(&self) -> Position {
        Position { at: self.corrected_at, epoch: self.header.epoch, seq: self.header.seq }
    }
}

/// A sample's body and where its files lie.
#[derive(Clone, Debug)]
pub struct StoredSample {
    /// The record's body.
    pub sample: Sample,
    /// The tar object with the files.
    pub shard: String,
    /// The picture's bytes in the shard.
    pub picture: Range<u64>,
    /// The compressed input's bytes in the shard.
    pub input: Option<Range<u64>>,
}

/// Rows in order, and where to go on.
#[derive(Clone, Debug)]
pub struct Page<R> {
    /// The rows. There may be fewer than asked for although more follow: one page reads a bounded part of the lake.
    pub rows: Vec<R>,
    /// The place that the next page begins after; `None` when nothing follows.
    pub next: Option<Position>,
}

/// The lake as the API reads it.
#[async_trait]
pub trait Lake: Send + Sync {
    /// Predictions in order.
    async fn predictions(&self, query: &Query) -> Result<Page<Row<Prediction>>, Unavailable>;
    /// Events in order.
    async fn events(&self, query: &Query) -> Result<Page<Row<Event>>, Unavailable>;
    /// Samples in order.
    async fn samples(&self, query: &Query) -> Result<Page<Row<StoredSample>>, Unavailable>;
    /// The sample of one region of one frame.
    async fn sample(&self, frame: &FrameId, region: &RegionId) -> Result<Option<Row<StoredSample>>, Unavailable>;
    /// Bytes of an object.
    async fn bytes(&self, object: &str, range: Range<u64>) -> Result<Bytes, Unavailable>;
}

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
    /// Hands over whole records ([`contract::frame::encode_record`]) of one log and kind each; never waits.
    ///
    /// The receiver answers once all of them are committed, and fails when ingest stops before.
    fn submit(&self, from: &Principal, records: Vec<(Address, Bytes)>) -> Result<oneshot::Receiver<()>, Refused>;
}

/// A live record as it arrives, for the stream.
#[derive(Clone, Debug)]
pub struct Notice {
    /// The record's header; its kind is `prediction` or `event`.
    pub header: Header,
    /// What filters look at: the prediction's best label or the event's `after`.
    pub label: Option<Arc<str>>,
    /// Its score.
    pub score: f32,
    /// The record as on the live lane, one line of JSON.
    pub json: Arc<str>,
}

impl Notice {
    /// Of a prediction.
    pub fn prediction(header: Header, body: &Prediction) -> Option<Self> {
        let json = live_json(&header, body)?;
        let (label, score) = (body.labels.first().cloned(), body.scores.first().copied().unwrap_or(0.0));
        Some(Self { header, label, score, json })
    }

    /// Of an event.
    pub fn event(header: Header, body: &Event) -> Option<Self> {
        let json = live_json(&header, body)?;
        Some(Self { header, label: body.after.clone(), score: body.score, json })
    }

    /// Which kind of record.
    pub fn kind(&self) -> Kind {
        self.header.kind
    }
}

fn live_json<B: serde::Serialize>(header: &Header, body: B) -> Option<Arc<str>> {
    #[derive(serde::Serialize)]
    struct Live<'a, B> {
        #[serde(flatten)]
        header: &'a Header,
        #[serde(flatten)]
        body: B,
    }
    serde_json::to_string(&Live { header, body }).ok().map(Into::into)
}

/// Where live records are announced to the open streams. Sending never waits; who lags is told.
#[derive(Clone, Debug)]
pub struct Feed(tokio::sync::broadcast::Sender<Arc<Notice>>);

impl Feed {
    /// A feed that remembers the last `capacity` notices for slow streams.
    pub fn new(capacity: usize) -> Self {
        Self(tokio::sync::broadcast::Sender::new(capacity.max(1)))
    }

    /// Announces a record; nobody needs to listen.
    pub fn send(&self, notice: Notice) {
        let _ = self.0.send(Arc::new(notice));
    }

    /// What will be announced from now on.
    pub fn subscribe(&self) -> tokio::sync::broadcast::Receiver<Arc<Notice>> {
        self.0.subscribe()
    }
}

/// What made a frame's answer, for `GET /api/v1/version` and the answer itself.
#[derive(Clone, Debug)]
pub struct ModelName {
    /// The model's name.
    pub id: String,
    /// Its version.
    pub version: Arc<str>,
    /// The package's digest.
    pub digest: Digest,
}
