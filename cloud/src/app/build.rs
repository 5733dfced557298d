//! Starts the parts, from what others need to those who need it.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use axum::Router;
use contract::{Digest, GatewayId, Timestamp, topic};
use daemon::{
    CancellationToken,
    admin::{self, Admin, BuildInfo, Readiness},
    config::Loaded,
    http, listen,
    liveness::{Liveness, Pulse},
    state::StateDir,
    tasks::{BoxError, Kind, Stop, Tasks},
};
use store::{objects::StateEndpoint, tables::Tables};

use super::{
    Error, STUCK,
    adapt::{self, Archive, Lake},
    credentials::{self, Endpoints},
    foundation::LakeParts,
    metrics::{HubMetrics, Sources},
    places,
    presence::{self, Presence},
    served::Served,
};
use crate::{
    api::{self, Feed},
    broker::Broker,
    config::{HubConfig, Role},
    directory::Directory,
    ingest::{self, Ingest},
    lake::Reader,
    upkeep,
};

/// How long the start waits for the bus before it says ready without it.
const BUS_WAIT: Duration = Duration::from_secs(10);
/// How often the OTLP exporter finds fresh numbers.
const REFRESH: Duration = Duration::from_secs(5);

/// How long ingest lets small messages of the archive lane gather: a thousand gateways that send a few records five times a
/// second cost it a system call and two changes of thread for each message otherwise, and all of them wait for the flush.
const GATHER: Duration = Duration::from_millis(5);

/// Models by the digest of their packages.
type Models = BTreeMap<Digest, Arc<api::Classifier>>;

/// A running hub.
pub struct App {
    pub(super) state: StateDir,
    pub(super) tasks: Tasks,
    pub(super) liveness: Liveness,
    pub(super) http: Served,
    pub(super) s3: Option<Served>,
    pub(super) broker: Option<Broker>,
    pub(super) mqtt_shown: Option<String>,
    pub(super) tables: Option<Tables>,
    pub(super) ingest: Option<Ingest>,
    pub(super) presence: Option<Presence>,
    pub(super) upkeep: Option<upkeep::Work>,
    pub(super) metrics: HubMetrics,
}

/// What the parts share while they are built.
pub(super) struct Builder<'a> {
    pub config: &'a HubConfig,
    pub loaded: &'a Loaded<HubConfig>,
    pub state: &'a StateDir,
    instance: String,
    pub readiness: Readiness,
    pub tasks: Tasks,
}

pub(super) async fn build(loaded: &Loaded<HubConfig>, state: StateDir, stop: Stop) -> Result<App, Error> {
    let builder = Builder {
        config: &loaded.value,
        loaded,
        state: &state,
        instance: credentials::instance(&state)?,
        readiness: Readiness::new(),
        tasks: Tasks::new(stop.clone()),
    };
    let config = &loaded.value;
    let tls = places::http_tls(config)?;
    let listener = listen::bind_or_free(config.listen, loaded.is_set("listen"), "listen")?;
    let http_address = local(&listener, "listen")?;

    let (s3, location) = builder.objects().await?;
    let (broker, url) = builder.broker().await?;
    let uses_lake = config.has(Role::Ingest) || config.has(Role::Api);
    let lake = match location.filter(|_| uses_lake) {
        Some(location) => Some(builder.lake(location).await?),
        None => None,
    };
    let liveness = Liveness::new(STUCK);
    let ingest = match (&lake, &url) {
        (Some(lake), Some(url)) if config.has(Role::Ingest) => {
            Some(builder.ingest(lake, url, liveness.pulse("ingest"))?)
        }
        _ => None,
    };
    let upkeep = match &lake {
        Some(lake) if ingest.is_some() => Some(builder.upkeep(lake)),
        _ => None,
    };
    let api = match (&lake, &url) {
        (Some(lake), Some(url)) if config.has(Role::Api) => {
            Some(builder.api(lake, url, ingest.as_ref(), stop.token()).await?)
        }
        _ => None,
    };

    let sources = Sources {
        ingest: ingest.as_ref().map(|ingest| ingest.stats.clone()),
        upkeep: upkeep.as_ref().map(|upkeep| upkeep.stats.clone()),
        api: api.as_ref().map(|api| api.shared.facts.clone()),
        directory: api.as_ref().map(|api| api.directory.clone()),
        findings: api.as_ref().map(|api| api.findings.clone()),
        oversize: broker.as_ref().map(Broker::oversize),
    };
    let metrics = HubMetrics::new(sources);
    let router = builder.router(&metrics, api.as_ref().map(|api| &api.shared));
    let http = Served::start(&builder.tasks, "http", http_address, |stop| {
        http::serve(listener, router, tls, http::Limits::default(), stop)
    });
    let mqtt_shown = match (&broker, &url) {
        (Some(broker), _) => Some(broker.address().to_string()),
        (None, Some(url)) => link::Broker::parse(url).ok().map(|broker| format!("{}:{}", broker.host, broker.port)),
        (None, None) => None,
    };
    builder.endpoints(lake.as_ref(), s3.as_ref(), url.as_deref(), &http)?;
    builder.until_ready().await;
    Ok(App {
        liveness,
        tasks: builder.tasks,
        http,
        s3,
        broker,
        mqtt_shown,
        tables: lake.map(|lake| lake.index.tables().clone()),
        ingest,
        presence: api.map(|api| api.presence),
        upkeep,
        metrics,
        state,
    })
}

impl App {
    /// Exports the metrics by OTLP, where that is configured.
    pub fn export(&self, telemetry: &daemon::telemetry::Telemetry) {
        if !telemetry.exports_metrics() {
            return;
        }
        self.metrics.metrics.export(telemetry);
        let (metrics, stop) = (self.metrics.clone(), self.tasks.stop().token());
        self.tasks.spawn("metrics", Kind::BestEffort, async move {
            while tokio::time::timeout(REFRESH, stop.cancelled()).await.is_err() {
                metrics.refresh();
            }
            Ok::<(), BoxError>(())
        });
    }
}

/// The API and what feeds it.
struct ApiParts {
    shared: api::Shared,
    directory: Directory,
    presence: Presence,
    findings: upkeep::Findings,
}

impl Builder<'_> {
    fn ingest(&self, lake: &LakeParts, url: &str, pulse: Pulse) -> Result<Ingest, Error> {
        let section = &self.config.ingest;
        let prefix = self.config.mqtt_client.prefix.clone();
        let archive = link::Subscription::at_least_once(topic::all_up(&prefix));
        let client = format!("sightline-hub-{}-ingest", self.instance);
        let mut bus = places::bus(self.config, url, client, vec![archive])?;
        bus.gather = GATHER;
        let bus = link::connect(bus)?;
        let options = ingest::Options {
            prefix,
            gateway: self.gateway(),
            flush_interval: section.flush_interval.get(),
            flush_bytes: section.flush_bytes.len(),
            fragments: ingest::Limits {
                bytes: section.fragment_bytes.len(),
                age: section.fragment_age.get(),
                ..ingest::Limits::default()
            },
            dead_bytes: section.dead_bytes.0,
        };
        let parts = ingest::Parts {
            bus,
            objects: lake.objects.clone(),
            index: lake.index.clone(),
            ready: self.readiness.component("ingest"),
            tasks: self.tasks.clone(),
            pulse,
        };
        Ok(ingest::start(options, parts))
    }

    fn upkeep(&self, lake: &LakeParts) -> upkeep::Work {
        let (section, retention) = (&self.config.lake, &self.config.retention);
        let options = upkeep::Options {
            interval: section.upkeep_interval.get(),
            reader_grace: section.reader_grace.get(),
            orphan_grace: section.orphan_grace.get(),
            compact_after: section.compact_after.get(),
            retention: retention.rules(),
        };
        upkeep::start(options, lake.index.clone(), lake.objects.clone(), &self.tasks)
    }

    async fn api(
        &self,
        lake: &LakeParts,
        url: &str,
        ingest: Option<&Ingest>,
        stop: CancellationToken,
    ) -> Result<ApiParts, Error> {
        let limits = api::Limits::default();
        let feed = Feed::new(limits.stream_backlog_max);
        if let Some(ingest) = ingest {
            let watched = feed.clone();
            let arrived = ingest.handle.subscribe_while(move || watched.is_watched());
            self.tasks.spawn("streams", Kind::Critical, adapt::feed(arrived, feed.clone()));
        }
        let directory = Directory::default();
        let prefix = self.config.mqtt_client.prefix.clone();
        let elsewhere = ingest.is_none().then(|| feed.clone());
        let subscriptions = presence::subscriptions(&prefix, elsewhere.is_some());
        let client = format!("sightline-hub-{}-api", self.instance);
        let mut options = places::bus(self.config, url, client, subscriptions)?;
        options.session_expiry = Duration::ZERO; // retained documents come again; nothing else is worth keeping
        let findings = upkeep::Findings::default();
        let (watch, watching) = upkeep::Watch::new(lake.index.clone(), findings.clone());
        let until = stop.clone();
        self.tasks.spawn("watch", Kind::Critical, async move {
            until.run_until_cancelled(watching).await;
            Ok::<(), BoxError>(())
        });
        let presence =
            Presence::start(link::connect(options)?, prefix, directory.clone(), elsewhere, watch, &self.tasks);
        let (classifier, models) = self.models(&limits).await?;
        for model in models.values() {
            let (ended, stop) = (model.ended(), stop.clone());
            self.tasks.spawn("engine", Kind::Critical, async move {
                stop.run_until_cancelled(ended).await;
                Ok::<(), BoxError>(())
            });
        }
        let parts = api::Parts {
            directory: directory.clone(),
            lake: Arc::new(Lake {
                reader: Reader::new(lake.index.clone(), lake.objects.clone()),
                index: lake.index.clone(),
                findings: findings.clone(),
                stats: ingest.map(|ingest| ingest.stats.clone()),
            }),
            gateway: self.gateway(),
            archive: ingest.map(|ingest| Arc::new(Archive(ingest.handle.clone())) as Arc<dyn api::Archive>),
            classifier,
            models,
            feed,
            limits,
            stop,
        };
        Ok(ApiParts { shared: api::Api::new(parts), directory, presence, findings })
    }

    /// The hub's models: opened, loaded and checked off the event loop; the one for pictures, and all.
    async fn models(&self, limits: &api::Limits) -> Result<(Option<Arc<api::Classifier>>, Models), Error> {
        let config = self.config.inference.clone();
        let (queue_max, pictures) = (limits.engine_queue_max, limits.pictures());
        let loaded = tokio::task::spawn_blocking(move || {
            let mut models = Models::new();
            let mut load = |path: &Path| {
                let (package, engine, _) = super::probe::load_model(path, config.library.clone())?;
                // The model for pictures may lie in the folder as well.
                if let Some(there) = models.get(&package.digest()) {
                    return Ok(Arc::clone(there));
                }
                let started = api::Classifier::start(&package, engine, queue_max, pictures);
                let classifier = Arc::new(started.map_err(Error::Thread)?);
                models.insert(package.digest(), classifier.clone());
                Ok::<_, Error>(classifier)
            };
            let first = config.model.as_deref().map(&mut load).transpose()?;
            for path in config.models.as_deref().map(super::probe::packages).transpose()?.unwrap_or_default() {
                load(&path)?;
            }
            Ok((first, models))
        });
        match loaded.await {
            Ok(result) => result,
            Err(error) => Err(Error::Model(error.to_string())),
        }
    }

    fn router(&self, metrics: &HubMetrics, api: Option<&api::Shared>) -> Router {
        let build =
            BuildInfo { name: "sightline-hub", version: env!("CARGO_PKG_VERSION"), commit: daemon::admin::commit() };
        let admin = Admin { readiness: self.readiness.clone(), metrics: Arc::new(metrics.clone()), build };
        match api {
            // the API answers its version itself
            Some(api) => admin::router(admin, "/api/v1/build").merge(api::with_state(api)),
            None => admin::router(admin, "/api/v1/version"),
        }
    }

    fn endpoints(
        &self,
        lake: Option<&LakeParts>,
        s3: Option<&Served>,
        url: Option<&str>,
        http: &Served,
    ) -> Result<(), Error> {
        let uri = self.config.tables_uri(self.state.path());
        let location = match (lake, s3) {
            (Some(lake), _) => Some(lake.objects.location().clone()),
            (None, Some(s3)) => Some(places::embedded(s3.address, credentials::keys(self.state)?)),
            (None, None) => None,
        };
        let endpoints = Endpoints {
            s3: location.map(|location| StateEndpoint {
                endpoint: location.endpoint,
                region: location.region,
                bucket: location.bucket,
                prefix: location.prefix,
                access_key: location.credentials.access_key,
                secret_key: location.credentials.secret_key,
            }),
            tables: lake.map_or(&uri, |lake| &lake.uri),
            mqtt: url.map(str::to_owned),
            http: format!("{}://{}", if self.config.tls.is_some() { "https" } else { "http" }, http.address),
            prefix: &self.config.mqtt_client.prefix,
        };
        endpoints.write(self.state)
    }

    /// Waits for the bus, not for ever: one that is elsewhere may be down, and the hub works on when it comes.
    async fn until_ready(&self) {
        let deadline = tokio::time::Instant::now() + BUS_WAIT;
        while !self.readiness.is_ready() {
            if tokio::time::Instant::now() > deadline {
                tracing::warn!(report = %self.readiness.report(), "not everything is ready yet; the hub goes on trying");
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The name under which this hub makes records: `hub-<instance>`.
    fn gateway(&self) -> GatewayId {
        let name = format!("hub-{}", self.instance);
        #[expect(clippy::expect_used, reason = "the instance is eight hex digits")]
        name.parse().expect("a name of hex digits and a dash is an id")
    }
}

pub(super) fn local(listener: &std::net::TcpListener, key: &str) -> Result<SocketAddr, Error> {
    let address = SocketAddr::from(([0, 0, 0, 0], 0));
    listener.local_addr().map_err(|source| listen::Error::Io { key: key.to_owned(), address, source }.into())
}

pub(super) fn now() -> Timestamp {
    Timestamp::from_system(SystemTime::now())
}
