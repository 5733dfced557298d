//! From scores to records: the prediction of every classification, the event when the stable label changes, the sample
//! when the policy keeps the picture. Runs on the engine's thread; pictures are encoded elsewhere.

use std::sync::{Arc, atomic::Ordering};

use contract::{
    CameraId, Event, FrameId, Header, Kind, ModelRef, Prediction, RegionId, Timestamp, Topic,
    frame::{self, Address},
    record::{Latency, ServedBy},
};

use crate::{
    archive::Archive,
    classify::{Answer, FrameFacts, Job, Results},
    clock::{Mono, micros},
    identity::Identity,
    live::{self, Live},
    metrics::Latencies,
    outbox::Outbox,
    region::{
        events::{Change, Hysteresis, Rule},
        sampling::{Decision, Policy, Sampler},
    },
    sampler::{SampleJob, Samples},
    state,
};

/// What a region needs to make records.
pub struct RegionRecords {
    /// What others know of it.
    pub shared: Arc<state::Region>,
    /// Its camera.
    pub camera: Arc<state::Camera>,
    /// Where its stage times are counted.
    pub latencies: Latencies,
    /// The model.
    pub model: ModelRef,
    /// Class names in the order of the scores.
    pub classes: Arc<[Arc<str>]>,
    /// Least score for an event, by class.
    pub thresholds: Vec<f32>,
    /// How many classes a prediction names.
    pub top_k: usize,
    /// The event rule.
    pub events: Rule,
    /// The sampling policy.
    pub samples: Policy,
    /// Whether a sample carries the model's input.
    pub keep_input: bool,
    /// The input's shape without the batch axis.
    pub input_shape: Vec<u32>,
}

/// Makes the records of all regions.
pub struct Recorder {
    identity: Identity,
    outbox: Arc<Outbox>,
    live: Arc<Live>,
    samples: Samples,
    archive: Arc<Archive>,
    regions: Vec<Region>,
    best: Vec<(usize, f32)>,
}

struct Region {
    plan: RegionRecords,
    hysteresis: Hysteresis,
    sampler: Sampler,
    prediction_topic: String,
    event_topic: String,
}

/// What the records of one classification share.
struct Seen<'a> {
    facts: &'a FrameFacts,
    labels: Vec<Arc<str>>,
    scores: Vec<f32>,
    engine: &'a Arc<str>,
    now: Mono,
}

impl Recorder {
    /// Makes the regions ready, in the order of their numbers. `prefix` is the topics' prefix.
    pub fn new(
        identity: Identity,
        prefix: &str,
        outbox: Arc<Outbox>,
        live: Arc<Live>,
        samples: Samples,
        archive: Arc<Archive>,
        regions: Vec<RegionRecords>,
    ) -> Self {
        let who = identity.principal();
        let ready = |plan: RegionRecords| {
            let now = plan.shared.now();
            let (camera, region) = (plan.shared.camera.clone(), plan.shared.id.clone());
            Region {
                hysteresis: Hysteresis::new(plan.events, now.label.map(|label| (label, now.since))),
                sampler: Sampler::new(plan.samples),
                prediction_topic: Topic::Prediction(who.clone(), camera.clone(), region.clone()).under(prefix),
                event_topic: Topic::Event(who.clone(), camera, region).under(prefix),
                plan,
            }
        };
        let regions = regions.into_iter().map(ready).collect();
        Self { identity, outbox, live, samples, archive, regions, best: Vec::new() }
    }
}

impl Results for Recorder {
    fn classified(&mut self, job: &mut Job, answer: Answer<'_>) {
        let Answer { probabilities, engine, timing } = answer;
        let now = Mono::now();
        let region = &mut self.regions[job.region];
        vision::top_k_into(probabilities, region.plan.top_k, &mut self.best);
        let Some(&(best, best_score)) = self.best.first() else { return };
        let classes = &region.plan.classes;
        let seen = Seen {
            facts: &job.facts,
            labels: self.best.iter().map(|(class, _)| classes[*class].clone()).collect(),
            scores: self.best.iter().map(|(_, score)| *score).collect(),
            engine,
            now,
        };
        let writer =
            Writer { identity: &self.identity, outbox: &self.outbox, live: &self.live, archive: &self.archive };
        let latency = Latency {
            decode_us: job.facts.decode_us,
            preprocess_us: job.preprocess_us,
            queue_us: timing.queue_us,
            inference_us: timing.inference_us,
            total_us: micros(now - job.facts.arrived),
        };
        region.plan.latencies.observe(&latency);
        writer.prediction(region, &seen, latency);
        let threshold = region.plan.thresholds[best];
        let change = region.hysteresis.push(&classes[best], best_score, threshold, job.facts.captured_at);
        region.tell(&seen, best_score);
        if let Some(change) = &change {
            writer.event(region, &seen, change);
        }
        if region.plan.shared.requested.swap(false, Ordering::Relaxed) {
            region.sampler.request();
        }
        let decision = self.samples.budget(|budget| region.sampler.decide(now, best_score, change.is_some(), budget));
        let reason = match decision {
            Decision::Pass => return,
            Decision::OverBudget => return self.samples.over_budget(),
            Decision::Keep(reason) => reason,
        };
        let Some(picture) = job.picture.take() else { return };
        self.samples.offer(SampleJob {
            reason,
            picture,
            rect: job.rect,
            input: region.plan.keep_input.then(|| job.tensor.clone()),
            input_shape: region.plan.input_shape.clone(),
            labels: seen.labels,
            scores: seen.scores,
            facts: job.facts.clone(),
            about: region.about(),
        });
    }

    fn failed(&mut self, job: &Job) {
        self.regions[job.region].plan.shared.failed.fetch_add(1, Ordering::Relaxed);
    }
}

/// What a record is about, besides the frame.
#[derive(Clone, Debug)]
pub struct About {
    /// The camera.
    pub camera: CameraId,
    /// The region.
    pub region: RegionId,
    /// The model.
    pub model: ModelRef,
}

impl Region {
    fn about(&self) -> About {
        let shared = &self.plan.shared;
        About { camera: shared.camera.clone(), region: shared.id.clone(), model: self.plan.model.clone() }
    }

    /// Others read what is known now.
    fn tell(&self, seen: &Seen<'_>, best_score: f32) {
        let shared = &self.plan.shared;
        shared.classified_at.store(seen.now.0, Ordering::Relaxed);
        shared.predictions.fetch_add(1, Ordering::Relaxed);
        let (label, since) = self.hysteresis.stable();
        shared.update(|now| {
            let sure = label.is_some_and(|label| seen.labels.first() == Some(label));
            if label != now.label.as_ref() {
                now.label = label.cloned();
                now.since = since.unwrap_or(seen.facts.captured_at);
            }
            if sure || label.is_none() {
                now.score = best_score;
            }
        });
    }
}

/// A frame's header: what a record about one region of one frame begins with.
pub fn header(identity: &Identity, kind: Kind, address: Address, about: &About, facts: &FrameFacts) -> Header {
    let mut header = identity.header(kind, address, facts.captured_at, facts.arrived);
    header.captured_source = facts.captured_source;
    let counter = identity.frames_from + facts.counter;
    header.frame_id = Some(FrameId { epoch: address.epoch, camera: about.camera.clone(), counter });
    header.camera = Some(about.camera.clone());
    header.region = Some(about.region.clone());
    header.model = Some(about.model.clone());
    header.traceparent = facts.trace.as_ref().map(|trace| trace.traceparent());
    header
}

struct Writer<'a> {
    identity: &'a Identity,
    outbox: &'a Outbox,
    live: &'a Live,
    archive: &'a Archive,
}

/// What became of a record.
struct Written {
    seq: u64,
    /// For the live lane, when somebody is there to see it.
    json: Option<Vec<u8>>,
}

impl Writer<'_> {
    fn prediction(&self, region: &Region, seen: &Seen<'_>, latency: Latency) {
        let body = Prediction {
            labels: seen.labels.clone(),
            scores: seen.scores.clone(),
            latency,
            engine: seen.engine.clone(),
            served_by: if &**seen.engine == engines::HUB { ServedBy::Hub } else { ServedBy::Gateway },
        };
        let Some(written) = self.write(Kind::Prediction, region, seen, |_| &body) else { return };
        region.plan.camera.counts.classified.fetch_add(1, Ordering::Relaxed);
        match written.json {
            Some(json) => self.live.record(&region.prediction_topic, json),
            None => self.live.skip(),
        }
        if let Some(trace) = &seen.facts.trace {
            let mut trace = trace.clone();
            trace.classified(&latency, seen.now);
            self.archive.traced(written.seq, trace);
        }
    }

    fn event(&self, region: &Region, seen: &Seen<'_>, change: &Change) {
        let shared = &region.plan.shared;
        tracing::info!(
            camera = %shared.camera, region = %shared.id,
            before = change.before.as_deref(), after = change.after.as_deref(), "label changed"
        );
        let mut body = Event {
            id: String::new(),
            before: change.before.clone(),
            after: change.after.clone(),
            score: change.score,
            since: change.since,
        };
        let written = self.write(Kind::Event, region, seen, |address| {
            body.id = format!("{}-{}", address.epoch, address.seq);
            &body
        });
        match written.and_then(|written| written.json) {
            Some(json) => self.live.event(&region.event_topic, json),
            None => self.live.skip(),
        }
    }

    /// Appends to the outbox; `None` when that failed.
    fn write<'b, B: serde::Serialize + 'b>(
        &self,
        kind: Kind,
        region: &Region,
        seen: &Seen<'_>,
        body: impl FnOnce(Address) -> &'b B,
    ) -> Option<Written> {
        let mut json = None;
        let about = region.about();
        let captured_at: Timestamp = seen.facts.captured_at;
        let outcome = self.outbox.append(kind, captured_at, |address| {
            let header = header(self.identity, kind, address, &about, seen.facts);
            let record = frame::encode_record(&header, body(address), &[])?;
            json = if self.live.is_up() { live::flat(&record) } else { None };
            Ok(record)
        });
        match outcome {
            Ok(seq) => Some(Written { seq, json }),
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "record is lost");
                None
            }
        }
    }
}
