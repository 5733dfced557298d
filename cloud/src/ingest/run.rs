//! The shell: one loop that reads the session and the inbox, feeds the intake and starts flushes, one at a time.
//!
//! Policy *hold*: while a flush is under way and the next batch is full, nothing is read; the session then holds what
//! comes, the broker holds what the session does not take, and the gateways hold everything.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use contract::{
    Epoch, GatewayId, Principal, Timestamp,
    frame::{self, Frame},
};
use daemon::{CancellationToken, admin::Component};
use link::{Event, Events, Message, Session};
use store::{
    lake_index::{Binding, LakeIndex, Stream},
    objects::Objects,
};
use tokio::{
    sync::{broadcast, mpsc},
    task::JoinHandle,
    time::timeout,
};

use super::{
    Handle, Stats,
    assemble::Limits,
    batch::Batch,
    duplicates,
    flush::{Flushed, Flusher, Outage, chain, ended, now},
    handle::Submission,
    intake::{Intake, Lot, Verdict},
    memory,
    streams::Number,
    upgrade,
    watermark::{self, Owed, Publisher},
};

/// Submissions of this process that may wait; each is a picture and what was said of it.
const INBOX_MAX: usize = 64;
/// Arrived records that a slow watcher may be behind.
const ARRIVED_MAX: usize = 1024;
/// Between two looks at what changes by time alone: fragments that waited too long, the lake's incarnation.
const TICK: Duration = Duration::from_secs(5);
/// When stopping, how long the bus must be quiet before what was sent counts as received.
const QUIET: Duration = Duration::from_millis(300);
/// When stopping, how long messages are taken at most.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// What ingest is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// The topics' prefix.
    pub prefix: String,
    /// The hub's own name as a gateway.
    pub gateway: GatewayId,
    /// The longest time that a record waits for its flush.
    pub flush_interval: Duration,
    /// The batch that is flushed at once.
    pub flush_bytes: usize,
    /// Bounds of what waits for fragments.
    pub fragments: Limits,
    /// Bytes of records that cannot be read, kept in all; the oldest go first.
    pub dead_bytes: u64,
}

/// What ingest works with.
pub struct Parts {
    /// The bus, subscribed to the archive lane.
    pub bus: (Session, Events),
    /// Where objects go.
    pub objects: Objects,
    /// The lake's tables.
    pub index: LakeIndex,
    /// Says whether the bus is there.
    pub ready: Component,
}

/// A running ingest.
pub struct Ingest {
    /// The way in for this process's own records, and to watch what arrives.
    pub handle: Handle,
    /// What is counted.
    pub stats: Arc<Stats>,
    /// The loop; it ends after [`Ingest::drain`].
    pub task: JoinHandle<()>,
    publisher: JoinHandle<()>,
    session: Session,
    owed: Owed,
    stop: CancellationToken,
    give_up: CancellationToken,
}

/// Starts ingest. Must be called within a Tokio runtime.
pub fn start(options: Options, parts: Parts) -> Ingest {
    let (inbox_sender, inbox) = mpsc::channel(INBOX_MAX);
    let (arrived, _) = broadcast::channel(ARRIVED_MAX);
    let stats = Arc::new(Stats::default());
    let (owed, stop, give_up) = (Owed::default(), CancellationToken::new(), CancellationToken::new());
    let (session, events) = parts.bus;
    let publisher = Publisher {
        index: parts.index.clone(),
        session: session.clone(),
        prefix: options.prefix.clone(),
        owed: owed.clone(),
        own: options.gateway.clone(),
        stats: stats.clone(),
    };
    let intake =
        Intake::new(options.gateway.clone(), options.fragments, stats.clone(), arrived.clone(), Instant::now());
    let (index, objects) = (parts.index.clone(), parts.objects.clone());
    tokio::spawn(async move { upgrade::read_kept(&index, &objects, upgrade::READABLE).await });
    let flusher = Flusher {
        objects: parts.objects,
        index: parts.index,
        stats: stats.clone(),
        dead_bytes: options.dead_bytes,
        give_up: give_up.clone(),
    };
    let shell = Shell {
        options,
        intake,
        flusher,
        owed: owed.clone(),
        ready: parts.ready,
        in_flight: None,
        flight_weight: 0,
        incarnation: None,
        looked_at: None,
    };
    Ingest {
        handle: Handle::new(inbox_sender, arrived),
        stats,
        task: tokio::spawn(shell.run(events, inbox, stop.clone())),
        publisher: tokio::spawn(publisher.run()),
        session,
        owed,
        stop,
        give_up,
    }
}

impl Ingest {
    /// Takes what is under way on the bus, commits it, publishes the watermarks and disconnects, all within `bound`.
    /// What is not committed by then is not lost: its gateway sends it again.
    pub async fn drain(mut self, bound: Duration) -> Result<(), String> {
        let deadline = tokio::time::Instant::now() + bound;
        self.stop.cancel();
        let committed = tokio::time::timeout_at(deadline, &mut self.task).await.is_ok();
        if !committed {
            self.give_up.cancel();
            let _ = timeout(Duration::from_millis(200), &mut self.task).await; // it ends by itself now
        }
        let told = tokio::time::timeout_at(deadline, self.owed.settled()).await.is_ok();
        self.publisher.abort();
        self.session.close(Duration::from_secs(2)).await;
        match (committed, told) {
            (true, true) => Ok(()),
            (true, false) => Err("watermarks were not published in time".to_owned()),
            (false, _) => Err("records were not committed in time; their gateways will send them again".to_owned()),
        }
    }
}

struct Shell {
    options: Options,
    intake: Intake,
    flusher: Flusher,
    owed: Owed,
    ready: Component,
    in_flight: Option<JoinHandle<Flushed>>,
    flight_weight: usize,
    incarnation: Option<String>,
    looked_at: Option<Instant>,
}

/// What the loop woke up for.
enum Woken {
    Event(Option<Event>),
    Submission(Option<Submission>),
    Flushed(Result<Flushed, tokio::task::JoinError>),
    Timer,
    Stop,
}

impl Shell {
    async fn run(mut self, mut events: Events, mut inbox: mpsc::Receiver<Submission>, stop: CancellationToken) {
        loop {
            self.look_at_incarnation().await;
            self.flusher.stats.set_backlog(self.intake.weight() + self.flight_weight);
            let room = self.intake.batch.weight < self.options.flush_bytes;
            if self.in_flight.is_none() && !self.intake.batch.is_empty() && (!room || self.due()) {
                self.start_flush();
                continue;
            }
            let wait = self.wait();
            let woken = tokio::select! {
                () = stop.cancelled() => Woken::Stop,
                flushed = flight(&mut self.in_flight), if self.in_flight.is_some() => Woken::Flushed(flushed),
                event = events.next(), if room => Woken::Event(event),
                submission = inbox.recv(), if room => Woken::Submission(submission),
                () = tokio::time::sleep(wait) => Woken::Timer,
            };
            match woken {
                Woken::Event(Some(event)) => self.event(event).await,
                Woken::Event(None) | Woken::Submission(None) | Woken::Stop => break,
                Woken::Submission(Some(submission)) => self.submission(submission).await,
                Woken::Flushed(flushed) => {
                    self.flushed(flushed);
                    self.compare_duplicates().await;
                }
                Woken::Timer => self.intake.expire(Instant::now()),
            }
        }
        inbox.close();
        self.drain(&mut events, &mut inbox).await;
    }

    /// Takes what was sent before the end, then commits everything.
    async fn drain(&mut self, events: &mut Events, inbox: &mut mpsc::Receiver<Submission>) {
        let end = tokio::time::Instant::now() + DRAIN_MAX;
        while let Some(submission) = inbox.recv().await {
            self.submission(submission).await;
        }
        while let Ok(Some(event)) =
            tokio::time::timeout_at(end, timeout(QUIET, events.next())).await.unwrap_or(Ok(None))
        {
            self.event(event).await;
            if self.intake.batch.weight >= self.options.flush_bytes {
                self.finish_flush().await;
                self.start_flush();
            }
        }
        self.finish_flush().await;
        if !self.intake.batch.is_empty() {
            self.start_flush();
            self.finish_flush().await;
        }
    }

    async fn finish_flush(&mut self) {
        if let Some(handle) = self.in_flight.take() {
            let flushed = handle.await;
            self.flushed(flushed);
        }
    }

    fn due(&self) -> bool {
        self.intake.batch.since.is_some_and(|since| since.elapsed() >= self.options.flush_interval)
    }

    fn wait(&self) -> Duration {
        match self.intake.batch.since {
            Some(since) if self.in_flight.is_none() => {
                self.options.flush_interval.saturating_sub(since.elapsed()).min(TICK)
            }
            _ => TICK,
        }
    }

    async fn event(&mut self, event: Event) {
        match event {
            Event::Up { .. } => {
                self.ready.ready();
                self.owe_everyone().await;
            }
            Event::Down { reason } => self.ready.not_ready(format!("broker: {reason}")),
            Event::Message(message) => self.message(&message).await,
            _ => {}
        }
    }

    /// Whether the tables are still those that were learnt: they may have been restored, rebuilt, or found to be rolled back,
    /// by this process or another one.
    async fn look_at_incarnation(&mut self) {
        if self.looked_at.is_some_and(|at| at.elapsed() < TICK) {
            return;
        }
        self.looked_at = Some(Instant::now());
        // an outage is told of by who needs the tables
        let Ok(lake) = self.flusher.index.identity().await else { return };
        let before = self.incarnation.replace(lake.incarnation.clone());
        if before.is_some_and(|before| before != lake.incarnation) {
            tracing::warn!(
                incarnation = lake.incarnation,
                "the lake began a new incarnation; gateways state what they hold"
            );
            self.intake.new_incarnation();
            self.owe_everyone().await;
        }
    }

    /// The broker may have lost what it retained.
    async fn owe_everyone(&mut self) {
        match watermark::everyone(&self.flusher.index).await {
            Ok(everyone) => self.owed.add(everyone),
            Err(error) => {
                tracing::warn!(error = %chain(&error), "watermarks are not repeated: the tables cannot be read");
            }
        }
    }

    async fn message(&mut self, message: &Message) {
        let sent_at = message.property(contract::frame::SENT_AT).and_then(|text| text.parse().ok());
        let Some(lot) = self.intake.lot(&self.options.prefix, &message.topic, sent_at, now(), Instant::now()) else {
            return;
        };
        let frames = self.intake.frames(&message.payload);
        if self.learn(&lot, &frames).await {
            self.intake.take(&lot, &frames);
        }
        for (who, epoch) in std::mem::take(&mut self.intake.unknown) {
            self.learn_epoch(&who, epoch).await;
        }
        self.compare_duplicates().await;
    }

    /// Compares records that came a second time with the hash of the first, where that is committed.
    async fn compare_duplicates(&mut self) {
        let Intake { duplicates, streams, .. } = &mut self.intake;
        let ready = duplicates.take(|second| streams.look(second.stream(), second.address.seq) == Number::Committed);
        for (stream, seconds) in ready {
            let (from, to) = duplicates::span(&seconds);
            let kept = match self.flusher.index.hashes(stream, from, to).await {
                Ok(kept) => kept,
                Err(error) => {
                    tracing::debug!(error = chain(&error), "second arrivals are not compared");
                    Vec::new() // they count as unchecked
                }
            };
            self.intake.compare(seconds, &kept, Instant::now());
        }
    }

    async fn submission(&mut self, submission: Submission) {
        let Submission { from, records, done } = submission;
        let lot = Lot { from, kind: None, received_at: now(), sent_at: None, now: Instant::now() };
        let whole = |(address, payload)| Frame { version: frame::VERSION, address, index: 0, count: 1, payload };
        let frames: Vec<_> = records.iter().map(|(address, bytes)| whole((*address, &bytes[..]))).collect();
        if !self.learn(&lot, &frames).await {
            return;
        }
        let verdicts = self.intake.take(&lot, &frames);
        // Whoever waits is answered at the commit, or never: then some of it was refused.
        if verdicts.iter().all(|verdict| *verdict == Verdict::Accepted) {
            self.intake.batch.waiters.push(done);
        }
    }

    /// Asks the tables about epochs that are new here; `false` when told to give up.
    async fn learn(&mut self, lot: &Lot, frames: &[Frame<'_>]) -> bool {
        for epoch in self.intake.unknown_epochs(frames) {
            if !self.learn_epoch(&lot.from, epoch).await {
                return false;
            }
        }
        true
    }

    async fn learn_epoch(&mut self, who: &Principal, epoch: Epoch) -> bool {
        let mut outage = None;
        loop {
            match ask(&self.flusher.index, who, epoch, now()).await {
                Ok((owner, streams)) => {
                    ended(&mut outage);
                    if owner != *who {
                        tracing::error!(%epoch, %owner, other = %who, "two gateways use one epoch; only its first owner's records are taken");
                    }
                    self.intake.streams.learn(epoch, owner, streams);
                    return true;
                }
                Err(error) => {
                    let outage = outage.get_or_insert_with(|| {
                        tracing::error!(error = %chain(&error), "the lake's tables cannot be read: ingest waits");
                        Outage::new("the lake's tables can be read")
                    });
                    tokio::select! {
                        () = self.flusher.give_up.cancelled() => return false,
                        () = tokio::time::sleep(outage.wait()) => {}
                    }
                }
            }
        }
    }

    fn start_flush(&mut self) {
        let batch: Batch = self.intake.take_batch();
        let versions: HashMap<_, _> = batch.adds.keys().map(|id| (*id, self.intake.streams.version(*id))).collect();
        self.flight_weight = batch.weight;
        self.in_flight = Some(tokio::spawn(self.flusher.clone().flush(batch, versions)));
    }

    fn flushed(&mut self, flushed: Result<Flushed, tokio::task::JoinError>) {
        self.in_flight = None;
        let weight = std::mem::take(&mut self.flight_weight);
        tokio::task::spawn_blocking(move || memory::give_back(weight));
        match flushed {
            Ok(flushed) => {
                self.intake.streams.settle(&flushed.settled, flushed.streams);
                self.owed.add(flushed.owners);
            }
            // Its numbers stay "on their way" here and are never committed by this process: better to stop.
            Err(error) => {
                tracing::error!(%error, "a flush ended unexpectedly; restart the hub to take its records again")
            }
        }
    }
}

async fn ask(
    index: &LakeIndex,
    who: &Principal,
    epoch: Epoch,
    now: Timestamp,
) -> Result<(Principal, Vec<Stream>), store::tables::Error> {
    let owner = match index.bind(who, epoch, now).await? {
        Binding::Own => who.clone(),
        Binding::Foreign(owner) => owner,
    };
    Ok((owner, index.streams(epoch).await?))
}

async fn flight(in_flight: &mut Option<JoinHandle<Flushed>>) -> Result<Flushed, tokio::task::JoinError> {
    match in_flight {
        Some(handle) => handle.await,
        None => std::future::pending().await,
    }
}
