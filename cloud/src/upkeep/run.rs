//! The reconcilers, one after the other, again and again: beside ingest, in every process that has that role.
//!
//! Best effort: what fails is told once and tried again at the next turn; ingest and the API do not depend on it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use contract::Timestamp;
use daemon::{
    CancellationToken,
    tasks::{BoxError, Kind, Tasks},
};
use store::{lake_index::LakeIndex, objects::Objects};

use super::{Error, Rules, compact, orphans, orphans::rebuild_due, retain, survey::chain, sweep};

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
        let turns = async {
            let mut failing = false;
            loop {
                tokio::time::sleep(options.interval).await;
                let now = Timestamp::from_system(SystemTime::now());
                match turn(&options, &index, &objects, &counted, now).await {
                    Ok(()) => failing = false,
                    Err(error) => {
                        counted.failures.fetch_add(1, Ordering::Relaxed);
                        if !std::mem::replace(&mut failing, true) {
                            tracing::warn!(error = chain(&error), "the lake's upkeep waits");
                        }
                    }
                }
            }
        };
        until.run_until_cancelled(turns).await;
        Ok::<(), BoxError>(())
    });
    Work { stats, stop, ended }
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
