//! The engine thread: one thread runs every model for every camera, a batch at a time, fair between cameras.

mod queue;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use inference::{Batch, Engine, batcher::Due};

pub use queue::{FrameFacts, Job, Queue, QueueRegion};

use crate::clock::micros;

/// A batch that takes longer than this has lost its engine.
const DEADLINE: Duration = Duration::from_secs(10);

/// A loaded model.
pub struct Model {
    /// What runs it.
    pub engine: Box<dyn Engine>,
    /// Elements of one input tensor.
    pub tensor_len: usize,
    /// How many classes it tells apart.
    pub classes: usize,
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
    /// Probabilities of one job.
    fn classified(&mut self, job: &mut Job, probabilities: &[f32], timing: Timing);
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
    /// Time in the engine, in microseconds.
    pub busy_us: AtomicU64,
    /// Whether the last batch failed.
    pub failing: std::sync::atomic::AtomicBool,
}

/// Runs until the queue is stopped and empty.
pub fn run(queue: &Queue, mut models: Vec<Model>, results: &mut dyn Results, counts: &Arc<EngineCounts>) {
    let (mut due, mut input, mut output) = (Vec::new(), Vec::new(), Vec::new());
    while let Some(index) = queue.take(&mut due) {
        let model = &mut models[index];
        output.clear();
        output.resize(due.len() * model.classes, 0.0);
        let began = Instant::now();
        let outcome = run_batch(model, &due, &mut input, &mut output);
        let took = micros(began.elapsed());
        counts.batches.fetch_add(1, Ordering::Relaxed);
        counts.jobs.fetch_add(due.len() as u64, Ordering::Relaxed);
        counts.busy_us.fetch_add(took, Ordering::Relaxed);
        let failed = outcome.is_err();
        let was_failing = counts.failing.swap(failed, Ordering::Relaxed);
        match &outcome {
            Err(error) if !was_failing => {
                let engine = model.engine.name();
                tracing::error!(engine, error = error as &dyn std::error::Error, "engine fails; frames are skipped");
            }
            Ok(()) if was_failing => tracing::info!(engine = model.engine.name(), "engine works again"),
            _ => {}
        }
        counts.failures.fetch_add(u64::from(failed), Ordering::Relaxed);
        for (job, probabilities) in due.drain(..).zip(output.chunks_exact(model.classes)) {
            let Due { mut item, waited, .. } = job;
            if failed {
                results.failed(&item);
            } else {
                let timing = Timing { queue_us: micros(waited), inference_us: took };
                results.classified(&mut item, probabilities, timing);
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
) -> Result<(), inference::EngineError> {
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
