//! Between the cameras' threads and the engine's: each region has one place, and three tensors that go round.
//!
//! Policy: *drop, newest wins* for live cameras; a lossless source waits for its place instead. Nothing is allocated once
//! the queue stands: a job is filled by the camera, waits, is run, and goes back.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use contract::{CaptureSource, RegionId, Timestamp};
use daemon::liveness::{IDLE_TURN, Pulse};
use inference::batcher::{Batcher, Due, Slot, Source};
use vision::Rect;

use crate::{camera::picture::Picture, clock::Mono, trace::FrameTrace};

/// When and how a frame came.
#[derive(Clone, Debug)]
pub struct FrameFacts {
    /// The camera's frame number in this epoch.
    pub counter: u64,
    /// When it arrived at the gateway.
    pub arrived: Mono,
    /// From there to its decoded picture in hand.
    pub decode_us: u64,
    /// When the picture was taken.
    pub captured_at: Timestamp,
    /// Where that comes from.
    pub captured_source: CaptureSource,
    /// The trace that records it, if one does.
    pub trace: Option<FrameTrace>,
}

/// One region of one frame on its way to the engine and back.
pub struct Job {
    /// Number of the region in this process.
    pub region: usize,
    /// The uint8 tensor, in the model's layout.
    pub tensor: Vec<u8>,
    /// The frame.
    pub facts: FrameFacts,
    /// The region's rectangle in the picture.
    pub rect: Rect,
    /// The whole picture, until it is known whether it is kept.
    pub picture: Option<Picture>,
    /// How long preprocessing took.
    pub preprocess_us: u64,
}

/// In the engine, waiting, being filled: one each.
const JOBS_A_REGION: usize = 3;

/// The queue.
pub struct Queue {
    state: Mutex<State>,
    work: Condvar,
    room: Condvar,
}

struct State {
    batcher: Batcher<Box<Job>>,
    places: Vec<Place>,
    stopped: bool,
}

#[expect(clippy::vec_box, reason = "a job moves between threads and lists as a pointer, not by its 200 bytes")]
struct Place {
    slot: Slot,
    waiting: bool,
    free: Vec<Box<Job>>,
}

/// What a region needs to be in the queue, in the order of the regions' numbers.
pub struct QueueRegion {
    /// Index of its model.
    pub model: usize,
    /// Its camera.
    pub camera: contract::CameraId,
    /// Its id.
    pub region: RegionId,
    /// Bytes of its model's tensor.
    pub tensor_len: usize,
}

impl Queue {
    /// A queue for these models (by their largest batch) and regions.
    pub fn new(max_batches: &[usize], regions: Vec<QueueRegion>) -> Self {
        let mut batcher = Batcher::new();
        for max in max_batches {
            batcher.add_model(*max);
        }
        let place = |(number, region): (usize, QueueRegion)| {
            let QueueRegion { model, camera, region, tensor_len } = region;
            let slot = batcher.add(Source { model, camera, region });
            let free = (0..JOBS_A_REGION).map(|_| Box::new(Job::empty(number, tensor_len))).collect();
            Place { slot, waiting: false, free }
        };
        let places = regions.into_iter().enumerate().map(place).collect();
        let state = Mutex::new(State { batcher, places, stopped: false });
        Self { state, work: Condvar::new(), room: Condvar::new() }
    }

    /// A job to fill; `None` when all are under way, which only a second thread of the same camera could bring about.
    pub fn empty_job(&self, region: usize) -> Option<Box<Job>> {
        self.lock().places[region].free.pop()
    }

    /// Gives a job back unused.
    pub fn give_back(&self, mut job: Box<Job>) {
        job.picture = None;
        job.facts.trace = None;
        let region = job.region;
        self.lock().places[region].free.push(job);
    }

    /// Offers a job; one that still waited in its place is dropped. Returns whether one was.
    pub fn offer(&self, job: Box<Job>) -> bool {
        let mut state = self.lock();
        let replaced = state.put(job);
        drop(state);
        self.work.notify_one();
        replaced
    }

    /// Offers a job when its place is free, however long that takes; `false` when the queue was stopped meanwhile.
    pub fn offer_lossless(&self, job: Box<Job>) -> bool {
        let mut state = self.lock();
        while state.places[job.region].waiting && !state.stopped {
            state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.stopped {
            return false;
        }
        state.put(job);
        drop(state);
        self.work.notify_one();
        true
    }

    /// Waits for work and moves it to `out`; the model's index, or `None` once the queue is stopped and empty. Whoever waits
    /// shows that it lives.
    pub fn take(&self, out: &mut Vec<Due<Box<Job>>>, pulse: &Pulse) -> Option<usize> {
        let mut state = self.lock();
        loop {
            pulse.turn();
            if let Some(model) = state.batcher.take(Instant::now(), out) {
                out.iter().for_each(|due| state.places[due.item.region].waiting = false);
                drop(state);
                self.room.notify_all();
                return Some(model);
            }
            if state.stopped {
                return None;
            }
            state = self.work.wait_timeout(state, IDLE_TURN).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Takes nothing more; what waits is still run.
    pub fn stop(&self) {
        self.lock().stopped = true;
        self.work.notify_all();
        self.room.notify_all();
    }

    /// A model's largest batch is another one: its engine has changed.
    pub fn set_max_batch(&self, model: usize, max_batch: usize) {
        self.lock().batcher.set_max_batch(model, max_batch);
    }

    /// How many requests wait.
    pub fn pending(&self) -> usize {
        self.lock().batcher.pending()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn put(&mut self, job: Box<Job>) -> bool {
        let region = job.region;
        let slot = self.places[region].slot;
        self.places[region].waiting = true;
        match self.batcher.offer(slot, job, Instant::now()) {
            Some(mut old) => {
                old.picture = None;
                old.facts.trace = None;
                self.places[region].free.push(old);
                true
            }
            None => false,
        }
    }
}

impl Job {
    fn empty(region: usize, tensor_len: usize) -> Self {
        Self {
            region,
            tensor: vec![0; tensor_len],
            facts: FrameFacts {
                counter: 0,
                arrived: Mono(0),
                decode_us: 0,
                captured_at: Timestamp(0),
                captured_source: CaptureSource::Arrival,
                trace: None,
            },
            rect: Rect { x: 0, y: 0, width: 0, height: 0 },
            picture: None,
            preprocess_us: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn queue() -> Queue {
        let region = |camera: &str| QueueRegion {
            model: 0,
            camera: camera.parse().unwrap(),
            region: RegionId::full(),
            tensor_len: 4,
        };
        Queue::new(&[8], vec![region("a"), region("b")])
    }

    fn pulse() -> Pulse {
        daemon::liveness::Liveness::new(IDLE_TURN).pulse("engine")
    }

    fn job(queue: &Queue, region: usize, counter: u64) -> Box<Job> {
        let mut job = queue.empty_job(region).unwrap();
        job.facts.counter = counter;
        job
    }

    #[test]
    fn the_newest_wins_and_jobs_go_round() {
        let (queue, mut out) = (queue(), Vec::new());
        for counter in 0..100 {
            let replaced = queue.offer(job(&queue, 0, counter));
            assert_eq!(replaced, counter > 0);
        }
        queue.offer(job(&queue, 1, 7));
        assert_eq!(queue.take(&mut out, &pulse()), Some(0));
        let mut seen: Vec<_> = out.drain(..).map(|due| (due.item.region, due.item.facts.counter)).collect();
        seen.sort_unstable();
        assert_eq!(seen, [(0, 99), (1, 7)]);
    }

    #[test]
    fn lossless_waits_for_its_place() {
        let queue = Arc::new(queue());
        let camera = std::thread::spawn({
            let queue = queue.clone();
            move || (0..50).all(|counter| queue.offer_lossless(job(&queue, 0, counter)))
        });
        let (mut out, mut seen) = (Vec::new(), Vec::new());
        while seen.len() < 50 {
            queue.take(&mut out, &pulse()).unwrap();
            for due in out.drain(..) {
                seen.push(due.item.facts.counter);
                queue.give_back(due.item);
            }
        }
        assert!(camera.join().unwrap());
        assert_eq!(seen, (0..50).collect::<Vec<_>>());
        queue.stop();
        assert_eq!(queue.take(&mut out, &pulse()), None);
    }
}
