//! One camera without the rest of the agent: its source, its intake, and an engine that counts what it gets.
#![allow(dead_code)]

use std::{
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use contract::{Digest, ModelRef, RegionId};
use edge_agent::{
    camera::{Plan, Play, Stop, Transport, supervisor},
    classify::{Answer, EngineCounts, Job, Model, Queue, QueueRegion, Results},
    intake::{Intake, RegionIntake},
    region::rate::Rate,
    state,
    trace::Tracer,
};
use frames::RectSpec;
use gstreamer::{self as gst, prelude::*};
use inference::{Batch, Engine, EngineError, Health};
use vision::{Rect, Spec};

pub const SPEC: Spec =
    Spec { width: 16, height: 16, color: contract::model::Color::Gray, layout: contract::model::Layout::Nhwc };

/// What the engine saw of one frame.
#[derive(Clone, Debug)]
pub struct Seen {
    pub counter: u64,
    pub rect: Rect,
    pub size: (u32, u32),
    pub mean: f32,
    pub decode_us: u64,
    pub source: contract::CaptureSource,
}

pub fn plan(uri: &str, play: Play) -> Plan {
    Plan {
        id: "cam".parse().unwrap(),
        uri: uri.parse().unwrap(),
        credentials: None,
        ca: None,
        latency: Duration::from_millis(100),
        transport: Transport::Tcp,
        play,
        interval: Duration::from_millis(50),
        stall: Duration::from_secs(5),
        hardware: false,
    }
}

struct Half;

impl Engine for Half {
    fn name(&self) -> &str {
        "half"
    }
    fn version(&self) -> &str {
        "1"
    }
    fn max_batch(&self) -> usize {
        4
    }
    fn run(&mut self, _: Batch<'_>, out: &mut [f32], _: Option<Duration>) -> Result<(), EngineError> {
        out.fill(0.5);
        Ok(())
    }
    fn health(&self) -> Health {
        Health::Ready
    }
}

struct Collect(mpsc::Sender<Seen>);

impl Results for Collect {
    fn classified(&mut self, job: &mut Job, _: Answer<'_>) {
        let mean = job.tensor.iter().map(|v| f32::from(*v)).sum::<f32>() / job.tensor.len() as f32;
        let _ = self.0.send(Seen {
            counter: job.facts.counter,
            rect: job.rect,
            size: job.picture.as_ref().unwrap().size(),
            mean,
            decode_us: job.facts.decode_us,
            source: job.facts.captured_source,
        });
    }
    fn failed(&mut self, _: &Job) {}
}

/// A camera that runs.
pub struct Running {
    pub camera: Arc<state::Camera>,
    pub region: Arc<state::Region>,
    pub seen: mpsc::Receiver<Seen>,
    stop: Stop,
    queue: Arc<Queue>,
    threads: Vec<std::thread::JoinHandle<()>>,
    _runtime: tokio::runtime::Runtime,
}

pub fn start(plan: Plan, rect: RectSpec, rate: Rate) -> Running {
    let (sender, seen) = mpsc::channel();
    start_with(plan, rect, rate, Collect(sender), seen)
}

/// As [`start`], telling `results` what the engine says; `seen` is what [`Running::all`] gives.
pub fn start_with(
    plan: Plan,
    rect: RectSpec,
    rate: Rate,
    mut results: impl Results + 'static,
    seen: mpsc::Receiver<Seen>,
) -> Running {
    daemon::install_crypto();
    gst::init().unwrap();
    let model = ModelRef { digest: Digest([0; 32]), version: None };
    let region = Arc::new(state::Region::new(plan.id.clone(), RegionId::full(), model, None));
    let camera = Arc::new(state::Camera::new(plan.id.clone(), vec![region.clone()], Arc::default()));
    let place = QueueRegion { model: 0, camera: plan.id.clone(), region: RegionId::full(), tensor_len: SPEC.len() };
    let queue = Arc::new(Queue::new(&[4], vec![place]));
    let intake = RegionIntake { number: 0, rect, rate, spec: SPEC, shared: region.clone() };
    let intake = Intake::new(camera.clone(), plan.pace(), queue.clone(), vec![intake], None, Tracer::new("cam"));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let stop = Stop::default();
    let engine = std::thread::spawn({
        let queue = queue.clone();
        move || {
            let models = vec![Model::new(Box::new(Half), SPEC.len(), 2)];
            let pulse = daemon::liveness::Liveness::new(Duration::from_secs(60)).pulse("engine");
            edge_agent::classify::run(&queue, models, &mut results, &Arc::new(EngineCounts::default()), &pulse);
        }
    });
    let source = std::thread::spawn({
        let (handle, stop) = (runtime.handle().clone(), stop.clone());
        move || supervisor::run(plan, intake, handle, stop).unwrap()
    });
    Running { camera, region, seen, stop, queue, threads: vec![source, engine], _runtime: runtime }
}

impl Running {
    pub fn next(&self) -> Seen {
        self.seen
            .recv_timeout(Duration::from_secs(20))
            .unwrap_or_else(|_| panic!("no frame: {:?}", self.camera.state()))
    }

    /// Until the source has ended; everything that the engine saw.
    pub fn all(self) -> Vec<Seen> {
        wait_for("the source's end", || self.camera.state().ended);
        let ended = self.finish();
        ended.seen.try_iter().collect()
    }

    pub fn reason(&self) -> String {
        self.camera.state().reason.unwrap_or_default()
    }

    /// The reason that an attempt failed with.
    pub fn failure(&self) -> String {
        let failures = || self.camera.counts.failures.load(std::sync::atomic::Ordering::Relaxed);
        wait_for("a failure", || failures() > 0 && self.reason() != "starting");
        self.reason()
    }

    pub fn finish(mut self) -> Self {
        self.end();
        self
    }

    fn end(&mut self) {
        self.stop.set();
        let mut threads = std::mem::take(&mut self.threads).into_iter();
        threads.by_ref().take(1).for_each(|source| drop(source.join()));
        self.queue.stop();
        threads.for_each(|engine| drop(engine.join()));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

pub fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < deadline, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Runs a pipeline to its end.
pub fn launch(description: &str) {
    gst::init().unwrap();
    let pipeline = gst::parse::launch(description).unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let bus = pipeline.bus().unwrap();
    let message =
        bus.timed_pop_filtered(gst::ClockTime::from_seconds(60), &[gst::MessageType::Eos, gst::MessageType::Error]);
    pipeline.set_state(gst::State::Null).unwrap();
    match message.as_ref().map(|m| m.view()) {
        Some(gst::MessageView::Eos(_)) => {}
        other => panic!("{description}: {other:?}"),
    }
}

/// An H.264 MP4 of gray pictures, so many frames.
pub fn video(dir: &Path, name: &str, frames: u32, width: u32, height: u32) -> PathBuf {
    let path = dir.join(name);
    let (mux, parse) = if name.ends_with(".mp4") { ("! mp4mux", "") } else { ("", ",stream-format=byte-stream") };
    launch(&format!(
        "videotestsrc num-buffers={frames} pattern=ball ! video/x-raw,format=I420,width={width},height={height},framerate=25/1 \
         ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=25 ! h264parse ! video/x-h264{parse} {mux} \
         ! filesink location={}",
        path.display()
    ));
    path
}
