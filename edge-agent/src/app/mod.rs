//! The assembly. [`App::build`] opens everything and starts nothing; [`App::run`] lives until the word to stop and then
//! drains from upstream to downstream: cameras, engine, samples, archive, broker.

mod build;
mod commands;
mod desired;
mod drain;
mod models;
mod probes;
mod session;
mod settle;
mod spent;
mod stable;
mod status;

use std::{
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use daemon::{
    admin::{Component, Readiness},
    liveness::{Liveness, Pulse},
    state::StateDir,
    tasks::{Kind, Stop, Tasks},
    telemetry::Telemetry,
};

use inference::Standing;

pub use build::{BuildError, Options};
pub use drain::Summary;
pub use models::Factories;
pub(crate) use models::factories;
pub(crate) use probes::{check_link, check_models};

use crate::{
    archive::Archive,
    camera,
    classify::{self, EngineCounts, Model, Queue},
    config::Config,
    identity::Identity,
    intake::Intake,
    live::{Board, Live},
    metrics::AgentMetrics,
    outbox::Outbox,
    records::Recorder,
    region::sampling::Budget,
    sampler::{SampleCounts, SampleThread},
    state,
    twin::Twin,
};

/// Engine and session must turn within this time: a batch has 3 s, loading the next
/// engine as long again, and systemd waits 30 s for a sign of life.
pub(crate) const STUCK: Duration = Duration::from_secs(15);

/// The agent, built and not started.
pub struct App {
    shared: Arc<Shared>,
    state: StateDir,
    listener: TcpListener,
    metrics: Arc<AgentMetrics>,
    readiness: Readiness,
    link: link::Options,
    session_number: u64,
    cameras: Vec<(camera::Plan, Intake)>,
    models: Vec<Model>,
    recorder: Recorder,
    sample_thread: SampleThread,
    twin: Twin,
    telemetry: Telemetry,
    until_end: bool,
}

/// What most parts of the running agent read.
pub(crate) struct Shared {
    pub config: Config,
    pub identity: Identity,
    pub outbox: Arc<Outbox>,
    pub archive: Arc<Archive>,
    pub live: Arc<Live>,
    pub board: Board,
    pub queue: Arc<Queue>,
    pub engine: Arc<EngineCounts>,
    pub engines: Vec<EngineFacts>,
    pub samples: Arc<SampleCounts>,
    pub budget: Arc<Mutex<Budget>>,
    pub cameras: Vec<Arc<state::Camera>>,
    pub changed: Arc<tokio::sync::Notify>,
}

impl Shared {
    /// Which models' engines fail now, and why.
    pub fn engine_trouble(&self) -> Option<String> {
        let name = |index: usize| self.engines.get(index).map_or("?", |engine| engine.model.as_str());
        let failing = self.engine.failing();
        let each: Vec<_> = failing.iter().map(|(index, why)| format!("model {} fails: {why}", name(*index))).collect();
        (!each.is_empty()).then(|| each.join("; "))
    }
}

/// Which engine runs a model now, and why.
#[derive(Clone, Debug)]
pub(crate) struct EngineFacts {
    pub model: String,
    standing: Arc<Mutex<Standing>>,
}

impl EngineFacts {
    /// What is so at this moment.
    pub fn standing(&self) -> Standing {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl App {
    /// Where the admin endpoints listen.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.listener.local_addr().ok()
    }

    /// Runs until `stop` is requested, then drains. Must be called within a Tokio runtime.
    pub async fn run(self, stop: Stop) -> Ended {
        let started = self.start(&stop).await;
        let reason = match started {
            Ok(running) => {
                let reason = stop.requested().await;
                tracing::info!(%reason, "stopping");
                return drain::run(running, reason).await;
            }
            Err(error) => error,
        };
        tracing::error!(error = &reason as &dyn std::error::Error, "agent cannot start");
        Ended { exit_code: daemon::exit::FAILURE, summary: None }
    }

    async fn start(self, stop: &Stop) -> Result<Running, StartError> {
        let admin = self.admin_address();
        let net = Tasks::new(stop.clone());
        let liveness = Liveness::new(STUCK);
        let connection = self.readiness.component("mqtt");
        let engine = self.readiness.component("engine");
        let (session, events) = link::connect(self.link)?;
        self.shared.live.attach(session.clone());
        let pipelines = start_pipelines(
            stop,
            self.cameras,
            self.models,
            self.recorder,
            self.sample_thread,
            &self.shared,
            liveness.pulse("engine"),
        )?;
        let session_task = session::Connection {
            shared: self.shared.clone(),
            session: session.clone(),
            component: connection,
            twin: self.twin,
            state: self.state.path().to_owned(),
            first: self.session_number + 1,
            pulse: liveness.pulse("session"),
        };
        net.spawn("session", Kind::Critical, session_task.run(events));
        let (shared, sender) = (self.shared.clone(), session.clone());
        // The lane is still needed when the word to stop has come: it ends at the end of the drain.
        let end = daemon::CancellationToken::new();
        let lane_end = end.clone();
        net.spawn("archive", Kind::Critical, async move {
            lane_end.run_until_cancelled(shared.archive.run(&sender)).await;
            Ok::<(), std::convert::Infallible>(())
        });
        let status = status::Status::new(
            self.shared.clone(),
            self.metrics.clone(),
            engine,
            self.state.path(),
            self.until_end.then(|| stop.clone()),
        );
        let status = Arc::new(tokio::sync::Mutex::new(status));
        net.spawn("status", Kind::Critical, status::run(status.clone(), stop.token()));
        net.spawn("memory", Kind::BestEffort, settle::run(self.shared.cameras.clone(), stop.token()));
        serve_admin(&net, stop, self.listener, self.readiness, self.metrics);
        let ending = stop.token();
        net.spawn("watchdog", Kind::BestEffort, async move {
            // systemd's stop time-out watches the drain.
            ending.run_until_cancelled(daemon::ready::watchdog(|| liveness.is_alive())).await;
            Ok::<(), std::convert::Infallible>(())
        });
        let ready = serde_json::json!({
            "ready": true,
            "admin": admin.map(|a| a.to_string()),
            "site": self.shared.identity.site,
            "gateway": self.shared.identity.gateway,
        });
        daemon::ready::print_ready(&ready);
        Ok(Running {
            shared: self.shared,
            state: self.state,
            session,
            pipelines,
            status,
            net,
            end,
            telemetry: self.telemetry,
        })
    }
}

/// How the agent ended.
#[derive(Debug)]
pub struct Ended {
    /// For the process.
    pub exit_code: u8,
    /// What was counted, when the agent had started.
    pub summary: Option<Summary>,
}

#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error("begin the MQTT session")]
    Link(#[from] link::OptionsError),
    #[error("start a thread")]
    Thread(#[from] std::io::Error),
}

/// The agent while it runs.
pub(crate) struct Running {
    pub shared: Arc<Shared>,
    pub state: StateDir,
    pub session: link::Session,
    pub pipelines: Pipelines,
    pub status: Arc<tokio::sync::Mutex<status::Status>>,
    pub net: Tasks,
    pub end: daemon::CancellationToken,
    pub telemetry: Telemetry,
}

/// The threads, from upstream to downstream.
pub(crate) struct Pipelines {
    pub stop: camera::Stop,
    pub cameras: Tasks,
    pub engine: Tasks,
    pub samples: Tasks,
    pub outbox: Tasks,
}

fn start_pipelines(
    stop: &Stop,
    cameras: Vec<(camera::Plan, Intake)>,
    models: Vec<Model>,
    mut recorder: Recorder,
    sample_thread: SampleThread,
    shared: &Arc<Shared>,
    pulse: Pulse,
) -> Result<Pipelines, std::io::Error> {
    let tasks = || Tasks::new(stop.clone());
    let stop_cameras = camera::Stop::default();
    let (cameras_tasks, engine, samples, outbox) = (tasks(), tasks(), tasks(), tasks());
    let pipelines = Pipelines { stop: stop_cameras, cameras: cameras_tasks, engine, samples, outbox };
    type Never = std::convert::Infallible;
    let syncer = shared.outbox.clone();
    pipelines.outbox.spawn_thread("outbox", Kind::Critical, move || {
        syncer.run_syncer();
        Ok::<(), Never>(())
    })?;
    pipelines.samples.spawn_thread("samples", Kind::BestEffort, move || {
        sample_thread.run();
        Ok::<(), Never>(())
    })?;
    let shared = shared.clone();
    pipelines.engine.spawn_thread("engine", Kind::Critical, move || {
        classify::run(&shared.queue, models, &mut recorder, &shared.engine, &pulse);
        Ok::<(), Never>(())
    })?;
    for (plan, intake) in cameras {
        let (runtime, stop) = (tokio::runtime::Handle::current(), pipelines.stop.clone());
        let name = format!("cam-{}", plan.id);
        pipelines
            .cameras
            .spawn_thread(name, Kind::BestEffort, move || camera::supervisor::run(plan, intake, runtime, stop))?;
    }
    Ok(pipelines)
}

fn serve_admin(net: &Tasks, stop: &Stop, listener: TcpListener, readiness: Readiness, metrics: Arc<AgentMetrics>) {
    let admin = daemon::admin::Admin { readiness, metrics, build: crate::build() };
    let router = daemon::admin::router(admin, "/version");
    let limits = daemon::http::Limits::default();
    net.spawn("admin", Kind::BestEffort, daemon::http::serve(listener, router, None, limits, stop.token()));
}

/// Marks a component by a result, for readiness.
pub(crate) fn mark(component: &Component, outcome: Result<(), String>) {
    match outcome {
        Ok(()) => component.ready(),
        Err(reason) => component.not_ready(reason),
    }
}
