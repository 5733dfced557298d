//! The lake's row schemas: one Parquet table a kind, under `kind=<kind>/date=<YYYY-MM-DD>/hour=<HH>/`.
//!
//! Partitions follow `corrected_at` in UTC. A column is added at the end, never renamed and never given another type;
//! [`VERSION`] grows with each change and stands in every object's metadata as `sightline.schema`.

use crate::Kind;

/// Version of the row schemas.
pub const VERSION: u16 = 1;

/// One column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// The column's name.
    pub name: &'static str,
    /// The type of its values.
    pub ty: Type,
    /// Whether it may be null.
    pub nullable: bool,
    /// What it means, with its unit.
    pub doc: &'static str,
}

/// The type of a column's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// UTF-8 text.
    Text,
    /// Signed 64-bit integer.
    Int64,
    /// 32-bit float.
    Float32,
    /// Microseconds since 1970-01-01 UTC.
    Timestamp,
    /// List of UTF-8 texts.
    TextList,
    /// List of 32-bit floats.
    Float32List,
    /// List of signed 64-bit integers.
    Int64List,
}

const fn required(name: &'static str, ty: Type, doc: &'static str) -> Column {
    Column { name, ty, nullable: false, doc }
}

const fn optional(name: &'static str, ty: Type, doc: &'static str) -> Column {
    Column { name, ty, nullable: true, doc }
}

use Type::{Float32, Float32List, Int64, Int64List, Text, TextList, Timestamp};

/// The columns that every kind begins with.
pub const COMMON: &[Column] = &[
    required("site", Text, "the gateway's site"),
    required("gateway", Text, "the gateway that made the record"),
    optional("camera", Text, "the camera, where the record is about one"),
    optional("region", Text, "the region, where the record is about one"),
    required("epoch", Text, "the gateway's log, 32 hex digits"),
    required("seq", Int64, "the record's number in its log and kind, from 0"),
    required("captured_at", Timestamp, "when the picture was taken, by the clock that captured_source names"),
    required("captured_source", Text, "reference, arrival or client"),
    required("received_at", Timestamp, "when the hub received the record, by the hub's clock"),
    required("clock_offset_us", Int64, "the hub's estimate of hub clock minus gateway clock, in microseconds"),
    required("corrected_at", Timestamp, "captured_at + clock_offset_us where the source is arrival, else captured_at"),
    required("monotonic_us", Int64, "the gateway's monotonic clock at capture, microseconds since boot"),
    required("boot_id", Text, "the boot that monotonic_us counts from"),
    optional("traceparent", Text, "W3C Trace Context of the frame's trace"),
    optional("model_digest", Text, "the model package's digest"),
    optional("model_version", Text, "the model's version"),
    optional("frame_id", Text, "epoch, camera and frame number: what labels and lineage refer to"),
    required("schema", Int64, "version of the record's form"),
];

const PREDICTION: &[Column] = &[
    required("label", Text, "the best class; empty when the model named none"),
    required("score", Float32, "its score, 0 to 1"),
    required("labels", TextList, "the best classes, best first"),
    required("scores", Float32List, "their scores, same order"),
    required("decode_us", Int64, "arrival to decoded picture, microseconds"),
    required("preprocess_us", Int64, "crop, resize and colour, microseconds"),
    required("queue_us", Int64, "waiting for the engine, microseconds"),
    required("inference_us", Int64, "the batch in the engine, microseconds"),
    required("total_us", Int64, "arrival to scores, microseconds"),
    required("engine", Text, "the engine that ran the model"),
    required("served_by", Text, "gateway or hub"),
];

const EVENT: &[Column] = &[
    required("id", Text, "unique id of the event"),
    optional("before", Text, "the stable label until then"),
    optional("after", Text, "the stable label from then on"),
    required("score", Float32, "score of after, 0 to 1"),
    required("since", Timestamp, "the first frame of the votes that made it stable"),
];

const SAMPLE: &[Column] = &[
    required("reason", Text, "why it was kept: periodic, uncertain, changed or requested"),
    required("label", Text, "the best class at that moment; empty when the model named none"),
    required("score", Float32, "its score, 0 to 1"),
    required("labels", TextList, "the best classes, best first"),
    required("scores", Float32List, "their scores, same order"),
    required("shard", Text, "the tar object that holds the files"),
    required("media_type", Text, "of the picture, as in image/jpeg"),
    required("picture_offset", Int64, "first byte of the picture in the shard"),
    required("picture_bytes", Int64, "length of the picture in bytes"),
    required("picture_sha256", Text, "digest of the picture"),
    required("width", Int64, "of the picture, pixels"),
    required("height", Int64, "of the picture, pixels"),
    required("region_rect", Int64List, "the region in the picture, pixels: x, y, width, height"),
    optional("input_offset", Int64, "first byte of the compressed model input in the shard"),
    optional("input_bytes", Int64, "length of the compressed model input in bytes"),
    optional("input_sha256", Text, "digest of the uncompressed tensor"),
    optional("input_encoding", Text, "how the input is compressed: zstd"),
    optional("input_dtype", Text, "uint8"),
    optional("input_shape", Int64List, "shape without the batch axis"),
];

const HEALTH: &[Column] = &[
    required("uptime_s", Int64, "since the agent's start, seconds"),
    required("version", Text, "the agent's version"),
    required("cpu_percent", Float32, "CPU time of the agent, percent of one core"),
    required("memory_bytes", Int64, "resident memory of the agent"),
    optional("temperature_celsius", Float32, "hottest thermal zone"),
    optional("accelerator", Text, "the accelerator in use"),
    required("engine", Text, "the engine in use"),
    required("engine_reason", Text, "why this one"),
    required("backlog_bytes", Int64, "not archived yet"),
    required("document", Text, "the whole health document, JSON"),
];

const GAP: &[Column] = &[
    required("gap_kind", Text, "the kind of the log with the hole"),
    required("gap_epoch", Text, "its epoch"),
    required("from_seq", Int64, "first missing number"),
    required("to_seq", Int64, "one past the last missing number"),
    required("count", Int64, "how many"),
    required("reason", Text, "why: overflow, age, disk, damaged, not_held, rejected"),
    optional("detail", Text, "more about why"),
    optional("captured_from", Timestamp, "capture time of the first missing record"),
    optional("captured_to", Timestamp, "capture time of the last missing record"),
];

/// The columns of a kind's table, in order. Empty for the reserved kind `clip`.
pub fn columns(kind: Kind) -> impl Iterator<Item = &'static Column> {
    let own: Option<&[Column]> = match kind {
        Kind::Prediction => Some(PREDICTION),
        Kind::Event => Some(EVENT),
        Kind::Sample => Some(SAMPLE),
        Kind::Health => Some(HEALTH),
        Kind::Gap => Some(GAP),
        Kind::Clip => None,
    };
    own.into_iter().flat_map(|own| COMMON.iter().chain(own))
}
