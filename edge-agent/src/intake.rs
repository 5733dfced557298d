//! From a frame to tensors: for each region that is due, crop, resize and colour straight from the decoder's planes into
//! a tensor that goes round. Runs on the camera's own thread. Nothing is copied whole, nothing is allocated per frame.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use contract::{CaptureSource, Timestamp};
use frames::RectSpec;
use vision::{Preprocessor, Rect, Spec};

use crate::{
    camera::picture::Picture,
    classify::{FrameFacts, Queue},
    clock::{self, Mono, micros},
    region::rate::{Rate, RateLimiter},
    sampler::Snapshots,
    state,
    trace::Tracer,
};

/// Changes of a camera's picture size are told at most so often; those between are for `--log debug`.
const SIZE_TOLD_EVERY: Duration = Duration::from_secs(60);

/// Whether frames may be skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// The camera does not wait: the newest frame wins.
    Live,
    /// Every frame counts: the source waits for the engine.
    Lossless,
}

/// A frame's times, as its source knows them.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// When it arrived at the gateway.
    pub arrived: Mono,
    /// From there to its decoded picture in hand, in microseconds.
    pub decode_us: u64,
    /// The camera's own clock, where it tells it.
    pub reference: Option<Timestamp>,
    /// The clock that rates are counted by: media time of a file that is read as fast as it goes.
    pub pacing: Mono,
}

impl Arrival {
    /// A frame that is in hand now and took this long to decode.
    pub fn now(decode_us: u64) -> Self {
        let now = Mono::now();
        Self { arrived: Mono(now.0.saturating_sub(decode_us)), decode_us, reference: None, pacing: now }
    }
}

/// Whether the source is to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Give the next frame.
    Continue,
    /// The agent stops.
    Stop,
}

/// What a region needs to begin.
pub struct RegionIntake {
    /// Its number in this process.
    pub number: usize,
    /// Its rectangle.
    pub rect: RectSpec,
    /// Its rate.
    pub rate: Rate,
    /// The tensor that its model takes.
    pub spec: Spec,
    /// What others know of it.
    pub shared: Arc<state::Region>,
}

/// The way in for one camera's frames.
pub struct Intake {
    camera: Arc<state::Camera>,
    pace: Pace,
    queue: Arc<Queue>,
    regions: Vec<Ready>,
    size: Option<(u32, u32)>,
    /// When a change of it was last told: pictures of a folder may all differ.
    size_told: Option<Mono>,
    snapshots: Option<Snapshots>,
    tracer: Tracer,
    online: bool,
}

struct Ready {
    number: usize,
    spec: RectSpec,
    rect: Option<Rect>,
    limiter: RateLimiter,
    preprocessor: Preprocessor,
    shared: Arc<state::Region>,
}

impl Intake {
    /// Makes the regions ready.
    pub fn new(
        camera: Arc<state::Camera>,
        pace: Pace,
        queue: Arc<Queue>,
        regions: Vec<RegionIntake>,
        snapshots: Option<Snapshots>,
        tracer: Tracer,
    ) -> Self {
        let ready = |region: RegionIntake| Ready {
            number: region.number,
            spec: region.rect,
            rect: None,
            limiter: RateLimiter::new(region.rate),
            preprocessor: Preprocessor::new(region.spec),
            shared: region.shared,
        };
        let regions = regions.into_iter().map(ready).collect();
        Self { camera, pace, queue, regions, size: None, size_told: None, snapshots, tracer, online: false }
    }

    /// The camera.
    pub fn camera(&self) -> &Arc<state::Camera> {
        &self.camera
    }

    /// Whether its source waits for the engine.
    pub fn pace(&self) -> Pace {
        self.pace
    }

    /// The source begins anew: the next frame says that the camera is online.
    pub fn begin(&mut self) {
        self.online = false;
        self.size = None;
    }

    /// Takes one frame in.
    pub fn frame(&mut self, picture: &Picture, arrival: Arrival) -> Flow {
        let counter = self.camera.counts.frames.fetch_add(1, Ordering::Relaxed);
        if !self.online {
            self.online = true;
            self.camera.online();
        }
        let size = picture.size();
        if self.size != Some(size) {
            self.resized(size);
        }
        if let Some(snapshots) = &mut self.snapshots {
            snapshots.offer(picture, arrival.arrived);
        }
        let mut facts = None;
        for at in 0..self.regions.len() {
            let region = &mut self.regions[at];
            let Some(rect) = region.rect.filter(|_| region.limiter.admit(arrival.pacing)) else { continue };
            // Most frames of a slow region end above; only now is it worth asking the clocks.
            let facts = facts.get_or_insert_with(|| frame_facts(counter, arrival, &self.tracer)).clone();
            if self.region(at, rect, picture, facts) == Flow::Stop {
                return Flow::Stop;
            }
        }
        Flow::Continue
    }

    fn region(&mut self, at: usize, rect: Rect, picture: &Picture, facts: FrameFacts) -> Flow {
        let region = &mut self.regions[at];
        let Some(mut job) = self.queue.empty_job(region.number) else {
            region.shared.replaced.fetch_add(1, Ordering::Relaxed);
            return Flow::Continue;
        };
        let began = Mono::now();
        let looked = picture.look(|view| region.preprocessor.run(view, rect, &mut job.tensor));
        let outcome = looked.map_err(|error| error.to_string()).and_then(|run| run.map_err(|error| error.to_string()));
        if let Err(error) = outcome {
            self.camera.counts.unreadable.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(camera = %self.camera.id, error, "frame cannot be read");
            self.queue.give_back(job);
            return Flow::Continue;
        }
        job.preprocess_us = micros(Mono::now() - began);
        job.facts = facts;
        job.rect = rect;
        job.picture = Some(picture.clone());
        match self.pace {
            Pace::Live => {
                let replaced = self.queue.offer(job);
                region.shared.replaced.fetch_add(u64::from(replaced), Ordering::Relaxed);
                Flow::Continue
            }
            Pace::Lossless if self.queue.offer_lossless(job) => Flow::Continue,
            Pace::Lossless => Flow::Stop,
        }
    }

    /// The picture has another size than the last one: rectangles are worked out anew.
    fn resized(&mut self, size: (u32, u32)) {
        let (width, height) = size;
        let before = self.size.replace(size);
        self.camera.set_size(width, height);
        let changed = before.is_some();
        if changed && self.size_told.is_some_and(|told| Mono::now() - told < SIZE_TOLD_EVERY) {
            tracing::debug!(camera = %self.camera.id, width, height, changed, "picture size");
        } else {
            tracing::info!(camera = %self.camera.id, width, height, changed, "picture size");
            self.size_told = Some(Mono::now());
        }
        let mut wrong = Vec::new();
        for region in &mut self.regions {
            let resolved = region.spec.resolve(width, height);
            let error = resolved.as_ref().err().map(|error| format!("region `{}`: {error}", region.shared.id));
            if let Some(error) = &error {
                tracing::error!(camera = %self.camera.id, region = %region.shared.id, error, "region is not classified");
                wrong.push(error.clone());
            }
            region.rect = resolved.ok();
            region.shared.update(|now| now.error = error);
        }
        if !wrong.is_empty() {
            self.camera.online_but(wrong.join("; "));
        } else if before.is_some() {
            self.camera.online();
        }
    }
}

fn frame_facts(counter: u64, arrival: Arrival, tracer: &Tracer) -> FrameFacts {
    let since_arrival = Mono::now() - arrival.arrived;
    let arrived_at = clock::wall_before(clock::wall(), since_arrival);
    let (captured_at, captured_source) = match arrival.reference {
        Some(at) => (at, CaptureSource::Reference),
        None => (arrived_at, CaptureSource::Arrival),
    };
    FrameFacts {
        counter,
        arrived: arrival.arrived,
        decode_us: arrival.decode_us,
        captured_at,
        captured_source,
        trace: tracer.frame(since_arrival),
    }
}
