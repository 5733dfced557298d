//! The sampling thread: encodes kept pictures and their inputs, and snapshots for the live lane.
//!
//! Policy at its door: *drop*, counted. A picture waits as a reference to the decoder's buffer, so few may wait.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::Duration,
};

use contract::{
    Digest, Kind, Sample,
    frame::{self, Address},
    record::{Input, Picture as PictureFacts, Reason},
};
use sha2::{Digest as _, Sha256};
use vision::{Rect, jpeg};

use crate::{
    camera::picture::Picture,
    classify::FrameFacts,
    clock::Mono,
    identity::Identity,
    live::Live,
    outbox::Outbox,
    records::{self, About},
    region::sampling::Budget,
};

/// Pictures that may wait to be encoded, each with a decoder's buffer (3 MB at 1080p).
const WAITING: usize = 4;

/// zstd's level for inputs: fast, and on pictures nearly as small as the slow ones.
const ZSTD_LEVEL: i32 = 3;

/// A picture to keep.
pub struct SampleJob {
    /// Why.
    pub reason: Reason,
    /// The whole frame.
    pub picture: Picture,
    /// The region in it.
    pub rect: Rect,
    /// What the model saw.
    pub input: Option<Vec<u8>>,
    /// Its shape without the batch axis.
    pub input_shape: Vec<u32>,
    /// The best classes.
    pub labels: Vec<Arc<str>>,
    /// Their scores.
    pub scores: Vec<f32>,
    /// The frame.
    pub facts: FrameFacts,
    /// The region and model.
    pub about: About,
}

enum Work {
    Sample(Box<SampleJob>),
    Snapshot { picture: Picture, topic: Arc<str> },
}

/// The door: whoever wants a picture encoded. Closed when the last clone is dropped.
#[derive(Clone)]
pub struct Samples {
    work: mpsc::SyncSender<Work>,
    budget: Arc<Mutex<Budget>>,
    counts: Arc<SampleCounts>,
}

/// Counters of the sampling thread.
#[derive(Default)]
pub struct SampleCounts {
    /// Samples in the outbox.
    pub kept: AtomicU64,
    /// Their bytes.
    pub bytes: AtomicU64,
    /// Dropped since too many waited.
    pub dropped: AtomicU64,
    /// Pictures that could not be encoded.
    pub failed: AtomicU64,
    /// Not kept since the day's budget was spent.
    pub over_budget: AtomicU64,
}

/// The thread's side.
pub struct SampleThread {
    work: mpsc::Receiver<Work>,
    budget: Arc<Mutex<Budget>>,
    counts: Arc<SampleCounts>,
    identity: Identity,
    outbox: Arc<Outbox>,
    live: Arc<Live>,
    quality: u8,
}

/// Both sides of the sampling thread.
pub fn new(
    identity: Identity,
    outbox: Arc<Outbox>,
    live: Arc<Live>,
    budget: Arc<Mutex<Budget>>,
    quality: u8,
) -> (Samples, SampleThread, Arc<SampleCounts>) {
    let (sender, receiver) = mpsc::sync_channel(WAITING);
    let counts = Arc::new(SampleCounts::default());
    let samples = Samples { work: sender, budget: budget.clone(), counts: counts.clone() };
    let thread = SampleThread { work: receiver, budget, counts: counts.clone(), identity, outbox, live, quality };
    (samples, thread, counts)
}

impl Samples {
    /// Looks at the budget.
    pub fn budget<T>(&self, look: impl FnOnce(&Budget) -> T) -> T {
        look(&self.budget.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts a picture that the day's budget did not allow.
    pub fn over_budget(&self) {
        self.counts.over_budget.fetch_add(1, Ordering::Relaxed);
    }

    /// Hands a picture over, if there is room.
    pub fn offer(&self, job: SampleJob) {
        self.push(Work::Sample(Box::new(job)));
    }

    fn push(&self, work: Work) {
        if self.work.try_send(work).is_err() {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// One camera's snapshots: at most one in so much time.
pub struct Snapshots {
    samples: Samples,
    live: Arc<Live>,
    topic: Arc<str>,
    every: Duration,
    due: Mono,
}

impl Snapshots {
    /// The first frame is due.
    pub fn new(samples: Samples, live: Arc<Live>, topic: String, every: Duration) -> Self {
        Self { samples, live, topic: topic.into(), every, due: Mono(0) }
    }

    /// Publishes the picture if one is due and somebody could see it.
    pub fn offer(&mut self, picture: &Picture, now: Mono) {
        if now >= self.due && self.live.is_up() {
            self.due = now.after(self.every);
            self.samples.push(Work::Snapshot { picture: picture.clone(), topic: self.topic.clone() });
        }
    }
}

/// Why a picture was not kept.
#[derive(Debug, thiserror::Error)]
enum SampleError {
    #[error(transparent)]
    Picture(#[from] frames::FormError),
    #[error("encode the picture")]
    Jpeg(#[source] vision::Error),
    #[error("compress the model's input")]
    Compress(#[source] std::io::Error),
    #[error(transparent)]
    Append(#[from] crate::outbox::AppendError),
}

impl SampleThread {
    /// Works until the door is closed.
    pub fn run(self) {
        let mut encoder = match jpeg::Encoder::new() {
            Ok(encoder) => encoder,
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "no JPEG encoder; no samples are kept");
                return;
            }
        };
        while let Ok(work) = self.work.recv() {
            let outcome = match work {
                Work::Sample(job) => self.sample(&mut encoder, *job),
                Work::Snapshot { picture, topic } => {
                    self.encode(&mut encoder, &picture).map(|jpeg| self.live.picture(&topic, jpeg))
                }
            };
            if let Err(error) = outcome {
                self.counts.failed.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(error = &error as &dyn std::error::Error, "picture is not kept");
            }
        }
    }

    fn encode(&self, encoder: &mut jpeg::Encoder, picture: &Picture) -> Result<Vec<u8>, SampleError> {
        picture.look(|view| encoder.encode(view, self.quality))?.map_err(SampleError::Jpeg)
    }

    fn sample(&self, encoder: &mut jpeg::Encoder, job: SampleJob) -> Result<(), SampleError> {
        let picture = self.encode(encoder, &job.picture)?;
        let (width, height) = job.picture.size();
        // The decoder's buffer goes back before the rest of the work.
        drop(job.picture);
        let input = job.input.as_deref().map(|tensor| compress(tensor, &job.input_shape)).transpose()?;
        let (input_facts, input_blob) = input.unzip();
        let Rect { x, y, width: w, height: h } = job.rect;
        let body = Sample {
            reason: job.reason,
            labels: job.labels,
            scores: job.scores,
            picture: PictureFacts {
                media_type: "image/jpeg".into(),
                bytes: picture.len() as u64,
                sha256: Digest(Sha256::digest(&picture).into()),
                width,
                height,
                region: [x, y, w, h],
            },
            input: input_facts,
        };
        let blobs: Vec<&[u8]> =
            [Some(&picture), input_blob.as_ref()].into_iter().flatten().map(Vec::as_slice).collect();
        let (mut bytes, now) = (0, Mono::now());
        let make = |address: Address| {
            let header = records::header(&self.identity, Kind::Sample, address, &job.about, &job.facts);
            let record = frame::encode_record(&header, &body, &blobs)?;
            bytes = record.len() as u64;
            Ok(record)
        };
        self.outbox.append(Kind::Sample, job.facts.captured_at, make)?;
        self.budget.lock().unwrap_or_else(PoisonError::into_inner).spend(bytes, now);
        self.counts.kept.fetch_add(1, Ordering::Relaxed);
        self.counts.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }
}

fn compress(tensor: &[u8], shape: &[u32]) -> Result<(Input, Vec<u8>), SampleError> {
    let blob = zstd::bulk::compress(tensor, ZSTD_LEVEL).map_err(SampleError::Compress)?;
    let facts = Input {
        encoding: "zstd".into(),
        bytes: blob.len() as u64,
        sha256: Digest(Sha256::digest(tensor).into()),
        dtype: "uint8".into(),
        shape: shape.to_vec(),
    };
    Ok((facts, blob))
}
