//! The engine thread: one thread runs every model for every camera, a batch at a time, fair between cameras.

mod queue;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use daemon::liveness::Pulse;
use inference::{Batch, Engine, EngineError, batcher::Due};
use tokio::sync::Notify;

pub use queue::{FrameFacts, Job, Queue, QueueRegion};

use crate::clock::micros;

/// A batch that takes longer than this is given up; an engine that is so late several times in a row is left.
const DEADLINE: Duration = Duration::from_secs(3);

/// A loaded model.
pub struct Model {
    engine: Box<dyn Engine>,
    /// The engine's name when it last answered: another one may take over.
    name: Arc<str>,
    tensor_len: usize,
    classes: usize,
}

impl Model {
    /// With what runs it, the elements of one input tensor, and how many classes it tells apart.
    pub fn new(engine: Box<dyn Engine>, tensor_len: usize, classes: usize) -> Self {
        Self { name: engine.name().into(), engine, tensor_len, classes }
    }
}

/// What the engine says of one job.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// By class.
    pub probabilities: &'a [f32],
    /// The engine that answered.
    pub engine: &'a Arc<str>,
    /// How long it took.
    pub timing: Timing,
}

/// How long a job waited and ran.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Waiting for the engine.
    pub queue_us: u64,
    /// The batch in the engine.
    pub inference_us: u64,
}

/// Who is told what the engine says, on the engine's thread.
pub trait Results: Send {
    /// The answer for one job.
    fn classified(&mut self, job: &mut Job, answer: Answer<'_>);
    /// The engine did not answer for this job.
    fn failed(&mut self, job: &Job);
}

/// Counters of the engine thread.
#[derive(Default)]
pub struct EngineCounts {
    /// Batches run.
    pub batches: AtomicU64,
    /// Jobs in them.
    pub jobs: AtomicU64,
    /// Batches that failed.
    pub failures: AtomicU64,
    /// Jobs that the engine's budget did not allow.
    pub skipped: AtomicU64,
    /// Time in the engine, in microseconds.
    pub busy_us: AtomicU64,
    /// How often another engine took over.
    pub changes: AtomicU64,
    /// Told of each of those.
    pub changed: Notify,
    failing: Mutex<BTreeMap<usize, String>>,
}

impl EngineCounts {
    /// The models whose last batch failed, by their index, with the reason.
    pub fn failing(&self) -> BTreeMap<usize, String> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes how a model's batch ended; whether that is news.
    fn note(&self, model: usize, outcome: Result<(), String>) -> bool {
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Ok(()) => failing.remove(&model).is_some(),
            Err(reason) => failing.insert(model, reason).is_none(),
        }
    }
}

/// Runs until the queue is stopped and empty.
pub fn run(
    queue: &Queue,
    mut models: Vec<Model>,
    results: &mut dyn Results,
    counts: &Arc<EngineCounts>,
    pulse: &Pulse,
) {
    let (mut due, mut input, mut output) = (Vec::new(), Vec::new(), Vec::new());
    while let Some(index) = queue.take(&mut due, pulse) {
        let model = &mut models[index];
        output.clear();
        output.resize(due.len() * model.classes, 0.0);
        let began = Instant::now();
        let outcome = run_batch(model, &due, &mut input, &mut output);
        let took = micros(began.elapsed());
        counts.batches.fetch_add(1, Ordering::Relaxed);
        counts.jobs.fetch_add(due.len() as u64, Ordering::Relaxed);
        counts.busy_us.fetch_add(took, Ordering::Relaxed);
        let skipped = matches!(outcome, Err(EngineError::Skipped { .. }));
        match skipped {
            true => counts.skipped.fetch_add(due.len() as u64, Ordering::Relaxed),
            false => counts.failures.fetch_add(u64::from(outcome.is_err()), Ordering::Relaxed),
        };
        if model.engine.name() != &*model.name {
            tracing::warn!(before = &*model.name, engine = model.engine.name(), "another engine takes over");
            model.name = model.engine.name().into();
            queue.set_max_batch(index, model.engine.max_batch());
            counts.changes.fetch_add(1, Ordering::Relaxed);
            counts.changed.notify_one();
        }
        let outcome = outcome.map_err(|error| daemon::logs::chain(&error));
        let (engine, failed) = (&model.name, outcome.is_err());
        // What is skipped says nothing about the engine.
        match (!skipped && counts.note(index, outcome.clone()), outcome) {
            (true, Err(error)) => tracing::error!(%engine, error, "engine fails; frames are skipped"),
            (true, Ok(())) => tracing::info!(%engine, "engine works again"),
            (false, _) => {}
        }
        for (job, probabilities) in due.drain(..).zip(output.chunks_exact(model.classes)) {
            let Due { mut item, waited, .. } = job;
            if failed {
                results.failed(&item);
            } else {
                let timing = Timing { queue_us: micros(waited), inference_us: took };
                results.classified(&mut item, Answer { probabilities, engine, timing });
            }
            queue.give_back(item);
        }
    }
}

fn run_batch(
    model: &mut Model,
    due: &[Due<Box<Job>>],
    input: &mut Vec<u8>,
    output: &mut [f32],
) -> Result<(), EngineError> {
    // A batch of one needs no copy.
    let batch = match due {
        [one] => Batch { input: &one.item.tensor, n: 1 },
        many => {
            input.clear();
            many.iter().for_each(|due| input.extend_from_slice(&due.item.tensor));
            Batch { input, n: many.len() }
        }
    };
    debug_assert_eq!(batch.input.len(), batch.n * model.tensor_len);
    model.engine.run(batch, output, Some(DEADLINE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::RegionId;
    use daemon::liveness::Liveness;
    use inference::Health;
    use std::sync::mpsc;

    /// An engine that does with each batch what it is told: waits, and fails or not.
    struct Told(mpsc::Receiver<bool>);

    impl Engine for Told {
        fn name(&self) -> &str {
            "told"
        }
        fn version(&self) -> &str {
            "1"
        }
        fn max_batch(&self) -> usize {
            1
        }
        fn run(&mut self, _: Batch<'_>, _: &mut [f32], _: Option<Duration>) -> Result<(), EngineError> {
            match self.0.recv() {
                Ok(true) => Ok(()),
                _ => Err(EngineError::BatchSize { n: 1, max: 0 }),
            }
        }
        fn health(&self) -> Health {
            Health::Ready
        }
    }

    struct Count(mpsc::Sender<bool>);

    impl Results for Count {
        fn classified(&mut self, _: &mut Job, _: Answer<'_>) {
            let _ = self.0.send(true);
        }
        fn failed(&mut self, _: &Job) {
            let _ = self.0.send(false);
        }
    }

    #[test]
    fn an_engine_that_hangs_is_stuck_and_one_that_fails_is_told_until_it_works() {
        let place = QueueRegion { model: 0, camera: "a".parse().unwrap(), region: RegionId::full(), tensor_len: 4 };
        let queue = Queue::new(&[1], vec![place]);
        let counts = Arc::new(EngineCounts::default());
        let liveness = Liveness::new(Duration::from_millis(1500));
        let pulse = liveness.pulse("engine");
        let ((tell, told), (seen, results)) = (mpsc::channel(), mpsc::channel());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let model = Model::new(Box::new(Told(told)), 4, 2);
                run(&queue, vec![model], &mut Count(seen), &counts, &pulse);
            });
            std::thread::sleep(Duration::from_millis(1800));
            assert!(liveness.is_alive(), "an engine without work turns all the same");
            let mut outcomes = Vec::new();
            for works in [false, false, true] {
                queue.offer(queue.empty_job(0).unwrap());
                if outcomes.is_empty() {
                    std::thread::sleep(Duration::from_millis(1800));
                    assert_eq!(liveness.stuck(), ["engine"]);
                }
                tell.send(works).unwrap();
                outcomes.push((results.recv().unwrap(), counts.failing().get(&0).cloned()));
            }
            let reason = EngineError::BatchSize { n: 1, max: 0 }.to_string();
            assert_eq!(outcomes, [(false, Some(reason.clone())), (false, Some(reason)), (true, None)]);
            assert!(liveness.is_alive());
            queue.stop();
        });
        assert_eq!(counts.failures.load(Ordering::Relaxed), 2);
    }
}
