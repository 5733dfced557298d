//! Metrics: one enum of names per binary, kept in atomics, read by Prometheus and exported by OTLP from the same values.
//!
//! ```
//! daemon::metric_names! {
//!     /// What the example measures.
//!     pub enum Metric {
//!         /// Frames that came from a camera.
//!         FramesReceived = counter("sightline_frames_received_total", "Frames that came from a camera", ["camera"]),
//!         /// Bytes that wait.
//!         OutboxBytes = gauge("sightline_outbox_bytes", "Bytes that wait in the outbox"),
//!         /// How long a prediction took.
//!         Latency = histogram("sightline_latency_seconds", "Capture to result", ["camera"]; daemon::metrics::SECONDS),
//!     }
//! }
//! let metrics = daemon::metrics::Metrics::<Metric>::new();
//! let frames = metrics.counter(Metric::FramesReceived, &["front"]); // once; then adding is one atomic
//! frames.add(1);
//! metrics.gauge(Metric::OutboxBytes, &[]).set(17.0);
//! assert!(metrics.text().contains("sightline_frames_received_total{camera=\"front\"} 1"));
//! ```
//!
//! Label values are bounded: from [`SERIES_MAX`] on, what is new is counted under the value `other`.

mod otlp;
mod text;

use std::{
    collections::BTreeMap,
    marker::PhantomData,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

pub(crate) use text::build_info as text_build_info;

/// The most label combinations of one metric.
pub const SERIES_MAX: usize = 1000;

/// Bucket bounds for lengths of time in seconds, from a millisecond to ten seconds.
pub const SECONDS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Bucket bounds for sizes in bytes, from a kibibyte to 64 MiB.
pub const BYTES: &[f64] = &[1024.0, 4096.0, 16384.0, 65536.0, 262144.0, 1048576.0, 4194304.0, 16777216.0, 67108864.0];

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Only grows; its name ends in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts observations by size, with these upper bounds.
    Histogram(&'static [f64]),
}

/// One metric's facts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Definition {
    /// Its name; the unit stands in it, as Prometheus has it: `_seconds`, `_bytes`, `_ratio`, `_celsius`.
    pub name: &'static str,
    /// What it tells.
    pub help: &'static str,
    /// What it is.
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
}

impl Definition {
    /// The unit in OpenTelemetry's (UCUM) spelling, by the name's ending.
    pub fn unit(&self) -> &'static str {
        let name = self.name.strip_suffix("_total").unwrap_or(self.name);
        match name.rsplit('_').next() {
            Some("seconds") => "s",
            Some("bytes") => "By",
            Some("celsius") => "Cel",
            _ => "1",
        }
    }
}

/// An enum of metrics; made by [`crate::metric_names`].
pub trait Names: Copy + Send + Sync + 'static {
    /// All of them, in the order of [`Names::index`].
    const DEFINITIONS: &'static [Definition];

    /// This one's place.
    fn index(self) -> usize;
}

/// Declares an enum of metrics; see the module's documentation.
#[macro_export]
macro_rules! metric_names {
    ($(#[$meta:meta])* $visibility:vis enum $Name:ident {
        $($(#[$variant_meta:meta])* $Variant:ident = $kind:ident($name:literal, $help:literal
            $(, [$($label:literal),* $(,)?])? $(; $buckets:expr)?)),* $(,)?
    }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        $visibility enum $Name { $($(#[$variant_meta])* $Variant),* }

        impl $crate::metrics::Names for $Name {
            const DEFINITIONS: &'static [$crate::metrics::Definition] = &[$($crate::metrics::Definition {
                name: $name,
                help: $help,
                kind: $crate::metric_names!(@kind $kind $($buckets)?),
                labels: &[$($($label),*)?],
            }),*];

            fn index(self) -> usize {
                self as usize
            }
        }
    };
    (@kind counter) => { $crate::metrics::Kind::Counter };
    (@kind gauge) => { $crate::metrics::Kind::Gauge };
    (@kind histogram $buckets:expr) => { $crate::metrics::Kind::Histogram($buckets) };
}

/// The values of one label combination.
pub(crate) struct Series {
    /// A counter's number, or the bits of a gauge's or of a histogram's sum.
    value: AtomicU64,
    /// How many observations fell under each bound, and beyond the last; empty but for histograms.
    buckets: Box<[AtomicU64]>,
    bounds: &'static [f64],
    labels: Box<[Arc<str>]>,
    otlp: Arc<OnceLock<otlp::Recorder>>,
    attributes: OnceLock<Vec<opentelemetry::KeyValue>>,
}

/// Label values and what belongs to them.
type SeriesByLabels = BTreeMap<Box<[Arc<str>]>, Arc<Series>>;

struct Family {
    definition: Definition,
    series: Mutex<SeriesByLabels>,
    otlp: Arc<OnceLock<otlp::Recorder>>,
}

/// The metrics of a process; cheap to clone.
pub struct Metrics<N> {
    families: Arc<[Family]>,
    names: PhantomData<N>,
}

impl<N> Clone for Metrics<N> {
    fn clone(&self) -> Self {
        Self { families: self.families.clone(), names: PhantomData }
    }
}

impl<N: Names> Default for Metrics<N> {
    fn default() -> Self {
        Self::new()
    }
}

/// A counter with its labels chosen.
#[derive(Clone)]
pub struct Counter(Arc<Series>);

/// A gauge with its labels chosen.
#[derive(Clone)]
pub struct Gauge(Arc<Series>);

/// A histogram with its labels chosen.
#[derive(Clone)]
pub struct Histogram(Arc<Series>);

impl<N: Names> Metrics<N> {
    /// All at zero. Metrics without labels show at once, others with their first value.
    pub fn new() -> Self {
        let family = |definition: &Definition| Family {
            definition: *definition,
            series: Mutex::default(),
            otlp: Arc::default(),
        };
        let this = Self { families: N::DEFINITIONS.iter().map(family).collect(), names: PhantomData };
        for family in this.families.iter().filter(|family| family.definition.labels.is_empty()) {
            family.get(&[]);
        }
        this
    }

    /// The counter of these label values, in the order of the definition. Keep it where it is used often.
    pub fn counter(&self, name: N, labels: &[&str]) -> Counter {
        Counter(self.families[name.index()].get(labels))
    }

    /// The gauge of these label values.
    pub fn gauge(&self, name: N, labels: &[&str]) -> Gauge {
        Gauge(self.families[name.index()].get(labels))
    }

    /// The histogram of these label values.
    pub fn histogram(&self, name: N, labels: &[&str]) -> Histogram {
        Histogram(self.families[name.index()].get(labels))
    }

    /// Adds one to a counter, for places where it is not worth keeping.
    pub fn count(&self, name: N, labels: &[&str]) {
        self.counter(name, labels).add(1);
    }

    /// Forgets a label combination: the camera is gone.
    pub fn remove(&self, name: N, labels: &[&str]) {
        let key: Box<[Arc<str>]> = labels.iter().map(|label| Arc::from(*label)).collect();
        self.families[name.index()].lock().remove(&key);
    }

    /// All values in Prometheus's text format 0.0.4, without those of the process; see [`Exposition`].
    pub fn text(&self) -> String {
        let mut out = String::new();
        self.families.iter().for_each(|family| text::family(&mut out, family));
        out
    }

    /// Exports the same values by OTLP, if that is configured. Once, after [`crate::telemetry::init`].
    pub fn export(&self, telemetry: &crate::telemetry::Telemetry) {
        if telemetry.exports_metrics() {
            otlp::export(&self.families);
        }
    }
}

/// What `/metrics` serves.
pub trait Exposition: Send + Sync + 'static {
    /// Prometheus's text format 0.0.4.
    fn exposition(&self) -> String;
}

impl<N: Names> Exposition for Metrics<N> {
    fn exposition(&self) -> String {
        let mut text = self.text();
        text::process(&mut text);
        text
    }
}

impl Family {
    fn lock(&self) -> MutexGuard<'_, SeriesByLabels> {
        self.series.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, labels: &[&str]) -> Arc<Series> {
        let names = self.definition.labels;
        debug_assert_eq!(labels.len(), names.len(), "labels of {}", self.definition.name);
        // in a release, a wrong number of labels is no reason to stop: missing ones are empty, others are left out
        let key = |i: usize| Arc::from(labels.get(i).copied().unwrap_or_default());
        let mut key: Box<[Arc<str>]> = (0..names.len()).map(key).collect();
        let mut series = self.lock();
        if series.len() >= SERIES_MAX && !series.contains_key(&key) {
            key.fill("other".into());
        }
        let bounds = match self.definition.kind {
            Kind::Histogram(bounds) => bounds,
            _ => &[],
        };
        let buckets = if bounds.is_empty() { 0 } else { bounds.len() + 1 };
        let made = || {
            Arc::new(Series {
                value: AtomicU64::new(0),
                buckets: (0..buckets).map(|_| AtomicU64::new(0)).collect(),
                bounds,
                labels: key.clone(),
                otlp: self.otlp.clone(),
                attributes: OnceLock::new(),
            })
        };
        series.entry(key.clone()).or_insert_with(made).clone()
    }

    fn all(&self) -> Vec<Arc<Series>> {
        self.lock().values().cloned().collect()
    }
}

impl Counter {
    /// Adds.
    pub fn add(&self, n: u64) {
        self.0.value.fetch_add(n, Ordering::Relaxed);
    }

    /// Takes over a count that is kept elsewhere and never falls.
    pub fn set_total(&self, total: u64) {
        self.0.value.fetch_max(total, Ordering::Relaxed);
    }

    /// The count.
    pub fn get(&self) -> u64 {
        self.0.value.load(Ordering::Relaxed)
    }
}

impl Gauge {
    /// Sets.
    pub fn set(&self, value: f64) {
        self.0.value.store(value.to_bits(), Ordering::Relaxed);
    }

    /// Adds, or takes away.
    pub fn add(&self, delta: f64) {
        self.0.add_f64(delta);
    }

    /// The value.
    pub fn get(&self) -> f64 {
        f64::from_bits(self.0.value.load(Ordering::Relaxed))
    }
}

impl Histogram {
    /// Counts one observation.
    pub fn observe(&self, value: f64) {
        let at = self.0.bounds.partition_point(|bound| *bound < value);
        self.0.buckets[at].fetch_add(1, Ordering::Relaxed);
        self.0.add_f64(value);
        if let Some(recorder) = self.0.otlp.get() {
            recorder.record(value, &self.0);
        }
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.0.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).sum()
    }
}

impl Series {
    fn add_f64(&self, delta: f64) {
        let add = |bits| Some((f64::from_bits(bits) + delta).to_bits());
        let _ = self.value.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add); // the closure never gives up
    }
}

/// What is wrong with the names of a binary, by Prometheus's conventions; for a test in that binary.
pub fn lint<N: Names>() -> Vec<String> {
    let mut found = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for Definition { name, help, kind, labels } in N::DEFINITIONS {
        let mut say = |what: &str| found.push(format!("{name}: {what}"));
        if !seen.insert(*name) {
            say("is there twice");
        }
        if !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_') {
            say("may have small letters, digits and _ only");
        }
        if (*kind == Kind::Counter) != name.ends_with("_total") {
            say("counters, and only they, end in _total");
        }
        if help.is_empty() || help.ends_with('.') {
            say("needs a help text without a full stop");
        }
        if labels.iter().any(|label| matches!(*label, "le" | "quantile" | "job" | "instance")) {
            say("has a label that belongs to Prometheus");
        }
        if matches!(kind, Kind::Histogram(bounds) if bounds.is_empty() || !bounds.is_sorted()) {
            say("needs ascending bucket bounds");
        }
    }
    found
}
