//! The agent's metrics: one enum with help texts, filled from the counters that the parts keep themselves.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use contract::{live::Presence, record::Latency};
use daemon::{
    metrics::{Exposition, Histogram, Metrics, SECONDS},
    telemetry::Telemetry,
};

use inference::Standing;

use crate::{app::Shared, outbox::KINDS};

daemon::metric_names! {
    /// What the agent measures.
    pub enum Metric {
        /// Frames.
        Frames = counter("sightline_frames_received_total", "Frames that came from the camera", ["camera"]),
        /// Unreadable frames.
        FramesUnreadable = counter("sightline_frames_unreadable_total", "Frames that could not be read", ["camera"]),
        /// Camera failures.
        CameraFailures = counter("sightline_camera_failures_total", "Attempts at the camera that failed or broke off", ["camera"]),
        /// Online cameras.
        CameraOnline = gauge("sightline_camera_online", "1 while frames come", ["camera"]),
        /// Predictions.
        Predictions = counter("sightline_predictions_total", "Prediction records made", ["camera", "region"]),
        /// Replaced requests.
        Replaced = counter("sightline_requests_replaced_total", "Frames that a newer one replaced before their turn", ["camera", "region"]),
        /// Failed requests.
        Failed = counter("sightline_requests_failed_total", "Frames that the engine did not answer", ["camera", "region"]),
        /// Published predictions.
        Published = counter("sightline_predictions_published_total", "Distinct prediction records sent on the archive lane", ["camera"]),
        /// Stage times.
        Stage = histogram("sightline_stage_seconds", "Time of each stage of a prediction; total is arrival to scores", ["camera", "stage"]; SECONDS),
        /// Batches.
        Batches = counter("sightline_engine_batches_total", "Batches run by the engine"),
        /// Batch jobs.
        BatchJobs = counter("sightline_engine_inputs_total", "Inputs in those batches"),
        /// Failed batches.
        BatchFailures = counter("sightline_engine_failures_total", "Batches that failed"),
        /// Skipped inputs.
        Skipped = counter("sightline_engine_skipped_total", "Inputs that the budget of the engine in use did not allow"),
        /// Failing models.
        EngineFailing = gauge("sightline_engine_failing", "Models whose last batch failed; /ready says which and why"),
        /// Engines in use.
        EngineInUse = gauge("sightline_engine_in_use", "1 for the engine that runs a model now", ["model", "engine", "version", "precision"]),
        /// Changes of engines.
        EngineChanges = counter("sightline_engine_changes_total", "Times that another engine took over"),
        /// Samples.
        Samples = counter("sightline_samples_kept_total", "Samples in the outbox"),
        /// Sample bytes.
        SampleBytes = counter("sightline_samples_kept_bytes_total", "Bytes of those samples"),
        /// Dropped samples.
        SamplesDropped = counter("sightline_samples_dropped_total", "Pictures that were to be kept and are not: busy, failed, or over the day's budget", ["reason"]),
        /// Outbox records.
        OutboxRecords = gauge("sightline_outbox_records", "Records that are not archived yet", ["kind"]),
        /// Outbox bytes.
        OutboxBytes = gauge("sightline_outbox_bytes", "Bytes of records that are not archived yet"),
        /// Outbox files.
        OutboxDiskBytes = gauge("sightline_outbox_disk_bytes", "Bytes of the outbox's segments on disk, archived or not"),
        /// Outbox drops.
        OutboxDropped = counter("sightline_outbox_dropped_total", "Records that the outbox's bound has dropped", ["kind"]),
        /// Outbox losses.
        OutboxLost = counter("sightline_outbox_lost_total", "Records that the outbox's disk did not take", ["kind"]),
        /// Outbox damage.
        OutboxDamaged = counter("sightline_outbox_damaged_total", "Records that could no longer be read from the outbox's disk", ["kind"]),
        /// Torn tails.
        OutboxTorn = counter("sightline_outbox_torn_bytes_total", "Bytes of a torn tail that the start cut off: a power cut"),
        /// Syncs.
        OutboxSyncs = counter("sightline_outbox_syncs_total", "Files of the outbox that were synced"),
        /// Disk.
        OutboxFault = gauge("sightline_outbox_fault", "1 while the outbox's disk refuses something"),
        /// Archive messages.
        ArchiveMessages = counter("sightline_archive_messages_total", "Messages handed over on the archive lane"),
        /// Archive bytes.
        ArchiveBytes = counter("sightline_archive_sent_bytes_total", "Bytes of those messages"),
        /// Archive records.
        ArchiveRecords = counter("sightline_archive_records_total", "Records in those messages, again when sent again"),
        /// Resends.
        ArchiveResends = counter("sightline_archive_resends_total", "Times that everything was sent again for want of progress"),
        /// In flight.
        ArchiveInflight = gauge("sightline_archive_inflight_bytes", "Bytes sent and not archived"),
        /// Foreign watermarks.
        ForeignWatermarks = counter("sightline_watermarks_beyond_tail_total", "Watermarks beyond this log's tail: it was restored from a snapshot"),
        /// Lower watermarks.
        LoweredWatermarks = counter("sightline_watermarks_lowered_total", "Watermarks below an earlier one of the same lake: its tables were rolled back"),
        /// Strangers.
        Strangers = counter("sightline_watermarks_strangers_total", "Watermarks that show another living gateway of this name"),
        /// Unreadable outbox.
        OutboxUnreadable = counter("sightline_outbox_unreadable_total", "Times that the outbox could not be read and was tried again"),
        /// Live messages.
        LiveSent = counter("sightline_live_messages_total", "Messages handed over on the live lane"),
        /// Live drops.
        LiveDropped = counter("sightline_live_dropped_total", "Live messages dropped", ["reason"]),
        /// Connected.
        Connected = gauge("sightline_mqtt_connected", "1 while the broker is connected"),
    }
}

/// The metrics and where their values come from.
pub struct AgentMetrics {
    metrics: Metrics<Metric>,
    shared: OnceLock<Weak<Shared>>,
    /// Labels of every engine that was in use.
    engines_seen: Mutex<BTreeSet<[String; 4]>>,
}

/// One camera's stage times.
pub struct Latencies {
    stages: [Histogram; 5],
}

impl Latencies {
    /// One prediction.
    pub fn observe(&self, latency: &Latency) {
        let times =
            [latency.decode_us, latency.preprocess_us, latency.queue_us, latency.inference_us, latency.total_us];
        for (stage, us) in self.stages.iter().zip(times) {
            stage.observe(us as f64 / 1e6);
        }
    }
}

impl AgentMetrics {
    /// All zero.
    #[expect(clippy::new_without_default, reason = "a metrics registry is made once, on purpose")]
    pub fn new() -> Self {
        Self { metrics: Metrics::new(), shared: OnceLock::new(), engines_seen: Mutex::default() }
    }

    /// Where values come from.
    pub(crate) fn attach(&self, shared: &Arc<Shared>) {
        // Once, by the assembly.
        let _ = self.shared.set(Arc::downgrade(shared));
    }

    /// Exports by OTLP, if configured.
    pub fn export(&self, telemetry: &Telemetry) {
        self.metrics.export(telemetry);
    }

    /// A camera's stage times.
    pub fn latencies(&self, camera: &str) -> Latencies {
        let stages = ["decode", "preprocess", "queue", "inference", "total"];
        Latencies { stages: stages.map(|stage| self.metrics.histogram(Metric::Stage, &[camera, stage])) }
    }

    /// Takes over what the parts have counted.
    pub fn refresh(&self) {
        let Some(shared) = self.shared.get().and_then(Weak::upgrade) else { return };
        self.cameras(&shared);
        self.outbox(&shared);
        let engine = &shared.engine;
        self.total(Metric::Batches, &[], &engine.batches);
        self.total(Metric::BatchJobs, &[], &engine.jobs);
        self.total(Metric::BatchFailures, &[], &engine.failures);
        self.total(Metric::Skipped, &[], &engine.skipped);
        self.gauge(Metric::EngineFailing, &[], engine.failing().len() as f64);
        self.total(Metric::EngineChanges, &[], &engine.changes);
        self.engines(&shared);
        let samples = &shared.samples;
        self.total(Metric::Samples, &[], &samples.kept);
        self.total(Metric::SampleBytes, &[], &samples.bytes);
        self.total(Metric::SamplesDropped, &["busy"], &samples.dropped);
        self.total(Metric::SamplesDropped, &["failed"], &samples.failed);
        self.total(Metric::SamplesDropped, &["budget"], &samples.over_budget);
        let live = &shared.live.counts;
        self.total(Metric::LiveSent, &[], &live.sent);
        self.total(Metric::LiveDropped, &["offline"], &live.dropped_offline);
        self.total(Metric::LiveDropped, &["full"], &live.dropped_full);
        self.gauge(Metric::Connected, &[], f64::from(u8::from(shared.live.is_up())));
    }

    /// An engine that was left stays visible, as 0.
    fn engines(&self, shared: &Shared) {
        let now = shared.engines.iter().map(|of| {
            let Standing { engine, version, precision, .. } = of.standing();
            [of.model.clone(), engine.to_string(), version, precision.to_string()]
        });
        let now: Vec<_> = now.collect();
        let mut seen = self.engines_seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.extend(now.iter().cloned());
        for labels in &*seen {
            let value = f64::from(u8::from(now.contains(labels)));
            self.gauge(Metric::EngineInUse, &labels.each_ref().map(String::as_str), value);
        }
    }

    fn cameras(&self, shared: &Shared) {
        for camera in &shared.cameras {
            let id = camera.id.as_str();
            self.total(Metric::Frames, &[id], &camera.counts.frames);
            self.total(Metric::FramesUnreadable, &[id], &camera.counts.unreadable);
            self.total(Metric::CameraFailures, &[id], &camera.counts.failures);
            self.total(Metric::Published, &[id], &camera.counts.published);
            let online = camera.state().presence == Presence::Online;
            self.gauge(Metric::CameraOnline, &[id], f64::from(u8::from(online)));
            for region in &camera.regions {
                let labels = [id, region.id.as_str()];
                self.total(Metric::Predictions, &labels, &region.predictions);
                self.total(Metric::Replaced, &labels, &region.replaced);
                self.total(Metric::Failed, &labels, &region.failed);
            }
        }
    }

    fn outbox(&self, shared: &Shared) {
        for kind in KINDS {
            let holding = shared.outbox.index(|index| index.holding(kind));
            self.gauge(Metric::OutboxRecords, &[kind.name()], (holding.next - holding.first) as f64);
        }
        let counts = shared.outbox.counts();
        let by_kind = [
            (Metric::OutboxDropped, counts.dropped),
            (Metric::OutboxLost, counts.lost),
            (Metric::OutboxDamaged, counts.damaged),
        ];
        for (metric, counts) in by_kind {
            for (kind, count) in counts {
                self.metrics.counter(metric, &[kind.name()]).set_total(count);
            }
        }
        self.metrics.counter(Metric::OutboxTorn, &[]).set_total(counts.torn_bytes);
        self.metrics.counter(Metric::OutboxSyncs, &[]).set_total(counts.syncs);
        let (backlog, disk) = shared.outbox.index(|index| (index.backlog_bytes(), index.bytes()));
        self.gauge(Metric::OutboxBytes, &[], backlog as f64);
        self.gauge(Metric::OutboxDiskBytes, &[], disk as f64);
        self.gauge(Metric::OutboxFault, &[], f64::from(u8::from(shared.outbox.trouble().is_some())));
        let counts = &shared.archive.counts;
        self.total(Metric::ArchiveMessages, &[], &counts.messages);
        self.total(Metric::ArchiveBytes, &[], &counts.bytes);
        self.total(Metric::ArchiveRecords, &[], &counts.records);
        self.total(Metric::ForeignWatermarks, &[], &counts.beyond_tail);
        self.total(Metric::LoweredWatermarks, &[], &counts.lowered);
        self.total(Metric::Strangers, &[], &counts.strangers);
        self.total(Metric::OutboxUnreadable, &[], &counts.unreadable);
        let (resends, inflight) = shared.archive.progress();
        self.metrics.counter(Metric::ArchiveResends, &[]).set_total(resends);
        self.gauge(Metric::ArchiveInflight, &[], inflight as f64);
    }

    fn total(&self, metric: Metric, labels: &[&str], count: &AtomicU64) {
        self.metrics.counter(metric, labels).set_total(count.load(Ordering::Relaxed));
    }

    fn gauge(&self, metric: Metric, labels: &[&str], value: f64) {
        self.metrics.gauge(metric, labels).set(value);
    }
}

impl Exposition for AgentMetrics {
    fn exposition(&self) -> String {
        self.refresh();
        self.metrics.exposition()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_prometheus() {
        assert_eq!(daemon::metrics::lint::<Metric>(), Vec::<String>::new());
    }
}
