//! The OpenAPI description: kept in `docs/openapi.json`, whole, and true to what the router answers.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use axum::{
    body::Body,
    http::{Method, StatusCode},
};
use serde_json::Value;

use crate::bed::{Bed, request};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");

fn description() -> Value {
    serde_json::to_value(cloud::api::description()).unwrap()
}

#[test]
fn the_kept_description_is_the_current_one() {
    let now = format!("{}\n", serde_json::to_string_pretty(&description()).unwrap());
    if std::env::var_os("SIGHTLINE_UPDATE").is_some() {
        fs::write(FILE, &now).unwrap();
    }
    let kept = fs::read_to_string(FILE).unwrap_or_default();
    assert!(
        kept == now,
        "docs/openapi.json is out of date: run this test with SIGHTLINE_UPDATE=1 and look at the change"
    );
}

#[test]
fn every_reference_leads_somewhere_and_every_operation_has_a_name_and_a_problem() {
    let description = description();
    let mut references = BTreeSet::new();
    collect(&description, &mut references);
    assert!(references.len() > 10);
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(description.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
    let mut names = BTreeSet::new();
    for (path, item) in description["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let name = operation["operationId"].as_str().unwrap();
            assert!(names.insert(name.to_owned()), "{name} twice");
            assert!(operation["summary"].is_string(), "{method} {path} has no summary");
            let wrong = if path.starts_with("/v2") { "Failure" } else { "Problem" };
            let wrong = format!("#/components/responses/{wrong}");
            assert_eq!(operation["responses"]["default"]["$ref"], wrong, "{method} {path}");
        }
    }
    assert_eq!(names.len(), 20);
}

fn collect(value: &Value, references: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            references.extend(object.get("$ref").and_then(Value::as_str).map(str::to_owned));
            object.values().for_each(|value| collect(value, references));
        }
        Value::Array(array) => array.iter().for_each(|value| collect(value, references)),
        _ => {}
    }
}

#[tokio::test]
async fn the_router_serves_what_is_described() {
    let bed = Bed::new();
    assert_eq!(bed.get("/api/v1/openapi.json").await.json(), description());
    for (path, item) in description()["paths"].as_object().unwrap() {
        let uri = path.replace("{site}", "a").replace("{gateway}", "b").replace("{region}", "c");
        let uri = uri.replace("{frame_id}", "0123456789abcdef0123456789abcdef_door_4");
        for method in item.as_object().unwrap().keys() {
            let method: Method = method.to_uppercase().parse().unwrap();
            let response = tower::ServiceExt::oneshot(bed.router.clone(), request(method, &uri, &[], Body::empty()));
            let status = response.await.unwrap().status();
            assert_ne!(status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
        }
    }
}

/// The Python validator of the environment that `make peers` makes.
#[test]
fn a_validator_accepts_the_description() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let validator = root.join(".sightline/venv/bin/openapi-spec-validator");
    assert!(validator.exists(), "{} is not there; `make peers` installs it", validator.display());
    let output = Command::new(validator).arg(FILE).output().unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
