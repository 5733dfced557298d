//! Gateways, cameras and latest predictions, from live documents as gateways publish them.

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::bed::Bed;

fn populated() -> Bed {
    let bed = Bed::new();
    for (site, gateway) in [("a", "gw"), ("a-b", "gw"), ("b", "gw-1"), ("b", "gw-2")] {
        let who = format!("{site}/{gateway}");
        let status =
            json!({"schema": 1, "status": "online", "session": 3, "since": "2026-11-23T18:00:00Z", "version": "0.1.0"});
        bed.note(&format!("{who}/status"), &status);
        for camera in ["front", "rear"] {
            let status = json!({"schema": 1, "status": "offline", "reason": "no route to host", "fps": 0.0, "since": "2026-11-23T18:00:00Z"});
            bed.note(&format!("{who}/{camera}/status"), &status);
            for (region, label, score) in [("door", "open", 0.9), ("gate", "shut", 0.4)] {
                bed.note(
                    &format!("{who}/{camera}/{region}/prediction"),
                    &prediction(&who, camera, region, label, score),
                );
                bed.note(&format!("{who}/{camera}/{region}/state"), &state(label, score));
            }
        }
    }
    bed
}

fn state(label: &str, score: f64) -> Value {
    json!({"schema": 1, "label": label, "score": score, "since": "2026-11-23T18:10:00Z", "quality": "live",
        "model": {"digest": format!("sha256:{}", "0f".repeat(32))}})
}

fn prediction(who: &str, camera: &str, region: &str, label: &str, score: f64) -> Value {
    let (site, gateway) = who.split_once('/').unwrap();
    json!({"schema": 1, "kind": "prediction", "site": site, "gateway": gateway, "camera": camera, "region": region,
        "epoch": "0123456789abcdef0123456789abcdef", "seq": 4, "captured_at": "2026-11-23T18:24:00Z",
        "captured_source": "arrival", "monotonic_us": 1, "boot_id": "b", "labels": [label], "scores": [score],
        "latency": {}, "engine": "ort-cpu"})
}

#[tokio::test]
async fn gateways_and_cameras_are_told_with_their_state() {
    let bed = populated();
    let gateways = bed.get("/api/v1/gateways").await.json();
    assert_eq!(gateways["gateways"].as_array().unwrap().len(), 4);
    let first = &gateways["gateways"][0];
    assert_eq!(
        (&first["status"], &first["version"], &first["cameras"]),
        (&json!("online"), &json!("0.1.0"), &json!(2))
    );
    assert_eq!(gateways.get("next_cursor"), None);

    let detail = bed.get("/api/v1/gateways/b/gw-1").await;
    assert_eq!(detail.status, StatusCode::OK);
    let camera = &detail.json()["camera_list"][1];
    assert_eq!((&camera["camera"], &camera["status"]), (&json!("rear"), &json!("offline")));
    assert_eq!(camera["reason"], "no route to host");
    assert_eq!(camera["regions"][0]["label"], "open");
    assert_eq!(camera["regions"][0]["latest_at"], "2026-11-23T18:24:00.000000Z");

    let of_site = bed.get("/api/v1/cameras?site=b&gateway=gw-2").await.json();
    assert_eq!(of_site["cameras"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn every_list_can_be_paged_through_without_loss_or_repeat() {
    let bed = populated();
    for (uri, list, total) in [
        ("/api/v1/gateways?", "gateways", 4),
        ("/api/v1/gateways?site=b&", "gateways", 2),
        ("/api/v1/cameras?", "cameras", 8),
        ("/api/v1/predictions/latest?", "predictions", 16),
        ("/api/v1/predictions/latest?label=open&", "predictions", 8),
        ("/api/v1/predictions/latest?min_score=0.5&camera=rear&", "predictions", 4),
        ("/api/v1/predictions/latest?region=gate&site=a-b&", "predictions", 2),
        ("/api/v1/predictions/latest?label=nothing&", "predictions", 0),
    ] {
        let whole = bed.get(&format!("{uri}limit=1000")).await.json();
        let whole = whole[list].as_array().unwrap().clone();
        assert_eq!(whole.len(), total, "{uri}");
        for limit in [1, 2, 3, 5, total.max(1)] {
            let (mut seen, mut cursor) = (Vec::new(), String::new());
            loop {
                let page = bed.get(&format!("{uri}limit={limit}{cursor}")).await.json();
                assert!(page[list].as_array().unwrap().len() <= limit);
                seen.extend(page[list].as_array().unwrap().clone());
                let Some(next) = page["next_cursor"].as_str() else { break };
                cursor = format!("&cursor={next}");
            }
            assert_eq!(seen, whole, "{uri} by {limit}");
        }
    }
}

#[tokio::test]
async fn the_version_and_the_pages_answer() {
    let bed = Bed::new();
    let version = bed.get("/api/v1/version").await.json();
    assert_eq!((&version["name"], &version["gateway"]), (&json!("sightline-hub"), &json!("hub-test")));
    assert_eq!(version["model"]["engine"], "brightness");
    for (uri, media_type) in [
        ("/", "text/html; charset=utf-8"),
        ("/home.js", "text/javascript; charset=utf-8"),
        ("/home.css", "text/css; charset=utf-8"),
        ("/docs/", "text/html"),
        ("/docs/swagger-ui-bundle.js", "text/javascript"),
        ("/docs/swagger-initializer.js", "text/javascript"),
        ("/api/v1/openapi.json", "application/json"),
    ] {
        let reply = bed.get(uri).await;
        assert_eq!((reply.status, reply.header("content-type")), (StatusCode::OK, media_type), "{uri}");
        assert_eq!(reply.header("x-content-type-options"), "nosniff");
    }
    let docs = bed.get("/docs").await;
    assert_eq!((docs.status, docs.header("location")), (StatusCode::PERMANENT_REDIRECT, "/docs/"));
    for uri in ["/", "/home.js", "/home.css", "/docs/", "/docs/swagger-initializer.js"] {
        let text = String::from_utf8(bed.get(uri).await.body.to_vec()).unwrap();
        assert!(!text.contains("https://") && !text.contains("http://"), "{uri} works without a network");
    }
}

#[tokio::test]
async fn how_the_lake_is_can_be_asked_for() {
    let bed = Bed::new();
    let lake = bed.get("/api/v1/lake").await.json();
    assert_eq!((&lake["lake"], &lake["duplicates_differing"]), (&json!("a lake"), &json!(3)));
    assert_eq!((&lake["rebuild_due"], &lake["duplicates"]), (&json!(null), &json!(null)));
    assert_eq!((&lake["gateway_twins"], &lake["rollbacks"]), (&json!([]), &json!([])));
    bed.lake.broken.store(true, std::sync::atomic::Ordering::Relaxed);
    let reply = bed.get("/api/v1/lake").await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(!String::from_utf8_lossy(&reply.body).contains("secret-name"));
}
