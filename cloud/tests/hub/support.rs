//! A hub's parts in this process, a gateway that speaks to them, and the program as a child.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use cloud::{
    broker::{Broker, Listen},
    ingest::{self, Fact, Ingest},
    lake::{self, Row},
    objects::Server,
};
use contract::{
    Archived, CaptureSource, Digest, Epoch, FrameId, Header, Kind, ModelRef, Prediction, Principal, Sample, Timestamp,
    Topic, frame,
    record::{Input, Latency, Picture, Reason, ServedBy},
};
use daemon::{CancellationToken, admin::Readiness};
use link::{Publication, Subscription};
use sha2::Digest as _;
use store::{
    lake_index::{Format, LakeIndex, ObjectQuery},
    objects::{Credentials, Location, Objects, faults::Faults},
    tables::Tables,
};

pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `what` gives something.
pub async fn until<T>(name: &str, mut what: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = what().await {
            return value;
        }
        assert!(Instant::now() < deadline, "waited too long for {name}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Broker, objects, tables and ingest in this process.
pub struct Parts {
    _folder: tempfile::TempDir,
    pub broker: Option<Broker>,
    pub url: String,
    pub objects: Objects,
    pub faults: Arc<Faults>,
    pub index: LakeIndex,
    pub ingest: Option<Ingest>,
    readiness: Readiness,
    s3: CancellationToken,
}

pub fn any_port(explicit: bool) -> Listen {
    Listen { address: "127.0.0.1:0".parse().unwrap(), explicit }
}

pub fn broker_options(folder: &Path) -> cloud::broker::Options {
    cloud::broker::Options {
        folder: folder.join("broker"),
        program: "mosquitto".into(),
        listen: any_port(true),
        encrypted: None,
        message_max: 1 << 20,
        prefix: "sightline".into(),
        insecure: false,
    }
}

impl Parts {
    pub async fn start() -> Self {
        daemon::install_crypto();
        let folder = tempfile::tempdir().unwrap();
        let broker = Broker::start(broker_options(folder.path())).await.unwrap();
        let keys = Credentials { access_key: "key".into(), secret_key: "secret".into(), session_token: None };
        let server = Server::open(&folder.path().join("objects"), keys.clone()).await.unwrap();
        server.create_bucket("sightline").await.unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let s3 = CancellationToken::new();
        tokio::spawn(server.serve(listener, s3.clone()));
        let location = Location {
            endpoint: Some(endpoint),
            region: "us-east-1".into(),
            bucket: "sightline".into(),
            prefix: String::new(),
            credentials: keys,
            path_style: true,
            ca: None,
        };
        let faults = Arc::new(Faults::default());
        let objects = Objects::connect(location).unwrap().with_faults(faults.clone());
        let tables = Tables::open(&format!("sqlite:{}", folder.path().join("tables.db").display())).await.unwrap();
        let index = LakeIndex::open(tables, now()).await.unwrap();
        let url = broker.url();
        let mut parts = Self {
            _folder: folder,
            broker: Some(broker),
            url,
            objects,
            faults,
            index,
            ingest: None,
            readiness: Readiness::new(),
            s3,
        };
        parts.start_ingest().await;
        parts
    }

    pub async fn start_ingest(&mut self) {
        let mut options = link::Options::new(&self.url, "hub-ingest").unwrap();
        options.subscriptions = vec![Subscription::at_least_once("sightline/up/+/+/+")];
        let settings = ingest::Options {
            prefix: "sightline".into(),
            gateway: "hub-test".parse().unwrap(),
            flush_interval: Duration::from_millis(200),
            flush_bytes: 4 << 20,
            fragments: ingest::Limits::default(),
            dead_bytes: 1 << 20,
        };
        let parts = ingest::Parts {
            bus: link::connect(options).unwrap(),
            objects: self.objects.clone(),
            index: self.index.clone(),
            ready: self.readiness.component("ingest"),
        };
        self.ingest = Some(ingest::start(settings, parts));
        until("ingest to be ready", async || self.readiness.is_ready().then_some(())).await;
    }

    pub fn count(&self, fact: Fact) -> u64 {
        self.ingest.as_ref().unwrap().stats.get(fact)
    }

    pub async fn gateway(&self, name: &str, epoch: u128) -> Gateway {
        Gateway::connect(&self.url, name, epoch).await
    }

    /// Every committed row of a kind, read from its objects.
    pub async fn rows(&self, kind: Kind) -> Vec<Row> {
        let mut rows = Vec::new();
        for object in self.index.objects(&ObjectQuery::rows_of(kind)).await.unwrap() {
            let bytes = self.objects.get(&object.key).await.unwrap();
            assert_eq!(Digest(sha2::Sha256::digest(&bytes).into()), object.digest);
            lake::read_parquet(kind, bytes, |row| rows.push(row)).unwrap();
        }
        rows.sort_by_key(|row| (row.record.header.epoch, row.record.header.seq));
        rows
    }

    pub async fn seqs(&self, kind: Kind) -> Vec<u64> {
        self.rows(kind).await.iter().map(|row| row.record.header.seq).collect()
    }

    pub async fn kept(&self, format: Format, kind: Kind) -> usize {
        let query = ObjectQuery { format, ..ObjectQuery::rows_of(kind) };
        self.index.objects(&query).await.unwrap().iter().map(|o| o.rows as usize).sum()
    }

    pub async fn end(mut self) {
        if let Some(ingest) = self.ingest.take() {
            ingest.drain(Duration::from_secs(20)).await.unwrap();
        }
        self.index.tables().close().await;
        self.s3.cancel();
        if let Some(broker) = self.broker.take() {
            broker.stop(Duration::from_secs(5)).await;
        }
    }
}

/// A gateway: numbers its records and hears its watermark.
pub struct Gateway {
    pub who: Principal,
    pub epoch: Epoch,
    pub session: link::Session,
    next: BTreeMap<Kind, u64>,
    archived: Arc<Mutex<Option<Archived>>>,
}

impl Gateway {
    pub async fn connect(url: &str, name: &str, epoch: u128) -> Self {
        static SESSIONS: AtomicU64 = AtomicU64::new(0);
        let session = SESSIONS.fetch_add(1, Ordering::Relaxed); // two sessions of one name throw each other out
        let mut options = link::Options::new(url, format!("test-{name}-{session}")).unwrap();
        let who = Principal { site: "plant".parse().unwrap(), gateway: name.parse().unwrap() };
        options.subscriptions = vec![Subscription::at_least_once(format!("sightline/down/{who}/+"))];
        let (session, mut events) = link::connect(options).unwrap();
        let archived: Arc<Mutex<Option<Archived>>> = Arc::default();
        let heard = archived.clone();
        tokio::spawn(async move {
            while let Some(event) = events.next().await {
                if let link::Event::Message(message) = event
                    && message.topic.ends_with("/archived")
                {
                    *heard.lock().unwrap() = Some(serde_json::from_slice(&message.payload).unwrap());
                }
            }
        });
        Self { who, epoch: Epoch(epoch), session, next: BTreeMap::new(), archived }
    }

    pub fn header(&mut self, kind: Kind) -> Header {
        let next = self.next.entry(kind).or_default();
        *next += 1;
        let seq = *next - 1;
        let about_frame = matches!(kind, Kind::Prediction | Kind::Event | Kind::Sample);
        Header {
            schema: 1,
            kind,
            site: self.who.site.clone(),
            gateway: self.who.gateway.clone(),
            camera: about_frame.then(|| "door".parse().unwrap()),
            region: about_frame.then(|| "full".parse().unwrap()),
            epoch: self.epoch,
            seq,
            captured_at: now(),
            captured_source: CaptureSource::Arrival,
            monotonic_us: 1_000_000 + seq,
            boot_id: "boot".into(),
            traceparent: None,
            model: about_frame.then_some(ModelRef { digest: Digest([7; 32]), version: None }),
            frame_id: about_frame.then(|| FrameId { epoch: self.epoch, camera: "door".parse().unwrap(), counter: seq }),
        }
    }

    pub fn prediction(&mut self) -> (Header, Vec<u8>) {
        let header = self.header(Kind::Prediction);
        let record = frame::encode_record(&header, &prediction(), &[]).unwrap();
        (header, record)
    }

    pub fn sample(&mut self, picture: &[u8], input: &[u8]) -> (Header, Vec<u8>) {
        let header = self.header(Kind::Sample);
        let record = frame::encode_record(&header, &sample(picture, input), &[picture, input]).unwrap();
        (header, record)
    }

    pub async fn send(&self, kind: Kind, message: impl Into<Bytes>) {
        let topic = Topic::Up(self.who.clone(), kind).under("sightline");
        let publication = Publication::new(topic, message).at_least_once();
        self.session.publish(publication).await.unwrap().await.unwrap();
    }

    /// One bundle.
    pub async fn send_records(&self, kind: Kind, records: &[(Header, Vec<u8>)]) {
        self.send(kind, bundle(records)).await;
    }

    /// Waits until the watermark of a kind reaches a number.
    pub async fn archived(&self, kind: Kind, upto: u64) -> Archived {
        until(&format!("watermark {kind} {upto}"), async || {
            let archived = self.archived.lock().unwrap().clone()?;
            (archived.of(self.epoch, kind)?.upto >= upto).then_some(archived)
        })
        .await
    }
}

pub fn bundle(records: &[(Header, Vec<u8>)]) -> Vec<u8> {
    let mut out = frame::MAGIC.to_vec();
    for (header, record) in records {
        frame::write_frame(&mut out, address(header), 0, 1, record);
    }
    out
}

pub fn address(header: &Header) -> frame::Address {
    frame::Address { epoch: header.epoch, kind: header.kind.number(), seq: header.seq }
}

pub fn prediction() -> Prediction {
    Prediction {
        labels: vec!["open".into(), "shut".into()],
        scores: vec![0.75, 0.25],
        latency: Latency::default(),
        engine: "ort-cpu".into(),
        served_by: ServedBy::Gateway,
    }
}

pub fn sample(picture: &[u8], input: &[u8]) -> Sample {
    Sample {
        reason: Reason::Periodic,
        labels: vec!["open".into()],
        scores: vec![0.75],
        picture: Picture {
            media_type: "image/jpeg".into(),
            bytes: picture.len() as u64,
            sha256: Digest(sha2::Sha256::digest(picture).into()),
            width: 640,
            height: 480,
            region: [0, 0, 640, 480],
        },
        input: Some(Input {
            encoding: "zstd".into(),
            bytes: input.len() as u64,
            sha256: Digest([1; 32]),
            dtype: "uint8".into(),
            shape: vec![8, 8, 3],
        }),
    }
}

pub fn now() -> Timestamp {
    Timestamp::from_system(SystemTime::now())
}

/// The program, as a child; killed when dropped.
pub struct Hub {
    pub child: Child,
    pub ready: serde_json::Value,
    pub state: PathBuf,
    log: Arc<Mutex<String>>,
}

pub const FREE_PORTS: &str = "listen = \"127.0.0.1:0\"\nbroker.listen = \"127.0.0.1:0\"\ns3.listen = \"127.0.0.1:0\"\n\
                              ingest.flush_interval = \"200ms\"\n";

pub fn command(folder: &Path, config: &str, args: &[&str]) -> Command {
    let file = folder.join("hub.toml");
    std::fs::write(&file, config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_sightline-hub"));
    command.args(args).arg("--config").arg(file);
    if !args.contains(&"--state") {
        command.arg("--state").arg(folder.join("state"));
    }
    command.env_remove("STATE_DIRECTORY").env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

/// Runs the program to its end: exit code and what it said on stderr.
pub fn fails(folder: &Path, config: &str, args: &[&str]) -> (i32, String) {
    let mut child = command(folder, config, args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("the hub did not end by itself");
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    (status.code().unwrap_or(-1), said)
}

impl Hub {
    pub fn start(folder: &Path, config: &str) -> Self {
        let mut child = command(folder, config, &["run", "--log-format", "human"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log: Arc<Mutex<String>> = Arc::default();
        let (stderr, lines) = (child.stderr.take().unwrap(), log.clone());
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut log = lines.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        });
        let mut first = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
        let ready = serde_json::from_str(&first)
            .unwrap_or_else(|_| panic!("no ready line but {first:?}; log:\n{}", log.lock().unwrap()));
        Self { child, ready, state: folder.join("state"), log }
    }

    pub fn address(&self, name: &str) -> &str {
        self.ready[name].as_str().unwrap()
    }

    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub fn signal(&self, signal: i32) {
        // the child is ours and not reaped yet
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(self.child.id() as i32),
            nix::sys::signal::Signal::try_from(signal).unwrap(),
        )
        .unwrap();
    }

    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the hub does not end; log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn stop(&mut self) -> ExitStatus {
        self.signal(15);
        self.wait()
    }

    pub fn broker_pid(&self) -> i32 {
        let note = std::fs::read(self.state.join("broker/mosquitto.pid.json")).unwrap();
        serde_json::from_slice::<serde_json::Value>(&note).unwrap()["pid"].as_i64().unwrap() as i32
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn is_alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}
