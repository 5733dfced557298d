//! Every JSON document against its golden file, to the letter, both ways.

use std::{fmt::Debug, path::PathBuf};

use contract::{Kind, live::Live};
use serde::{Serialize, de::DeserializeOwned};

use crate::examples as ex;

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// Compares bytes with a golden file, or writes it when `UPDATE_GOLDEN` is set.
pub fn check_bytes(name: &str, bytes: &[u8]) {
    let path = path(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, bytes).unwrap();
    }
    let golden = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}; UPDATE_GOLDEN=1 writes it", path.display()));
    assert!(golden == bytes, "{name} changed: the wire has another form now; is its version raised? UPDATE_GOLDEN=1");
}

fn check<T: Serialize + DeserializeOwned + PartialEq + Debug>(name: &str, value: &T) {
    let mut text = serde_json::to_string_pretty(value).unwrap();
    text.push('\n');
    check_bytes(name, text.as_bytes());
    let back: T = serde_json::from_str(&text).unwrap();
    assert_eq!(&back, value, "{name} does not read back");
}

#[test]
fn live_documents_keep_their_form() {
    check("live-prediction.json", &Live { header: ex::header(Kind::Prediction, 7), body: ex::prediction() });
    check("live-event.json", &Live { header: ex::header(Kind::Event, 7), body: ex::event() });
    check("live-health.json", &Live { header: ex::bare_header(Kind::Health, 7), body: ex::health() });
    check("live-status-birth.json", &ex::status());
    check("live-status-will.json", &ex::will());
    check("live-camera-status.json", &ex::camera_status());
    check("live-state.json", &ex::region_state());
    check("command-sample-now.json", &ex::command());
    check("reply.json", &ex::reply());
}

#[test]
fn twin_documents_and_the_watermark_keep_their_form() {
    check("desired.json", &ex::desired());
    check("reported.json", &ex::reported());
    check("archived.json", &ex::archived());
}

#[test]
fn the_package_manifest_keeps_its_form() {
    check("manifest.json", &ex::manifest());
    check("manifest-golden-rows.json", &ex::golden_rows());
}

#[test]
fn headers_and_bodies_keep_their_form() {
    check("header.json", &ex::header(Kind::Prediction, 7));
    check("header-bare.json", &ex::bare_header(Kind::Health, 7));
    check("body-prediction.json", &ex::prediction());
    check("body-event.json", &ex::event());
    check("body-sample.json", &ex::sample());
    check("body-health.json", &ex::health());
    check("body-gap.json", &ex::gap());
}

#[test]
fn a_watermark_says_what_is_committed() {
    let archived = ex::archived();
    let of = archived.of(ex::EPOCH, Kind::Prediction).unwrap();
    for (seq, committed) in [(0, true), (119, true), (120, false), (130, true), (139, true), (140, false), (150, true)]
    {
        assert_eq!(of.contains(seq), committed, "{seq}");
    }
    assert!(archived.of(contract::Epoch(1), Kind::Prediction).is_none());
    assert!(archived.of(ex::EPOCH, Kind::Sample).is_none());
}
