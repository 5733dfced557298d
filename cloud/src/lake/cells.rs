//! One cell of a row by its column's name: the only place that says which field becomes which column.

use std::{borrow::Cow, sync::Arc};

use contract::{CaptureSource, Kind, Sample, Timestamp, record::Reason, record::ServedBy};

use super::{Body, Place, Row};

/// A cell's value, borrowed from its row where that is possible.
pub(super) enum Cell<'a> {
    Null,
    Text(Cow<'a, str>),
    Int(i64),
    Float(f32),
    Time(Timestamp),
    Texts(&'a [Arc<str>]),
    Floats(&'a [f32]),
    Ints(Vec<i64>),
}

/// Reads one column's cell from a row.
pub(super) type Extract = for<'a> fn(&'a Row) -> Cell<'a>;

/// How to read the column `name` of a kind's table; `None` for a column that this version cannot fill.
pub(super) fn extract(kind: Kind, name: &str) -> Option<Extract> {
    common(name).or_else(|| match kind {
        Kind::Prediction => prediction(name),
        Kind::Event => event(name),
        Kind::Sample => sample(name),
        Kind::Health => health(name),
        Kind::Gap => gap(name),
        Kind::Clip => None,
    })
}

/// Numbers without a sign become the table's signed ones; none of ours comes near the end of the range.
fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn text(value: &str) -> Cell<'_> {
    Cell::Text(Cow::Borrowed(value))
}

fn owned<'a>(value: impl ToString) -> Cell<'a> {
    Cell::Text(Cow::Owned(value.to_string()))
}

fn or_null<'a, T>(value: Option<T>, cell: impl FnOnce(T) -> Cell<'a>) -> Cell<'a> {
    value.map_or(Cell::Null, cell)
}

fn common(name: &str) -> Option<Extract> {
    Some(match name {
        "site" => |r| text(r.record.header.site.as_str()),
        "gateway" => |r| text(r.record.header.gateway.as_str()),
        "camera" => |r| or_null(r.record.header.camera.as_ref(), |c| text(c.as_str())),
        "region" => |r| or_null(r.record.header.region.as_ref(), |c| text(c.as_str())),
        "epoch" => |r| owned(r.record.header.epoch),
        "seq" => |r| Cell::Int(int(r.record.header.seq)),
        "captured_at" => |r| Cell::Time(r.record.header.captured_at),
        "captured_source" => |r| text(source_name(r.record.header.captured_source)),
        "received_at" => |r| Cell::Time(r.received_at),
        "clock_offset_us" => |r| Cell::Int(r.clock_offset_us),
        "corrected_at" => |r| Cell::Time(r.corrected_at()),
        "monotonic_us" => |r| Cell::Int(int(r.record.header.monotonic_us)),
        "boot_id" => |r| text(&r.record.header.boot_id),
        "traceparent" => |r| or_null(r.record.header.traceparent.as_deref(), text),
        "model_digest" => |r| or_null(r.record.header.model.as_ref(), |m| owned(m.digest)),
        "model_version" => |r| or_null(r.record.header.model.as_ref().and_then(|m| m.version.as_deref()), text),
        "frame_id" => |r| or_null(r.record.header.frame_id.as_ref(), owned),
        "schema" => |r| Cell::Int(i64::from(r.record.header.schema)),
        _ => return None,
    })
}

/// The text of a capture source, in tables as on the wire.
pub(super) fn source_name(source: CaptureSource) -> &'static str {
    match source {
        CaptureSource::Reference => "reference",
        CaptureSource::Arrival => "arrival",
        CaptureSource::Client => "client",
        CaptureSource::Unknown => "unknown",
    }
}

macro_rules! of {
    ($variant:ident, |$body:ident| $cell:expr) => {
        |r: &Row| match &r.record.body {
            Body::$variant($body) => $cell,
            _ => Cell::Null,
        }
    };
}

fn prediction(name: &str) -> Option<Extract> {
    Some(match name {
        "label" => of!(Prediction, |p| text(p.labels.first().map_or("", |l| l))),
        "score" => of!(Prediction, |p| Cell::Float(p.scores.first().copied().unwrap_or(0.0))),
        "labels" => of!(Prediction, |p| Cell::Texts(&p.labels)),
        "scores" => of!(Prediction, |p| Cell::Floats(&p.scores)),
        "decode_us" => of!(Prediction, |p| Cell::Int(int(p.latency.decode_us))),
        "preprocess_us" => of!(Prediction, |p| Cell::Int(int(p.latency.preprocess_us))),
        "queue_us" => of!(Prediction, |p| Cell::Int(int(p.latency.queue_us))),
        "inference_us" => of!(Prediction, |p| Cell::Int(int(p.latency.inference_us))),
        "total_us" => of!(Prediction, |p| Cell::Int(int(p.latency.total_us))),
        "engine" => of!(Prediction, |p| text(&p.engine)),
        "served_by" => of!(Prediction, |p| text(match p.served_by {
            ServedBy::Gateway => "gateway",
            ServedBy::Hub => "hub",
            ServedBy::Unknown => "unknown",
        })),
        _ => return None,
    })
}

fn event(name: &str) -> Option<Extract> {
    Some(match name {
        "id" => of!(Event, |e| text(&e.id)),
        "before" => of!(Event, |e| or_null(e.before.as_deref(), text)),
        "after" => of!(Event, |e| or_null(e.after.as_deref(), text)),
        "score" => of!(Event, |e| Cell::Float(e.score)),
        "since" => of!(Event, |e| Cell::Time(e.since)),
        _ => return None,
    })
}

/// The text of a reason, in tables as on the wire.
pub fn reason_name(reason: Reason) -> &'static str {
    match reason {
        Reason::Periodic => "periodic",
        Reason::Uncertain => "uncertain",
        Reason::Changed => "changed",
        Reason::Requested => "requested",
        Reason::Unknown => "unknown",
    }
}

fn place<'a>(row: &'a Row, cell: impl FnOnce(&'a Place) -> Cell<'a>) -> Cell<'a> {
    or_null(row.place.as_ref(), cell)
}

fn ints(values: &[u32]) -> Cell<'static> {
    Cell::Ints(values.iter().map(|v| i64::from(*v)).collect())
}

fn input<'a>(sample: &'a Sample, cell: impl FnOnce(&'a contract::record::Input) -> Cell<'a>) -> Cell<'a> {
    or_null(sample.input.as_ref(), cell)
}

fn sample(name: &str) -> Option<Extract> {
    Some(match name {
        "reason" => of!(Sample, |s| text(reason_name(s.reason))),
        "label" => of!(Sample, |s| text(s.labels.first().map_or("", |l| l))),
        "score" => of!(Sample, |s| Cell::Float(s.scores.first().copied().unwrap_or(0.0))),
        "labels" => of!(Sample, |s| Cell::Texts(&s.labels)),
        "scores" => of!(Sample, |s| Cell::Floats(&s.scores)),
        "shard" => |r| place(r, |p| text(&p.shard)),
        "media_type" => of!(Sample, |s| text(&s.picture.media_type)),
        "picture_offset" => |r| place(r, |p| Cell::Int(int(p.picture_offset))),
        "picture_bytes" => of!(Sample, |s| Cell::Int(int(s.picture.bytes))),
        "picture_sha256" => of!(Sample, |s| owned(s.picture.sha256)),
        "width" => of!(Sample, |s| Cell::Int(i64::from(s.picture.width))),
        "height" => of!(Sample, |s| Cell::Int(i64::from(s.picture.height))),
        "region_rect" => of!(Sample, |s| ints(&s.picture.region)),
        "input_offset" => |r| place(r, |p| or_null(p.input_offset, |o| Cell::Int(int(o)))),
        "input_bytes" => of!(Sample, |s| input(s, |i| Cell::Int(int(i.bytes)))),
        "input_sha256" => of!(Sample, |s| input(s, |i| owned(i.sha256))),
        "input_encoding" => of!(Sample, |s| input(s, |i| text(&i.encoding))),
        "input_dtype" => of!(Sample, |s| input(s, |i| text(&i.dtype))),
        "input_shape" => of!(Sample, |s| input(s, |i| ints(&i.shape))),
        _ => return None,
    })
}

fn health(name: &str) -> Option<Extract> {
    Some(match name {
        "uptime_s" => of!(Health, |h| Cell::Int(int(h.uptime_s))),
        "version" => of!(Health, |h| text(&h.version)),
        "cpu_percent" => of!(Health, |h| Cell::Float(h.cpu_percent)),
        "memory_bytes" => of!(Health, |h| Cell::Int(int(h.memory_bytes))),
        "temperature_celsius" => of!(Health, |h| or_null(h.temperature_celsius, Cell::Float)),
        "accelerator" => of!(Health, |h| or_null(h.accelerator.as_deref(), text)),
        "engine" => of!(Health, |h| text(&h.engine)),
        "engine_reason" => of!(Health, |h| text(&h.engine_reason)),
        "backlog_bytes" => of!(Health, |h| Cell::Int(int(h.backlog_bytes))),
        "document" => of!(Health, |h| owned(serde_json::to_string(h).unwrap_or_default())),
        _ => return None,
    })
}

fn gap(name: &str) -> Option<Extract> {
    Some(match name {
        "gap_kind" => of!(Gap, |g| text(g.kind.name())),
        "gap_epoch" => of!(Gap, |g| owned(g.epoch)),
        "from_seq" => of!(Gap, |g| Cell::Int(int(g.from))),
        "to_seq" => of!(Gap, |g| Cell::Int(int(g.to))),
        "count" => of!(Gap, |g| Cell::Int(int(g.count))),
        "reason" => of!(Gap, |g| text(&g.reason)),
        "detail" => of!(Gap, |g| or_null(g.detail.as_deref(), text)),
        "captured_from" => of!(Gap, |g| or_null(g.captured_from, Cell::Time)),
        "captured_to" => of!(Gap, |g| or_null(g.captured_to, Cell::Time)),
        _ => return None,
    })
}
