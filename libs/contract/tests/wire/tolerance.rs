//! An older program reads what a newer one wrote: unknown fields, and unknown words where the design expects new ones.

use std::fmt::Debug;

use contract::{CaptureSource, Kind, live::Live, record::Reason};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::examples as ex;

/// Objects whose keys are data, not fields.
const MAPS: [&str; 11] = [
    "backlog_records",
    "cameras",
    "config",
    "dropped",
    "files",
    "holds",
    "kinds",
    "predictions_per_second",
    "probabilities",
    "thresholds",
    "upto",
];

/// Adds a field that nobody knows to every object that has fields.
pub fn add_unknown(value: &mut Value, is_map: bool) {
    match value {
        Value::Object(fields) => {
            for (key, inner) in fields.iter_mut() {
                add_unknown(inner, MAPS.contains(&key.as_str()));
            }
            if !is_map {
                fields.insert("of_a_newer_version".into(), json!({ "deep": [1, "two"] }));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| add_unknown(item, false)),
        _ => {}
    }
}

fn tolerates<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) {
    let mut json = serde_json::to_value(value).unwrap();
    add_unknown(&mut json, false);
    assert_eq!(&serde_json::from_value::<T>(json).unwrap(), value);
}

#[test]
fn unknown_fields_are_passed_over() {
    tolerates(&Live { header: ex::header(Kind::Prediction, 1), body: ex::prediction() });
    tolerates(&Live { header: ex::header(Kind::Event, 1), body: ex::event() });
    tolerates(&Live { header: ex::header(Kind::Health, 1), body: ex::health() });
    tolerates(&ex::header(Kind::Sample, 1));
    tolerates(&ex::sample());
    tolerates(&ex::gap());
    tolerates(&ex::status());
    tolerates(&ex::camera_status());
    tolerates(&ex::region_state());
    tolerates(&ex::desired());
    tolerates(&ex::reported());
    tolerates(&ex::archived());
    tolerates(&ex::manifest());
    tolerates(&ex::golden_rows());
    tolerates(&ex::reply());
    tolerates(&ex::command());
}

/// As a newer version would write the golden file: with a kind that this one does not know.
fn with_a_new_kind<T: Serialize + DeserializeOwned + PartialEq + Debug>(golden: &str, maps: &[&str], entry: Value) {
    let path = format!("{}/tests/golden/{golden}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let known: T = serde_json::from_str(&text).unwrap();
    let mut newer: Value = serde_json::from_str(&text).unwrap();
    for pointer in maps {
        let map = newer.pointer_mut(pointer).unwrap_or_else(|| panic!("{golden} has no {pointer}"));
        map.as_object_mut().unwrap().insert("hologram".into(), entry.clone());
    }
    assert_eq!(serde_json::from_value::<T>(newer).unwrap(), known, "{golden}");
}

#[test]
fn a_new_kind_of_record_is_passed_over() {
    use contract::{Archived, Health, live::GatewayStatus};
    with_a_new_kind::<GatewayStatus>("live-status-birth.json", &["/holds"], json!({ "first": 0, "next": 7 }));
    with_a_new_kind::<Health>("body-health.json", &["/backlog_records"], json!(7));
    with_a_new_kind::<Live<Health>>("live-health.json", &["/backlog_records"], json!(7));
    with_a_new_kind::<Archived>("archived.json", &["/epochs/0/kinds"], json!({ "upto": 7 }));
}

#[test]
fn a_new_word_is_unknown_not_an_error() {
    assert_eq!(serde_json::from_value::<CaptureSource>(json!("ptp")).unwrap(), CaptureSource::Unknown);
    assert_eq!(serde_json::from_value::<Reason>(json!("novel")).unwrap(), Reason::Unknown);
    let mut prediction = serde_json::to_value(ex::prediction()).unwrap();
    prediction["served_by"] = json!("neighbour");
    let read: contract::Prediction = serde_json::from_value(prediction).unwrap();
    assert_eq!(read.served_by, contract::record::ServedBy::Unknown);
}

#[test]
fn what_an_older_version_left_out_has_a_default() {
    let body = json!({"labels": ["a"], "scores": [1.0], "latency": {}, "engine": "x"});
    let prediction: contract::Prediction = serde_json::from_value(body).unwrap();
    assert_eq!((prediction.latency.total_us, prediction.served_by), (0, contract::record::ServedBy::Gateway));
    assert_eq!(serde_json::from_str::<contract::Health>("{}").unwrap(), contract::Health::default());
}
