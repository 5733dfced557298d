//! The element itself: looks at each picture where it lies, and leaves its pixels untouched.

use std::{
    sync::{
        LazyLock, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::Duration,
};

use frames::Form;
use gstreamer::{self as gst, glib, subclass::prelude::*};
use gstreamer_base::{BaseTransform, prelude::*, subclass::prelude::*};
use vision::{Preprocessor, Rect};

use super::settings::{Settings, Wanted};
use crate::{
    instance::{Answer, Asker, Instance},
    meta::{self, Classification},
};

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new("sightlineclassify", gst::DebugColorFlags::empty(), Some("Classifies what cameras see"))
});

/// The element.
#[derive(Default)]
pub struct Classify {
    settings: Mutex<Settings>,
    state: Mutex<Option<State>>,
    /// Pictures of an earlier running time come too late for who is downstream.
    earliest: Mutex<Option<gst::ClockTime>>,
    /// Nobody wants the picture any more whose answer is waited for.
    flushing: AtomicBool,
}

/// How often one who waits for an answer looks whether somebody still wants it.
const LOOK: Duration = Duration::from_millis(10);

/// While it is not stopped.
struct State {
    instance: Asker,
    regions: Vec<Region>,
    form: Option<Form>,
    interval: u64,
    top_k: usize,
    pictures: u64,
    /// People were told that the engine fails.
    failing: bool,
    /// Which engine people were told of.
    engine: std::sync::Arc<str>,
    /// What was said of caps that cannot be: GStreamer asks several times.
    refused: Option<String>,
}

struct Region {
    wanted: Wanted,
    /// In pictures of the present size.
    rect: Option<Rect>,
    preprocessor: Preprocessor,
    /// Goes to the engine and comes back.
    tensor: Vec<u8>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[glib::object_subclass]
impl ObjectSubclass for Classify {
    const NAME: &'static str = "GstSightlineClassify";
    type Type = super::Classify;
    type ParentType = BaseTransform;
}

impl ObjectImpl for Classify {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(Settings::properties);
        &PROPERTIES
    }

    fn set_property(&self, _: usize, value: &glib::Value, spec: &glib::ParamSpec) {
        lock(&self.settings).set(spec.name(), value);
    }

    fn property(&self, _: usize, spec: &glib::ParamSpec) -> glib::Value {
        match spec.name() {
            "engine-in-use" => {
                lock(&self.state).as_ref().map(|state| state.instance.standing().engine.to_string()).to_value()
            }
            name => lock(&self.settings).get(name),
        }
    }
}

impl GstObjectImpl for Classify {}

impl ElementImpl for Classify {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Sightline classifier",
                "Filter/Analyzer/Video",
                "Runs a model on regions of each picture and adds the classes as region-of-interest metadata",
                "Sightline",
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(crate::pads);
        &TEMPLATES
    }

    fn change_state(&self, change: gst::StateChange) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        // Before the pads are stopped, which waits for the picture in hand.
        self.flushing.store(change == gst::StateChange::PausedToReady, Ordering::Release);
        self.parent_change_state(change)
    }
}

impl BaseTransformImpl for Classify {
    const MODE: gstreamer_base::subclass::BaseTransformMode =
        gstreamer_base::subclass::BaseTransformMode::AlwaysInPlace;
    const PASSTHROUGH_ON_SAME_CAPS: bool = false;
    const TRANSFORM_IP_ON_PASSTHROUGH: bool = false;

    fn start(&self) -> Result<(), gst::ErrorMessage> {
        let settings = lock(&self.settings).clone();
        let refused = |why: String| gst::error_msg!(gst::ResourceError::Settings, ("{why}"));
        let recipe = settings.recipe().map_err(refused)?;
        let wanted = settings.regions().map_err(refused)?;
        let instance = Instance::named(settings.instance.as_deref(), &recipe)
            .map_err(|why| gst::error_msg!(gst::ResourceError::OpenRead, ("model cannot be used: {why}")))?;
        let region = |wanted| Region {
            wanted,
            rect: None,
            preprocessor: Preprocessor::new(instance.spec),
            tensor: vec![0; instance.spec.len()],
        };
        let regions: Vec<Region> = wanted.into_iter().map(region).collect();
        let instance = instance.join(regions.len());
        let engine = self.tell(&instance);
        let (interval, top_k) = (settings.interval.into(), settings.top_k as usize);
        let (form, refused) = (None, None);
        let state = State { instance, regions, form, interval, top_k, pictures: 0, failing: false, engine, refused };
        *lock(&self.state) = Some(state);
        Ok(())
    }

    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        *lock(&self.state) = None;
        *lock(&self.earliest) = None;
        Ok(())
    }

    fn set_caps(&self, incaps: &gst::Caps, _: &gst::Caps) -> Result<(), gst::LoggableError> {
        let form = Form::new(incaps).map_err(|error| gst::loggable_error!(CAT, "{error}"))?;
        let (width, height) = form.size();
        if let Some(state) = &mut *lock(&self.state) {
            for region in &mut state.regions {
                region.rect = match region.wanted.rect.resolve(width, height) {
                    Ok(rect) => Some(rect),
                    Err(error) => {
                        let why = format!("region `{}`: {error}", region.wanted.name);
                        if state.refused.as_ref() != Some(&why) {
                            gst::element_imp_error!(self, gst::StreamError::Format, ("{why}"));
                            state.refused = Some(why.clone());
                        }
                        return Err(gst::loggable_error!(CAT, "{why}"));
                    }
                };
            }
            state.refused = None;
            state.form = Some(form);
        }
        Ok(())
    }

    fn propose_allocation(
        &self,
        decide_query: Option<&gst::query::Allocation>,
        query: &mut gst::query::Allocation,
    ) -> Result<(), gst::LoggableError> {
        self.parent_propose_allocation(decide_query, query)?;
        // Strides and offsets are read from the metadata: nobody upstream has to copy.
        query.add_allocation_meta::<gstreamer_video::VideoMeta>(None);
        Ok(())
    }

    fn sink_event(&self, event: gst::Event) -> bool {
        match event.type_() {
            gst::EventType::FlushStart => self.flushing.store(true, Ordering::Release),
            gst::EventType::FlushStop => self.flushing.store(false, Ordering::Release),
            _ => {}
        }
        if matches!(event.type_(), gst::EventType::FlushStop | gst::EventType::Segment) {
            *lock(&self.earliest) = None;
        }
        self.parent_sink_event(event)
    }

    fn src_event(&self, event: gst::Event) -> bool {
        if let gst::EventView::Qos(qos) = event.view() {
            let (_, _, jitter, timestamp) = qos.get();
            *lock(&self.earliest) = timestamp.map(|at| at + gst::ClockTime::from_nseconds(jitter.max(0) as u64));
        }
        self.parent_src_event(event)
    }

    /// An input may wait for others of its batch, and its picture with it.
    fn query(&self, direction: gst::PadDirection, query: &mut gst::QueryRef) -> bool {
        let answered = BaseTransformImplExt::parent_query(self, direction, query);
        if let (true, gst::PadDirection::Src, gst::QueryViewMut::Latency(latency)) =
            (answered, direction, query.view_mut())
        {
            let wait = gst::ClockTime::from_mseconds(lock(&self.settings).batch_timeout_ms.into());
            let (live, least, most) = latency.result();
            latency.set(live, least + wait, most.map(|most| most + wait));
        }
        answered
    }

    fn transform_ip(&self, buffer: &mut gst::BufferRef) -> Result<gst::FlowSuccess, gst::FlowError> {
        let mut state = lock(&self.state);
        let Some(State { instance, regions, form: Some(form), interval, top_k, pictures, failing, engine, .. }) =
            &mut *state
        else {
            gst::element_imp_error!(self, gst::CoreError::Negotiation, ("a picture came before its caps"));
            return Err(gst::FlowError::NotNegotiated);
        };
        let turn = *pictures % *interval == 0;
        *pictures += 1;
        if !turn || self.is_late(buffer) {
            return Ok(gst::FlowSuccess::Ok);
        }
        self.preprocess(form, regions, buffer)?;
        // All are asked before the first is waited for: they may share a batch.
        let asked: Vec<_> = regions.iter_mut().map(|region| instance.ask(std::mem::take(&mut region.tensor))).collect();
        let mut trouble = None;
        for (region, answer) in regions.iter_mut().zip(asked) {
            let answer = self.await_answer(&answer)?;
            region.tensor = answer.tensor;
            match (answer.outcome, region.rect) {
                (Ok((probabilities, ran)), Some(rect)) => {
                    let found = classes(instance, &probabilities, &ran, *top_k);
                    meta::add(buffer, &region.wanted.name, rect, &found);
                    if ran != *engine {
                        *engine = self.tell(instance);
                    }
                }
                (Err(why), _) => trouble = Some(why),
                _ => {}
            }
        }
        if let Some(why) = trouble.as_ref().filter(|_| !*failing) {
            gst::element_imp_warning!(self, gst::LibraryError::Failed, ("pictures pass unclassified: {why}"));
        }
        *failing = trouble.is_some();
        Ok(gst::FlowSuccess::Ok)
    }
}

impl Classify {
    /// Says which engine runs, and why none that comes before it: in the log, and on the bus for the program around it.
    fn tell(&self, instance: &Instance) -> std::sync::Arc<str> {
        let standing = instance.standing();
        let refused: Vec<String> =
            standing.refused.iter().map(|refused| format!("{}: {}", refused.engine, refused.why)).collect();
        let (model, version) = (&instance.model, &instance.version);
        gst::info!(CAT, imp = self, "{model} {version} runs on {}: {}", standing.engine, standing.reason);
        let structure = gst::Structure::builder("sightline-engine")
            .field("engine", &*standing.engine)
            .field("version", &standing.version)
            .field("reason", &standing.reason)
            .field("refused", gst::Array::new(refused))
            .field("model", model);
        let _ = self.obj().post_message(gst::message::Element::builder(structure.build()).src(&*self.obj()).build());
        standing.engine
    }

    /// Waits, unless the picture is flushed meanwhile. The tensor then stays with the engine, and another one is made.
    fn await_answer(&self, answer: &Receiver<Answer>) -> Result<Answer, gst::FlowError> {
        loop {
            match answer.recv_timeout(LOOK) {
                Ok(answer) => return Ok(answer),
                Err(RecvTimeoutError::Timeout) if self.flushing.load(Ordering::Acquire) => {
                    return Err(gst::FlowError::Flushing);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    gst::element_imp_error!(self, gst::LibraryError::Failed, ("the engine's thread has ended"));
                    return Err(gst::FlowError::Error);
                }
            }
        }
    }

    fn preprocess(&self, form: &Form, regions: &mut [Region], buffer: &gst::BufferRef) -> Result<(), gst::FlowError> {
        let looked = form.look(buffer, |view| {
            regions.iter_mut().try_for_each(|region| {
                let rect = region.rect.unwrap_or_else(|| view.rect());
                // Of a picture that was flushed the engine has it still.
                region.tensor.resize(region.preprocessor.spec().len(), 0);
                region.preprocessor.run(view, rect, &mut region.tensor)
            })
        });
        let failed = |why: String| {
            gst::element_imp_error!(self, gst::StreamError::Failed, ("{why}"));
            gst::FlowError::Error
        };
        looked.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(error.to_string()))
    }

    /// Whether downstream has said that such a picture comes too late: it passes, and the engine's time is saved.
    fn is_late(&self, buffer: &gst::BufferRef) -> bool {
        let Some(earliest) = *lock(&self.earliest) else { return false };
        let segment = self.obj().segment();
        let Some(segment) = segment.downcast_ref::<gst::ClockTime>() else { return false };
        segment.to_running_time(buffer.pts()).is_some_and(|running| running < earliest)
    }
}

fn classes(instance: &Instance, probabilities: &[f32], engine: &str, top_k: usize) -> Vec<Classification> {
    let best = vision::top_k(probabilities, top_k);
    let class = |(class, score): (usize, f32)| Classification {
        label: instance.classes.get(class).map(ToString::to_string).unwrap_or_default(),
        label_id: class as i32,
        confidence: score.into(),
        model_name: instance.model.clone(),
        model_version: instance.version.clone(),
        model_digest: instance.digest.clone(),
        engine: engine.to_owned(),
    };
    best.into_iter().map(class).collect()
}
