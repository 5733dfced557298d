//! One trace through two "programs", and metrics, as a collector receives them.

#![allow(clippy::unwrap_used, missing_docs)]

use std::{sync::Arc, time::Duration};

use axum::{Router, body::Bytes, extract::State, routing::post};
use daemon::{CancellationToken, http, listen, logs, metrics, telemetry};
use opentelemetry_proto::tonic::{
    collector::{metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest},
    metrics::v1::metric::Data,
    trace::v1::Span,
};
use prost::Message;
use std::sync::Mutex;

daemon::metric_names! {
    /// What the test measures.
    enum Metric {
        Frames = counter("sightline_frames_received_total", "Frames that came", ["camera"]),
        Latency = histogram("sightline_latency_seconds", "Capture to result", ["camera"]; daemon::metrics::SECONDS),
    }
}

#[derive(Clone, Default)]
struct Collector {
    spans: Arc<Mutex<Vec<Span>>>,
    metrics: Arc<Mutex<Vec<opentelemetry_proto::tonic::metrics::v1::Metric>>>,
}

async fn traces(State(collector): State<Collector>, body: Bytes) {
    let request = ExportTraceServiceRequest::decode(body).unwrap();
    let scopes = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
    collector.spans.lock().unwrap().extend(scopes.flat_map(|scope| scope.spans));
}

async fn points(State(collector): State<Collector>, body: Bytes) {
    let request = ExportMetricsServiceRequest::decode(body).unwrap();
    let scopes = request.resource_metrics.into_iter().flat_map(|resource| resource.scope_metrics);
    *collector.metrics.lock().unwrap() = scopes.flat_map(|scope| scope.metrics).collect();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_leads_from_frame_to_object_and_metrics_arrive() {
    daemon::install_crypto();
    let collector = Collector::default();
    let router = Router::new()
        .route("/v1/traces", post(traces))
        .route("/v1/metrics", post(points))
        .with_state(collector.clone());
    let listener = listen::bind("127.0.0.1:0".parse().unwrap(), "listen").unwrap();
    let otlp = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(http::serve(listener, router, None, http::Limits::default(), CancellationToken::new()));

    let config = telemetry::TelemetryConfig { otlp: Some(otlp), sample_ratio: 1.0, ..Default::default() };
    let service = telemetry::Service { name: "test", version: "1", attributes: vec![("site".into(), "home".into())] };
    let telemetry = telemetry::init(&config, &service).unwrap();
    logs::init(&logs::LogOptions::default(), &telemetry).unwrap();

    let frame = tracing::info_span!(target: telemetry::TARGET, "frame", camera = "front");
    let parent = telemetry::traceparent(&frame).unwrap();
    assert_eq!(frame.in_scope(telemetry::current_traceparent), Some(parent.clone()));
    tracing::info_span!("not for traces").in_scope(|| tracing::info!("a line"));
    drop(frame);
    // the hub, which knows the text only
    let archive = tracing::info_span!(target: telemetry::TARGET, "archive");
    telemetry::set_parent(&archive, &parent);
    archive.in_scope(|| {});
    drop(archive);
    let flush = tracing::info_span!(target: telemetry::TARGET, "flush");
    telemetry::add_link(&flush, &parent);
    drop(flush);

    let metrics = metrics::Metrics::<Metric>::new();
    metrics.export(&telemetry);
    metrics.counter(Metric::Frames, &["front"]).add(5);
    metrics.histogram(Metric::Latency, &["front"]).observe(0.02);
    telemetry.shutdown(Duration::from_secs(5)).await;

    let spans = collector.spans.lock().unwrap();
    let named = |name: &str| spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("no {name}"));
    let (frame, archive, flush) = (named("frame"), named("archive"), named("flush"));
    assert_eq!(spans.len(), 3);
    assert_eq!((&archive.trace_id, &archive.parent_span_id), (&frame.trace_id, &frame.span_id));
    assert_eq!(flush.links[0].span_id, frame.span_id);
    assert_ne!(flush.trace_id, frame.trace_id);
    let points = collector.metrics.lock().unwrap();
    let metric = |name: &str| points.iter().find(|m| m.name == name).unwrap().data.clone().unwrap();
    let Data::Sum(sum) = metric("sightline_frames_received_total") else { panic!("a counter is a sum") };
    assert!(sum.is_monotonic && sum.data_points[0].attributes[0].key == "camera");
    let Data::Histogram(histogram) = metric("sightline_latency_seconds") else { panic!("a histogram is one") };
    assert_eq!((histogram.data_points[0].count, histogram.data_points[0].sum), (1, Some(0.02)));
}

#[tokio::test]
async fn a_collector_that_is_not_there_delays_the_end_by_its_bound_at_most() {
    daemon::install_crypto();
    let config =
        telemetry::TelemetryConfig { otlp: Some("http://127.0.0.1:9".into()), sample_ratio: 1.0, ..Default::default() };
    let service = telemetry::Service { name: "test", version: "1", attributes: Vec::new() };
    let telemetry = telemetry::init(&config, &service).unwrap();
    let began = std::time::Instant::now();
    telemetry.shutdown(Duration::from_secs(2)).await;
    assert!(began.elapsed() < Duration::from_secs(4));
}
