//! A plan on a GPU: runs batches.
//!
//! Two lanes, each with a stream, an execution context, page-locked and GPU memory of its own: while one lane computes,
//! the other's input is on its way. [`Session::submit`] hands a batch to the lane whose turn it is and comes back at
//! once, [`Session::collect`] waits for the oldest; [`Engine::run`] is both in a row. Nothing is allocated a batch.
//!
//! A GPU's error is usually sticky: after it every call in the process's context fails. The session then says so at
//! once instead of asking the device again, and its health is failing until another is loaded.

use std::{
    collections::VecDeque,
    ffi::c_void,
    rc::Rc,
    sync::{Arc, OnceLock},
    thread,
    time::{Duration, Instant},
};

use contract::model::{Dtype, OutputForm};
use cudarc::driver::{CudaContext, CudaEvent, CudaStream, DriverError, result, sys};
use inference::{Batch, Engine, EngineError, Health, Package, Refusal, engine::check_batch};
use nvidia::Device;
use trtx::{
    CudaEngine, CudaGraphStrategy, EngineValidity, ExecutionContext, Logger, Runtime, RuntimeConfig, trtx_sys::Dims64,
};
use vision::{Normalizer, Spec};

use crate::{
    buffers::{OnDevice, Pinned},
    factory::NAME,
    key::Profile,
    library::{Library, PRODUCT},
    messages::Messages,
};

const LANES: usize = 2;
/// How often a wait with a deadline looks: short beside any inference, long beside the look.
const LOOK: Duration = Duration::from_micros(50);

/// One model on one GPU.
pub struct Session {
    // In this order they are dropped: a context before its engine, an engine before its runtime.
    lanes: [Lane; LANES],
    engine: CudaEngine<'static>,
    runtime: Runtime<'static>,
    context: Arc<CudaContext>,
    messages: Messages,
    facts: Facts,
    flights: VecDeque<Flight>,
    next: usize,
    normalizer: Option<Normalizer>,
    health: Health,
    lost: Option<String>,
    version: String,
}

/// What the package says of the model.
struct Facts {
    input: String,
    output: String,
    spec: Spec,
    classes: usize,
    form: OutputForm,
    max_batch: usize,
    /// Bytes of an input element on the GPU.
    element: usize,
}

struct Lane {
    context: ExecutionContext<'static>,
    stream: Arc<CudaStream>,
    done: CudaEvent,
    host_in: Input,
    host_out: Pinned<f32>,
    device_in: OnDevice,
    device_out: OnDevice,
    /// The batch size that the context is set to.
    batch: usize,
}

enum Input {
    Bytes(Pinned<u8>),
    Floats(Pinned<f32>),
}

/// A batch that was handed to a lane.
struct Flight {
    lane: usize,
    n: usize,
}

// SAFETY: the session is used by one thread at a time (`&mut self`), and each call makes the CUDA context current on
// the thread it runs on. TensorRT's objects are not bound to the thread that made them. The configuration behind `Rc`
// lives inside the two execution contexts of this session alone and moves with them.
unsafe impl Send for Session {}

/// What can go wrong with a batch on the GPU.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{what}: {}", said(.source))]
    Device { what: &'static str, source: DriverError },
    #[error("{what}: {said}")]
    Library { what: &'static str, said: String },
    #[error(transparent)]
    Normalize(#[from] vision::Error),
    #[error("the GPU was lost earlier ({0}); the engine must be loaded again")]
    Lost(String),
    #[error("no batch was submitted")]
    Nothing,
}

fn said(error: &DriverError) -> String {
    let text = error.error_string().map(|text| text.to_string_lossy().into_owned());
    text.unwrap_or_else(|_| format!("CUDA error {:?}", error.0))
}

fn device(what: &'static str) -> impl Fn(DriverError) -> Failure {
    move |source| Failure::Device { what, source }
}

impl Session {
    /// Loads a plan of this package's model onto the GPU.
    ///
    /// # Errors
    /// The runtime refuses the plan, or the GPU's memory is too small.
    pub fn load(
        library: &Library,
        gpu: &Device,
        package: &Package,
        plan: &[u8],
        profile: Profile,
    ) -> Result<Self, Refusal> {
        let context = CudaContext::new(gpu.ordinal).map_err(|error| {
            Refusal::new(format!("{} cannot be used: {}; look at `nvidia-smi`", gpu.name, said(&error)))
        })?;
        let messages = messages();
        let cannot = |what: &str, error: trtx::Error| {
            let said = messages.take();
            let said = if said.is_empty() { error.to_string() } else { said };
            Refusal::new(format!("{PRODUCT} {} cannot {what} on {}: {said}", library.version, gpu.name))
        };
        let logger = logger().map_err(|error| cannot("start", error))?;
        let mut runtime = Runtime::new(logger).map_err(|error| cannot("start", error))?;
        let valid = runtime.engine_validity(plan).map_err(|error| cannot("read the plan", error))?;
        if valid.0 == EngineValidity::kINVALID {
            return Err(Refusal::new(format!(
                "{PRODUCT} {} says that the plan is not for {} ({:?})",
                library.version, gpu.name, valid.1
            )));
        }
        let mut engine = runtime.deserialize_cuda_engine(plan).map_err(|error| cannot("load the plan", error))?;
        let facts = Facts::new(package, profile);
        let config = config(&mut engine).map_err(|error| cannot("configure the plan", error))?;
        let mut lane = || Lane::new(&context, &mut engine, &config, &facts);
        let lanes = [lane(), lane()];
        let [Ok(first), Ok(second)] = lanes else {
            let failed = lanes.into_iter().find_map(Result::err);
            let why = failed.map(|failure| failure.to_string()).unwrap_or_default();
            let said = messages.take();
            return Err(Refusal::new(format!(
                "{} has no room for the model with batches of {} ({why}{}{said}); lower `batch`, or close other \
                 programs that use the GPU",
                gpu.name,
                facts.max_batch,
                if said.is_empty() { "" } else { "; " }
            )));
        };
        let manifest = package.manifest();
        let normalizer = match &manifest.input.normalize {
            Some(normalize) if manifest.input.dtype == Dtype::Float32 => Some(
                Normalizer::new(normalize, manifest.input.color)
                    .map_err(|error| Refusal::caused("prepare the model's input", error))?,
            ),
            _ => None,
        };
        Ok(Self {
            lanes: [first, second],
            engine,
            runtime,
            context,
            messages: messages.clone(),
            facts,
            flights: VecDeque::with_capacity(LANES),
            next: 0,
            normalizer,
            health: Health::Ready,
            lost: None,
            version: format!("{PRODUCT} {}", library.version),
        })
    }

    /// Hands a batch to the GPU and comes back before it is done. At most two may be under way.
    ///
    /// # Errors
    /// A batch of the wrong size, a third one, or the device's failure.
    pub fn submit(&mut self, batch: Batch<'_>) -> Result<(), EngineError> {
        let facts = &self.facts;
        let n = batch.n;
        if n == 0 || n > facts.max_batch {
            return Err(EngineError::BatchSize { n, max: facts.max_batch });
        }
        let expected = n * facts.spec.len();
        if batch.input.len() != expected {
            return Err(EngineError::Shape { what: "input", n, got: batch.input.len(), expected });
        }
        let result = self.start(batch);
        self.answer(n, result)
    }

    /// Waits for the batch submitted first, and writes its probabilities, row by row.
    ///
    /// # Errors
    /// `out` of the wrong size, no batch, the deadline, or the device's failure.
    pub fn collect(&mut self, out: &mut [f32], deadline: Option<Duration>) -> Result<(), EngineError> {
        let n = self.flights.front().map_or(0, |flight| flight.n);
        let expected = n * self.facts.classes;
        if out.len() != expected {
            return Err(EngineError::Shape { what: "out", n, got: out.len(), expected });
        }
        match self.wait(deadline) {
            Ok(false) => {
                let error = EngineError::Deadline { n, after: deadline.unwrap_or_default() };
                self.health = Health::Failing(error.to_string());
                Err(error)
            }
            Ok(true) => {
                let result = self.finish(out);
                self.answer(n, result)
            }
            Err(failure) => self.answer(n, Err(failure)),
        }
    }

    /// Bytes of GPU memory in use and in all, of the whole GPU.
    ///
    /// # Errors
    /// The device's failure.
    pub fn memory(&self) -> Result<(usize, usize), DriverError> {
        let (free, all) = self.context.mem_get_info()?;
        Ok((all - free, all))
    }

    /// For benchmarks: batches a second times `n` when nothing but the GPU works. The batch lies in page-locked memory
    /// already, and both lanes are fed with copies and launches in turn without looking at any answer.
    ///
    /// # Errors
    /// The device's failure.
    pub fn bare_loop(&mut self, batch: Batch<'_>, time: Duration) -> Result<f64, EngineError> {
        let n = batch.n;
        let result = self.feed(batch, time);
        let rate = *result.as_ref().unwrap_or(&0.0);
        self.answer(n, result.map(drop))?;
        Ok(rate)
    }

    fn feed(&mut self, batch: Batch<'_>, time: Duration) -> Result<f64, Failure> {
        self.context.bind_to_thread().map_err(device("use the GPU"))?;
        for lane in &mut self.lanes {
            lane.done.synchronize().map_err(device("wait for the batch before"))?;
            lane.fill(batch, self.facts.spec, self.normalizer.as_ref())?;
        }
        let (begun, mut batches) = (Instant::now(), 0);
        while begun.elapsed() < time {
            for lane in &mut self.lanes {
                lane.launch(batch.n, &self.facts, &self.messages)?;
                batches += 1;
            }
            // Bounds what is queued: the driver blocks anyway at some thousand launches.
            if batches % 64 == 0 {
                self.lanes[0].done.synchronize().map_err(device("wait for the batches"))?;
            }
        }
        for lane in &self.lanes {
            lane.stream.synchronize().map_err(device("wait for the batches"))?;
        }
        Ok((batches * batch.n) as f64 / begun.elapsed().as_secs_f64())
    }

    fn answer(&mut self, n: usize, result: Result<(), Failure>) -> Result<(), EngineError> {
        let result = result.map_err(|failure| {
            if let Failure::Device { source, .. } = &failure {
                self.lost = Some(said(source));
                self.flights.clear();
            }
            EngineError::Runtime { engine: NAME.into(), n, source: Box::new(failure) }
        });
        self.health = match &result {
            Ok(()) => Health::Ready,
            Err(error) => Health::Failing(match std::error::Error::source(error) {
                Some(cause) => format!("{error}: {cause}"),
                None => error.to_string(),
            }),
        };
        result
    }

    fn start(&mut self, batch: Batch<'_>) -> Result<(), Failure> {
        if let Some(why) = &self.lost {
            return Err(Failure::Lost(why.clone()));
        }
        if self.flights.len() == LANES {
            return Err(Failure::Library { what: "submit", said: "two batches are under way already".into() });
        }
        self.context.bind_to_thread().map_err(device("use the GPU"))?;
        let index = self.next;
        let lane = &mut self.lanes[index];
        // After a deadline a batch may still be on the lane: its memory is the GPU's until it has ended.
        lane.done.synchronize().map_err(device("wait for the batch before"))?;
        lane.fill(batch, self.facts.spec, self.normalizer.as_ref())?;
        lane.launch(batch.n, &self.facts, &self.messages)?;
        self.flights.push_back(Flight { lane: index, n: batch.n });
        self.next = (index + 1) % LANES;
        Ok(())
    }

    /// True when the oldest batch is done, false when the deadline came first: the batch is given up then.
    fn wait(&mut self, deadline: Option<Duration>) -> Result<bool, Failure> {
        if let Some(why) = &self.lost {
            return Err(Failure::Lost(why.clone()));
        }
        self.context.bind_to_thread().map_err(device("use the GPU"))?;
        let flight = self.flights.front().ok_or(Failure::Nothing)?;
        let done = &self.lanes[flight.lane].done;
        let Some(deadline) = deadline else {
            done.synchronize().map_err(device("wait for the batch"))?;
            return Ok(true);
        };
        let end = Instant::now() + deadline;
        while !done.try_is_complete().map_err(device("wait for the batch"))? {
            if Instant::now() >= end {
                self.flights.pop_front();
                return Ok(false);
            }
            thread::sleep(LOOK);
        }
        Ok(true)
    }

    fn finish(&mut self, out: &mut [f32]) -> Result<(), Failure> {
        let flight = self.flights.pop_front().ok_or(Failure::Nothing)?;
        let values = &self.lanes[flight.lane].host_out.slice()[..out.len()];
        match self.facts.form {
            OutputForm::Probabilities => out.copy_from_slice(values),
            OutputForm::Logits => {
                let classes = self.facts.classes;
                for (row, logits) in out.chunks_exact_mut(classes).zip(values.chunks_exact(classes)) {
                    vision::softmax(logits, row);
                }
            }
        }
        Ok(())
    }
}

impl Engine for Session {
    fn name(&self) -> &str {
        NAME
    }

    fn version(&self) -> &str {
        &self.version
    }

    fn max_batch(&self) -> usize {
        self.facts.max_batch
    }

    fn run(&mut self, batch: Batch<'_>, out: &mut [f32], deadline: Option<Duration>) -> Result<(), EngineError> {
        check_batch(&batch, out, self.facts.spec.len(), self.facts.classes, self.facts.max_batch)?;
        // Batches that were submitted and never collected would answer in this one's place.
        self.flights.clear();
        self.submit(batch)?;
        self.collect(out, deadline)
    }

    fn health(&self) -> Health {
        self.health.clone()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // The GPU may still write into page-locked memory that is about to be freed.
        let _ = self.context.bind_to_thread();
        for lane in &self.lanes {
            let _ = lane.stream.synchronize();
        }
        let _ = (&self.engine, &self.runtime);
    }
}

impl Facts {
    fn new(package: &Package, profile: Profile) -> Self {
        let manifest = package.manifest();
        Self {
            input: manifest.input.name.clone(),
            output: manifest.output.name.clone(),
            spec: package.spec(),
            classes: package.classes().len(),
            form: manifest.output.form,
            max_batch: profile.max,
            element: match manifest.input.dtype {
                Dtype::Uint8 => 1,
                Dtype::Float32 => size_of::<f32>(),
            },
        }
    }
}

impl Lane {
    fn new(
        context: &Arc<CudaContext>,
        engine: &mut CudaEngine<'static>,
        config: &Rc<RuntimeConfig<'static>>,
        facts: &Facts,
    ) -> Result<Self, Failure> {
        let memory = device("allocate");
        let len = facts.max_batch * facts.spec.len();
        let library =
            |error: trtx::Error| Failure::Library { what: "make an execution context", said: error.to_string() };
        let mut execution = engine.create_execution_context_with_config(Rc::clone(config)).map_err(library)?;
        let device_in = OnDevice::new(context, len * facts.element).map_err(&memory)?;
        let device_out = OnDevice::new(context, facts.max_batch * facts.classes * size_of::<f32>()).map_err(&memory)?;
        // SAFETY: both buffers are as large as the largest batch, and live as long as the context (they drop after it).
        unsafe {
            execution.set_tensor_address(&facts.input, device_in.address() as *mut c_void).map_err(library)?;
            execution.set_tensor_address(&facts.output, device_out.address() as *mut c_void).map_err(library)?;
        }
        let stream = context.new_stream().map_err(&memory)?;
        let done = context.new_event(Some(sys::CUevent_flags::CU_EVENT_BLOCKING_SYNC)).map_err(&memory)?;
        let host_in = match facts.element {
            1 => Input::Bytes(Pinned::new(context, len).map_err(&memory)?),
            _ => Input::Floats(Pinned::new(context, len).map_err(&memory)?),
        };
        let host_out = Pinned::new(context, facts.max_batch * facts.classes).map_err(&memory)?;
        Ok(Self { context: execution, stream, done, host_in, host_out, device_in, device_out, batch: 0 })
    }

    /// Puts the batch into page-locked memory: the only copy on the host.
    fn fill(&mut self, batch: Batch<'_>, spec: Spec, normalizer: Option<&Normalizer>) -> Result<(), Failure> {
        match &mut self.host_in {
            Input::Bytes(bytes) => bytes.slice_mut()[..batch.input.len()].copy_from_slice(batch.input),
            Input::Floats(floats) => {
                let floats = &mut floats.slice_mut()[..batch.input.len()];
                let Some(normalizer) = normalizer else { return Ok(()) };
                for (bytes, floats) in batch.input.chunks_exact(spec.len()).zip(floats.chunks_exact_mut(spec.len())) {
                    normalizer.run(bytes, spec.layout, floats)?;
                }
            }
        }
        Ok(())
    }

    /// Copy in, compute, copy out, all in the order of the lane's stream.
    fn launch(&mut self, n: usize, facts: &Facts, messages: &Messages) -> Result<(), Failure> {
        let library = |what| {
            move |error: trtx::Error| {
                let said = messages.take();
                Failure::Library { what, said: if said.is_empty() { error.to_string() } else { said } }
            }
        };
        if self.batch != n {
            let [_, rest @ ..] = facts.spec.shape();
            let shape = [n, rest[0], rest[1], rest[2]].map(|axis| axis as i64);
            self.context
                .set_input_shape(&facts.input, &Dims64::from_slice(&shape))
                .map_err(library("set the batch"))?;
            self.batch = n;
        }
        let (input, stream) = (n * facts.spec.len(), self.stream.cu_stream());
        // SAFETY: source and target are as large as the largest batch, and neither is touched again before the lane's
        // event says that the stream has passed them.
        unsafe {
            let to = self.device_in.address();
            match &self.host_in {
                Input::Bytes(bytes) => result::memcpy_htod_async(to, &bytes.slice()[..input], stream),
                Input::Floats(floats) => result::memcpy_htod_async(to, &floats.slice()[..input], stream),
            }
        }
        .map_err(device("copy the batch to the GPU"))?;
        // SAFETY: the stream is the lane's own and alive; addresses and shape are set.
        unsafe { self.context.enqueue_v3(stream.cast()) }.map_err(library("run the batch"))?;
        let answers = n * facts.classes;
        // SAFETY: as above.
        unsafe {
            result::memcpy_dtoh_async(&mut self.host_out.slice_mut()[..answers], self.device_out.address(), stream)
        }
        .map_err(device("copy the answers from the GPU"))?;
        self.done.record(&self.stream).map_err(device("mark the batch's end"))
    }
}

/// The library captures a CUDA graph of the whole model where it can: one launch instead of a hundred.
fn config(engine: &mut CudaEngine<'static>) -> trtx::Result<Rc<RuntimeConfig<'static>>> {
    let mut config = engine.create_runtime_config()?;
    config.set_cuda_graph_strategy(CudaGraphStrategy::kWHOLE_GRAPH_CAPTURE)?;
    Ok(Rc::new(config))
}

static MESSAGES: OnceLock<Messages> = OnceLock::new();

fn messages() -> &'static Messages {
    MESSAGES.get_or_init(Messages::default)
}

/// TensorRT keeps one logger a process and uses it until the end, so it is never freed.
fn logger() -> trtx::Result<&'static Logger> {
    struct Shared(Logger);
    // SAFETY: the logger hands messages to `Messages`, which is behind a lock; TensorRT itself calls it from any thread.
    unsafe impl Sync for Shared {}
    // SAFETY: as above.
    unsafe impl Send for Shared {}
    static LOGGER: OnceLock<Shared> = OnceLock::new();
    if LOGGER.get().is_none() {
        let _ = LOGGER.set(Shared(messages().logger()?));
    }
    LOGGER.get().map(|shared| &shared.0).ok_or(trtx::Error::LockPoisining)
}
