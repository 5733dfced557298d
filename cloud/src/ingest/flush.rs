//! A batch into the lake: objects stored, then one transaction that names them and the numbers they hold.
//!
//! Policy *hold*: what fails is repeated with backoff until it works or ingest is told to give up; the batch stays in
//! memory, and behind it ingest stops reading, so that memory is bounded. An outage is one line when it begins and one
//! when it ends.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
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
    batch::{Batch, Rows},
    build::{self, Built},
    dead,
    stats::{Fact, Stats},
    traces::Traces,
};
use crate::{
    clock::{self, off_loop, wall as now},
    lake::{self, Upload},
};

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
    /// Room for the rows of a batch to come: taking it anew costs a page fault for every few rows.
    pub room: Rows,
}

/// Told to give up.
struct GaveUp;

impl Flusher {
    /// Stores and commits a batch built upon these versions of its streams.
    pub async fn flush(self, batch: Batch, versions: HashMap<StreamId, u64>) -> Flushed {
        let settled = batch.advances(&versions);
        match self.until_committed(batch, versions).await {
            Ok((streams, owners, room)) => Flushed { settled, streams, owners, room },
            Err(GaveUp) => Flushed { settled, streams: Vec::new(), owners: HashSet::new(), room: Rows::new() },
        }
    }

    async fn until_committed(
        &self,
        mut batch: Batch,
        mut versions: HashMap<StreamId, u64>,
    ) -> Result<(Vec<Stream>, HashSet<Principal>, Rows), GaveUp> {
        let owners = batch.owners();
        let has_dead = !batch.dead.is_empty();
        let traces = Traces::begin(&batch);
        let mut known = HashMap::new();
        let mut named_from = Timestamp(0);
        while !batch.is_empty() {
            let built;
            (batch, built) = self.build(batch, named_from).await?;
            let rows = latency_facts(&batch);
            let stored = self.store(built).await?;
            let objects = stored.objects.clone();
            traces.stored(&objects, |key| self.objects.uri(key));
            let mut attempt = Attempt {
                flusher: self,
                batch: &mut batch,
                versions: &mut versions,
                known: &mut known,
                named_from: &mut named_from,
                outage: None,
                in_doubt: false,
            };
            match attempt.commit(stored).await? {
                Decided::Committed => {
                    self.count(&objects, rows);
                    break;
                }
                Decided::Changed => remove_unnamed(&self.index, &self.objects, objects).await,
            }
        }
        for waiter in std::mem::take(&mut batch.waiters) {
            let _ = waiter.send(()); // who asked may have gone
        }
        if has_dead {
            dead::prune(&self.index, &self.objects, self.dead_bytes).await;
        }
        batch.rows.values_mut().for_each(Vec::clear);
        Ok((known.into_values().collect(), owners, batch.rows))
    }

    async fn build(&self, mut batch: Batch, named_from: Timestamp) -> Result<(Batch, Built), GaveUp> {
        let mut outage = None;
        loop {
            let at = now().max(named_from);
            let built = off_loop(move || {
                let built = build::build(&mut batch, at);
                (batch, built)
            });
            let (back, result) = match built.await {
                Ok(built) => built,
                // A mistake of ours: the batch is gone with it, so this flush is lost too, and with it the process.
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    Err(_) => return Err(GaveUp), // the runtime is ending
                },
            };
            batch = back;
            match result {
                Ok(built) => return Ok((batch, built)),
                Err(error) => self.wait(&mut outage, "records cannot be written as objects", chain(&error)).await?,
            }
        }
    }

    async fn store(&self, built: Built) -> Result<Stored, GaveUp> {
        // Boxed into a list first: a lazy one of borrowing futures cannot be shown to be `Send`.
        let uploads: Vec<_> = built.uploads.into_iter().map(|upload| self.put(upload).boxed()).collect();
        let objects = futures::stream::iter(uploads).buffered(UPLOADS).try_collect().await?;
        Ok(Stored { objects, samples: built.samples, hashes: built.hashes })
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
}

/// One commit, repeated until it is decided.
struct Attempt<'a> {
    flusher: &'a Flusher,
    batch: &'a mut Batch,
    versions: &'a mut HashMap<StreamId, u64>,
    /// The streams as the tables last said.
    known: &'a mut HashMap<StreamId, Stream>,
    /// The earliest time that the names of new objects may tell: another hub's clock may be ahead of this one's.
    named_from: &'a mut Timestamp,
    outage: Option<Outage>,
    /// An earlier try may have happened, or may yet happen: the database commits in its own time.
    in_doubt: bool,
}

/// What became of a commit.
enum Decided {
    /// Objects and numbers are in the lake.
    Committed,
    /// The batch changed, and its objects must be built again.
    Changed,
}

impl Attempt<'_> {
    async fn commit(&mut self, stored: Stored) -> Result<Decided, GaveUp> {
        let Stored { objects, samples, hashes } = stored;
        let mut commit = Commit { now: now(), advances: Vec::new(), objects, samples, hashes, ..Commit::default() };
        loop {
            commit.advances = self.batch.advances(self.versions);
            let outcome = match self.flusher.index.commit(&commit).await {
                Ok(outcome) => outcome,
                Err(error) => {
                    self.in_doubt |= error.kind() == tables::ErrorKind::Uncertain;
                    self.flusher.wait(&mut self.outage, "the lake's tables cannot be written", chain(&error)).await?;
                    if self.in_doubt && self.has_happened(&commit).await? {
                        return Ok(Decided::Committed);
                    }
                    continue;
                }
            };
            ended(&mut self.outage);
            // What moved the streams may have been our own earlier try: the one that conflicts with it waited for it.
            let own = self.in_doubt && !matches!(outcome, Outcome::Committed(_)) && self.has_happened(&commit).await?;
            match outcome {
                Outcome::Committed(streams) => self.learn(streams),
                Outcome::Conflict(_) | Outcome::Foreign { .. } | Outcome::Gone(_) | Outcome::Late(_) if own => {}
                Outcome::Conflict(streams) => {
                    if self.moved(streams) {
                        return Ok(Decided::Changed);
                    }
                    continue;
                }
                Outcome::Foreign { epoch, owner } => {
                    let records = self.batch.drop_epoch(epoch);
                    self.flusher.stats.add(Fact::Foreign, records as u64);
                    tracing::error!(%epoch, %owner, records, "two gateways use one epoch; only its first owner's records are taken; a state folder was copied: empty the copy's outbox");
                    return Ok(Decided::Changed);
                }
                Outcome::Gone(_) => return Ok(Decided::Changed), // a flush replaces nothing
                Outcome::Late(mark) => {
                    // names tell whole milliseconds
                    *self.named_from = (*self.named_from).max(Timestamp(mark.0 + 1000));
                    return Ok(Decided::Changed); // what it stored may be deleted already
                }
            }
            return Ok(Decided::Committed);
        }
    }

    /// Takes over the versions of streams that moved; says whether the batch shrank by it.
    fn moved(&mut self, streams: Vec<Stream>) -> bool {
        self.flusher.stats.count(Fact::Conflicts);
        for stream in &streams {
            self.versions.insert(stream.id, stream.version);
        }
        let shrank = self.batch.drop_committed(&streams);
        self.learn(streams);
        shrank
    }

    fn learn(&mut self, streams: Vec<Stream>) {
        self.known.extend(streams.into_iter().map(|stream| (stream.id, stream)));
    }

    /// Whether a commit in doubt has happened: its objects are named. One without objects is decided by its numbers.
    async fn has_happened(&mut self, commit: &Commit) -> Result<bool, GaveUp> {
        loop {
            match self.look(commit).await {
                Ok(None) => return Ok(false),
                Ok(Some(streams)) => {
                    ended(&mut self.outage);
                    self.learn(streams);
                    return Ok(true);
                }
                Err(error) => {
                    self.flusher.wait(&mut self.outage, "the lake's tables cannot be read", chain(&error)).await?;
                }
            }
        }
    }

    /// The streams, where the commit's objects are named.
    async fn look(&self, commit: &Commit) -> Result<Option<Vec<Stream>>, tables::Error> {
        let index = &self.flusher.index;
        let Some(first) = commit.objects.first() else { return Ok(None) };
        if index.object(&first.key).await?.is_none() {
            return Ok(None);
        }
        let mut streams = Vec::with_capacity(commit.advances.len());
        for advance in &commit.advances {
            streams.push(index.stream(advance.stream).await?);
        }
        Ok(Some(streams))
    }
}

/// Removes objects that were stored for nothing. Each is asked for first: an object that nothing names is an orphan and
/// harmless, a name without an object is lost records.
pub(super) async fn remove_unnamed(index: &LakeIndex, objects: &Objects, stored: Vec<Object>) {
    let mut keys = Vec::with_capacity(stored.len());
    for object in stored {
        match index.object(&object.key).await {
            Ok(None) => keys.push(object.key),
            Ok(Some(_)) => tracing::error!(key = object.key, "object of a lost commit is named and stays"),
            Err(error) => tracing::debug!(key = object.key, %error, "object of a lost commit stays behind"),
        }
    }
    if let Err(error) = objects.delete_many(&keys).await {
        tracing::debug!(%error, "objects of a lost commit stay behind");
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
        Self { what, since: clock::mono(), pause: Duration::from_secs(1), backoff }
    }

    pub(super) fn wait(&mut self) -> Duration {
        self.backoff.as_mut().map_or(self.pause, |backoff| backoff.next_with(lake::random_u128() as u64))
    }
}

pub(super) fn ended(outage: &mut Option<Outage>) {
    if let Some(outage) = outage.take() {
        tracing::info!(after_s = (clock::mono() - outage.since).as_secs_f32(), what = outage.what, "it works again");
    }
}

/// How many rows, and the sum of their ages in microseconds.
fn latency_facts(batch: &Batch) -> (u64, u64) {
    let now = now().0;
    let ages = batch.rows.values().flatten().map(|row| u64::try_from(now - row.corrected_at().0).unwrap_or(0));
    (batch.row_count() as u64, ages.fold(0, u64::saturating_add))
}

/// An error and its causes in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |e| e.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
