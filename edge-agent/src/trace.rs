//! One trace a sampled frame, from its arrival to the archive lane; the hub continues it by the record's `traceparent`.
//! Costs nothing per frame where telemetry is not configured.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use contract::record::Latency;
use opentelemetry::{
    Context, KeyValue, global,
    trace::{Span as _, SpanKind, TraceContextExt, Tracer as _},
};

use crate::clock::Mono;

const NAME: &str = "sightline";

/// Decides which frames are traced.
#[derive(Clone)]
pub struct Tracer {
    enabled: bool,
    camera: Arc<str>,
}

/// The trace of one frame. Its span ends with the last clone.
#[derive(Clone, Debug)]
pub struct FrameTrace {
    context: Context,
    classified_at: SystemTime,
}

impl Tracer {
    /// Of one camera's frames.
    pub fn new(camera: &str) -> Self {
        Self { enabled: daemon::telemetry::is_enabled(), camera: camera.into() }
    }

    /// Begins a frame's trace, if it is sampled. The frame arrived `ago`.
    pub fn frame(&self, ago: Duration) -> Option<FrameTrace> {
        if !self.enabled {
            return None;
        }
        let tracer = global::tracer(NAME);
        let now = SystemTime::now();
        let span = tracer
            .span_builder("frame")
            .with_kind(SpanKind::Producer)
            .with_start_time(now.checked_sub(ago).unwrap_or(now))
            .with_attributes([KeyValue::new("camera", self.camera.clone())])
            .start(&tracer);
        if !span.span_context().is_sampled() {
            return None;
        }
        Some(FrameTrace { context: Context::new().with_span(span), classified_at: now })
    }
}

impl FrameTrace {
    /// W3C Trace Context.
    pub fn traceparent(&self) -> String {
        let span = self.context.span();
        let context = span.span_context();
        let flags = context.trace_flags().to_u8();
        format!("00-{}-{}-{flags:02x}", context.trace_id(), context.span_id())
    }

    /// The frame was classified: its stages become spans, one after the other up to now.
    pub fn classified(&mut self, latency: &Latency, since: Mono) {
        let ago = Mono::now() - since;
        self.classified_at = SystemTime::now().checked_sub(ago).unwrap_or_else(SystemTime::now);
        let stages = [
            ("inference", latency.inference_us),
            ("queue", latency.queue_us),
            ("preprocess", latency.preprocess_us),
            ("decode", latency.decode_us),
        ];
        let mut end = self.classified_at;
        for (stage, us) in stages {
            let start = end.checked_sub(Duration::from_micros(us)).unwrap_or(end);
            self.child(stage, start, end);
            end = start;
        }
    }

    /// The record was handed to the broker on the archive lane.
    pub fn published(&self) {
        self.child("publish", self.classified_at, SystemTime::now());
    }

    fn child(&self, name: &'static str, start: SystemTime, end: SystemTime) {
        let tracer = global::tracer(NAME);
        let mut span = tracer.span_builder(name).with_start_time(start).start_with_context(&tracer, &self.context);
        span.end_with_timestamp(end);
    }
}
