//! A batch into the lake: objects stored, then one transaction that names them and the numbers they hold.
//!
//! Policy *hold*: what fails is repeated with backoff until it works or ingest is told to give up; the batch stays in
//! memory, and behind it ingest stops reading, so that memory is bounded. An outage is one line when it begins and one
//! when it ends.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use contract::{Principal, Timestamp};
use daemon::{Backoff, CancellationToken};
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use store::{
    lake_index::{Advance, Commit, Hashes, LakeIndex, Object, Outcome, SampleRow, Stream, StreamId},
    objects::Objects,
    tables,
};

use super::{
    batch::Batch,
    build::{self, Built},
    dead,
    stats::{Fact, Stats},
    traces::Traces,
};
use crate::lake::{self, Upload};

/// How long objects may wait for their commit before they are stored again: a third of the shortest grace of orphans.
const STORED_MAX: Duration = Duration::from_secs(1200);
/// Objects stored at a time.
const UPLOADS: usize = 4;

/// What it takes to flush.
#[derive(Clone)]
pub struct Flusher {
    /// Where objects go.
    pub objects: Objects,
    /// The lake's tables.
    pub index: LakeIndex,
    /// What is counted.
    pub stats: Arc<Stats>,
    /// Bytes of dead letters kept.
    pub dead_bytes: u64,
    /// Ends every repetition.
    pub give_up: CancellationToken,
}

/// What became of a flush.
pub struct Flushed {
    /// What was on its way and is no longer.
    pub settled: Vec<Advance>,
    /// The streams as the tables have them now.
    pub streams: Vec<Stream>,
    /// The gateways that get a new watermark; empty when ingest gave up.
    pub owners: HashSet<Principal>,
}

/// Told to give up.
struct GaveUp;

impl Flusher {
    /// Stores and commits a batch built upon these versions of its streams.
    pub async fn flush(self, batch: Batch, versions: HashMap<StreamId, u64>) -> Flushed {
        let settled = batch.advances(&versions);
        match self.until_committed(batch, versions).await {
            Ok((streams, owners)) => Flushed { settled, streams, owners },
            Err(GaveUp) => Flushed { settled, streams: Vec::new(), owners: HashSet::new() },
        }
    }

    async fn until_committed(
        &self,
        mut batch: Batch,
        mut versions: HashMap<StreamId, u64>,
    ) -> Result<(Vec<Stream>, HashSet<Principal>), GaveUp> {
        let owners = batch.owners();
        let has_dead = !batch.dead.is_empty();
        let traces = Traces::begin(&batch);
        let mut last = Vec::new();
        while !batch.is_empty() {
            let built;
            (batch, built) = self.build(batch).await?;
            let rows = latency_facts(&batch);
            let stored = self.store(built).await?;
            let objects = stored.objects.clone();
            traces.stored(&objects, |key| self.objects.uri(key));
            let mut attempt = Attempt { flusher: self, batch: &mut batch, versions: &mut versions, outage: None };
            match attempt.commit(stored).await? {
                Some(streams) => {
                    self.count(&objects, rows);
                    last = streams;
                    break;
                }
                None => self.remove(objects).await,
            }
        }
        for waiter in std::mem::take(&mut batch.waiters) {
            let _ = waiter.send(()); // who asked may have gone
        }
        if has_dead {
            dead::prune(&self.index, &self.objects, self.dead_bytes).await;
        }
        Ok((last, owners))
    }

    async fn build(&self, mut batch: Batch) -> Result<(Batch, Built), GaveUp> {
        let mut outage = None;
        loop {
            let built = tokio::task::spawn_blocking(move || {
                let built = build::build(&mut batch, now());
                (batch, built)
            });
            let Ok((back, result)) = built.await else { return Err(GaveUp) };
            batch = back;
            match result {
                Ok(built) => return Ok((batch, built)),
                Err(error) => self.wait(&mut outage, "records cannot be written as objects", chain(&error)).await?,
            }
        }
    }

    async fn store(&self, built: Built) -> Result<Stored, GaveUp> {
        let since = Instant::now();
        // Boxed into a list first: a lazy one of borrowing futures cannot be shown to be `Send`.
        let uploads: Vec<_> = built.uploads.into_iter().map(|upload| self.put(upload).boxed()).collect();
        let objects = futures::stream::iter(uploads).buffered(UPLOADS).try_collect().await?;
        Ok(Stored { objects, samples: built.samples, hashes: built.hashes, since })
    }

    async fn put(&self, upload: Upload) -> Result<Object, GaveUp> {
        let options = lake::put_options(&upload);
        let Upload { mut object, bytes, .. } = upload;
        let mut outage = None;
        loop {
            match self.objects.put(&object.key, bytes.clone(), options.clone()).await {
                Ok(put) => {
                    ended(&mut outage);
                    object.digest = put.digest;
                    return Ok(object);
                }
                Err(error) => self.wait(&mut outage, "objects cannot be stored", chain(&error)).await?,
            }
        }
    }

    /// Objects that were stored for nothing. What stays behind is an orphan: nothing names it. After a commit that was
    /// uncertain and happened all the same the manifest names them; so it is asked, and in doubt they stay.
    async fn remove(&self, objects: Vec<Object>) {
        let Some(first) = objects.first() else { return };
        if !matches!(self.index.object(&first.key).await, Ok(None)) {
            return;
        }
        let keys: Vec<_> = objects.into_iter().map(|object| object.key).collect();
        if let Err(error) = self.objects.delete_many(&keys).await {
            tracing::debug!(%error, "objects of a lost commit stay behind");
        }
    }

    fn count(&self, objects: &[Object], (rows, latency_us): (u64, u64)) {
        self.stats.count(Fact::Flushes);
        self.stats.add(Fact::Objects, objects.len() as u64);
        self.stats.add(Fact::ObjectBytes, objects.iter().map(|o| o.bytes).sum());
        self.stats.add(Fact::Rows, rows);
        self.stats.add(Fact::CommitLatencyUs, latency_us);
    }

    async fn wait(&self, outage: &mut Option<Outage>, what: &'static str, error: String) -> Result<(), GaveUp> {
        self.stats.count(Fact::FlushFailures);
        let outage = outage.get_or_insert_with(|| {
            tracing::error!(error, "{what}: held in memory and tried again");
            Outage::new(what)
        });
        tokio::select! {
            () = self.give_up.cancelled() => Err(GaveUp),
            () = tokio::time::sleep(outage.wait()) => Ok(()),
        }
    }
}

/// What a flush has stored and not committed yet.
struct Stored {
    objects: Vec<Object>,
    samples: Vec<SampleRow>,
    hashes: Vec<Hashes>,
    since: Instant,
}

/// One commit, repeated until it is decided.
struct Attempt<'a> {
    flusher: &'a Flusher,
    batch: &'a mut Batch,
    versions: &'a mut HashMap<StreamId, u64>,
    outage: Option<Outage>,
}

impl Attempt<'_> {
    /// The streams after the commit; `None` when the batch changed and its objects must be built again.
    async fn commit(&mut self, stored: Stored) -> Result<Option<Vec<Stream>>, GaveUp> {
        let Stored { objects, samples, hashes, since } = stored;
        let mut commit = Commit { now: now(), advances: Vec::new(), objects, samples, hashes };
        loop {
            if since.elapsed() > STORED_MAX {
                return Ok(None); // the reconciler of another process may soon take them for orphans
            }
            commit.advances = self.batch.advances(self.versions);
            match self.flusher.index.commit(&commit).await {
                Ok(Outcome::Committed(streams)) => {
                    ended(&mut self.outage);
                    return Ok(Some(streams));
                }
                Ok(Outcome::Conflict(streams)) => {
                    if self.moved(streams) {
                        return Ok(None);
                    }
                }
                Ok(Outcome::Foreign { epoch, owner }) => {
                    let records = self.batch.drop_epoch(epoch);
                    self.flusher.stats.add(Fact::Foreign, records as u64);
                    tracing::error!(%epoch, %owner, records, "two gateways use one epoch; only its first owner's is kept");
                    return Ok(None);
                }
                Err(error) => {
                    self.flusher.wait(&mut self.outage, "the lake's tables cannot be written", chain(&error)).await?;
                    if error.kind() == tables::ErrorKind::Uncertain
                        && let Some(streams) = self.look_again(&commit).await?
                    {
                        return Ok(Some(streams));
                    }
                }
            }
        }
    }

    /// Takes over the versions of streams that moved; says whether the batch shrank by it.
    fn moved(&mut self, streams: Vec<Stream>) -> bool {
        self.flusher.stats.count(Fact::Conflicts);
        for stream in &streams {
            self.versions.insert(stream.id, stream.version);
        }
        self.batch.drop_committed(&streams)
    }

    /// After a commit that may have happened: the streams, where it has.
    async fn look_again(&mut self, commit: &Commit) -> Result<Option<Vec<Stream>>, GaveUp> {
        let Some(first) = commit.objects.first() else { return Ok(None) };
        loop {
            match self.flusher.index.object(&first.key).await {
                Ok(None) => return Ok(None),
                Ok(Some(_)) => {
                    let mut streams = Vec::new();
                    for advance in &commit.advances {
                        match self.flusher.index.stream(advance.stream).await {
                            Ok(stream) => streams.push(stream),
                            Err(error) => {
                                self.flusher
                                    .wait(&mut self.outage, "the lake's tables cannot be read", chain(&error))
                                    .await?;
                            }
                        }
                    }
                    if streams.len() == commit.advances.len() {
                        return Ok(Some(streams));
                    }
                }
                Err(error) => {
                    self.flusher.wait(&mut self.outage, "the lake's tables cannot be read", chain(&error)).await?
                }
            }
        }
    }
}

/// Something does not work, and since when.
pub(super) struct Outage {
    what: &'static str,
    since: Instant,
    pause: Duration,
    backoff: Option<Backoff>,
}

impl Outage {
    pub(super) fn new(what: &'static str) -> Self {
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10)).ok();
        Self { what, since: Instant::now(), pause: Duration::from_secs(1), backoff }
    }

    pub(super) fn wait(&mut self) -> Duration {
        self.backoff.as_mut().map_or(self.pause, Backoff::next_wait)
    }
}

pub(super) fn ended(outage: &mut Option<Outage>) {
    if let Some(outage) = outage.take() {
        tracing::info!(after_s = outage.since.elapsed().as_secs_f32(), what = outage.what, "it works again");
    }
}

/// How many rows, and the sum of their ages in microseconds.
fn latency_facts(batch: &Batch) -> (u64, u64) {
    let now = now().0;
    let ages = batch.rows.values().flatten().map(|row| u64::try_from(now - row.corrected_at().0).unwrap_or(0));
    (batch.row_count() as u64, ages.fold(0, u64::saturating_add))
}

pub(super) fn now() -> Timestamp {
    Timestamp::from_system(SystemTime::now())
}

/// An error and its causes in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |e| e.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
