//! The hub's metrics: every name in one enum. Roles count for themselves; what they count is copied here when asked for.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use contract::Timestamp;
use daemon::metrics::{Exposition, Metrics};

use crate::{
    api,
    directory::Directory,
    ingest::{Fact, Stats},
    upkeep,
};

daemon::metric_names! {
    /// What the hub measures.
    pub enum Metric {
        /// Messages on the archive lane.
        Messages = counter("sightline_hub_ingest_messages_total", "Messages received on the archive lane"),
        /// Their bytes.
        MessageBytes = counter("sightline_hub_ingest_message_bytes_total", "Bytes received on the archive lane"),
        /// Records accepted.
        Records = counter("sightline_hub_ingest_records_total", "Records accepted"),
        /// Records that came again.
        Duplicates = counter("sightline_hub_ingest_duplicates_total", "Records that had come before"),
        /// Unchecked.
        Unchecked = counter("sightline_hub_ingest_duplicates_unchecked_total", "Records that had come before and could not be compared with their first arrival"),
        /// Differing.
        Differing = counter("sightline_hub_ingest_duplicates_differing_total", "Records with the number of another record, kept aside"),
        /// Dropped, by reason.
        Dropped = counter("sightline_hub_ingest_dropped_total", "Messages, frames or records that were not accepted; their gateways send them again", ["reason"]),
        /// Dead letters.
        Rejected = counter("sightline_hub_ingest_rejected_total", "Records that cannot be read, kept aside and committed as gaps"),
        /// Newer.
        Newer = counter("sightline_hub_ingest_newer_total", "Records of a newer version, kept whole"),
        /// Rows committed.
        Rows = counter("sightline_hub_ingest_rows_total", "Rows committed to the lake"),
        /// Flushes.
        Flushes = counter("sightline_hub_ingest_flushes_total", "Flushes committed"),
        /// Failures.
        FlushFailures = counter("sightline_hub_ingest_failures_total", "Attempts to store or commit that failed and were repeated"),
        /// Conflicts.
        Conflicts = counter("sightline_hub_ingest_conflicts_total", "Commits that another ingest was faster with"),
        /// Objects.
        Objects = counter("sightline_hub_ingest_objects_total", "Objects stored"),
        /// Object bytes.
        ObjectBytes = counter("sightline_hub_ingest_object_bytes_total", "Bytes of objects stored"),
        /// Watermarks.
        Watermarks = counter("sightline_hub_ingest_watermarks_total", "Watermarks published"),
        /// Commit latency.
        CommitLatency = counter("sightline_hub_ingest_commit_latency_seconds_total", "Time from capture to commit, summed over rows, whole seconds"),
        /// Backlog.
        Backlog = gauge("sightline_hub_ingest_backlog_bytes", "Bytes accepted and not committed yet"),
        /// Orphans.
        Orphans = counter("sightline_hub_lake_orphans_deleted_total", "Objects that no commit named, deleted"),
        /// Retention.
        Removed = counter("sightline_hub_lake_removed_total", "Objects removed by retention"),
        /// Compaction.
        Compacted = counter("sightline_hub_lake_compacted_total", "Objects merged into others"),
        /// Retired objects.
        Deleted = counter("sightline_hub_lake_deleted_total", "Retired objects whose bytes were deleted"),
        /// Upkeep failures.
        UpkeepFailures = counter("sightline_hub_lake_upkeep_failures_total", "Turns of the lake's upkeep that failed and were repeated"),
        /// Rebuild.
        RebuildDue = gauge("sightline_hub_lake_rebuild_due", "1 while a rebuild of the tables is due"),
        /// Rolled back.
        RolledBack = counter("sightline_hub_lake_rolled_back_total", "Times that a gateway knew more than the tables, which had been rolled back"),
        /// Twins.
        Twins = gauge("sightline_hub_gateway_twins", "Gateway ids that two gateways use"),
        /// Oversize messages.
        Oversize = counter("sightline_hub_broker_oversize_total", "Messages longer than the broker takes; their senders are cut off"),
        /// Requests.
        Requests = counter("sightline_hub_api_requests_total", "HTTP requests to the API"),
        /// Refused requests.
        Shed = counter("sightline_hub_api_shed_total", "HTTP requests refused because a bound was reached"),
        /// Failed requests.
        Errors = counter("sightline_hub_api_errors_total", "HTTP answers of 500 and above, refused requests not counted"),
        /// Frames.
        Frames = counter("sightline_hub_api_frames_total", "Posted frames classified"),
        /// Streamed records.
        Streamed = counter("sightline_hub_api_streamed_total", "Records given to open streams"),
        /// Lagged records.
        Lagged = counter("sightline_hub_api_lagged_total", "Records that slow streams missed"),
        /// Gateways.
        Gateways = gauge("sightline_hub_gateways", "Gateways in the directory"),
        /// Not listed.
        Unlisted = counter("sightline_hub_directory_refused_total", "Live documents not noted because the directory is full"),
    }
}

/// Where the numbers come from.
#[derive(Clone, Default)]
pub(super) struct Sources {
    pub ingest: Option<Arc<Stats>>,
    pub upkeep: Option<Arc<upkeep::Stats>>,
    pub api: Option<Arc<api::Facts>>,
    pub directory: Option<Directory>,
    pub findings: Option<upkeep::Findings>,
    pub oversize: Option<Arc<AtomicU64>>,
}

/// The metrics and where they come from.
#[derive(Clone)]
pub(super) struct HubMetrics {
    pub metrics: Metrics<Metric>,
    sources: Sources,
}

const INGEST: [(Metric, Fact); 14] = [
    (Metric::Messages, Fact::Messages),
    (Metric::MessageBytes, Fact::Bytes),
    (Metric::Records, Fact::Records),
    (Metric::Duplicates, Fact::Duplicates),
    (Metric::Unchecked, Fact::Unchecked),
    (Metric::Differing, Fact::Differing),
    (Metric::Rejected, Fact::Rejected),
    (Metric::Newer, Fact::Newer),
    (Metric::Rows, Fact::Rows),
    (Metric::Flushes, Fact::Flushes),
    (Metric::FlushFailures, Fact::FlushFailures),
    (Metric::Conflicts, Fact::Conflicts),
    (Metric::Objects, Fact::Objects),
    (Metric::Watermarks, Fact::Watermarks),
];

const DROPPED: [(&str, Fact); 8] = [
    ("no_bundle", Fact::NoBundle),
    ("torn", Fact::Torn),
    ("checksum", Fact::Checksum),
    ("fragment", Fact::Fragment),
    ("unknown_kind", Fact::UnknownKind),
    ("foreign_epoch", Fact::Foreign),
    ("held_back", Fact::HeldBack),
    ("incomplete", Fact::Incomplete),
];

impl HubMetrics {
    pub fn new(sources: Sources) -> Self {
        Self { metrics: Metrics::new(), sources }
    }

    /// Copies the roles' numbers.
    pub fn refresh(&self) {
        if let Some(stats) = &self.sources.ingest {
            self.refresh_ingest(stats);
        }
        if let Some(stats) = &self.sources.upkeep {
            self.refresh_upkeep(stats);
        }
        if let Some(oversize) = &self.sources.oversize {
            self.metrics.counter(Metric::Oversize, &[]).set_total(oversize.load(Ordering::Relaxed));
        }
        if let Some(facts) = &self.sources.api {
            let pairs = [
                (Metric::Requests, &facts.requests),
                (Metric::Shed, &facts.shed),
                (Metric::Errors, &facts.errors),
                (Metric::Frames, &facts.frames),
                (Metric::Streamed, &facts.streamed),
                (Metric::Lagged, &facts.lagged),
            ];
            for (metric, value) in pairs {
                self.metrics.counter(metric, &[]).set_total(value.load(Ordering::Relaxed));
            }
        }
        if let Some(findings) = &self.sources.findings {
            let now = Timestamp::from_system(SystemTime::now());
            self.metrics.counter(Metric::RolledBack, &[]).set_total(findings.rollback_count());
            self.metrics.gauge(Metric::Twins, &[]).set(findings.twins(now).len() as f64);
        }
        if let Some(directory) = &self.sources.directory {
            self.metrics.gauge(Metric::Gateways, &[]).set(directory.count() as f64);
            self.metrics.counter(Metric::Unlisted, &[]).set_total(directory.refused());
        }
    }

    fn refresh_upkeep(&self, stats: &upkeep::Stats) {
        let pairs = [
            (Metric::Orphans, &stats.orphans),
            (Metric::Removed, &stats.removed),
            (Metric::Compacted, &stats.compacted),
            (Metric::Deleted, &stats.deleted),
            (Metric::UpkeepFailures, &stats.failures),
        ];
        for (metric, value) in pairs {
            self.metrics.counter(metric, &[]).set_total(value.load(Ordering::Relaxed));
        }
        self.metrics.gauge(Metric::RebuildDue, &[]).set(stats.rebuild_due.load(Ordering::Relaxed) as f64);
    }

    fn refresh_ingest(&self, stats: &Stats) {
        for (metric, fact) in INGEST {
            self.metrics.counter(metric, &[]).set_total(stats.get(fact));
        }
        self.metrics.counter(Metric::ObjectBytes, &[]).set_total(stats.get(Fact::ObjectBytes));
        self.metrics.counter(Metric::CommitLatency, &[]).set_total(stats.get(Fact::CommitLatencyUs) / 1_000_000);
        for (reason, fact) in DROPPED {
            self.metrics.counter(Metric::Dropped, &[reason]).set_total(stats.get(fact));
        }
        self.metrics.gauge(Metric::Backlog, &[]).set(stats.backlog_bytes() as f64);
    }
}

impl Exposition for HubMetrics {
    fn exposition(&self) -> String {
        self.refresh();
        self.metrics.exposition()
    }
}
