//! The end, from upstream to downstream: cameras, engine, samples, last documents, archive, broker. Then the counts.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use contract::{CameraId, Topic};
use daemon::tasks::{BoxError, Reason, Shutdown, Tasks};
use link::Publication;
use serde::Serialize;

use super::{Ended, Running, Shared, build::offline};
use crate::live::JSON;

/// What was counted, also in `<state>/summary.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// By camera.
    pub cameras: BTreeMap<CameraId, CameraSummary>,
    /// Whether the hub has archived everything.
    pub archived: bool,
}

/// What was counted of one camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct CameraSummary {
    /// Prediction records made.
    pub classified: u64,
    /// Distinct prediction records sent on the archive lane.
    pub published: u64,
}

/// Drains and says what was counted.
pub async fn run(running: Running, reason: Reason) -> Ended {
    let Running { shared, state, session, pipelines, status, net, end, telemetry } = running;
    let config = shared.config.shutdown.clone();
    pipelines.stop.set();
    let wait = |tasks: Tasks, bound: Duration| async move { all(tasks, bound).await };
    let (cameras, engine, samples, syncer) = (pipelines.cameras, pipelines.engine, pipelines.samples, pipelines.outbox);
    let outbox = shared.outbox.clone();
    let queue = shared.queue.clone();
    let s = Duration::from_secs;
    let last_documents = {
        let status = status.clone();
        async move {
            status.lock().await.tick(true);
            Ok::<(), BoxError>(())
        }
    };
    let report = Shutdown::new(config.bound.get())
        .step("cameras", s(10), wait(cameras, s(10)))
        .step("engine", s(10), async move {
            queue.stop();
            all(engine, s(10)).await
        })
        .step("samples", s(10), wait(samples, s(10)))
        .step("documents", s(2), last_documents)
        .step(
            "archive",
            config.archive_wait.get() + s(1),
            archive(shared.clone(), session.clone(), config.archive_wait.get()),
        )
        .step("outbox", s(10), async move {
            outbox.stop_syncer();
            all(syncer, s(10)).await
        })
        .step("broker", s(5), goodbye(shared.clone(), session, state.path().to_owned()))
        .step("tasks", s(2), async move {
            end.cancel();
            let left = net.join(s(2)).await;
            tracing::debug!(?left, "tasks that did not end");
            Ok::<(), BoxError>(())
        })
        .step("telemetry", s(5), async move {
            telemetry.shutdown(s(5)).await;
            Ok::<(), BoxError>(())
        })
        .run()
        .await;
    let summary = summarise(&shared);
    let json = serde_json::to_string(&summary).unwrap_or_default();
    if let Err(error) = daemon::state::atomic_write(&state.join("summary.json"), json.as_bytes(), 0o644) {
        tracing::error!(%error, "summary is not written");
    }
    let total = |count: fn(&CameraSummary) -> u64| summary.cameras.values().map(count).sum::<u64>();
    tracing::info!(
        classified = total(|c| c.classified),
        published = total(|c| c.published),
        archived = summary.archived,
        cameras = json,
        "agent has ended"
    );
    Ended { exit_code: report.exit_code(&reason), summary: Some(summary) }
}

async fn all(tasks: Tasks, bound: Duration) -> Result<(), BoxError> {
    let left = tasks.join(bound).await;
    if left.is_empty() { Ok(()) } else { Err(format!("did not end: {}", left.join(", ")).into()) }
}

/// Waits until the hub has everything. A broker that is away may be back in time: links break and brokers restart. What is
/// left then waits in the outbox.
async fn archive(shared: Arc<Shared>, session: link::Session, bound: Duration) -> Result<(), BoxError> {
    shared.archive.drain();
    let deadline = tokio::time::Instant::now() + bound;
    while !shared.archive.is_archived() {
        if tokio::time::Instant::now() >= deadline {
            let why =
                if session.is_up() { "the hub has not archived everything" } else { "the broker is not connected" };
            tracing::info!(left = left(&shared), why, "what is left stays in the outbox");
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

fn left(shared: &Shared) -> u64 {
    shared.outbox.holds().values().map(|h| h.next - h.first).sum()
}

/// Last retained documents and the status, then the end of the session.
async fn goodbye(shared: Arc<Shared>, session: link::Session, state: std::path::PathBuf) -> Result<(), BoxError> {
    if session.is_up() {
        while let Some((topic, document)) = shared.board.next_due() {
            let publication = Publication::new(topic, document).at_least_once().retained().content_type(JSON);
            drop(session.publish(publication).await?);
        }
        let topic = Topic::Status(shared.identity.principal()).under(&shared.config.mqtt.prefix);
        let status = offline(super::stable::session_number(&state));
        let publication = Publication::new(topic, status).at_least_once().retained().content_type(JSON);
        drop(session.publish(publication).await?);
    }
    if session.close(Duration::from_secs(4)).await { Ok(()) } else { Err("not everything was delivered".into()) }
}

fn summarise(shared: &Shared) -> Summary {
    let camera = |camera: &Arc<crate::state::Camera>| {
        let count = |n: &std::sync::atomic::AtomicU64| n.load(Ordering::Relaxed);
        let counts = &camera.counts;
        let summary = CameraSummary { classified: count(&counts.classified), published: count(&counts.published) };
        (camera.id.clone(), summary)
    };
    Summary { cameras: shared.cameras.iter().map(camera).collect(), archived: shared.archive.is_archived() }
}
