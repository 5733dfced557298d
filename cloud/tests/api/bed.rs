//! The test bed: a router over a folder lake, a directory with two gateways, and an engine that a test can hold.

use std::{
    sync::{Arc, Condvar, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Method, Request, StatusCode, header},
};
use bytes::Bytes;
use cloud::{
    api::{self, Classifier, Feed, Limits, Parts},
    directory::Directory,
};
use contract::{Digest, Timestamp, Topic, model::ModelManifest};
use inference::{Batch, Engine, EngineError, Health};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::lake::FolderLake;

pub struct Bed {
    pub router: Router,
    pub api: api::Shared,
    pub lake: Arc<FolderLake>,
    pub directory: Directory,
    pub feed: Feed,
    pub stop: CancellationToken,
    pub gate: Arc<Gate>,
    _folder: tempfile::TempDir,
}

/// What came back.
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Bed {
    pub fn new() -> Self {
        Self::with(Limits::default())
    }

    pub fn with(limits: Limits) -> Self {
        Self::built(limits, true, true)
    }

    pub fn built(limits: Limits, model: bool, ingest: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let lake = Arc::new(FolderLake::new(folder.path().to_owned()));
        let (directory, feed, stop) =
            (Directory::default(), Feed::new(limits.stream_backlog_max), CancellationToken::new());
        let gate = Arc::new(Gate::default());
        let engine = Box::new(Brightness { gate: gate.clone() });
        let classifier = model.then(|| {
            let (queue_max, pictures) = (limits.engine_queue_max, limits.pictures());
            Arc::new(Classifier::of_manifest(&manifest(), Digest([7; 32]), engine, queue_max, pictures).unwrap())
        });
        let api = api::Api::new(Parts {
            directory: directory.clone(),
            lake: lake.clone(),
            gateway: "hub-test".parse().unwrap(),
            archive: ingest.then(|| lake.clone() as Arc<dyn api::Archive>),
            models: classifier.iter().map(|classifier| (Digest([7; 32]), classifier.clone())).collect(),
            classifier,
            feed: feed.clone(),
            limits,
            stop: stop.clone(),
        });
        let router = api::with_state(&api);
        Self { router, api, lake, directory, feed, stop, gate, _folder: folder }
    }

    /// Tells the directory of a live document.
    pub fn note(&self, topic: &str, document: &Value) {
        let topic = Topic::parse("sightline", &format!("sightline/live/{topic}")).unwrap();
        self.directory.note(&topic, document.to_string().as_bytes(), Timestamp(1_795_458_240_000_000));
    }

    pub fn free_places(&self) -> usize {
        self.api.parts.classifier.as_ref().unwrap().free_places()
    }

    pub async fn send(&self, request: Request<Body>) -> Reply {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, 64 << 20).await.unwrap();
        Reply { status: parts.status, headers: parts.headers, body }
    }

    pub async fn get(&self, uri: &str) -> Reply {
        self.get_with(uri, &[]).await
    }

    pub async fn get_with(&self, uri: &str, headers: &[(&str, &str)]) -> Reply {
        self.send(request(Method::GET, uri, headers, Body::empty())).await
    }

    pub async fn post(&self, query: &str, media_type: &str, body: impl Into<Body>) -> Reply {
        let uri = format!("/api/v1/frames{query}");
        self.send(request(Method::POST, &uri, &[("content-type", media_type)], body.into())).await
    }
}

pub fn request(method: Method, uri: &str, headers: &[(&str, &str)], body: Body) -> Request<Body> {
    let builder = Request::builder().method(method).uri(uri);
    headers.iter().fold(builder, |builder, (name, value)| builder.header(*name, *value)).body(body).unwrap()
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no header {name} in {:?}", self.headers)).to_str().unwrap()
    }

    /// The problem's slug, after the document was checked against its status.
    pub fn problem(&self) -> String {
        assert_eq!(self.header(header::CONTENT_TYPE.as_str()), "application/problem+json", "{:?}", self.body);
        let document = self.json();
        assert_eq!(document["status"], self.status.as_u16(), "{document}");
        let detail = document["detail"].as_str().unwrap();
        assert!(!detail.is_empty() && !document["title"].as_str().unwrap().is_empty());
        let kind = document["type"].as_str().unwrap();
        kind.strip_prefix("urn:sightline:problem:").unwrap_or_else(|| panic!("{document}")).to_owned()
    }
}

/// Holds the engine while a test looks at what waits.
#[derive(Default)]
pub struct Gate {
    closed: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    pub fn close(&self) {
        *self.closed.lock().unwrap() = true;
    }

    pub fn open(&self) {
        *self.closed.lock().unwrap() = false;
        self.opened.notify_all();
    }

    fn pass(&self) {
        let closed = self.closed.lock().unwrap();
        drop(self.opened.wait_while(closed, |closed| *closed).unwrap());
    }
}

/// An engine whose classes are how bright the picture is; it fails on a black one.
struct Brightness {
    gate: Arc<Gate>,
}

impl Engine for Brightness {
    fn name(&self) -> &str {
        "brightness"
    }

    fn version(&self) -> &str {
        "1"
    }

    fn max_batch(&self) -> usize {
        4
    }

    fn run(&mut self, batch: Batch<'_>, out: &mut [f32], _deadline: Option<Duration>) -> Result<(), EngineError> {
        self.gate.pass();
        assert!(batch.n <= self.max_batch(), "a batch of {}", batch.n);
        let len = batch.input.len() / batch.n;
        for (input, out) in batch.input.chunks(len).zip(out.chunks_mut(3)) {
            let sum: u64 = input.iter().map(|v| u64::from(*v)).sum();
            if sum == 0 {
                let source = "the tensor is all zero".into();
                return Err(EngineError::Runtime { engine: "brightness".into(), n: batch.n, source });
            }
            let bright = sum as f32 / (len as f32 * 255.0);
            out.copy_from_slice(&[1.0 - bright, bright, 0.0]);
        }
        Ok(())
    }

    fn health(&self) -> Health {
        Health::Ready
    }
}

pub fn manifest() -> ModelManifest {
    serde_json::from_value(json!({
        "schema": 1,
        "id": "brightness",
        "version": "1.0.0",
        "files": {},
        "input": {
            "name": "x", "width": 24, "height": 16, "color": "rgb", "layout": "NHWC", "dtype": "uint8",
            "preprocess": { "version": 1, "filter": "triangle" },
        },
        "output": { "name": "y", "form": "probabilities" },
        "classes": ["dark", "bright", "odd"],
    }))
    .unwrap()
}

/// Waits for a state, with a deadline.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline, "{what} did not come true in time");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
