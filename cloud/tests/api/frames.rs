//! Posting frames: what is answered, what is archived, and what is promised.

use axum::{
    body::Body,
    http::{Method, StatusCode},
};
use bytes::Bytes;
use cloud::{api::Limits, lake};
use contract::{
    CaptureSource, Kind,
    record::{Reason, ServedBy},
};
use sha2::{Digest as _, Sha256};
use std::{sync::atomic::Ordering::Relaxed, time::Duration};
use vision::{Preprocessor, Spec};

use crate::{
    bed::{Bed, manifest, request, until},
    pictures::{jpeg, png},
};

#[tokio::test]
async fn a_frame_is_classified_archived_and_found_again() {
    let bed = Bed::new();
    let picture = jpeg(640, 480, 180);
    let query =
        "?site=plant&camera=door&region=gap&rect=100,50,301,201&captured_at=2026-11-23T19:24:00.5%2B01:00&top_k=2";
    let reply = bed.post(query, "image/jpeg", picture.clone()).await;
    assert_eq!(reply.status, StatusCode::ACCEPTED);
    let answer = reply.json();
    assert_eq!(answer["labels"], serde_json::json!(["bright", "dark"]));
    assert_eq!(answer["archived"], false);
    assert_eq!(answer["captured_at"], "2026-11-23T18:24:00.500000Z");
    assert_eq!((&answer["gateway"], &answer["region"]), (&"hub-test".into(), &"gap".into()));
    assert_eq!(answer["model"]["id"], "brightness");

    let prediction = &bed.lake.rows(Kind::Prediction)[0].record;
    assert_eq!(prediction.header.captured_source, CaptureSource::Client);
    let lake::Body::Prediction(body) = &prediction.body else { panic!() };
    assert_eq!((&*body.engine, body.served_by, body.labels.len()), ("brightness", ServedBy::Hub, 2));
    assert!(body.latency.total_us >= body.latency.inference_us);

    // What the model saw is what `vision` makes of the same picture, and the lake gives it back bit for bit.
    let href = answer["sample_href"].as_str().unwrap();
    let tensor = bed.get(&format!("{href}/input")).await;
    let decoded = vision::decode_picture(&picture, &vision::Limits::default()).unwrap();
    let spec = Spec::from(&manifest().input);
    let mut expected = vec![0; spec.len()];
    let rect = vision::Rect { x: 100, y: 50, width: 301, height: 201 };
    Preprocessor::new(spec).run(&decoded.view(), rect, &mut expected).unwrap();
    assert_eq!(tensor.body, expected);
    assert_eq!(tensor.header("sightline-shape"), "16,24,3");
    assert_eq!(tensor.header("sightline-dtype"), "uint8");
    let digest = format!("sha256:{}", hex(&Sha256::digest(&expected)));
    assert_eq!(tensor.header("sightline-digest"), digest);

    let got = bed.get(&format!("{href}/picture")).await;
    assert_eq!((got.status, got.header("content-type")), (StatusCode::OK, "image/jpeg"));
    assert_eq!(got.body, picture);
    let latest = bed.get("/api/v1/predictions/latest?camera=door").await.json();
    assert_eq!(latest["predictions"][0]["frame_id"], answer["frame_id"]);
    let row = bed.get(href).await.json();
    assert_eq!(row["reason"], "requested");
    assert_eq!(row["region_rect"], serde_json::json!([100, 50, 301, 201]));
    assert_eq!(row["frame_id"], answer["frame_id"]);
    assert_eq!(row["picture_href"], format!("{href}/picture"));
}

#[tokio::test]
async fn frames_of_a_camera_count_up_and_png_and_forms_are_taken() {
    let bed = Bed::new();
    let mut ids = Vec::new();
    let form = {
        let mut body = b"--B\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.png\"\r\ncontent-type: image/png\r\n\r\n".to_vec();
        body.extend(png(33, 17, 200));
        body.extend(b"\r\n--B--\r\n");
        body
    };
    for (media_type, body) in [
        ("image/jpeg", jpeg(64, 48, 30)),
        ("image/png", png(64, 48, 30)),
        ("multipart/form-data; boundary=B", form),
        ("IMAGE/JPEG; q=1", jpeg(65, 47, 30)),
        ("image/jpeg", png(5, 5, 30)), // called a JPEG: the bytes decide
    ] {
        let reply = bed.post("?site=plant&camera=door", media_type, body).await;
        assert_eq!(reply.status, StatusCode::ACCEPTED, "{media_type}: {:?}", reply.body);
        ids.push(reply.json()["frame_id"].as_str().unwrap().to_owned());
    }
    let epoch = ids[0].split('_').next().unwrap().to_owned();
    let expected: Vec<_> = (0..5).map(|counter| format!("{epoch}_door_{counter}")).collect();
    assert_eq!(ids, expected);
    let other = bed.post("?site=yard&camera=door", "image/jpeg", jpeg(8, 8, 9)).await.json();
    assert!(!other["frame_id"].as_str().unwrap().starts_with(&epoch), "an epoch belongs to one site");

    let mut media_types = Vec::new();
    for row in bed.lake.rows(Kind::Sample) {
        assert_eq!(row.record.header.captured_source, CaptureSource::Arrival);
        let lake::Body::Sample(sample) = row.record.body else { panic!() };
        assert_eq!(sample.reason, Reason::Requested);
        media_types.push(sample.picture.media_type.to_string());
    }
    media_types.sort();
    assert_eq!(media_types, ["image/jpeg", "image/jpeg", "image/jpeg", "image/png", "image/png", "image/png"]);
}

#[tokio::test]
async fn the_trace_of_the_request_goes_on() {
    let bed = Bed::new();
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    for (sent, kept) in [(trace, Some(trace)), ("nonsense", None), ("00-XYZ-1-1", None)] {
        let headers = [("content-type", "image/jpeg"), ("traceparent", sent)];
        let request = request(Method::POST, "/api/v1/frames?site=a&camera=b", &headers, Body::from(jpeg(8, 8, 9)));
        assert_eq!(bed.send(request).await.status, StatusCode::ACCEPTED);
        let last = bed.lake.rows(Kind::Prediction).pop().unwrap();
        assert_eq!(last.record.header.traceparent.as_deref(), kept);
    }
}

#[tokio::test]
async fn archived_is_answered_only_after_the_commit() {
    let bed = Bed::new();
    bed.lake.hold.store(true, Relaxed);
    let (router, lake) = (bed.router.clone(), bed.lake.clone());
    let asked = tokio::spawn(async move {
        let request = request(
            Method::POST,
            "/api/v1/frames?site=a&camera=b&wait=archived",
            &[("content-type", "image/jpeg")],
            Body::from(jpeg(8, 8, 9)),
        );
        tower::ServiceExt::oneshot(router, request).await.unwrap()
    });
    until("the frame is with ingest", || lake.held() == 1).await;
    assert!(!asked.is_finished());
    lake.commit();
    let response = asked.await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let body: Bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(answer["archived"], true);
}

#[tokio::test]
async fn a_commit_that_does_not_come_is_never_called_archived() {
    let bed = Bed::with(Limits { archive_timeout: Duration::from_millis(50), ..Limits::default() });
    bed.lake.hold.store(true, Relaxed);
    let wait = "?site=a&camera=b&wait=archived";
    let late = bed.post(wait, "image/jpeg", jpeg(8, 8, 9)).await;
    assert_eq!((late.status, &*late.problem()), (StatusCode::GATEWAY_TIMEOUT, "archive-timeout"));
    assert!(late.json()["frame_id"].as_str().unwrap().ends_with("_b_0"));

    let bed = Bed::new();
    bed.lake.hold.store(true, Relaxed);
    let lake = bed.lake.clone();
    let stopping = tokio::spawn(async move {
        until("the frame is with ingest", || lake.held() == 1).await;
        lake.abandon();
    });
    let lost = bed.post(wait, "image/jpeg", jpeg(8, 8, 9)).await;
    assert_eq!((lost.status, &*lost.problem()), (StatusCode::SERVICE_UNAVAILABLE, "stopping"));
    stopping.await.unwrap();

    let bed = Bed::with(Limits { stopping_timeout: Duration::from_millis(50), ..Limits::default() });
    bed.lake.hold.store(true, Relaxed);
    bed.stop.cancel();
    let cut = bed.post(wait, "image/jpeg", jpeg(8, 8, 9)).await;
    assert_eq!((cut.status, &*cut.problem()), (StatusCode::SERVICE_UNAVAILABLE, "stopping"));
    assert!(cut.json()["detail"].as_str().unwrap().contains("/api/v1/samples/"), "it says where to look");

    bed.lake.full.store(true, Relaxed);
    let full = bed.post(wait, "image/jpeg", jpeg(8, 8, 9)).await;
    assert_eq!((full.status, &*full.problem()), (StatusCode::SERVICE_UNAVAILABLE, "overloaded"));
    assert_eq!(full.header("retry-after"), "1");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
