//! The archive lane's shell: asks the uplink machine what is next, builds the messages and hands them to the broker.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use contract::{
    Archived, Epoch, Kind, Topic,
    frame::{self, Address, RecordParts},
};
use futures::{StreamExt, stream::FuturesUnordered};
use link::{Delivery, Publication, Session};
use tokio::{sync::Notify, task::JoinError};

use crate::{
    clock::{self, Mono},
    identity::{Identity, new_epoch},
    outbox::{KINDS, Outbox, Ranges, ReadError, slot},
    state::Camera,
    trace::FrameTrace,
    uplink::{
        Action, Limits, Uplink,
        fragments::fragments,
        watermark::{Reader, Reading},
    },
};

/// Messages that may wait for the broker's acknowledgement: bounds memory to as many times the message size, and leaves
/// room in the session's queue for events and documents.
const UNACKNOWLEDGED: usize = 8;

/// After the outbox could not be read.
const REST: Duration = Duration::from_secs(1);

/// Nothing sleeps longer than this; whoever has something to send is woken.
const IDLE: Duration = Duration::from_secs(5);

/// Traced records that may wait to be sent.
const TRACES: usize = 256;

/// The archive lane of one agent.
pub struct Archive {
    outbox: Arc<Outbox>,
    uplink: Mutex<Uplink>,
    reader: Mutex<Reader>,
    limits: Limits,
    topics: [String; KINDS.len()],
    cameras: Vec<Arc<Camera>>,
    counted: Mutex<Counted>,
    traces: Mutex<VecDeque<(u64, FrameTrace)>>,
    seen_watermark: AtomicBool,
    told_lowered: AtomicBool,
    wake: Notify,
    /// Counters.
    pub counts: ArchiveCounts,
}

/// Predictions of this run that were sent at least once.
struct Counted {
    epoch: Epoch,
    /// The first number of this run.
    since: u64,
    sent: Ranges,
}

/// Counters of the archive lane.
#[derive(Default)]
pub struct ArchiveCounts {
    /// Messages handed to the broker.
    pub messages: AtomicU64,
    /// Their bytes.
    pub bytes: AtomicU64,
    /// Records in them, again when sent again.
    pub records: AtomicU64,
    /// Watermarks beyond this log's tail: it was restored from a snapshot.
    pub beyond_tail: AtomicU64,
    /// Watermarks below what the same life of the same lake said before.
    pub lowered: AtomicU64,
    /// Watermarks that show another living log under this gateway's name.
    pub strangers: AtomicU64,
    /// Times that the outbox could not be read.
    pub unreadable: AtomicU64,
}

impl Archive {
    /// A lane that is not connected. `cameras` of this agent.
    pub fn new(
        identity: &Identity,
        prefix: &str,
        outbox: Arc<Outbox>,
        limits: Limits,
        cameras: Vec<Arc<Camera>>,
    ) -> Self {
        let since = outbox.index(|index| index.next(Kind::Prediction));
        let topics = KINDS.map(|kind| Topic::Up(identity.principal(), kind).under(prefix));
        Self {
            uplink: Mutex::new(Uplink::new(limits)),
            reader: Mutex::default(),
            limits,
            topics,
            cameras,
            counted: Mutex::new(Counted { epoch: outbox.epoch(), since, sent: Ranges::default() }),
            traces: Mutex::default(),
            seen_watermark: AtomicBool::new(false),
            told_lowered: AtomicBool::new(false),
            wake: Notify::new(),
            counts: ArchiveCounts::default(),
            outbox,
        }
    }

    /// The broker is there.
    pub fn connected(&self) {
        self.uplink().connected(Mono::now());
        self.wake.notify_one();
    }

    /// The broker is gone.
    pub fn disconnected(&self) {
        self.uplink().disconnected();
    }

    /// Nothing waits for company any more.
    pub fn drain(&self) {
        self.outbox.sync_soon();
    }

    /// Whether the hub has everything.
    pub fn is_archived(&self) -> bool {
        self.outbox.index(|index| index.is_empty())
    }

    /// How often everything was sent again, and how many bytes are under way.
    pub fn progress(&self) -> (u64, u64) {
        let uplink = self.uplink();
        (uplink.resends(), uplink.inflight_bytes())
    }

    /// How many runs of numbers the uplink remembers: what its memory grows with.
    pub fn remembered(&self) -> usize {
        self.uplink().remembered()
    }

    /// A traced record waits to be sent.
    pub fn traced(&self, seq: u64, trace: FrameTrace) {
        let mut traces = self.traces.lock().unwrap_or_else(PoisonError::into_inner);
        if traces.len() == TRACES {
            traces.pop_front();
        }
        traces.push_back((seq, trace));
    }

    /// A watermark came. Returns whether the birth must be said again: the lake or the log is another one than before, or
    /// the hub should see what this gateway was told earlier.
    pub fn watermark(&self, payload: &[u8]) -> bool {
        let Ok(document) = serde_json::from_slice::<Archived>(payload) else {
            if !payload.is_empty() {
                tracing::warn!("watermark cannot be read and is ignored");
            }
            return false;
        };
        let (epoch, known) = (self.outbox.epoch(), self.outbox.known());
        let said = self.outbox.said();
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let reading = reader.read(&document, epoch, |kind| said[slot(kind)], &known);
        drop(reader);
        self.tell(&reading, &document);
        let now = Mono::now();
        if reading.new_lake {
            self.outbox.forget_marks((document.lake.clone(), document.incarnation.clone()));
            self.uplink().forget(now);
        }
        let restored = !reading.beyond_tail.is_empty() && self.restored(&reading, now);
        if !restored {
            for (kind, mark) in reading.marks.iter().filter(|(kind, _)| !reading.beyond_tail.contains(kind)) {
                self.outbox.archived(*kind, mark);
                self.uplink().archived(*kind, mark, now);
            }
        }
        self.uplink().greeted();
        self.wake.notify_one();
        reading.new_lake || restored || !reading.lowered.is_empty()
    }

    /// The log goes on under a new epoch.
    fn restored(&self, reading: &Reading, now: Mono) -> bool {
        self.counts.beyond_tail.fetch_add(1, Ordering::Relaxed);
        let Ok(fresh) = new_epoch() else { return false };
        let marks = reading.marks.iter().cloned().collect();
        let begun = self.outbox.restored(fresh, &marks);
        if begun {
            self.uplink().forget(now);
        }
        begun
    }

    /// Says what people should know of a document.
    fn tell(&self, reading: &Reading, document: &Archived) {
        let Archived { lake, incarnation, .. } = document;
        if !self.seen_watermark.swap(true, Ordering::Relaxed) {
            tracing::info!(lake, incarnation, "hub archives");
        } else if reading.new_lake {
            tracing::warn!(lake, incarnation, "lake is another one than before: what is held is sent to it");
        }
        if !reading.lowered.is_empty() {
            self.counts.lowered.fetch_add(1, Ordering::Relaxed);
            if !self.told_lowered.swap(true, Ordering::Relaxed) {
                tracing::error!(
                    kinds = ?reading.lowered, lake, incarnation,
                    "hub has forgotten what it had archived: its tables were rolled back; nothing is deleted by this watermark"
                );
            }
        } else {
            self.told_lowered.store(false, Ordering::Relaxed);
        }
        if !reading.living.is_empty() {
            self.counts.strangers.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(epochs = ?reading.living, "another gateway uses this one's name: give each its own `gateway`");
        }
    }

    /// Sends until it is dropped.
    pub async fn run(&self, session: &Session) {
        let mut waiting: FuturesUnordered<Delivery> = FuturesUnordered::new();
        loop {
            let action = {
                let mut uplink = self.uplink();
                self.outbox.index(|index| uplink.poll(Mono::now(), index))
            };
            match action {
                Action::Bundle { kind, seqs } => {
                    let Some(message) = self.readable(kind, self.outbox.bundle(kind, &seqs)).await else { continue };
                    if message.len() == frame::MAGIC.len() {
                        continue; // what was to be sent has gone meanwhile
                    }
                    self.count_sent(kind, &seqs, &message);
                    if self.send(session, kind, message, &mut waiting).await.is_err() {
                        return;
                    }
                }
                Action::Fragments { kind, seq } => {
                    let Some(record) = self.readable(kind, self.outbox.record(kind, seq)).await else { continue };
                    let Some((address, record)) = record else { continue };
                    for message in fragments(address, &record, self.limits.message_max).unwrap_or_default() {
                        if self.send(session, kind, message, &mut waiting).await.is_err() {
                            return;
                        }
                    }
                    self.counts.records.fetch_add(1, Ordering::Relaxed);
                }
                Action::Load { kind, first } => {
                    let outbox = self.outbox.clone();
                    if let Ok(loaded) = off_loop(move || outbox.load(kind, first)).await {
                        self.readable(kind, loaded).await;
                    }
                }
                Action::Wait(until) => self.wait(until, &mut waiting).await,
            }
        }
    }

    /// What the outbox gave; where it gave nothing, that is tried again after a rest.
    async fn readable<T>(&self, kind: Kind, outcome: Result<T, ReadError>) -> Option<T> {
        match outcome {
            Ok(value) => Some(value),
            Err(error) => {
                self.counts.unreadable.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(error = &error as &dyn std::error::Error, "outbox cannot be read: tried again");
                self.uplink().unsent(kind);
                tokio::time::sleep(REST).await;
                None
            }
        }
    }

    async fn wait(&self, until: Option<Mono>, waiting: &mut FuturesUnordered<Delivery>) {
        let rest = until.map_or(IDLE, |until| (until - Mono::now()).min(IDLE)).max(Duration::from_millis(1));
        tokio::select! {
            () = tokio::time::sleep(rest) => {}
            () = self.outbox.appended() => {}
            () = self.wake.notified() => {}
            Some(_) = waiting.next() => {}
        }
    }

    async fn send(
        &self,
        session: &Session,
        kind: Kind,
        message: Bytes,
        waiting: &mut FuturesUnordered<Delivery>,
    ) -> Result<(), link::Refused> {
        while waiting.len() >= UNACKNOWLEDGED {
            // A message that the broker refuses is sent again when the watermark does not move.
            if let Some(Err(error)) = waiting.next().await {
                tracing::warn!(error = &error as &dyn std::error::Error, "archive message was not delivered");
            }
        }
        let bytes = message.len() as u64;
        let publication = Publication::new(self.topics[slot(kind)].clone(), message)
            .at_least_once()
            .property(contract::frame::SENT_AT, clock::wall().to_string());
        waiting.push(session.publish(publication).await?);
        self.counts.messages.fetch_add(1, Ordering::Relaxed);
        self.counts.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Counts what was sent for the first time, by camera.
    fn count_sent(&self, kind: Kind, seqs: &[u64], message: &[u8]) {
        self.counts.records.fetch_add(seqs.len() as u64, Ordering::Relaxed);
        if kind != Kind::Prediction {
            return;
        }
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        for frame in frame::frames(message).filter_map(Result::ok) {
            let Address { epoch, seq, .. } = frame.address;
            if counted.epoch != epoch {
                *counted = Counted { epoch, since: 0, sent: Ranges::default() };
            }
            if seq < counted.since || counted.sent.contains(seq) {
                continue;
            }
            counted.sent.insert(seq, seq + 1);
            let id = RecordParts::split(frame.payload).ok().and_then(|parts| camera_of(parts.header));
            if let Some(camera) = id.and_then(|id| self.cameras.iter().find(|camera| camera.id.as_str() == id)) {
                camera.counts.published.fetch_add(1, Ordering::Relaxed);
            }
        }
        drop(counted);
        let mut traces = self.traces.lock().unwrap_or_else(PoisonError::into_inner);
        traces.retain(|(seq, trace)| {
            let sent = seqs.binary_search(seq).is_ok();
            if sent {
                trace.published();
            }
            !sent
        });
    }

    fn uplink(&self) -> MutexGuard<'_, Uplink> {
        self.uplink.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Work that takes long, off the event loop; in a simulation at its place in the order of things.
async fn off_loop<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
    if clock::Simulated::current().is_some() {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await
}

/// The camera that a record's header names.
fn camera_of(header: &[u8]) -> Option<&str> {
    #[derive(serde::Deserialize)]
    struct About<'a> {
        camera: Option<&'a str>,
    }
    serde_json::from_slice::<About<'_>>(header).ok()?.camera
}
