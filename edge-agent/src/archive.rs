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
use contract::{Archived, Kind, Topic, frame::Address};
use futures::{StreamExt, stream::FuturesUnordered};
use link::{Delivery, Publication, Session};
use tokio::sync::Notify;

use crate::{
    clock::{self, Mono},
    identity::Identity,
    outbox::{KINDS, Outbox},
    state::Camera,
    trace::FrameTrace,
    uplink::{Action, Limits, Uplink, bundle, watermark::Reader},
};

/// Messages that may wait for the broker's acknowledgement: bounds memory to as many times the message size, and leaves
/// room in the session's queue for events and documents.
const UNACKNOWLEDGED: usize = 8;

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
    /// The prediction number that was never sent yet; what is below was counted.
    counted: AtomicU64,
    traces: Mutex<VecDeque<(u64, FrameTrace)>>,
    seen_watermark: AtomicBool,
    wake: Notify,
    /// Counters.
    pub counts: ArchiveCounts,
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
    /// Watermarks that were not about this log.
    pub foreign_watermarks: AtomicU64,
}

impl Archive {
    /// A lane that is not connected. `cameras` in the order of their tags.
    pub fn new(
        identity: &Identity,
        prefix: &str,
        outbox: Arc<Outbox>,
        limits: Limits,
        cameras: Vec<Arc<Camera>>,
    ) -> Self {
        let topics = KINDS.map(|kind| Topic::Up(identity.principal(), kind).under(prefix));
        Self {
            outbox,
            uplink: Mutex::new(Uplink::new(limits)),
            reader: Mutex::default(),
            limits,
            topics,
            cameras,
            counted: AtomicU64::new(0),
            traces: Mutex::default(),
            seen_watermark: AtomicBool::new(false),
            wake: Notify::new(),
            counts: ArchiveCounts::default(),
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
        self.uplink().drain();
        self.wake.notify_one();
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

    /// A traced record waits to be sent.
    pub fn traced(&self, seq: u64, trace: FrameTrace) {
        let mut traces = self.traces.lock().unwrap_or_else(PoisonError::into_inner);
        if traces.len() == TRACES {
            traces.pop_front();
        }
        traces.push_back((seq, trace));
    }

    /// A watermark came. Returns whether the lake is another one than before, so that the birth states what is held.
    pub fn watermark(&self, payload: &[u8]) -> bool {
        let Ok(document) = serde_json::from_slice::<Archived>(payload) else {
            if !payload.is_empty() {
                tracing::warn!("watermark cannot be read and is ignored");
            }
            return false;
        };
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let reading = self.outbox.index(|index| reader.read(&document, self.outbox.epoch(), index));
        drop(reader);
        let now = Mono::now();
        if reading.another_lake {
            tracing::warn!(lake = document.lake, incarnation = document.incarnation, "lake is another one than before");
            self.outbox.forget_marks();
            self.uplink().forget(now);
        }
        if !reading.beyond_tail.is_empty() {
            self.counts.foreign_watermarks.fetch_add(1, Ordering::Relaxed);
            tracing::error!(kinds = ?reading.beyond_tail, "watermark lies beyond this log's tail and is ignored");
        }
        for (kind, mark) in &reading.marks {
            self.outbox.archived(*kind, mark);
            self.uplink().archived(*kind, mark, now);
        }
        let first = !self.seen_watermark.swap(true, Ordering::Relaxed);
        if first {
            tracing::info!(lake = document.lake, "hub archives");
        }
        self.wake.notify_one();
        reading.another_lake
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
                    let message = self.bundle(kind, &seqs);
                    if self.send(session, kind, message, &mut waiting).await.is_err() {
                        return;
                    }
                    self.sent(kind, &seqs);
                }
                Action::Fragments { kind, seq } => {
                    for message in self.fragments(kind, seq) {
                        if self.send(session, kind, message, &mut waiting).await.is_err() {
                            return;
                        }
                    }
                    self.sent(kind, &[seq]);
                }
                Action::Wait(until) => self.wait(until, &mut waiting).await,
            }
        }
    }

    async fn wait(&self, until: Option<Mono>, waiting: &mut FuturesUnordered<Delivery>) {
        // Predictions are appended without waking anybody, so nothing sleeps longer than they may wait.
        let tick = self.limits.linger / 2;
        let rest = until.map_or(tick, |until| (until - Mono::now()).min(tick)).max(Duration::from_millis(1));
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
        let slot = KINDS.iter().position(|k| *k == kind).unwrap_or(0);
        let bytes = message.len() as u64;
        let publication = Publication::new(self.topics[slot].clone(), message)
            .at_least_once()
            .property(contract::frame::SENT_AT, clock::wall().to_string());
        waiting.push(session.publish(publication).await?);
        self.counts.messages.fetch_add(1, Ordering::Relaxed);
        self.counts.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    fn bundle(&self, kind: Kind, seqs: &[u64]) -> Bytes {
        let records: Vec<_> = seqs.iter().filter_map(|seq| Some((*seq, self.outbox.read(kind, *seq)?.1))).collect();
        bundle::bundle(records.iter().map(|(seq, record)| (self.address(kind, *seq), record.as_ref())))
    }

    fn fragments(&self, kind: Kind, seq: u64) -> Vec<Bytes> {
        let Some((_, record)) = self.outbox.read(kind, seq) else { return Vec::new() };
        bundle::fragments(self.address(kind, seq), &record, self.limits.message_max).unwrap_or_default()
    }

    fn address(&self, kind: Kind, seq: u64) -> Address {
        Address { epoch: self.outbox.epoch(), kind: kind.number(), seq }
    }

    /// Counts what was sent for the first time.
    fn sent(&self, kind: Kind, seqs: &[u64]) {
        self.counts.records.fetch_add(seqs.len() as u64, Ordering::Relaxed);
        if kind != Kind::Prediction {
            return;
        }
        let counted = self.counted.load(Ordering::Relaxed);
        for seq in seqs.iter().filter(|seq| **seq >= counted) {
            let camera = self.outbox.read(kind, *seq).and_then(|(entry, _)| self.cameras.get(usize::from(entry.tag)));
            if let Some(camera) = camera {
                camera.counts.published.fetch_add(1, Ordering::Relaxed);
            }
        }
        if let Some(last) = seqs.last() {
            self.counted.fetch_max(last + 1, Ordering::Relaxed);
            let mut traces = self.traces.lock().unwrap_or_else(PoisonError::into_inner);
            while let Some((_, trace)) = traces.front().filter(|(seq, _)| seq <= last) {
                trace.published();
                traces.pop_front();
            }
        }
    }

    fn uplink(&self) -> MutexGuard<'_, Uplink> {
        self.uplink.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
