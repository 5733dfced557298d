//! Server-sent events: what comes, what is filtered, who lags, and how a stream ends.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use axum::{
    body::{Body, BodyDataStream},
    http::{Method, StatusCode},
};
use cloud::api::{Limits, Notice};
use contract::{
    CaptureSource, Epoch, Event, Header, Kind, Prediction, Timestamp,
    record::{Latency, ServedBy},
};
use futures::StreamExt;
use tower::ServiceExt;

use crate::bed::{Bed, request};

struct Listener {
    body: BodyDataStream,
    text: String,
}

impl Listener {
    async fn open(bed: &Bed, query: &str) -> Self {
        let request = request(Method::GET, &format!("/api/v1/stream{query}"), &[], Body::empty());
        let response = bed.router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut listener = Self { body: response.into_body().into_data_stream(), text: String::new() };
        listener.read_until(": connected").await;
        listener.text.clear();
        listener
    }

    async fn read_until(&mut self, what: &str) -> &str {
        while !self.text.contains(what) {
            let chunk = tokio::time::timeout(Duration::from_secs(5), self.body.next()).await;
            let chunk = chunk.unwrap_or_else(|_| panic!("{what} did not come after {}", self.text));
            let chunk = chunk.unwrap_or_else(|| panic!("the stream ended before {what}: {}", self.text)).unwrap();
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
        &self.text
    }
}

fn header(kind: Kind, seq: u64, camera: &str) -> Header {
    Header {
        schema: 1,
        kind,
        site: "plant".parse().unwrap(),
        gateway: "gw".parse().unwrap(),
        camera: Some(camera.parse().unwrap()),
        region: Some("full".parse().unwrap()),
        epoch: Epoch(7),
        seq,
        captured_at: Timestamp(0),
        captured_source: CaptureSource::Arrival,
        monotonic_us: 0,
        boot_id: "boot".into(),
        traceparent: None,
        model: None,
        frame_id: None,
    }
}

fn prediction(seq: u64, camera: &str, label: &str, score: f32) -> Notice {
    let body = Prediction {
        labels: vec![label.into()],
        scores: vec![score],
        latency: Latency::default(),
        engine: "ort-cpu".into(),
        served_by: ServedBy::Gateway,
    };
    Notice::prediction(&header(Kind::Prediction, seq, camera), &body).unwrap()
}

fn event(seq: u64, after: Option<&str>) -> Notice {
    let after = after.map(Into::into);
    let body = Event { id: format!("7-{seq}"), before: None, after, score: 0.8, since: Timestamp(0) };
    Notice::event(&header(Kind::Event, seq, "front"), &body).unwrap()
}

#[tokio::test]
async fn records_come_as_live_documents_and_filters_hold() {
    let bed = Bed::new();
    let mut all = Listener::open(&bed, "").await;
    let mut events = Listener::open(&bed, "?kind=event&label=open").await;
    let mut sure = Listener::open(&bed, "?camera=rear&min_score=0.5").await;
    bed.feed.send(prediction(1, "front", "open", 0.9));
    bed.feed.send(prediction(2, "rear", "open", 0.4));
    bed.feed.send(prediction(3, "rear", "shut", 0.6));
    bed.feed.send(event(4, None));
    bed.feed.send(event(5, Some("open")));
    let text = all.read_until("\"seq\":5").await;
    assert_eq!(text.matches("event: prediction\ndata: {").count(), 3);
    assert_eq!(text.matches("event: event\ndata: {").count(), 2);
    let line = text.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
    let live: contract::live::Live<Prediction> = serde_json::from_str(line).unwrap();
    assert_eq!((live.header.seq, &*live.body.labels[0]), (1, "open"));

    assert_eq!(events.read_until("\"seq\":5").await.matches("data: ").count(), 1);
    bed.feed.send(prediction(6, "rear", "shut", 0.5));
    let text = sure.read_until("\"seq\":6").await;
    assert!(text.contains("\"seq\":3") && text.matches("data: ").count() == 2, "{text}");
    assert!(bed.api.facts.streamed.load(Relaxed) >= 8);
}

#[tokio::test]
async fn a_slow_client_is_told_what_it_missed() {
    let bed = Bed::with(Limits { stream_backlog_max: 8, ..Limits::default() });
    let mut slow = Listener::open(&bed, "").await;
    for seq in 0..100 {
        bed.feed.send(prediction(seq, "front", "open", 0.9));
    }
    let text = slow.read_until("\"seq\":99").await;
    assert!(text.contains("event: lagged\ndata: {\"missed\":92}"), "{text}");
    assert!(text.contains("\"seq\":92,") && !text.contains("\"seq\":91,"));
    assert_eq!(bed.api.facts.lagged.load(Relaxed), 92);
}

#[tokio::test]
async fn streams_are_bounded_and_their_places_come_back() {
    let bed = Bed::with(Limits { streams_max: 2, ..Limits::default() });
    let first = Listener::open(&bed, "").await;
    let _second = Listener::open(&bed, "").await;
    let reply = bed.get("/api/v1/stream").await;
    assert_eq!((reply.status, &*reply.problem()), (StatusCode::SERVICE_UNAVAILABLE, "too-many-streams"));
    assert_eq!(reply.header("retry-after"), "30");
    drop(first);
    let _third = Listener::open(&bed, "").await;
}

#[tokio::test]
async fn a_quiet_stream_beats_and_a_stopping_hub_says_goodbye() {
    let bed = Bed::with(Limits { heartbeat: Duration::from_millis(10), ..Limits::default() });
    let mut quiet = Listener::open(&bed, "").await;
    quiet.read_until(": heartbeat\n").await;
    bed.stop.cancel();
    quiet.read_until("event: bye\n").await;
    let end = tokio::time::timeout(Duration::from_secs(5), quiet.body.next()).await;
    assert!(end.unwrap().is_none(), "the stream ends, so that the server can stop");
    let reply = bed.get("/api/v1/stream").await;
    assert_eq!((reply.status, &*reply.problem()), (StatusCode::SERVICE_UNAVAILABLE, "stopping"));
}
