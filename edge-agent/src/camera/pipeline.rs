//! One camera's GStreamer pipeline: from an encoded or raw stream to pictures in the intake, and what its bus says.

use std::{
    path::Path,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use gstreamer::{self as gst, prelude::*};
use gstreamer_app as gst_app;

use super::{
    Failure, Plan, Stop,
    arrival::DecodeTimes,
    door::{Door, Place},
    elements,
    picture::Picture,
    pool,
    supervisor::Outcome,
};
use crate::{
    clock::Mono,
    intake::{Arrival, Flow, Intake},
};

/// How frames leave the pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Wait for each frame's moment: a file at its own frame rate.
    pub sync: bool,
    /// Timestamps tell when the frame arrived: a live source.
    pub live: bool,
    /// Rates count media time: a file as fast as it goes.
    pub media_paced: bool,
}

/// A pipeline with its end towards the intake.
pub struct Pipeline {
    pipeline: gst::Pipeline,
    tail: Tail,
}

/// Takes streams in and leads them to the intake. Cloned into callbacks.
#[derive(Clone)]
pub struct Tail {
    pipeline: gst::glib::WeakRef<gst::Pipeline>,
    intake: Arc<Mutex<Intake>>,
    timing: Timing,
    hardware: bool,
    taken: Arc<std::sync::atomic::AtomicBool>,
    frames: Arc<AtomicU64>,
    failure: Arc<Mutex<Option<Failure>>>,
    /// The hardware decoder in use.
    accelerator: Arc<OnceLock<String>>,
}

/// Formats that the intake reads without conversion. System memory: hardware decoders download by themselves.
const FORMATS: [&str; 4] = ["I420", "NV12", "GRAY8", "RGB"];

impl Pipeline {
    /// An empty pipeline.
    pub fn new(intake: Arc<Mutex<Intake>>, timing: Timing, hardware: bool) -> Self {
        let pipeline = gst::Pipeline::new();
        let tail = Tail {
            pipeline: pipeline.downgrade(),
            intake,
            timing,
            hardware,
            taken: Arc::default(),
            frames: Arc::default(),
            failure: Arc::default(),
            accelerator: Arc::default(),
        };
        Self { pipeline, tail }
    }

    /// Adds elements and links them in order.
    pub fn chain(&self, elements: &[&gst::Element]) -> Result<(), Failure> {
        let wrong = |error: gst::glib::BoolError| Failure::Pipeline {
            element: "pipeline".into(),
            message: error.message.into_owned(),
        };
        self.pipeline.add_many(elements.iter().copied()).map_err(wrong)?;
        gst::Element::link_many(elements.iter().copied()).map_err(wrong)
    }

    /// Where streams go.
    pub fn tail(&self) -> Tail {
        self.tail.clone()
    }

    /// Plays until the end, a failure or the word to stop.
    pub fn run(self, plan: &Plan, stop: &Stop, at_end: AtEnd) -> Outcome {
        let outcome = self.play(plan, stop, at_end);
        // A streaming thread that waits for the engine is freed by the queue's stop, not by the state change.
        let _ = self.pipeline.set_state(gst::State::Null);
        outcome
    }

    fn play(&self, plan: &Plan, stop: &Stop, at_end: AtEnd) -> Outcome {
        let Some(bus) = self.pipeline.bus() else { return Outcome::Stopped };
        let started = self.pipeline.set_state(gst::State::Playing);
        let mut watch = StallWatch::new(plan.stall);
        let (mut frames_at_end, mut missing) = (0, None);
        loop {
            if stop.is_set() {
                return Outcome::Stopped;
            }
            if let Some(failure) = self.tail.take_failure() {
                return Outcome::Failed(failure);
            }
            let message = bus.timed_pop(gst::ClockTime::from_mseconds(100));
            match message.as_ref().map(|message| message.view()) {
                Some(gst::MessageView::Error(error)) => {
                    let known = self.tail.take_failure().or(missing.filter(|_| self.tail.frames() == 0));
                    return Outcome::Failed(known.unwrap_or_else(|| self.tail.explain(plan, error)));
                }
                Some(gst::MessageView::Eos(_)) => {
                    let frames = self.tail.frames();
                    let again = at_end == AtEnd::Again && frames > frames_at_end;
                    frames_at_end = frames;
                    if !again || self.rewind().is_err() {
                        return self.ended(plan, frames, missing);
                    }
                }
                Some(gst::MessageView::Element(element)) => missing = missing.or_else(|| missing_plugin(element)),
                Some(gst::MessageView::Latency(_)) => drop(self.pipeline.recalculate_latency()),
                Some(_) => {}
                None if started.is_err() => return Outcome::Failed(self.unexplained(plan)),
                None => {}
            }
            if let Some(failure) = watch.look(self.tail.frames(), self.tail.timing.live) {
                return Outcome::Failed(failure);
            }
        }
    }

    fn rewind(&self) -> Result<(), gst::glib::BoolError> {
        self.pipeline.seek_simple(gst::SeekFlags::FLUSH | gst::SeekFlags::KEY_UNIT, gst::ClockTime::ZERO)
    }

    /// What the end of the stream means. A camera has none: when its stream ends (a server that closes the connection
    /// makes `rtspsrc` say so, not fail), it was switched off or restarted and is tried again.
    fn ended(&self, plan: &Plan, frames: u64, missing: Option<Failure>) -> Outcome {
        let seen = frames > 0 || self.tail.taken.load(Ordering::Acquire);
        match (plan.uri.is_endless(), seen) {
            (true, true) => Outcome::Failed(Failure::Closed(plan.uri.to_string())),
            (false, true) if frames > 0 => Outcome::Ended,
            _ => Outcome::Failed(missing.unwrap_or_else(|| Failure::NoVideo(plan.uri.to_string()))),
        }
    }

    fn unexplained(&self, plan: &Plan) -> Failure {
        Failure::Pipeline { element: "pipeline".into(), message: format!("{} does not start", plan.uri) }
    }
}

/// What happens at the end of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtEnd {
    /// The camera has ended.
    Stop,
    /// From the beginning.
    Again,
}

struct StallWatch {
    patience: Duration,
    frames: u64,
    since: Mono,
}

impl StallWatch {
    fn new(patience: Duration) -> Self {
        Self { patience, frames: 0, since: Mono::now() }
    }

    fn look(&mut self, frames: u64, live: bool) -> Option<Failure> {
        let now = Mono::now();
        // A source that waits for the engine is slow, not stalled.
        if frames != self.frames || !live {
            self.frames = frames;
            self.since = now;
        }
        (now - self.since > self.patience).then_some(Failure::Stalled(self.patience.as_secs()))
    }
}

impl Tail {
    /// Leads a pad's stream to the intake; streams other than the first video are left alone.
    pub fn accept(&self, pad: &gst::Pad) {
        let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
        let Some(media) = caps.structure(0).map(|s| s.name().to_string()) else { return };
        if !(media.starts_with("video/") || media.starts_with("image/")) {
            return;
        }
        if self.taken.swap(true, Ordering::AcqRel) {
            return;
        }
        if let Err(failure) = self.attach(pad, &caps, &media) {
            let failure = match (failure, self.accelerator.get()) {
                (Failure::Pipeline { message, .. }, Some(decoder)) => {
                    Failure::Hardware { decoder: decoder.clone(), message }
                }
                (other, _) => other,
            };
            *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
        }
    }

    /// What an error on the bus means. A decoder whose frames nobody can take is told by those before it.
    fn explain(&self, plan: &Plan, error: &gst::message::Error) -> Failure {
        let refused = error.debug().is_some_and(|debug| debug.contains("not-negotiated"));
        match self.accelerator.get() {
            Some(decoder) if refused => {
                let message = "its frames cannot be taken over (not-negotiated)".into();
                Failure::Hardware { decoder: decoder.clone(), message }
            }
            _ => Failure::from_bus(&plan.uri, plan.credentials.is_some(), error),
        }
    }

    fn frames(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }

    /// Makes the end for a stream of these caps and links it.
    pub fn attach(&self, pad: &gst::Pad, caps: &gst::Caps, media: &str) -> Result<(), Failure> {
        let times = DecodeTimes::default();
        let mut chain = match media {
            "image/jpeg" => Vec::new(),
            "video/x-raw" => self.converter(caps)?,
            _ => vec![self.decoder(caps, media, &times)?],
        };
        let sink = self.sink(media, times)?;
        if let Some(pad) = sink.static_pad("sink") {
            match chain.last().and_then(|last| last.factory()) {
                Some(decoder) if pool::is_for(&decoder) => pool::lend(&pad),
                _ => pool::accept_strides(&pad),
            }
        }
        chain.push(sink);
        let Some(pipeline) = self.pipeline.upgrade() else { return Ok(()) };
        let wrong = |message: String| Failure::Pipeline { element: "pipeline".into(), message };
        pipeline.add_many(&chain).map_err(|error| wrong(error.to_string()))?;
        gst::Element::link_many(&chain).map_err(|error| wrong(error.to_string()))?;
        let into = chain[0].static_pad("sink").ok_or_else(|| wrong("element has no sink pad".into()))?;
        pad.link(&into).map_err(|error| wrong(format!("link {media}: {error}")))?;
        // Downstream first, so that nothing arrives at an element that does not run.
        for element in chain.iter().rev() {
            element.sync_state_with_parent().map_err(|error| wrong(error.to_string()))?;
        }
        Ok(())
    }

    /// One picture for the intake.
    pub fn picture(&self, picture: &Picture, arrival: Arrival) -> Flow {
        self.frames.fetch_add(1, Ordering::Relaxed);
        self.intake.lock().unwrap_or_else(PoisonError::into_inner).frame(picture, arrival)
    }

    /// How its frames leave the pipeline.
    pub fn timing(&self) -> Timing {
        self.timing
    }

    fn take_failure(&self) -> Option<Failure> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Raw video that the intake reads as it is needs no converter.
    fn converter(&self, caps: &gst::Caps) -> Result<Vec<gst::Element>, Failure> {
        if caps.can_intersect(&raw_caps()) { Ok(Vec::new()) } else { Ok(vec![elements::make("videoconvert")?]) }
    }

    fn decoder(&self, caps: &gst::Caps, media: &str, times: &DecodeTimes) -> Result<gst::Element, Failure> {
        if let Some(step) = elements::missing_step(caps) {
            return Err(step.into());
        }
        let none = || no_decoder(media);
        let factory = elements::decoder_for(caps, self.hardware).ok_or_else(none)?;
        if elements::is_hardware_decoder(&factory) {
            // Once a pipeline: only its first video is taken.
            let _ = self.accelerator.set(factory.name().into());
        }
        let wrong = |error: gst::glib::BoolError| Failure::Pipeline {
            element: factory.name().into(),
            message: error.to_string(),
        };
        let decoder = factory.create().build().map_err(wrong)?;
        // Frame threads of libav add latency and 6 % CPU; a gateway has other cameras to fill its cores.
        if decoder.find_property("max-threads").is_some() {
            decoder.set_property("max-threads", 1i32);
        }
        tracing::info!(decoder = %factory.name(), hardware = elements::is_hardware(&factory), media, "decoder chosen");
        times.watch(&decoder);
        Ok(decoder)
    }

    fn sink(&self, media: &str, times: DecodeTimes) -> Result<gst::Element, Failure> {
        if let Some(missing) = elements::missing(&["appsink"]).pop() {
            return Err(missing.into());
        }
        let jpeg = media == "image/jpeg";
        let caps = if jpeg { gst::Caps::new_empty_simple("image/jpeg") } else { raw_caps() };
        let sink = gst_app::AppSink::builder().caps(&caps).sync(self.timing.sync).max_buffers(1).drop(false).build();
        // Nobody takes the preroll picture, and the last one would keep a decoder's buffer.
        sink.set_property("enable-last-sample", false);
        sink.set_property("qos", false);
        let place = Place::default();
        if let Some(pad) = sink.static_pad("sink") {
            place.watch(&pad);
        }
        let mut door = Door::new(self.clone(), place, times, jpeg);
        sink.set_callbacks(gst_app::AppSinkCallbacks::builder().new_sample(move |sink| door.sample(sink)).build());
        Ok(sink.upcast())
    }
}

/// Nothing here decodes this.
fn no_decoder(media: &str) -> Failure {
    match elements::missing_decoder(media) {
        Some(missing) => missing.into(),
        None => Failure::NoDecoder { media: media.into(), package: elements::decoder_package(media) },
    }
}

/// What `parsebin` says when it does not know how to go on: which element would have helped. Sound is not missed.
fn missing_plugin(message: &gst::message::Element) -> Option<Failure> {
    let said = message.structure().filter(|said| said.name().as_str() == "missing-plugin")?;
    let caps = said.get::<gst::Caps>("detail").ok()?;
    let stream = caps.structure(0)?;
    let rtp_of = stream.get::<String>("media").unwrap_or_default();
    if stream.name().starts_with("audio/") || rtp_of == "audio" {
        return None;
    }
    Some(elements::missing_step(&caps).map_or_else(|| no_decoder(stream.name()), Failure::from))
}

fn raw_caps() -> gst::Caps {
    gst::Caps::builder("video/x-raw").field("format", gst::List::new(FORMATS)).build()
}

/// Whether a path can be opened at all, in the system's own words.
pub fn readable(what: &'static str, path: &Path) -> Result<(), Failure> {
    let absent = |why: String| Failure::Absent { what, path: path.display().to_string(), why };
    let facts = std::fs::metadata(path).map_err(|error| absent(error.to_string()))?;
    match (what, facts.is_dir()) {
        ("folder", false) => Err(absent("it is not a folder".into())),
        ("file", true) => Err(absent("it is a folder; use `folder:` for pictures".into())),
        ("folder", true) => std::fs::read_dir(path).map(drop).map_err(|error| absent(error.to_string())),
        _ => std::fs::File::open(path).map(drop).map_err(|error| absent(error.to_string())),
    }
}
