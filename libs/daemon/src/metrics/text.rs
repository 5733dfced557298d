//! Prometheus's text format, version 0.0.4, which every scraper reads and `promtool check metrics` accepts.
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>

use std::{
    fmt::Write,
    sync::{Arc, atomic::Ordering},
};

use super::{Family, Kind, Series};
use crate::process;

/// One metric with all its label combinations. Writing to a String cannot fail, hence the ignored results.
pub(super) fn family(out: &mut String, family: &Family) {
    let series = family.all();
    let definition = &family.definition;
    if series.is_empty() {
        return;
    }
    let kind = match definition.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram(_) => "histogram",
    };
    head(out, definition.name, definition.help, kind);
    for one in series {
        let labels = labels(definition.labels, &one.labels);
        let value = one.value.load(Ordering::Relaxed);
        match definition.kind {
            Kind::Counter => line(out, definition.name, &labels, value as f64),
            Kind::Gauge => line(out, definition.name, &labels, f64::from_bits(value)),
            Kind::Histogram(bounds) => histogram(out, definition.name, &labels, bounds, &one),
        }
    }
}

fn histogram(out: &mut String, name: &str, labels: &str, bounds: &[f64], series: &Series) {
    let mut count = 0;
    let limits = bounds.iter().map(|bound| bound.to_string()).chain(["+Inf".to_owned()]);
    for (bucket, limit) in series.buckets.iter().zip(limits) {
        count += bucket.load(Ordering::Relaxed);
        let separator = if labels.is_empty() { "" } else { "," };
        line(out, &format!("{name}_bucket"), &format!("{labels}{separator}le=\"{limit}\""), count as f64);
    }
    line(out, &format!("{name}_sum"), labels, f64::from_bits(series.value.load(Ordering::Relaxed)));
    line(out, &format!("{name}_count"), labels, count as f64);
}

/// What the kernel knows, under the names that all Prometheus clients use.
pub(super) fn process(out: &mut String) {
    let usage = process::usage();
    for (name, help, kind, value) in [
        ("process_cpu_seconds_total", "User and system CPU time spent, in seconds", "counter", usage.cpu_seconds),
        ("process_resident_memory_bytes", "Resident memory, in bytes", "gauge", usage.resident_bytes as f64),
        ("process_open_fds", "Open file descriptors", "gauge", usage.open_fds as f64),
        ("process_max_fds", "The most file descriptors that may be open", "gauge", process::max_fds() as f64),
        ("process_threads", "Threads", "gauge", usage.threads as f64),
        ("process_start_time_seconds", "Start of the process, in seconds since 1970", "gauge", usage.start_seconds),
    ] {
        head(out, name, help, kind);
        line(out, name, "", value);
    }
}

/// A metric that always is 1 and tells the version by its labels.
pub(crate) fn build_info(out: &mut String, build: &crate::admin::BuildInfo) {
    let name = "sightline_build_info";
    head(out, name, "Which build this is; always 1", "gauge");
    let values = [build.name, build.version, build.commit].map(Arc::from);
    line(out, name, &labels(&["program", "version", "commit"], &values), 1.0);
}

fn head(out: &mut String, name: &str, help: &str, kind: &str) {
    let help = help.replace('\\', "\\\\").replace('\n', "\\n");
    let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
}

fn line(out: &mut String, name: &str, labels: &str, value: f64) {
    let value = match value {
        v if v.is_nan() => "NaN".to_owned(),
        v if v.is_infinite() => if v > 0.0 { "+Inf" } else { "-Inf" }.to_owned(),
        v => v.to_string(),
    };
    let _ =
        if labels.is_empty() { writeln!(out, "{name} {value}") } else { writeln!(out, "{name}{{{labels}}} {value}") };
}

fn labels(names: &[&str], values: &[Arc<str>]) -> String {
    let mut out = String::new();
    for (name, value) in names.iter().zip(values) {
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let separator = if out.is_empty() { "" } else { "," };
        let _ = write!(out, "{separator}{name}=\"{value}\"");
    }
    out
}
