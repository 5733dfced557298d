//! Building: state folder, models, engines, admin socket, outbox, regions. Nothing is started.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
};

use contract::{
    CameraId, Kind, Topic,
    live::{GatewayStatus, Presence},
};
use daemon::{
    admin::Readiness,
    config::Loaded,
    exit,
    state::{Lock, StateDir},
    telemetry::Telemetry,
};
use inference::{Pace, Package, Standing};
use vision::Spec;

use super::{
    App, EngineFacts, Shared, desired,
    models::{self, Factories, ModelError},
    spent,
    stable::{self, Stable},
};
use crate::{
    archive::Archive,
    camera::{self, elements},
    classify::{EngineCounts, Queue, QueueRegion},
    clock::Mono,
    config::{self, Config},
    identity::{Identity, new_epoch},
    intake::{Intake, RegionIntake},
    live::{Board, JSON, Live},
    metrics::AgentMetrics,
    outbox::{Bound, GapWriter, Now, OpenError, Opener, Outbox, Settings, disk::Folder},
    records::{Recorder, RegionRecords},
    sampler::{self, Samples, Snapshots},
    state,
    trace::Tracer,
    twin::{RegionModel, Twin},
    uplink::Limits,
};

/// What does not stand in the configuration.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The state folder.
    pub state: PathBuf,
    /// The folder that relative paths of the configuration count from.
    pub base: PathBuf,
    /// Stops when every camera's source has come to its end.
    pub until_end: bool,
    /// Exporters.
    pub telemetry: Telemetry,
}

/// Why the agent cannot be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The state folder.
    #[error(transparent)]
    State(#[from] daemon::state::Error),
    /// GStreamer itself.
    #[error("GStreamer cannot be started: {0}")]
    Gstreamer(String),
    /// A model.
    #[error("{0}")]
    Model(#[source] Box<ModelError>),
    /// The admin socket.
    #[error(transparent)]
    Listen(#[from] daemon::listen::Error),
    /// The broker's address or certificates.
    #[error("the MQTT session cannot be set up")]
    Mqtt(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The outbox's folder.
    #[error("outbox folder {}: {source}", .path.display())]
    Outbox {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        source: OpenError,
    },
    /// The system has no random numbers.
    #[error("no random number for a new epoch: {0}")]
    Random(String),
}

impl BuildError {
    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::State(error) => error.exit_code(),
            Self::Outbox { .. } => exit::STATE_UNUSABLE,
            Self::Model(_) | Self::Gstreamer(_) | Self::Listen(_) => exit::MISSING,
            _ => exit::FAILURE,
        }
    }
}

impl App {
    /// Opens everything. The configuration has been checked.
    ///
    /// # Errors
    /// What cannot be opened, which one, and what to do.
    pub fn build(loaded: &Loaded<Config>, options: Options) -> Result<Self, BuildError> {
        let factories = models::factories(&loaded.value, &options.state).into();
        Self::with_engines(loaded, options, &factories, Pace::default())
    }

    /// The same with engines of somebody's own, the best first.
    ///
    /// # Errors
    /// As [`App::build`].
    pub fn with_engines(
        loaded: &Loaded<Config>,
        options: Options,
        factories: &Factories,
        pace: Pace,
    ) -> Result<Self, BuildError> {
        let mut config = loaded.value.clone();
        for path in config.models.values_mut() {
            *path = options.base.join(&path);
        }
        let state = StateDir::open(&options.state, Lock::Exclusive)?;
        gstreamer::init().map_err(|error| BuildError::Gstreamer(error.to_string()))?;
        name_missing_elements(&config);
        let models::Ready { loaded: packages, models, engines } =
            models::load(&config, factories, pace).map_err(|error| BuildError::Model(Box::new(error)))?;
        let listener = daemon::listen::bind(config.admin.listen, "admin.listen")?;
        let mut identity = Identity::new(config.site.clone(), config.gateway.clone());
        let outbox = Arc::new(open_outbox(&config.outbox, &state, &identity)?);
        identity.frames_from = outbox.frames_from();
        let live = Arc::new(Live::default());
        let budget = spent::read(state.path(), config.samples.budget_per_day.get(), &identity.boot_id);
        let budget = Arc::new(Mutex::new(budget));
        let quality = config.samples.jpeg_quality;
        let (samples, sample_thread, sample_counts) =
            sampler::new(identity.clone(), outbox.clone(), live.clone(), budget.clone(), quality);

        let changed = Arc::new(tokio::sync::Notify::new());
        let regions = Regions::plan(&config, &packages, &Stable::read(state.path()), &changed);
        let queue =
            Arc::new(Queue::new(&packages.iter().map(|model| model.max_batch).collect::<Vec<_>>(), regions.queue()));
        let limits = Limits {
            window_bytes: config.outbox.window.get(),
            message_max: config.mqtt.archive_message_max.len(),
            newest_share: config.outbox.newest_share,
            ..Limits::default()
        };
        let cameras = regions.cameras.clone();
        let archive = Arc::new(Archive::new(&identity, &config.mqtt.prefix, outbox.clone(), limits, cameras.clone()));
        let metrics = AgentMetrics::new();
        let ready = regions.into_parts(&config, &options, &identity, &queue, &samples, &live, &metrics);
        let recorder = Recorder::new(
            identity.clone(),
            &config.mqtt.prefix,
            outbox.clone(),
            live.clone(),
            samples,
            archive.clone(),
            ready.records,
        );
        let twin = Twin::new(crate::config::effective(loaded), ready.twin, desired::read(state.path()));
        let session_number = stable::session_number(state.path());
        let link = link_options(&config, &identity, session_number)?;
        let shared = Arc::new(Shared {
            config,
            identity,
            outbox,
            archive,
            live,
            board: Board::default(),
            queue,
            engine: Arc::new(EngineCounts::default()),
            engines,
            samples: sample_counts,
            budget,
            cameras,
            changed,
        });
        metrics.attach(&shared);
        metrics.export(&options.telemetry);
        Ok(Self {
            shared,
            state,
            listener,
            metrics: Arc::new(metrics),
            readiness: Readiness::new(),
            link,
            session_number,
            cameras: ready.cameras,
            models,
            recorder,
            sample_thread,
            twin,
            telemetry: options.telemetry,
            until_end: options.until_end,
        })
    }
}

fn name_missing_elements(config: &Config) {
    for (id, camera) in &config.cameras {
        for missing in elements::missing(camera::needed_elements(&camera.uri)) {
            tracing::error!(camera = %id, reason = %missing, "camera cannot work");
        }
    }
}

fn open_outbox(config: &config::Outbox, state: &StateDir, identity: &Identity) -> Result<Outbox, BuildError> {
    let path = state.folder("outbox")?;
    let opener = Opener {
        disk: Arc::new(Folder::new(&path)),
        settings: Settings {
            bound: Bound { max_bytes: config.max_bytes.get(), max_age: config.max_age.get() },
            segment_bytes: config.segment_bytes(),
        },
        owner: &identity.principal(),
        fresh: new_epoch().map_err(|error| BuildError::Random(error.to_string()))?,
        gap_writer: gap_writer(identity.clone()),
        now: Now::read(),
    };
    let log = opener.open().map_err(|source| BuildError::Outbox { path, source })?;
    Ok(Outbox::new(log, config.sync.get()))
}

fn gap_writer(identity: Identity) -> GapWriter {
    Box::new(move |address, gap| {
        let captured_at = gap.captured_to.unwrap_or_else(crate::clock::wall);
        let header = identity.header(Kind::Gap, address, captured_at, Mono::now());
        contract::frame::encode_record(&header, gap, &[])
    })
}

/// All regions of all cameras, in the order of their numbers.
struct Regions<'a> {
    cameras: Vec<Arc<state::Camera>>,
    regions: Vec<Planned<'a>>,
}

struct Planned<'a> {
    camera: usize,
    config: config::Region,
    shared: Arc<state::Region>,
    model: &'a models::Loaded,
}

/// What the regions become.
struct Parts {
    cameras: Vec<(camera::Plan, Intake)>,
    records: Vec<RegionRecords>,
    twin: Vec<RegionModel>,
}

impl<'a> Regions<'a> {
    fn plan(
        config: &Config,
        packages: &'a [models::Loaded],
        stable: &Stable,
        changed: &Arc<tokio::sync::Notify>,
    ) -> Self {
        let (mut cameras, mut all) = (Vec::new(), Vec::new());
        for (number, (id, camera)) in config.cameras.iter().enumerate() {
            let mut own = Vec::new();
            for (region_id, region) in camera.regions() {
                // The configuration was checked: each region's model was loaded.
                let Some(model) = packages.iter().find(|model| model.name == region.model()) else { continue };
                let label = stable.get(id.as_str(), region_id.as_str());
                let shared = state::Region::new(id.clone(), region_id, model.package.model_ref(), label);
                let shared = Arc::new(shared);
                own.push(shared.clone());
                all.push(Planned { camera: number, config: region, shared, model });
            }
            cameras.push(Arc::new(state::Camera::new(id.clone(), own, changed.clone())));
        }
        Self { cameras, regions: all }
    }

    fn queue(&self) -> Vec<QueueRegion> {
        let region = |planned: &Planned<'_>| QueueRegion {
            model: planned.model.index,
            camera: planned.shared.camera.clone(),
            region: planned.shared.id.clone(),
            tensor_len: planned.model.package.tensor_len(),
        };
        self.regions.iter().map(region).collect()
    }

    #[expect(clippy::too_many_arguments, reason = "the assembly hands everything over once")]
    fn into_parts(
        self,
        config: &Config,
        options: &Options,
        identity: &Identity,
        queue: &Arc<Queue>,
        samples: &Samples,
        live: &Arc<Live>,
        metrics: &AgentMetrics,
    ) -> Parts {
        let mut cameras = Vec::new();
        for (number, (id, camera)) in config.cameras.iter().enumerate() {
            let plan = camera.plan(id, &options.base);
            let own = self.regions.iter().enumerate().filter(|(_, planned)| planned.camera == number);
            let regions = own.map(|(index, planned)| planned.intake(index, plan.pace())).collect();
            let snapshots = camera.snapshot.map(|every| {
                let topic = Topic::Snapshot(identity.principal(), id.clone()).under(&config.mqtt.prefix);
                Snapshots::new(samples.clone(), live.clone(), topic, every.get())
            });
            let tracer = Tracer::new(id.as_str());
            let shared = self.cameras[number].clone();
            let intake = Intake::new(shared, plan.pace(), queue.clone(), regions, snapshots, tracer);
            cameras.push((plan, intake));
        }
        let records = self.regions.iter().map(|p| p.records(self.cameras[p.camera].clone(), metrics)).collect();
        let twin = self.regions.iter().map(Planned::twin).collect();
        Parts { cameras, records, twin }
    }
}

impl Planned<'_> {
    fn intake(&self, number: usize, pace: crate::intake::Pace) -> RegionIntake {
        RegionIntake {
            number,
            rect: self.config.rect(),
            rate: self.config.rate(pace),
            spec: Spec::from(&self.model.package.manifest().input),
            shared: self.shared.clone(),
        }
    }

    fn records(&self, camera: Arc<state::Camera>, metrics: &AgentMetrics) -> RegionRecords {
        let package: &Package = &self.model.package;
        let manifest = package.manifest();
        let rule = self.config.rule();
        let threshold = |class| manifest.thresholds.get(class).copied().unwrap_or(rule.min_score);
        let [_, shape @ ..] = Spec::from(&manifest.input).shape();
        let id: &CameraId = &camera.id;
        RegionRecords {
            latencies: metrics.latencies(id.as_str()),
            shared: self.shared.clone(),
            model: package.model_ref(),
            classes: package.classes().into(),
            thresholds: package.classes().iter().map(threshold).collect(),
            top_k: self.config.top_k(),
            events: rule,
            samples: self.config.policy(),
            keep_input: self.config.samples.input,
            input_shape: shape.map(|side| side as u32).to_vec(),
            camera,
        }
    }

    fn twin(&self) -> RegionModel {
        RegionModel {
            camera: self.shared.camera.clone(),
            region: self.shared.id.clone(),
            digest: Some(self.model.package.digest()),
            pinned: self.config.model.is_some(),
        }
    }
}

/// How to reach the broker. Also used by `check`.
pub(crate) fn link_options(config: &Config, identity: &Identity, number: u64) -> Result<link::Options, BuildError> {
    let mqtt = &config.mqtt;
    let who = identity.principal();
    let client_id = format!("sightline-edge-{}-{}", identity.site, identity.gateway);
    let mut options = link::Options::new(&mqtt.url, client_id).map_err(|error| BuildError::Mqtt(error.into()))?;
    if let Some(username) = &mqtt.username {
        let password = mqtt.password.as_ref().map(|p| p.expose().to_owned());
        options.credentials = Some(link::Credentials { username: username.expose().to_owned(), password });
    }
    if options.broker.tls {
        let tls = daemon::tls::ClientTls { ca: mqtt.ca.clone(), cert: mqtt.cert.clone(), key: mqtt.key.clone() };
        options.tls = Some(daemon::tls::client_config(&tls).map_err(|error| BuildError::Mqtt(error.into()))?);
    }
    options.session_expiry = mqtt.session_expiry.get();
    options.session_number = number;
    options.packet_max = super::probes::packet_max(config);
    let down = contract::topic::all_down(&mqtt.prefix, &identity.site, &identity.gateway);
    options.subscriptions = vec![link::Subscription::at_least_once(down)];
    let topic = Topic::Status(who).under(&mqtt.prefix);
    options.will = Some(Arc::new(move |session| link::Will {
        topic: topic.clone(),
        payload: offline(session).into(),
        qos: link::QoS::AtLeastOnce,
        retain: true,
        delay: std::time::Duration::from_secs(5),
        content_type: Some(JSON.into()),
    }));
    Ok(options)
}

/// The status document of a gateway that is gone.
pub(crate) fn offline(session: u64) -> Vec<u8> {
    let status = GatewayStatus {
        schema: contract::SCHEMA,
        status: Presence::Offline,
        session,
        since: None,
        version: None,
        engine: None,
        epoch: None,
        holds: Default::default(),
        archived: None,
    };
    serde_json::to_vec(&status).unwrap_or_default()
}

/// The engine in use and why, for people.
pub(crate) fn engine_text(engines: &[EngineFacts]) -> String {
    let text = |of: &EngineFacts| {
        let Standing { engine, version, precision, .. } = of.standing();
        format!("{engine} {version} {precision} ({})", of.model)
    };
    engines.iter().map(text).collect::<Vec<_>>().join(", ")
}
