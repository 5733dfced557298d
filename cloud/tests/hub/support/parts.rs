//! Broker, objects, tables and ingest in this process, with faults for objects and tables.

use std::{path::Path, sync::Arc, time::Duration};

use cloud::{
    broker::{Broker, Listen},
    ingest::{self, Fact, Ingest},
    lake::{self, Row},
    objects::Server,
};
use contract::{Digest, Kind};
use daemon::{
    CancellationToken,
    admin::Readiness,
    liveness::{Liveness, Pulse},
    tasks::{Stop, Tasks},
};
use link::Subscription;
use sha2::Digest as _;
use store::{
    lake_index::{Format, LakeIndex, ObjectQuery},
    objects::{Credentials, Location, Objects, faults::Faults},
    tables::{self, Tables},
};

use super::{Gateway, described::Described, now, until};

/// Broker, objects, tables and ingest in this process.
pub struct Parts {
    _folder: tempfile::TempDir,
    pub broker: Option<Broker>,
    pub url: String,
    pub objects: Objects,
    pub faults: Arc<Faults>,
    pub table_faults: Arc<tables::faults::Faults>,
    pub index: LakeIndex,
    pub ingest: Option<Ingest>,
    /// Where ingest's tasks run; losing one asks its `stop`.
    pub tasks: Tasks,
    pub pulse: Pulse,
    pub described: Described,
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
        viewers: Vec::new(),
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
        let table_faults = Arc::new(tables::faults::Faults::default());
        let tables = Tables::open(&format!("sqlite:{}", folder.path().join("tables.db").display())).await.unwrap();
        let tables = tables.with_faults(table_faults.clone());
        let index = LakeIndex::open(tables, now()).await.unwrap();
        let url = broker.url();
        let described = Described::listen(&url).await;
        let mut parts = Self {
            _folder: folder,
            broker: Some(broker),
            url,
            objects,
            faults,
            table_faults,
            index,
            ingest: None,
            tasks: Tasks::new(Stop::new()),
            pulse: Liveness::new(Duration::from_secs(60)).pulse("ingest"),
            described,
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
            tasks: self.tasks.clone(),
            pulse: self.pulse.clone(),
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
        self.described.check();
        self.index.tables().close().await;
        self.s3.cancel();
        if let Some(broker) = self.broker.take() {
            broker.stop(Duration::from_secs(5)).await;
        }
    }
}
