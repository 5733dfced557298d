//! The hub's own engine: one thread that decodes, preprocesses and classifies posted pictures, one after the other.
//!
//! The same `vision` and `inference` code as on a gateway. Policy *refuse*: a place in the queue is taken once the picture
//! is here, so that a slow client holds none, and when there is none the client is told at once.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use contract::{
    Digest, ModelRef,
    model::ModelManifest,
    record::{Input, Latency, Picture},
};
use inference::{Batch, Engine, EngineError, Package};
use sha2::{Digest as _, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use vision::{Preprocessor, Rect, Spec};

use super::about::Model;

/// A batch of one that takes longer hangs: EfficientNet-Lite0 takes 15 ms on one old core.
const ENGINE_DEADLINE: Duration = Duration::from_secs(10);
/// Preprocessed inputs in one request at most: a batch of them holds the engine while pictures wait.
const BATCH_MAX: usize = 64;
/// zstd's own default; pixels compress no better at 9, and that takes five times as long.
const ZSTD_LEVEL: i32 = 3;

/// The way to the engine thread.
pub struct Classifier {
    jobs: mpsc::Sender<Job>,
    slots: Arc<Semaphore>,
    queue_max: usize,
    model_ref: ModelRef,
    model: Model,
    shapes: Shapes,
}

/// A place in the queue, given back when the job is done.
pub struct Slot(#[expect(dead_code, reason = "held, not read")] OwnedSemaphorePermit);

/// What is to be classified.
pub struct Ask {
    /// JPEG or PNG.
    pub picture: Bytes,
    /// The region; the whole picture when absent.
    pub rect: Option<Rect>,
    /// How many classes to name.
    pub top_k: usize,
}

/// What the model said, and what it saw.
pub struct Answer {
    /// The best classes, best first.
    pub labels: Vec<Arc<str>>,
    /// Their scores, same order.
    pub scores: Vec<f32>,
    /// Time spent in each stage.
    pub latency: Latency,
    /// The engine that ran the model.
    pub engine: Arc<str>,
    /// The picture's facts.
    pub picture: Picture,
    /// The facts of the tensor that the model saw.
    pub input: Input,
    /// The picture, then the compressed tensor.
    pub blobs: Bytes,
}

/// Why a picture was not classified.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The picture cannot be decoded, or the region is not in it.
    #[error(transparent)]
    Vision(#[from] vision::Error),
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The model's input could not be compressed.
    #[error("compress the model's input")]
    Compress(#[source] std::io::Error),
    /// The engine thread is gone.
    #[error("the engine thread has ended")]
    Gone,
}

struct Job {
    work: Work,
    _slot: Slot,
}

enum Work {
    /// A picture, and when it was asked for.
    Picture(Ask, Instant, oneshot::Sender<Result<Answer, Failure>>),
    /// So many inputs, preprocessed.
    Tensors(Bytes, usize, oneshot::Sender<Result<Vec<f32>, Failure>>),
}

/// What the model takes and gives.
#[derive(Clone, Debug)]
pub struct Shapes {
    /// The input's axes behind the batch.
    pub input: [u64; 3],
    /// How many probabilities an input gets.
    pub classes: usize,
    /// Most inputs in one request; the engine gets them in parts as large as it takes.
    pub batch_max: usize,
}

impl Shapes {
    /// Bytes of one input.
    pub fn tensor_len(&self) -> usize {
        self.input.iter().product::<u64>() as usize
    }
}

impl Classifier {
    /// Starts the thread around an engine that was loaded for `package`; it ends when the classifier is dropped.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(
        package: &Package,
        engine: Box<dyn Engine>,
        queue_max: usize,
        pictures: vision::Limits,
    ) -> std::io::Result<Self> {
        Self::of_manifest(package.manifest(), package.digest(), engine, queue_max, pictures)
    }

    /// As [`Classifier::start`], for an engine that needs no model file.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn of_manifest(
        manifest: &ModelManifest,
        digest: Digest,
        engine: Box<dyn Engine>,
        queue_max: usize,
        pictures: vision::Limits,
    ) -> std::io::Result<Self> {
        let model = Model {
            id: manifest.id.clone(),
            version: manifest.version.to_string(),
            digest: digest.to_string(),
            engine: engine.name().to_owned(),
        };
        let spec = Spec::from(&manifest.input);
        let [_, axes @ ..] = spec.shape();
        let shapes =
            Shapes { input: axes.map(|axis| axis as u64), classes: manifest.classes.len(), batch_max: BATCH_MAX };
        let worker = Worker {
            engine_name: engine.name().into(),
            engine,
            preprocessor: Preprocessor::new(spec),
            classes: manifest.classes.clone(),
            tensor: vec![0; spec.len()],
            probabilities: vec![0.0; manifest.classes.len()],
            limits: pictures,
        };
        let (jobs, inbox) = mpsc::channel(queue_max.max(1));
        thread::Builder::new().name("api-engine".to_owned()).spawn(move || worker.run(inbox))?;
        let slots = Arc::new(Semaphore::new(queue_max));
        let model_ref = ModelRef { digest, version: Some(manifest.version.clone()) };
        Ok(Self { jobs, slots, queue_max, model_ref, model, shapes })
    }

    /// Ends when the thread has ended; it does so by a mistake only, as long as this is waited for.
    pub fn ended(&self) -> impl Future<Output = ()> + Send + use<> {
        let jobs = self.jobs.clone();
        async move { jobs.closed().await }
    }

    /// The model as the API shows it.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The model as records name it.
    pub fn model_ref(&self) -> &ModelRef {
        &self.model_ref
    }

    /// What the model takes and gives.
    pub fn shapes(&self) -> &Shapes {
        &self.shapes
    }

    /// How many pictures may wait.
    pub fn queue_max(&self) -> usize {
        self.queue_max
    }

    /// How many pictures more could wait.
    pub fn free_places(&self) -> usize {
        self.slots.available_permits()
    }

    /// A place in the queue; `None` when it is full.
    pub fn reserve(&self) -> Option<Slot> {
        self.slots.clone().try_acquire_owned().ok().map(Slot)
    }

    /// Classifies one picture.
    ///
    /// # Errors
    /// [`Failure`]; the thread goes on after each.
    pub async fn classify(&self, slot: Slot, ask: Ask) -> Result<Answer, Failure> {
        let (answer, answered) = oneshot::channel();
        self.send(Work::Picture(ask, Instant::now(), answer), slot).await?;
        answered.await.map_err(|_| Failure::Gone)?
    }

    /// The probabilities of `n` preprocessed inputs, back to back; `input` must be as long as [`Shapes`] says.
    ///
    /// # Errors
    /// [`Failure`]; the thread goes on after each.
    pub async fn infer(&self, slot: Slot, input: Bytes, n: usize) -> Result<Vec<f32>, Failure> {
        let (answer, answered) = oneshot::channel();
        self.send(Work::Tensors(input, n, answer), slot).await?;
        answered.await.map_err(|_| Failure::Gone)?
    }

    async fn send(&self, work: Work, slot: Slot) -> Result<(), Failure> {
        self.jobs.send(Job { work, _slot: slot }).await.map_err(|_| Failure::Gone)
    }
}

struct Worker {
    engine: Box<dyn Engine>,
    engine_name: Arc<str>,
    preprocessor: Preprocessor,
    classes: Vec<Arc<str>>,
    tensor: Vec<u8>,
    probabilities: Vec<f32>,
    limits: vision::Limits,
}

impl Worker {
    fn run(mut self, mut inbox: mpsc::Receiver<Job>) {
        while let Some(Job { work, _slot }) = inbox.blocking_recv() {
            // A client that has gone away needs no answer; one that goes meanwhile does not take it.
            match work {
                Work::Picture(ask, asked, answer) if !answer.is_closed() => {
                    let _ = answer.send(self.classify(&ask, asked));
                }
                Work::Tensors(input, n, answer) if !answer.is_closed() => {
                    let _ = answer.send(self.infer(&input, n));
                }
                _ => {}
            }
        }
    }

    fn infer(&mut self, input: &[u8], n: usize) -> Result<Vec<f32>, Failure> {
        let mut probabilities = vec![0.0; n * self.classes.len()];
        let (most, len) = (self.engine.max_batch().max(1), self.tensor.len());
        let inputs = input.chunks(most * len);
        for (input, out) in inputs.zip(probabilities.chunks_mut(most * self.classes.len())) {
            self.engine.run(Batch { input, n: input.len() / len }, out, Some(ENGINE_DEADLINE))?;
        }
        Ok(probabilities)
    }

    fn classify(&mut self, ask: &Ask, asked: Instant) -> Result<Answer, Failure> {
        let taken = Instant::now();
        let picture = vision::decode_picture(&ask.picture, &self.limits)?;
        let decoded = Instant::now();
        let view = picture.view();
        let rect = ask.rect.unwrap_or_else(|| view.rect());
        self.preprocessor.run(&view, rect, &mut self.tensor)?;
        let preprocessed = Instant::now();
        let batch = Batch { input: &self.tensor, n: 1 };
        self.engine.run(batch, &mut self.probabilities, Some(ENGINE_DEADLINE))?;
        let done = Instant::now();
        let best = vision::top_k(&self.probabilities, ask.top_k);
        let latency = Latency {
            decode_us: micros(decoded - taken),
            preprocess_us: micros(preprocessed - decoded),
            queue_us: micros(taken - asked),
            inference_us: micros(done - preprocessed),
            total_us: micros(done - asked),
        };
        let compressed = zstd::bulk::compress(&self.tensor, ZSTD_LEVEL).map_err(Failure::Compress)?;
        let [_, shape @ ..] = self.preprocessor.spec().shape();
        Ok(Answer {
            labels: best.iter().filter_map(|(class, _)| self.classes.get(*class).cloned()).collect(),
            scores: best.iter().map(|(_, score)| *score).collect(),
            latency,
            engine: self.engine_name.clone(),
            picture: Picture {
                media_type: media_type(&ask.picture).into(),
                bytes: ask.picture.len() as u64,
                sha256: digest(&ask.picture),
                width: picture.width(),
                height: picture.height(),
                region: [rect.x, rect.y, rect.width, rect.height],
            },
            input: Input {
                encoding: "zstd".into(),
                bytes: compressed.len() as u64,
                sha256: digest(&self.tensor),
                dtype: "uint8".into(),
                shape: shape.iter().map(|axis| *axis as u32).collect(),
            },
            blobs: [&ask.picture[..], &compressed].concat().into(),
        })
    }
}

/// What the bytes are, whatever the client called them: only JPEG and PNG were decoded.
fn media_type(picture: &[u8]) -> &'static str {
    if vision::png::is_png(picture) { "image/png" } else { "image/jpeg" }
}

fn digest(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}
