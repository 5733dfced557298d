//! The last span of a frame's trace: from the flush's begin to its commit, with the object that holds the record.

use contract::Kind;
use daemon::telemetry;
use store::lake_index::{Format, Object};
use tracing::{Span, field, info_span};

use super::batch::Batch;
use crate::lake::Partition;

/// Spans of one flush; a thousand samples of one flush tell no more than these.
const SPANS_MAX: usize = 64;

/// The spans of one flush's traced records; they end when this is dropped.
#[derive(Default)]
pub struct Traces(Vec<(Span, Kind, Partition)>);

impl Traces {
    /// Continues the traces of the records in a batch. Costs nothing when none is exported.
    pub fn begin(batch: &Batch) -> Self {
        if !telemetry::is_enabled() {
            return Self::default();
        }
        let traced = batch.rows.iter().flat_map(|(kind, rows)| rows.iter().map(move |row| (*kind, row)));
        let spans = traced.filter_map(|(kind, row)| {
            let header = &row.record.header;
            let parent = header.traceparent.as_deref()?;
            let span = info_span!(
                target: telemetry::TARGET,
                "archive",
                otel.kind = "consumer",
                site = header.site.as_str(),
                gateway = header.gateway.as_str(),
                kind = kind.name(),
                seq = header.seq,
                object = field::Empty,
            );
            telemetry::set_parent(&span, parent);
            Some((span, kind, Partition::of(row.corrected_at())))
        });
        Self(spans.take(SPANS_MAX).collect())
    }

    /// Notes where the records went.
    pub fn stored(&self, objects: &[Object], uri: impl Fn(&str) -> String) {
        for (span, kind, partition) in &self.0 {
            let holds = |o: &&Object| {
                o.format == Format::Parquet && o.kind == *kind && o.date == partition.date && o.hour == partition.hour
            };
            if let Some(object) = objects.iter().find(holds) {
                span.record("object", uri(&object.key));
            }
        }
    }
}
