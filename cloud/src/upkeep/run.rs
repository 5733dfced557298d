//! The reconcilers, one after the other, again and again: beside ingest, in every process that has that role.
//!
//! Best effort: ingest and the API do not depend on it, so neither a failure nor a panic stops the process. What fails is
//! told when it begins and when it ends, and tried again less and less often, up to [`WAIT_MAX`]: a turn keeps nothing from
//! the one before, so that the next one is a new start.

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use contract::Timestamp;
use daemon::{
    CancellationToken,
    backoff::Backoff,
    tasks::{BoxError, Kind, Tasks, panic_text},
};
use futures::FutureExt as _;
use store::{lake_index::LakeIndex, objects::Objects};

use super::{Error, Rules, compact, orphans, orphans::rebuild_due, retain, survey::chain, sweep};

/// Longest wait between two turns that fail, where the interval is not longer.
const WAIT_MAX: Duration = Duration::from_secs(3600);

/// What upkeep is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// Time between two turns.
    pub interval: Duration,
    /// How long readers that started earlier may use retired objects.
    pub reader_grace: Duration,
    /// How old an object without a commit must be to be deleted.
    pub orphan_grace: Duration,
    /// How long an hour must be over to be compacted.
    pub compact_after: Duration,
    /// How long records are kept.
    pub retention: Rules,
}

/// What upkeep has done since it began.
#[derive(Debug, Default)]
pub struct Stats {
    /// Objects deleted because no commit named them.
    pub orphans: AtomicU64,
    /// Objects removed by retention.
    pub removed: AtomicU64,
    /// Objects merged into others.
    pub compacted: AtomicU64,
    /// Retired objects whose bytes were deleted.
    pub deleted: AtomicU64,
    /// Turns that failed.
    pub failures: AtomicU64,
    /// 1 while a rebuild is due.
    pub rebuild_due: AtomicU64,
}

/// Running upkeep.
pub struct Work {
    /// What it has done.
    pub stats: Arc<Stats>,
    stop: CancellationToken,
    ended: CancellationToken,
}

impl Work {
    /// Ends it: what is under way is dropped, which leaves at most objects without a commit.
    pub async fn end(self) {
        self.stop.cancel();
        self.ended.cancelled().await;
    }
}

/// Starts the reconcilers. Must be called within a Tokio runtime.
pub fn start(options: Options, index: LakeIndex, objects: Objects, tasks: &Tasks) -> Work {
    let (stats, stop, ended) = (Arc::new(Stats::default()), CancellationToken::new(), CancellationToken::new());
    let (counted, until, end) = (stats.clone(), stop.clone(), ended.clone().drop_guard());
    tasks.spawn("upkeep", Kind::BestEffort, async move {
        let _end = end; // whatever the end is
        until.run_until_cancelled(turns(&options, &index, &objects, &counted)).await.unwrap_or(Ok(()))
    });
    Work { stats, stop, ended }
}

/// Turns until it is dropped; gives an error only where no pace can be kept.
async fn turns(options: &Options, index: &LakeIndex, objects: &Objects, stats: &Stats) -> Result<(), BoxError> {
    let mut retry = Backoff::new(options.interval, WAIT_MAX.max(options.interval))?;
    let (mut wait, mut failing) = (options.interval, false);
    loop {
        tokio::time::sleep(wait).await;
        let now = Timestamp::from_system(SystemTime::now());
        // What a turn leaves half done is in the tables and the bucket, which the next one looks at afresh.
        let turn = AssertUnwindSafe(turn(options, index, objects, stats, now)).catch_unwind();
        let error = match turn.await {
            Ok(Ok(())) => {
                if std::mem::take(&mut failing) {
                    tracing::info!("the lake's upkeep works again");
                }
                retry.reset();
                wait = options.interval;
                continue;
            }
            Ok(Err(error)) => chain(&error),
            Err(panic) => panic_text(panic.as_ref()),
        };
        stats.failures.fetch_add(1, Ordering::Relaxed);
        if !std::mem::replace(&mut failing, true) {
            tracing::warn!(error, "the lake's upkeep fails and is tried again, less and less often");
        }
        wait = retry.next_wait();
    }
}

/// Each reconciler once.
async fn turn(
    options: &Options,
    index: &LakeIndex,
    objects: &Objects,
    stats: &Stats,
    now: Timestamp,
) -> Result<(), Error> {
    let add = |counter: &AtomicU64, n: u64| counter.fetch_add(n, Ordering::Relaxed);
    let due = rebuild_due(index, objects).await?;
    stats.rebuild_due.store(u64::from(due.is_some()), Ordering::Relaxed);
    add(&stats.removed, retain(index, objects, &options.retention, now).await?);
    add(&stats.compacted, compact(index, objects, options.compact_after, now).await?.from);
    add(&stats.deleted, sweep(index, objects, options.reader_grace, now).await?);
    add(&stats.orphans, orphans(index, objects, options.orphan_grace, now).await?);
    Ok(())
}
