//! The whole agent against a real broker: both lanes, retained documents, watermark, twin, commands, drain, summary.
#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write as _,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use contract::{
    Archived, CameraId, Health as HealthRecord, Kind, Prediction, Sample, Topic,
    archived::{ArchivedEpoch, ArchivedKind},
    frame::{self, RecordParts},
    live::{CameraStatus, GatewayStatus, Live, Presence, Quality, RegionState, Reply},
    record::ServedBy,
    twin::{Outcome, Reported},
};
use daemon::{
    config::{Loaded, Sources, load},
    tasks::{Reason, Stop},
};
use edge_agent::{
    app::{App, Ended, Factories, Options},
    config::{Config, ENV_PREFIX},
};
use inference::{Batch, Engine, EngineError, EngineFactory, Health, Pace, Package, Probe, Refusal};
use link::{Event, Events, Message, Publication, Session, Subscription};

fn fetched(path: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.sightline").join(path);
    assert!(path.exists(), "{} is missing: run `make setup`", path.display());
    path
}

struct Broker {
    child: Child,
    url: String,
    _dir: tempfile::TempDir,
}

impl Broker {
    fn start() -> Self {
        Self::with("allow_anonymous true\n")
    }

    /// With these lines in its configuration; `{dir}` is its folder, where `passwords` knows `gw` with `right`.
    fn with(lines: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = dir.path().join("mosquitto.conf");
        let passwords = dir.path().join("passwords");
        std::fs::write(&passwords, "").unwrap();
        let made = Command::new("mosquitto_passwd").arg("-b").arg(&passwords).args(["gw", "right"]).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        let lines = lines.replace("{dir}", &dir.path().display().to_string());
        std::fs::write(&config, format!("user root\nlistener {port} 127.0.0.1\n{lines}")).unwrap();
        let program =
            ["/usr/sbin/mosquitto", "mosquitto"].into_iter().find(|p| Path::new(p).exists()).unwrap_or("mosquitto");
        let child = Command::new(program).arg("-c").arg(&config).stderr(std::process::Stdio::null()).spawn().unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(std::time::Instant::now() < deadline, "mosquitto does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        Self { child, url: format!("mqtt://127.0.0.1:{port}"), _dir: dir }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A hub in small: hears everything, keeps records by address, and publishes watermarks when asked to.
struct Hub {
    session: Session,
    events: Events,
    retained: BTreeMap<String, Vec<u8>>,
    live: Vec<(Topic, Vec<u8>)>,
    fragments: BTreeMap<(u8, u64), BTreeMap<u16, Vec<u8>>>,
    records: BTreeMap<(Kind, u64), Vec<u8>>,
    /// Every message of the agent, for the document.
    seen: Vec<serde_json::Value>,
    epochs: BTreeSet<contract::Epoch>,
}

impl Hub {
    async fn start(url: &str) -> Self {
        let mut options = link::Options::new(url, "hub").unwrap();
        options.subscriptions = vec![Subscription::at_least_once("sightline/#")];
        let (session, mut events) = link::connect(options).unwrap();
        while !matches!(events.next().await.unwrap(), Event::Up { .. }) {}
        Self {
            session,
            events,
            retained: BTreeMap::new(),
            live: Vec::new(),
            fragments: BTreeMap::new(),
            records: BTreeMap::new(),
            seen: Vec::new(),
            epochs: BTreeSet::new(),
        }
    }

    async fn until(&mut self, what: &str, mut is_so: impl FnMut(&Self) -> bool) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        while !is_so(self) {
            let event = tokio::time::timeout_at(deadline, self.events.next()).await;
            let event = event.unwrap_or_else(|_| panic!("waited too long for {what}"));
            if let Event::Message(message) = event.unwrap() {
                self.take(message);
            }
        }
    }

    fn take(&mut self, message: Message) {
        let Some(topic) = Topic::parse("sightline", &message.topic) else {
            panic!("{} is no topic of ours", message.topic);
        };
        if !message.topic.starts_with("sightline/down/") {
            self.seen.push(serde_json::json!({
                "topic": message.topic,
                "payload": BASE64_STANDARD.encode(&message.payload),
                "qos": message.qos as u8,
                "expiry": message.expiry.map(|left| left.as_secs_f64()),
                "content_type": message.content_type,
            }));
        }
        if let Topic::Up(_, kind) = topic {
            assert!(message.payload.len() <= 16 << 10, "longer than configured: {}", message.payload.len());
            for frame in frame::frames(&message.payload) {
                let frame = frame.unwrap();
                assert_eq!(frame.address.kind, kind.number());
                self.epochs.insert(frame.address.epoch);
                let parts = self.fragments.entry((frame.address.kind, frame.address.seq)).or_default();
                parts.insert(frame.index, frame.payload.to_vec());
                if parts.len() == usize::from(frame.count) {
                    let whole = parts.values().flatten().copied().collect();
                    self.records.insert((kind, frame.address.seq), whole);
                }
            }
            return;
        }
        self.retained.insert(message.topic.clone(), message.payload.to_vec());
        self.live.push((topic, message.payload.to_vec()));
    }

    fn document<T: serde::de::DeserializeOwned>(&self, topic: &str) -> Option<T> {
        serde_json::from_slice(self.retained.get(&format!("sightline/live/plant/gw-1/{topic}"))?).ok()
    }

    fn count(&self, kind: Kind) -> u64 {
        self.records.keys().filter(|(k, _)| *k == kind).count() as u64
    }

    /// Archives what has come without holes.
    async fn archive(&self) {
        let mark = |kind: Kind| {
            let upto = (0..).find(|seq| !self.records.contains_key(&(kind, *seq))).unwrap();
            (kind, ArchivedKind { upto, ranges: vec![] })
        };
        let kinds = Kind::ALL.map(mark).into();
        let epochs =
            self.epochs.iter().map(|epoch| ArchivedEpoch { epoch: *epoch, kinds: BTreeMap::clone(&kinds) }).collect();
        let document = Archived { schema: 1, lake: "l".into(), incarnation: "i".into(), epochs };
        self.publish("archived", &document, true).await;
    }

    async fn publish(&self, what: &str, document: &impl serde::Serialize, retain: bool) {
        let mut publication =
            Publication::new(format!("sightline/down/plant/gw-1/{what}"), serde_json::to_vec(document).unwrap())
                .at_least_once();
        publication.retain = retain;
        publication.response_topic = Some("sightline/live/plant/gw-1/reply".into());
        publication.correlation = Some("42".into());
        self.session.publish(publication).await.unwrap().await.unwrap();
    }
}

/// All that came stands in docs/asyncapi.yaml.
impl Drop for Hub {
    fn drop(&mut self) {
        if std::thread::panicking() || self.seen.is_empty() {
            return;
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/peers/asyncapi.py");
        let mut python = Command::new(fetched("venv/bin/python"))
            .arg(script)
            .arg("messages")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines: String = self.seen.iter().map(|message| format!("{message}\n")).collect();
        python.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
        let output = python.wait_with_output().unwrap();
        assert!(output.status.success(), "not as documented:\n{}", String::from_utf8_lossy(&output.stdout));
    }
}

fn agent(dir: &Path, url: &str, wait: &str, more: &str) -> (tokio::task::JoinHandle<Ended>, Stop) {
    let app = App::build(&configured(dir, url, wait, more), options(dir)).unwrap();
    let stop = Stop::new();
    (tokio::spawn(app.run(stop.clone())), stop)
}

fn options(dir: &Path) -> Options {
    Options { state: dir.join("state"), ..Options::default() }
}

fn configured(dir: &Path, url: &str, wait: &str, more: &str) -> Loaded<Config> {
    daemon::install_crypto();
    let file = dir.join("edge.toml");
    let text = format!(
        "site = \"plant\"\ngateway = \"gw-1\"\n\
         mqtt = {{ url = \"{url}\", archive_message_max = \"16KiB\" }}\nmodels.default = \"{}\"\n\
         engines.library = \"{}\"\nshutdown.archive_wait = \"{wait}\"\n{more}",
        fetched("models/tiny-gray64").display(),
        fetched("lib/libonnxruntime.so").display()
    );
    std::fs::write(&file, text).unwrap();
    let loaded = load::<Config>(&Sources { file: Some(file), env_prefix: ENV_PREFIX.into(), ..Sources::default() });
    loaded.unwrap_or_else(|errors| panic!("{errors}"))
}

const CAMERA: &str = "[cameras.front]\nuri = \"test:ball?width=320&height=240&fps=20\"\n\
    [cameras.front.regions.full]\nfps = \"every\"\nevents = { min_score = 0.0 }\nsamples = { uncertain = 0.0 }\n";

#[tokio::test(flavor = "multi_thread")]
async fn from_a_camera_to_a_hub_and_back() {
    let (broker, dir) = (Broker::start(), tempfile::tempdir().unwrap());
    let mut hub = Hub::start(&broker.url).await;
    let (running, stop) = agent(dir.path(), &broker.url, "20s", CAMERA);

    hub.until("predictions", |hub| hub.count(Kind::Prediction) >= 20).await;
    hub.until("a sample in fragments", |hub| hub.count(Kind::Sample) >= 1).await;
    hub.until("a state", |hub| {
        hub.document::<RegionState>("front/full/state").is_some_and(|s| s.quality == Quality::Live)
    })
    .await;
    let status: GatewayStatus = hub.document("status").unwrap();
    assert_eq!((status.status, status.epoch), (Presence::Online, hub.epochs.first().copied()));
    hub.until("the camera's status", |hub| {
        hub.document::<CameraStatus>("front/status").is_some_and(|s| s.status == Presence::Online)
    })
    .await;

    let record = hub.records[&(Kind::Prediction, 3)].clone();
    let parts = RecordParts::split(&record).unwrap();
    let (header, body) = (parts.parse_header().unwrap(), parts.parse_body::<Prediction>().unwrap());
    assert_eq!((header.seq, header.kind, header.site.as_str()), (3, Kind::Prediction, "plant"));
    assert!(header.model.is_some() && header.frame_id.is_some() && body.latency.total_us > 0);
    let live = hub.live.iter().find_map(|(topic, json)| match topic {
        Topic::Prediction(..) => {
            serde_json::from_slice::<Live<Prediction>>(json).ok().filter(|live| live.header.seq > 0)
        }
        _ => None,
    });
    let live = live.unwrap();
    assert!(hub.records.contains_key(&(Kind::Prediction, live.header.seq)));

    let record = hub.records[&(Kind::Sample, 0)].clone();
    let parts = RecordParts::split(&record).unwrap();
    let sample: Sample = parts.parse_body().unwrap();
    let (jpeg, input) = parts.blobs.split_at(sample.picture.bytes as usize);
    let picture = vision::decode_picture(jpeg, &vision::Limits::default()).unwrap();
    assert_eq!((picture.width(), picture.height(), sample.picture.region), (320, 240, [0, 0, 320, 240]));
    let tensor = zstd::bulk::decompress(input, 1 << 20).unwrap();
    assert_eq!(tensor.len(), sample.input.unwrap().shape.iter().product::<u32>() as usize);

    let before = hub.count(Kind::Sample);
    hub.publish("command", &serde_json::json!({"command": "sample-now", "camera": "front"}), false).await;
    hub.until("the answer", |hub| hub.document::<Reply>("reply").is_some_and(|r| r.accepted)).await;
    hub.until("the sample", |hub| hub.count(Kind::Sample) > before).await;
    let desired = serde_json::json!({"schema": 1, "authority": "h", "generation": 5, "config": {"a": 1}});
    hub.publish("desired", &desired, true).await;
    hub.until("reported", |hub| {
        hub.document::<Reported>("reported")
            .is_some_and(|r| (r.generation, r.outcome) == (5, Outcome::Accepted) && r.reason.is_some())
    })
    .await;

    hub.archive().await;
    stop.request(Reason::Asked);
    let mut running = running;
    let ended = loop {
        let tick = tokio::time::sleep(Duration::from_millis(100));
        tokio::select! {
            ended = &mut running => break ended.unwrap(),
            event = hub.events.next() => if let Event::Message(message) = event.unwrap() { hub.take(message) },
            () = tick => {}
        }
        hub.archive().await;
    };
    assert_eq!(ended.exit_code, 0);
    let summary = ended.summary.unwrap();
    let front = summary.cameras[&"front".parse::<CameraId>().unwrap()];
    assert!(summary.archived);
    assert_eq!((front.classified, front.published), (hub.count(Kind::Prediction), hub.count(Kind::Prediction)));
    hub.until("the end", |hub| hub.document::<GatewayStatus>("status").is_some_and(|s| s.status == Presence::Offline))
        .await;
    assert_eq!(hub.document::<RegionState>("front/full/state").unwrap().quality, Quality::Offline);
    let written = std::fs::read_to_string(dir.path().join("state/summary.json")).unwrap();
    assert!(written.contains(&format!("\"classified\":{}", front.classified)), "{written}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_takes_only_short_messages_is_named_with_the_key() {
    let (broker, dir) = (Broker::with("allow_anonymous true\nmax_packet_size 10000\n"), tempfile::tempdir().unwrap());
    let loaded = configured(dir.path(), &broker.url, "0s", CAMERA);
    let report = edge_agent::check::run(&loaded.value, &dir.path().join("state")).await;
    let told = report.text(false);
    let words = ["broker takes packets of at most 10000 bytes", "mqtt.archive_message_max is 16384", "\"9488B\""];
    assert!(report.exit_code() == 1 && words.iter().all(|word| told.contains(word)), "{told}");

    let app = App::build(&loaded, options(dir.path())).unwrap();
    let (admin, stop) = (app.admin_address().unwrap(), Stop::new());
    let running = tokio::spawn(app.run(stop.clone()));
    until_ready_says(admin, "mqtt.archive_message_max").await;
    stop.request(Reason::Asked);
    running.await.unwrap();
    let text = std::fs::read_to_string(dir.path().join("edge.toml")).unwrap();
    let text = text.replace("archive_message_max = \"16KiB\"", "archive_message_max = \"9488B\"");
    assert!(text.contains("9488B"));
    std::fs::write(dir.path().join("edge.toml"), text).unwrap();
    let file = Some(dir.path().join("edge.toml"));
    let loaded = load::<Config>(&Sources { file, env_prefix: ENV_PREFIX.into(), ..Sources::default() }).unwrap();
    let report = edge_agent::check::run(&loaded.value, &dir.path().join("state")).await;
    assert_eq!(report.exit_code(), 0, "{}", report.text(false));
}

/// Asks `/ready` until its reasons hold a word.
async fn until_ready_says(admin: std::net::SocketAddr, word: &str) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    loop {
        let answer = reqwest::get(format!("http://{admin}/ready")).await;
        let (status, text) = match answer {
            Ok(answer) => (answer.status().as_u16(), answer.text().await.unwrap()),
            Err(error) => (0, error.to_string()),
        };
        if status == 503 && text.contains(word) {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "/ready never says {word}: {status} {text}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_login_at_the_broker_is_named_and_does_not_stop_the_cameras() {
    let broker = Broker::with("allow_anonymous false\npassword_file {dir}/passwords\n");
    let dir = tempfile::tempdir().unwrap();
    for (login, right) in [
        ("", false),
        ("username = \"gw\", password = \"wr0ng\", ", false),
        ("username = \"gw\", password = \"right\", ", true),
    ] {
        let loaded = configured(dir.path(), &broker.url, "0s", CAMERA);
        let text = std::fs::read_to_string(dir.path().join("edge.toml")).unwrap();
        std::fs::write(dir.path().join("edge.toml"), text.replace("mqtt = { ", &format!("mqtt = {{ {login}"))).unwrap();
        let file = Some(dir.path().join("edge.toml"));
        let sources = Sources { file, env_prefix: ENV_PREFIX.into(), ..Sources::default() };
        drop(loaded);
        let loaded = load::<Config>(&sources).unwrap_or_else(|errors| panic!("{errors}"));
        let report = edge_agent::check::run(&loaded.value, &dir.path().join("state")).await;
        let told = report.text(false);
        if right {
            assert_eq!(report.exit_code(), 0, "{told}");
            continue;
        }
        assert!(told.contains("not authorised") && told.contains("check username and password"), "{told}");
        assert!(told.contains(broker.url.trim_start_matches("mqtt://")) && !told.contains("wr0ng"), "{told}");
        let app = App::build(&loaded, options(dir.path())).unwrap();
        let (admin, stop) = (app.admin_address().unwrap(), Stop::new());
        let running = tokio::spawn(app.run(stop.clone()));
        until_ready_says(admin, "not authorised").await;
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        loop {
            let metrics = reqwest::get(format!("http://{admin}/metrics")).await.unwrap().text().await.unwrap();
            let predictions = metrics.lines().find(|line| line.starts_with("sightline_predictions_total{"));
            if predictions.is_some_and(|line| !line.ends_with(" 0")) {
                break;
            }
            assert!(tokio::time::Instant::now() < deadline, "no predictions without a broker: {metrics}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        stop.request(Reason::Asked);
        running.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_are_jpegs_at_a_limited_rate() {
    let (broker, dir) = (Broker::start(), tempfile::tempdir().unwrap());
    let mut hub = Hub::start(&broker.url).await;
    let camera = CAMERA.replace("[cameras.front.regions.full]", "snapshot = \"400ms\"\n[cameras.front.regions.full]");
    let (running, stop) = agent(dir.path(), &broker.url, "0s", &camera);
    let snapshots = |hub: &Hub| -> Vec<Vec<u8>> {
        let of = |(topic, payload): &(Topic, Vec<u8>)| matches!(topic, Topic::Snapshot(..)).then(|| payload.clone());
        hub.live.iter().filter_map(of).collect()
    };
    let began = std::time::Instant::now();
    hub.until("snapshots", |hub| snapshots(hub).len() >= 4).await;
    assert!(began.elapsed() >= Duration::from_millis(1200), "faster than asked for: {:?}", began.elapsed());
    for jpeg in snapshots(&hub) {
        let picture = vision::decode_picture(&jpeg, &vision::Limits::default()).unwrap();
        assert_eq!((picture.width(), picture.height()), (320, 240));
    }
    stop.request(Reason::Asked);
    running.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_alone_makes_no_event() {
    let (broker, dir) = (Broker::start(), tempfile::tempdir().unwrap());
    let mut hub = Hub::start(&broker.url).await;
    for (run, events) in [(1, 1), (2, 1)] {
        let predictions = hub.count(Kind::Prediction);
        let camera = CAMERA.replace("ball", "white");
        let (running, stop) = agent(dir.path(), &broker.url, "1s", &camera);
        hub.until("predictions", |hub| hub.count(Kind::Prediction) >= predictions + 10).await;
        stop.request(Reason::Asked);
        hub.until("the end", |hub| {
            hub.document::<GatewayStatus>("status").is_some_and(|s| s.status == Presence::Offline)
        })
        .await;
        running.await.unwrap();
        assert_eq!(hub.live.iter().filter(|(topic, _)| matches!(topic, Topic::Event(..))).count(), events, "run {run}");
        hub.records.clear();
        hub.fragments.clear();
        hub.retained.clear();
    }
}

/// ONNX Runtime under another name, with a switch that breaks it.
struct Switched {
    name: &'static str,
    real: Arc<Vec<Box<dyn EngineFactory>>>,
    broken: Arc<AtomicBool>,
}

impl Switched {
    fn real(&self) -> &dyn EngineFactory {
        self.real.iter().find(|factory| factory.name() == "ort-cpu").unwrap().as_ref()
    }
}

impl EngineFactory for Switched {
    fn name(&self) -> &str {
        self.name
    }
    fn probe(&self) -> Result<Probe, Refusal> {
        match self.broken.load(Ordering::Relaxed) {
            true => Err(Refusal::new("its device is gone")),
            false => self.real().probe(),
        }
    }
    fn load(&self, package: &Package) -> Result<Box<dyn Engine>, Refusal> {
        Ok(Box::new(SwitchedEngine(self.name, self.real().load(package)?, self.broken.clone())))
    }
}

struct SwitchedEngine(&'static str, Box<dyn Engine>, Arc<AtomicBool>);

impl Engine for SwitchedEngine {
    fn name(&self) -> &str {
        self.0
    }
    fn version(&self) -> &str {
        self.1.version()
    }
    fn max_batch(&self) -> usize {
        self.1.max_batch()
    }
    fn run(&mut self, batch: Batch<'_>, out: &mut [f32], deadline: Option<Duration>) -> Result<(), EngineError> {
        if self.2.load(Ordering::Relaxed) {
            return Err(EngineError::Runtime { engine: self.0.into(), n: batch.n, source: "device lost".into() });
        }
        self.1.run(batch, out, deadline)
    }
    fn health(&self) -> Health {
        self.1.health()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn results_go_on_from_the_next_engine_and_come_home() {
    let (broker, dir) = (Broker::start(), tempfile::tempdir().unwrap());
    let loaded = configured(dir.path(), &broker.url, "0s", CAMERA);
    let library = loaded.value.engines.library.clone();
    let real = Arc::new(engines::all(&engines::Options { onnxruntime: library, ..engines::Options::default() }));
    let switches: [Arc<AtomicBool>; 3] = Default::default();
    let named = ["first", "second", engines::HUB].into_iter().zip(&switches);
    let factories: Factories = named
        .map(|(name, broken)| {
            Box::new(Switched { name, real: real.clone(), broken: broken.clone() }) as Box<dyn EngineFactory>
        })
        .collect();
    let pace = Pace { first: Duration::from_millis(300), longest: Duration::from_secs(1), ..Pace::default() };
    let app = App::with_engines(&loaded, options(dir.path()), &factories, pace).unwrap();
    let (admin, stop) = (app.admin_address().unwrap(), Stop::new());
    let mut hub = Hub::start(&broker.url).await;
    let running = tokio::spawn(app.run(stop.clone()));

    let by = |hub: &Hub, engine: &str| {
        let predictions = hub.records.iter().filter(|((kind, _), _)| *kind == Kind::Prediction);
        let bodies =
            predictions.map(|(_, record)| RecordParts::split(record).unwrap().parse_body::<Prediction>().unwrap());
        let mine: Vec<_> = bodies.filter(|body| &*body.engine == engine).collect();
        let served_by = if engine == engines::HUB { ServedBy::Hub } else { ServedBy::Gateway };
        assert!(mine.iter().all(|body| body.served_by == served_by));
        mine.len()
    };
    let status = |hub: &Hub, engine: &str| {
        hub.document::<GatewayStatus>("status").is_some_and(|s| s.engine.unwrap_or_default().starts_with(engine))
    };
    let changes =
        [(None, "first"), (Some((0, true)), "second"), (Some((1, true)), "hub"), (Some((1, false)), "second")];
    for (switch, engine) in changes.into_iter().chain([(Some((0, false)), "first")]) {
        let before = by(&hub, engine);
        if let Some((which, broken)) = switch {
            switches[which].store(broken, Ordering::Relaxed);
        }
        hub.until(&format!("predictions by {engine}"), |hub| by(hub, engine) >= before + 10).await;
        hub.until(&format!("a status that names {engine}"), |hub| status(hub, engine)).await;
    }
    let metrics = reqwest::get(format!("http://{admin}/metrics")).await.unwrap().text().await.unwrap();
    assert!(metrics.contains("sightline_engine_changes_total 4\n"), "{metrics}");
    for (engine, value) in [("first", 1), ("second", 0), ("hub", 0)] {
        let line = metrics.lines().find(|line| line.contains(&format!("engine=\"{engine}\""))).unwrap();
        assert!(line.contains("precision=\"fp32\"") && line.ends_with(&format!(" {value}")), "{line}");
    }
    let reasons: Vec<_> = hub
        .records
        .iter()
        .filter(|((kind, _), _)| *kind == Kind::Health)
        .map(|(_, record)| RecordParts::split(record).unwrap().parse_body::<HealthRecord>().unwrap())
        .map(|health| (health.engine, health.engine_reason))
        .collect();
    assert!(
        reasons.iter().any(|(engine, why)| engine.starts_with("second ") && why.contains("`first` refused: run batch")),
        "{reasons:?}"
    );

    stop.request(Reason::Asked);
    running.await.unwrap();
    // Every frame once, and none longer after the one before it than a camera at 20 frames a second and two seconds allow.
    let mut frames: Vec<_> = hub
        .records
        .iter()
        .filter(|((kind, _), _)| *kind == Kind::Prediction)
        .map(|(_, record)| RecordParts::split(record).unwrap().parse_header().unwrap())
        .map(|header| (header.captured_at, header.frame_id.unwrap().to_string()))
        .collect();
    frames.sort();
    let longest = frames.windows(2).map(|pair| pair[1].0.0 - pair[0].0.0).max().unwrap();
    assert!(longest < 2_000_000, "{longest} us without a prediction");
    eprintln!("{} predictions by three engines, at most {longest} us apart", frames.len());
    let all = frames.len();
    let distinct: BTreeSet<_> = frames.into_iter().map(|(_, frame)| frame).collect();
    assert_eq!(distinct.len(), all, "a frame was answered twice");
}
