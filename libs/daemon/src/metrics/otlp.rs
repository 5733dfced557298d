//! The same values as OpenTelemetry instruments: counters and gauges are observed when they are exported; histograms,
//! which OpenTelemetry cannot observe, record each value a second time.

use std::sync::{Arc, atomic::Ordering};

use opentelemetry::{KeyValue, global, metrics::Histogram};

use super::{Family, Kind, Series};

/// A histogram's second recorder.
pub(super) struct Recorder {
    histogram: Histogram<f64>,
    names: &'static [&'static str],
}

impl Recorder {
    pub fn record(&self, value: f64, series: &Series) {
        self.histogram.record(value, series.attributes.get_or_init(|| attributes(self.names, series)));
    }
}

fn attributes(names: &[&'static str], series: &Series) -> Vec<KeyValue> {
    names.iter().zip(&series.labels).map(|(name, value)| KeyValue::new(*name, value.clone())).collect()
}

/// Registers every family with the process's meter provider.
pub(super) fn export(families: &Arc<[Family]>) {
    let meter = global::meter("sightline");
    for (at, family) in families.iter().enumerate() {
        let definition = family.definition;
        let (name, help, unit) = (definition.name, definition.help, definition.unit());
        let all = families.clone();
        match definition.kind {
            Kind::Counter => {
                let observe = move |observer: &dyn opentelemetry::metrics::AsyncInstrument<u64>| {
                    for series in all[at].all() {
                        observer.observe(series.value.load(Ordering::Relaxed), &attributes(definition.labels, &series));
                    }
                };
                meter
                    .u64_observable_counter(name)
                    .with_description(help)
                    .with_unit(unit)
                    .with_callback(observe)
                    .build();
            }
            Kind::Gauge => {
                let observe = move |observer: &dyn opentelemetry::metrics::AsyncInstrument<f64>| {
                    for series in all[at].all() {
                        let value = f64::from_bits(series.value.load(Ordering::Relaxed));
                        observer.observe(value, &attributes(definition.labels, &series));
                    }
                };
                meter.f64_observable_gauge(name).with_description(help).with_unit(unit).with_callback(observe).build();
            }
            Kind::Histogram(bounds) => {
                let builder = meter.f64_histogram(name).with_description(help).with_unit(unit);
                let histogram = builder.with_boundaries(bounds.to_vec()).build();
                let _ = family.otlp.set(Recorder { histogram, names: definition.labels }); // set once, by the first export
            }
        }
    }
}
