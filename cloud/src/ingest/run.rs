//! The shell: one loop that reads the session and the inbox, feeds the intake and starts flushes, one at a time.
//!
//! Policy *hold*: while a flush is under way and the next batch is full, nothing is read; the session then holds what
//! comes, the broker holds what the session does not take, and the gateways hold everything.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use contract::{
    Epoch, Principal, Timestamp,
    frame::{self, Frame},
};
use daemon::{CancellationToken, admin::Component, liveness::Pulse};
use link::{Event, Events, Message};
use store::lake_index::{Binding, LakeIndex, Stream};
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};

use super::{
    Options,
    batch::{Batch, Rows},
    duplicates,
    flush::{Flushed, Flusher, Outage, chain, ended},
    handle::Submission,
    intake::{Intake, Lot, Verdict},
    memory,
    streams::Number,
    watermark::{self, Owed},
};
use crate::clock::{mono, wall as now};

/// When stopping, how long the bus must be quiet before what was sent counts as received.
const QUIET: Duration = Duration::from_millis(300);
/// When stopping, how long messages are taken at most.
const DRAIN_MAX: Duration = Duration::from_secs(5);
/// The loop turns at least so often: for what changes by time alone (fragments that waited too long, the lake's
/// incarnation), and to show that it lives.
const TICK: Duration = Duration::from_secs(5);
/// Events taken in one turn of the loop.
const EVENTS: usize = 64;
/// How long the loop waits for a look at the lake's incarnation; records come first.
const LOOK_MAX: Duration = Duration::from_secs(1);

/// The loop cannot go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum Lost {
    /// A flush panicked: its numbers would stay "on their way" for ever. A new process takes its records again.
    #[error("a flush ended unexpectedly; its records are taken again after the restart")]
    Flush(#[source] tokio::task::JoinError),
    /// Nothing comes from the bus any more.
    #[error("the session with the broker has ended")]
    Session,
}

/// The loop's state.
pub(super) struct Shell {
    pub options: Options,
    pub intake: Intake,
    pub flusher: Flusher,
    pub owed: Owed,
    pub ready: Component,
    pub pulse: Pulse,
    /// From now on nothing waits for its flush.
    pub hurry: CancellationToken,
    pub in_flight: Option<JoinHandle<Flushed>>,
    pub flight_weight: usize,
    /// Room that the last flush left for rows.
    pub room: Rows,
    /// What flushes have left in the heap.
    pub freed: memory::Freed,
    /// The life of the lake that was learnt from, and when that was last looked at.
    pub incarnation: Option<String>,
    pub looked_at: Option<Instant>,
    /// Since when some gateway sends again what is committed.
    pub behind_since: Option<Instant>,
    /// Everyone is owed a watermark, and the tables could not say who that is: since when.
    pub unasked_since: Option<Instant>,
}

/// What the loop woke up for.
enum Woken {
    Event(Option<Event>),
    Submission(Option<Submission>),
    Flushed(Result<Flushed, tokio::task::JoinError>),
    Timer,
    Hurry,
    Stop,
}

impl Shell {
    /// Runs until it is told to stop, and then until everything is committed.
    pub async fn run(
        mut self,
        mut events: Events,
        mut inbox: mpsc::Receiver<Submission>,
        stop: CancellationToken,
    ) -> Result<(), Lost> {
        loop {
            self.pulse.turn();
            self.look_at_incarnation().await;
            self.tell_those_behind();
            self.ask_again().await;
            if self.freed.is_due(Instant::now()) {
                self.room.clear();
                self.intake.batch.rows.values_mut().for_each(Vec::shrink_to_fit);
                tokio::task::spawn_blocking(memory::give_back);
            }
            self.flusher.stats.set_backlog(self.intake.weight() + self.flight_weight);
            let room = self.intake.batch.weight < self.options.flush_bytes;
            if self.in_flight.is_none() && !self.intake.batch.is_empty() && (!room || self.due()) {
                self.start_flush();
                continue;
            }
            let wait = self.wait();
            let woken = tokio::select! {
                () = stop.cancelled() => Woken::Stop,
                () = self.hurry.cancelled(), if !self.options.flush_interval.is_zero() => Woken::Hurry,
                flushed = flight(&mut self.in_flight), if self.in_flight.is_some() => Woken::Flushed(flushed),
                event = events.next(), if room => Woken::Event(event),
                submission = inbox.recv(), if room => Woken::Submission(submission),
                () = tokio::time::sleep(wait) => Woken::Timer,
            };
            match woken {
                Woken::Event(Some(event)) => self.events(event, &mut events).await,
                Woken::Event(None) => return Err(Lost::Session),
                Woken::Submission(None) | Woken::Stop => break,
                Woken::Submission(Some(submission)) => self.submission(submission).await,
                Woken::Flushed(flushed) => {
                    self.flushed(flushed)?;
                    self.compare_duplicates().await;
                }
                Woken::Hurry => self.options.flush_interval = Duration::ZERO,
                Woken::Timer => self.intake.expire(mono()),
            }
        }
        inbox.close();
        self.drain(&mut events, &mut inbox).await
    }

    /// Takes what was sent before the end, then commits everything.
    async fn drain(&mut self, events: &mut Events, inbox: &mut mpsc::Receiver<Submission>) -> Result<(), Lost> {
        let end = tokio::time::Instant::now() + DRAIN_MAX;
        while let Some(submission) = inbox.recv().await {
            self.submission(submission).await;
        }
        while let Ok(Some(event)) =
            tokio::time::timeout_at(end, timeout(QUIET, events.next())).await.unwrap_or(Ok(None))
        {
            self.event(event).await;
            if self.intake.batch.weight >= self.options.flush_bytes {
                self.finish_flush().await?;
                self.start_flush();
            }
        }
        self.finish_flush().await?;
        if !self.intake.batch.is_empty() {
            self.start_flush();
            self.finish_flush().await?;
        }
        Ok(())
    }

    async fn finish_flush(&mut self) -> Result<(), Lost> {
        match self.in_flight.take() {
            Some(handle) => self.flushed(handle.await),
            None => Ok(()),
        }
    }

    fn due(&self) -> bool {
        self.intake.batch.since.is_some_and(|since| mono() - since >= self.options.flush_interval)
    }

    fn wait(&self) -> Duration {
        match self.intake.batch.since {
            Some(since) if self.in_flight.is_none() => {
                self.options.flush_interval.saturating_sub(mono() - since).min(TICK)
            }
            _ => TICK,
        }
    }

    /// This event, and those that wait behind it while there is room: small messages come by the dozen, and a turn of the loop
    /// costs as much as one of them.
    async fn events(&mut self, first: Event, more: &mut Events) {
        self.event(first).await;
        for _ in 1..EVENTS {
            if self.intake.batch.weight >= self.options.flush_bytes || self.due() {
                break;
            }
            let Some(event) = more.try_next() else { break };
            self.event(event).await;
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
        if self.looked_at.is_some_and(|at| mono() - at < TICK) {
            return;
        }
        let asked = timeout(LOOK_MAX, self.flusher.index.identity()).await;
        self.looked_at = Some(mono());
        let Ok(Ok(lake)) = asked else { return }; // an outage is told of by who needs the tables
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

    /// A watermark was lost on its way, and nothing new of that gateway comes that would bring another: it is published
    /// again, once a flush interval, since a gateway that has just reconnected sends much again before it reads its own.
    fn tell_those_behind(&mut self) {
        if self.intake.behind.is_empty() {
            return;
        }
        let since = *self.behind_since.get_or_insert_with(mono);
        if mono() - since >= self.options.flush_interval {
            self.behind_since = None;
            self.owed.add(self.intake.behind.drain());
        }
    }

    /// The broker may have lost what it retained.
    async fn owe_everyone(&mut self) {
        self.unasked_since = None;
        match watermark::everyone(&self.flusher.index).await {
            Ok(everyone) => self.owed.add(everyone),
            Err(error) => {
                tracing::warn!(error = %chain(&error), "watermarks are not repeated yet: the tables cannot be read");
                self.unasked_since = Some(mono());
            }
        }
    }

    /// Gateways that have nothing new to send would wait for ever for what the broker lost.
    async fn ask_again(&mut self) {
        if self.unasked_since.is_some_and(|since| mono() - since >= TICK) {
            self.owe_everyone().await;
        }
    }

    async fn message(&mut self, message: &Message) {
        let sent_at = message.property(contract::frame::SENT_AT).and_then(|text| text.parse().ok());
        let Some(lot) = self.intake.lot(&self.options.prefix, &message.topic, sent_at, now(), mono()) else {
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
            self.intake.compare(seconds, &kept, mono());
        }
    }

    async fn submission(&mut self, submission: Submission) {
        let Submission { from, records, done } = submission;
        let lot = Lot { from, kind: None, received_at: now(), sent_at: None, now: mono() };
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
                    self.intake.streams.learn(epoch, owner, streams);
                    return true;
                }
                Err(error) => {
                    self.pulse.turn(); // it waits for something else, and says so
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
        self.intake.batch.make_room(std::mem::take(&mut self.room));
        let versions: HashMap<_, _> = batch.adds.keys().map(|id| (*id, self.intake.streams.version(*id))).collect();
        self.flight_weight = batch.weight;
        self.in_flight = Some(tokio::spawn(self.flusher.clone().flush(batch, versions)));
    }

    fn flushed(&mut self, flushed: Result<Flushed, tokio::task::JoinError>) -> Result<(), Lost> {
        self.in_flight = None;
        self.freed.flushed(std::mem::take(&mut self.flight_weight), Instant::now());
        let flushed = flushed.map_err(Lost::Flush)?;
        self.intake.streams.settle(&flushed.settled, flushed.streams);
        self.owed.add(flushed.owners);
        self.room = flushed.room;
        Ok(())
    }
}

/// To whom an epoch belongs, bound to who asks where nobody had it, and what is committed of it.
pub(super) async fn ask(
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
