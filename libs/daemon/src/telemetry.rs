//! OpenTelemetry: traces and metrics by OTLP (HTTP, protobuf) when configured; costs nothing when not.
//!
//! Spans meant for traces use the target [`TARGET`]: `tracing::info_span!(target: daemon::telemetry::TARGET, "frame")`.
//! One trace leads from a frame's capture through MQTT to the object in S3: [`traceparent`] gives the text that travels
//! in a record's header, [`set_parent`] continues it elsewhere, and [`add_link`] ties a batch to the traces in it.

use std::{sync::OnceLock, time::Duration};

use opentelemetry::{
    KeyValue, global,
    trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState, TracerProvider},
};
use opentelemetry_otlp::{MetricExporter, SpanExporter, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    metrics::{PeriodicReader, SdkMeterProvider},
    trace::{Sampler, SdkTracerProvider},
};
use serde::{Deserialize, Serialize};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::{Layer, filter::FilterFn, registry::LookupSpan};

use crate::config::{Problems, Span as Length, without_secrets};

/// The target of spans that are for traces.
pub const TARGET: &str = "trace";

/// The section `[telemetry]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TelemetryConfig {
    /// Where an OTLP collector listens for HTTP, such as `http://127.0.0.1:4318`. Absent: nothing is exported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otlp: Option<String>,
    /// The share of traces that are recorded, 0 to 1.
    pub sample_ratio: f64,
    /// How often metrics are exported.
    pub metrics_interval: Length,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self { otlp: None, sample_ratio: 0.01, metrics_interval: Length::from_secs(30) }
    }
}

impl TelemetryConfig {
    /// For [`crate::config::Config::check`]: `section` is where this stands.
    pub fn check(&self, section: &str, problems: &mut Problems) {
        if let Some(url) = &self.otlp
            && !(url.starts_with("http://") || url.starts_with("https://"))
        {
            let key = format!("{section}.otlp");
            problems.add(key, "this is not an address of HTTP; write one such as http://127.0.0.1:4318");
        }
        if self.otlp.as_ref().is_some_and(|url| url.contains('@')) {
            let instead = "set the environment variable OTEL_EXPORTER_OTLP_HEADERS=authorization=…";
            problems.add(
                format!("{section}.otlp"),
                format!("user name and password do not stand in the address: {instead}"),
            );
        }
        if !(0.0..=1.0).contains(&self.sample_ratio) {
            problems.add(format!("{section}.sample_ratio"), "must lie between 0 and 1");
        }
        if self.metrics_interval.get() < Duration::from_millis(100) {
            problems.add(format!("{section}.metrics_interval"), "must be at least 100ms");
        }
    }
}

/// Who exports: the attributes of the resource.
#[derive(Clone, Debug)]
pub struct Service {
    /// `service.name`, such as `sightline-edge`.
    pub name: &'static str,
    /// `service.version`.
    pub version: &'static str,
    /// More, such as `service.instance.id` or `sightline.gateway`.
    pub attributes: Vec<(String, String)>,
}

/// Why telemetry cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("OTLP export to {endpoint} cannot be set up: {source}; check telemetry.otlp")]
pub struct Error {
    endpoint: String,
    source: opentelemetry_otlp::ExporterBuildError,
}

/// The exporters of the process, or none.
#[derive(Clone, Debug, Default)]
pub struct Telemetry {
    traces: Option<SdkTracerProvider>,
    metrics: Option<SdkMeterProvider>,
}

static ENABLED: OnceLock<()> = OnceLock::new();

/// Whether traces are exported in this process.
pub fn is_enabled() -> bool {
    ENABLED.get().is_some()
}

/// Sets the exporters up, if configured. [`crate::install_crypto`] comes first; the exporters have threads of their own.
pub fn init(config: &TelemetryConfig, service: &Service) -> Result<Telemetry, Error> {
    let Some(endpoint) = &config.otlp else { return Ok(Telemetry::default()) };
    let base = endpoint.trim_end_matches('/').to_owned();
    let failed = |source| Error { endpoint: without_secrets(endpoint), source };
    let timeout = Duration::from_secs(5);
    let resource = Resource::builder()
        .with_service_name(service.name)
        .with_attribute(KeyValue::new("service.version", service.version))
        .with_attributes(service.attributes.iter().map(|(k, v)| KeyValue::new(k.clone(), v.clone())))
        .build();
    let spans = SpanExporter::builder()
        .with_http()
        .with_endpoint(format!("{base}/v1/traces"))
        .with_timeout(timeout)
        .build()
        .map_err(failed)?;
    let points = MetricExporter::builder()
        .with_http()
        .with_endpoint(format!("{base}/v1/metrics"))
        .with_timeout(timeout)
        .build()
        .map_err(failed)?;
    let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(config.sample_ratio)));
    let traces = SdkTracerProvider::builder()
        .with_batch_exporter(spans)
        .with_sampler(sampler)
        .with_resource(resource.clone())
        .build();
    let reader = PeriodicReader::builder(points).with_interval(config.metrics_interval.get()).build();
    let metrics = SdkMeterProvider::builder().with_reader(reader).with_resource(resource).build();
    global::set_meter_provider(metrics.clone());
    global::set_tracer_provider(traces.clone()); // for spans whose times were measured elsewhere
    let _ = ENABLED.set(()); // tests may set up more than once
    Ok(Telemetry { traces: Some(traces), metrics: Some(metrics) })
}

/// Why nothing would arrive at the collector.
#[derive(Debug, thiserror::Error)]
#[error("OTLP collector at {endpoint}: {why}; check telemetry.otlp, and that the collector listens for OTLP over HTTP")]
pub struct Unreachable {
    endpoint: String,
    why: String,
}

/// Sends the collector a request without spans, for `check`; `None` when none is configured.
pub async fn probe(config: &TelemetryConfig) -> Option<Result<String, Unreachable>> {
    let endpoint = config.otlp.as_ref()?;
    let shown = without_secrets(endpoint);
    let url = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
    // An ExportTraceServiceRequest without spans has no bytes.
    let request = reqwest::Client::new().post(url).header("content-type", "application/x-protobuf").body(Vec::new());
    let answer = request.timeout(Duration::from_secs(5)).send().await;
    Some(match answer {
        Ok(answer) if answer.status().is_success() => Ok(shown),
        Ok(answer) => Err(Unreachable { endpoint: shown, why: format!("it answers {}", answer.status()) }),
        Err(error) => Err(Unreachable { endpoint: shown, why: crate::logs::chain(&error.without_url()) }),
    })
}

impl Telemetry {
    /// Exports nothing.
    pub fn none() -> Self {
        Self::default()
    }

    /// Whether metrics are exported; see [`crate::metrics::Metrics::export`].
    pub fn exports_metrics(&self) -> bool {
        self.metrics.is_some()
    }

    /// The layer that records spans of [`TARGET`].
    pub fn layer<S>(&self) -> Option<Box<dyn Layer<S> + Send + Sync>>
    where
        S: tracing::Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    {
        let tracer = self.traces.as_ref()?.tracer("sightline");
        let layer = tracing_opentelemetry::layer()
            .with_tracer(tracer)
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false);
        Some(layer.with_filter(FilterFn::new(|metadata| metadata.target() == TARGET)).boxed())
    }

    /// Sends what is left, at most for `bound`, and stops. Not to be called on a thread of the async runtime that must
    /// not block; [`Telemetry::shutdown`] is for there.
    pub fn shutdown_blocking(&self, bound: Duration) {
        let (send, done) = std::sync::mpsc::channel();
        let this = self.clone();
        let worker = std::thread::Builder::new().name("otlp-flush".into()).spawn(move || {
            if let Some(traces) = this.traces {
                report(traces.shutdown_with_timeout(bound));
            }
            if let Some(metrics) = this.metrics {
                report(metrics.shutdown_with_timeout(bound));
            }
            let _ = send.send(()); // the other side may have stopped waiting
        });
        if worker.is_ok() && done.recv_timeout(bound).is_err() {
            tracing::warn!("telemetry was not flushed in time");
        }
    }

    /// As [`Telemetry::shutdown_blocking`], for async callers: a shutdown step.
    pub async fn shutdown(&self, bound: Duration) {
        if self.traces.is_none() && self.metrics.is_none() {
            return;
        }
        let this = self.clone();
        let _ = tokio::task::spawn_blocking(move || this.shutdown_blocking(bound)).await; // nothing is left to do
    }
}

fn report(result: opentelemetry_sdk::error::OTelSdkResult) {
    if let Err(error) = result {
        tracing::warn!(error = %error, "telemetry could not be flushed");
    }
}

/// The W3C `traceparent` of a span, when its trace is recorded.
pub fn traceparent(span: &Span) -> Option<String> {
    if !is_enabled() {
        return None;
    }
    let context = span.context();
    let span = context.span();
    let context = span.span_context();
    (context.is_valid() && context.is_sampled()).then(|| print_traceparent(context))
}

/// The `traceparent` of the current span.
pub fn current_traceparent() -> Option<String> {
    if is_enabled() { traceparent(&Span::current()) } else { None }
}

/// Makes a span, which must not have been entered yet, the child of the one that a `traceparent` names. A text that is
/// not one changes nothing.
pub fn set_parent(span: &Span, traceparent: &str) {
    if is_enabled()
        && let Some(parent) = parse_traceparent(traceparent)
    {
        let context = opentelemetry::Context::new().with_remote_span_context(parent);
        let _ = span.set_parent(context); // fails only for a span that is not recorded
    }
}

/// Ties a span, such as that of a batch, to another trace.
pub fn add_link(span: &Span, traceparent: &str) {
    if is_enabled()
        && let Some(other) = parse_traceparent(traceparent)
    {
        span.add_link(other);
    }
}

fn print_traceparent(context: &SpanContext) -> String {
    format!("00-{}-{}-{:02x}", context.trace_id(), context.span_id(), context.trace_flags().to_u8())
}

/// <https://www.w3.org/TR/trace-context/#traceparent-header>: later versions may have more fields, version ff is invalid.
fn parse_traceparent(text: &str) -> Option<SpanContext> {
    let mut fields = text.split('-');
    let (version, trace, span, flags) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let more = fields.next().is_some();
    if version.len() != 2 || version == "ff" || (version == "00" && more) || trace.len() != 32 || span.len() != 16 {
        return None;
    }
    let flags = u8::from_str_radix(flags, 16).ok()?;
    let context = SpanContext::new(
        TraceId::from_hex(trace).ok()?,
        SpanId::from_hex(span).ok()?,
        TraceFlags::new(flags & 1),
        true,
        TraceState::default(),
    );
    context.is_valid().then_some(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traceparents_are_read_and_printed() {
        let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let context = parse_traceparent(text).unwrap();
        assert!(context.is_remote() && context.is_sampled());
        assert_eq!(print_traceparent(&context), text);
        for wrong in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-zzf7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert!(parse_traceparent(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn without_a_collector_there_is_nothing() {
        let service = Service { name: "test", version: "0", attributes: Vec::new() };
        let telemetry = init(&TelemetryConfig::default(), &service).unwrap();
        assert!(telemetry.layer::<tracing_subscriber::Registry>().is_none());
        assert!(!telemetry.exports_metrics() && current_traceparent().is_none());
        telemetry.shutdown_blocking(Duration::from_secs(1));
    }
}
