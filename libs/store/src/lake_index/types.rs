//! What the lake's tables hold, as types.

use contract::{CameraId, Digest, Epoch, FrameId, GatewayId, Kind, Principal, RegionId, SiteId, Timestamp};
use serde::{Deserialize, Serialize};

use super::RangeSet;

/// Which lake this is, and which life of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Random, made with the lake: 32 hex digits.
    pub lake: String,
    /// New when the lake is made or restored from a backup: 32 hex digits.
    pub incarnation: String,
}

/// One log of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId {
    /// The log.
    pub epoch: Epoch,
    /// Its kind.
    pub kind: Kind,
}

/// What is committed of one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// Which one.
    pub id: StreamId,
    /// Grows by one with each commit; 0 when nothing was ever committed.
    pub version: u64,
    /// The numbers that are committed.
    pub committed: RangeSet,
}

/// To whom an epoch belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Binding {
    /// To the gateway that asked, now or already before.
    Own,
    /// To another gateway, which used it first: nothing of the one that asked may be committed.
    Foreign(Principal),
}

/// What one flush brings into the lake.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// The hub's clock.
    pub now: Timestamp,
    /// The numbers added to each stream, at most one entry a stream.
    pub advances: Vec<Advance>,
    /// The objects that hold them, already stored.
    pub objects: Vec<Object>,
    /// One row for each kept picture in the objects.
    pub samples: Vec<SampleRow>,
    /// Hashes of the records in the objects, to tell a second arrival of a record from another one of its number.
    pub hashes: Vec<Hashes>,
    /// Objects that leave the manifest with this commit: the new ones hold their records from now on.
    pub replaced: Vec<String>,
    /// By which rule they leave it.
    pub rule: &'static str,
}

/// 64-bit hashes of the records of one range of numbers, kept until their object is exchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hashes {
    /// The object that holds the records.
    pub object: String,
    /// Their stream.
    pub stream: StreamId,
    /// The number that the first hash belongs to; the others follow without a hole.
    pub from: u64,
    /// One a record.
    pub hashes: Vec<u64>,
}

/// Objects that take the place of others, with the same rows; or, with a record of removal in `new`, with none.
#[derive(Clone, Debug)]
pub struct Exchange<'a> {
    /// The hub's clock.
    pub now: Timestamp,
    /// Keys of the objects that go.
    pub old: &'a [String],
    /// The objects that come, already stored.
    pub new: &'a [Object],
    /// The index rows of samples in the objects that come.
    pub samples: &'a [SampleRow],
    /// Why: `compaction`, or the rule by which they are removed.
    pub why: &'a str,
}

/// An epoch and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochRow {
    /// The log.
    pub epoch: Epoch,
    /// The gateway that used it first.
    pub owner: Principal,
    /// When it was first seen, by the hub's clock.
    pub bound_at: Timestamp,
    /// When it was last seen.
    pub seen_at: Timestamp,
}

/// The whole manifest as one moment had it.
#[derive(Clone, Debug, Default)]
pub struct Manifest {
    /// The lake's id; when a manifest is written, `None` keeps the tables' own.
    pub lake: Option<String>,
    /// Every epoch.
    pub epochs: Vec<EpochRow>,
    /// What is committed of each stream.
    pub streams: Vec<Stream>,
    /// Every object that is not retired, by key.
    pub objects: Vec<Object>,
    /// The samples' index.
    pub samples: Vec<SampleRow>,
}

/// Numbers added to one stream.
#[derive(Clone, Debug)]
pub struct Advance {
    /// The gateway whose stream it is.
    pub owner: Principal,
    /// Which stream.
    pub stream: StreamId,
    /// The version that the caller built upon: [`Stream::version`].
    pub expected: u64,
    /// The numbers; none of them is committed yet.
    pub add: RangeSet,
}

/// What became of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is done; the streams as they are now, in the order of the advances.
    Committed(Vec<Stream>),
    /// Nothing was changed: these streams moved since the caller read them. It drops what they now hold from what it has,
    /// builds its objects again and tries again.
    Conflict(Vec<Stream>),
    /// Nothing was changed: this epoch belongs to another gateway.
    Foreign {
        /// The epoch.
        epoch: Epoch,
        /// Who used it first.
        owner: Principal,
    },
    /// Nothing was changed: this object, which was to be replaced, is not in the manifest any more.
    Gone(String),
    /// Nothing was changed: its objects were stored so long ago that they may have been taken for orphans. They can never
    /// be committed now; what they hold is stored again, under names of this time or later.
    Late(Timestamp),
}

/// How an object is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Rows of one kind.
    Parquet,
    /// A tar with pictures and inputs in WebDataset layout.
    Shard,
    /// Records that could not be read, kept as they came.
    Dead,
    /// Records of a newer version, kept whole until they can be read.
    Newer,
    /// What retention removed: no records, but the numbers that they had, and the rule.
    Removed,
}

/// One object of the lake.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Object {
    /// Its key below the store's prefix.
    pub key: String,
    /// How it is written.
    pub format: Format,
    /// The kind of its rows; for a shard `sample`.
    pub kind: Kind,
    /// Its partition: `YYYY-MM-DD` of `corrected_at`.
    pub date: String,
    /// Its partition: hour of `corrected_at`, 0-23.
    pub hour: u32,
    /// The site, where all its rows are of one.
    pub site: Option<SiteId>,
    /// How many rows, or files' samples, it holds.
    pub rows: u64,
    /// Its length in bytes.
    pub bytes: u64,
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// Earliest and latest `captured_at`, both inclusive.
    pub captured: [Timestamp; 2],
    /// Earliest and latest `corrected_at`, both inclusive.
    pub corrected: [Timestamp; 2],
    /// Version of its row schema.
    pub schema: u16,
    /// The numbers whose records it holds.
    pub holds: Vec<Holding>,
}

/// The numbers of one stream that an object holds. Stands in the object's own metadata too, so that the tables can be
/// rebuilt from the objects alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holding {
    /// The gateway's site.
    pub site: SiteId,
    /// The gateway.
    pub gateway: GatewayId,
    /// The log.
    pub epoch: Epoch,
    /// The kind.
    pub kind: Kind,
    /// The numbers.
    pub ranges: RangeSet,
}

/// Which objects a reader wants.
#[derive(Clone, Debug)]
pub struct ObjectQuery {
    /// How they are written.
    pub format: Format,
    /// The kind of their rows.
    pub kind: Kind,
    /// Only those that hold a time at or after this one, by `corrected_at`.
    pub from: Option<Timestamp>,
    /// Only those that hold a time before this one.
    pub to: Option<Timestamp>,
    /// Only those that may hold rows of this site.
    pub site: Option<SiteId>,
    /// Latest first instead of earliest first (by the start of their times).
    pub newest_first: bool,
    /// Skip so many.
    pub offset: u64,
    /// At most so many.
    pub limit: u64,
}

impl ObjectQuery {
    /// All objects with rows of a kind, earliest first, at most 10,000.
    pub fn rows_of(kind: Kind) -> Self {
        Self {
            format: Format::Parquet,
            kind,
            from: None,
            to: None,
            site: None,
            newest_first: false,
            offset: 0,
            limit: 10_000,
        }
    }
}

/// How much of one kind is in the lake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// The kind.
    pub kind: Kind,
    /// How the objects are written.
    pub format: Format,
    /// Objects.
    pub objects: u64,
    /// Rows in them.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Where a kept picture lies, and what it shows.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleRow {
    /// The frame.
    pub frame_id: FrameId,
    /// The region that asked for it.
    pub region: RegionId,
    /// The record's number in its log.
    pub seq: u64,
    /// The gateway's site.
    pub site: SiteId,
    /// The gateway.
    pub gateway: GatewayId,
    /// The camera.
    pub camera: CameraId,
    /// When, by the corrected clock.
    pub corrected_at: Timestamp,
    /// When, by the clock that the record names.
    pub captured_at: Timestamp,
    /// Why it was kept.
    pub reason: String,
    /// The best class at that moment; empty when there was none.
    pub label: String,
    /// Its score.
    pub score: f32,
    /// Key of the tar object.
    pub shard: String,
    /// Media type of the picture.
    pub media_type: String,
    /// First byte and length of the picture in the shard.
    pub picture: [u64; 2],
    /// SHA-256 of the picture.
    pub picture_digest: Digest,
    /// Width and height of the picture in pixels.
    pub size: [u32; 2],
    /// The model's input, where it was kept.
    pub input: Option<SampleInput>,
}

/// Where a sample's model input lies.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleInput {
    /// First byte and length of the compressed input in the shard.
    pub at: [u64; 2],
    /// SHA-256 of the uncompressed tensor.
    pub digest: Digest,
    /// How it is compressed: `zstd`.
    pub encoding: String,
    /// `uint8`.
    pub dtype: String,
    /// Shape without the batch axis.
    pub shape: Vec<u32>,
}

/// Which samples a reader wants; newest first.
#[derive(Clone, Debug, Default)]
pub struct SampleQuery {
    /// Of this site.
    pub site: Option<SiteId>,
    /// Of this gateway.
    pub gateway: Option<GatewayId>,
    /// Of this camera.
    pub camera: Option<CameraId>,
    /// Of this region.
    pub region: Option<RegionId>,
    /// With this label.
    pub label: Option<String>,
    /// At or after this time, corrected.
    pub from: Option<Timestamp>,
    /// Before this time, corrected.
    pub to: Option<Timestamp>,
    /// Skip so many.
    pub offset: u64,
    /// At most so many.
    pub limit: u64,
}

impl Format {
    /// The format's name in the tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Shard => "shard",
            Self::Dead => "dead",
            Self::Newer => "newer",
            Self::Removed => "removed",
        }
    }

    /// Every format.
    pub const ALL: [Format; 5] = [Self::Parquet, Self::Shard, Self::Dead, Self::Newer, Self::Removed];

    /// Whether objects of this format account for the numbers that they hold. A shard does not: its rows do.
    pub fn accounts(self) -> bool {
        self != Self::Shard
    }
}

impl std::str::FromStr for Format {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|format| format.name() == text)
            .ok_or_else(|| format!("`{text}` is not a format of lake objects"))
    }
}
