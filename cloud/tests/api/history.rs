//! Queries of the lake by time, place and label, in pages.

use axum::http::StatusCode;
use cloud::lake::{Body, Record};
use contract::{
    CaptureSource, Epoch, Event, Header, Kind, Prediction, Timestamp,
    record::{Latency, ServedBy},
};
use serde_json::{Value, json};

use crate::bed::Bed;

/// 2026-11-23T18:00:00Z.
const START: i64 = 1_795_456_800_000_000;
const SECOND: i64 = 1_000_000;

fn header(kind: Kind, seq: u64, at: i64, camera: &str) -> Header {
    Header {
        schema: 1,
        kind,
        site: "plant".parse().unwrap(),
        gateway: "gw".parse().unwrap(),
        camera: Some(camera.parse().unwrap()),
        region: Some("full".parse().unwrap()),
        epoch: Epoch(7),
        seq,
        captured_at: Timestamp(at),
        captured_source: CaptureSource::Arrival,
        monotonic_us: 0,
        boot_id: "boot".into(),
        traceparent: None,
        model: None,
        frame_id: None,
    }
}

/// 60 predictions, two at each of 30 seconds, over three objects.
fn populated() -> Bed {
    let bed = Bed::new();
    for object in 0..3 {
        let records = (object * 20..object * 20 + 20).map(|i: i64| {
            let camera = if i % 3 == 0 { "rear" } else { "front" };
            let body = Prediction {
                labels: vec![if i % 5 == 0 { "open" } else { "shut" }.into(), "odd".into()],
                scores: vec![i as f32 / 60.0, 0.01],
                latency: Latency::default(),
                engine: "ort-cpu".into(),
                served_by: ServedBy::Gateway,
            };
            let header = header(Kind::Prediction, i as u64, START + i / 2 * SECOND, camera);
            Record { header, body: Body::Prediction(body), blobs: Default::default() }
        });
        bed.lake.write(records.collect());
    }
    let event =
        Event { id: "7-0".into(), before: None, after: Some("open".into()), score: 0.75, since: Timestamp(START) };
    let header = header(Kind::Event, 0, START, "front");
    bed.lake.write(vec![Record { header, body: Body::Event(event), blobs: Default::default() }]);
    bed
}

const RANGE: &str = "from=2026-11-23T18:00:00Z&to=2026-11-23T19:00:00Z";

async fn all(bed: &Bed, uri: &str, limit: usize) -> Vec<Value> {
    let (mut rows, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = bed.get(&format!("{uri}&limit={limit}{cursor}")).await;
        assert_eq!(page.status, StatusCode::OK, "{:?}", page.body);
        let page = page.json();
        rows.extend(page["rows"].as_array().unwrap().clone());
        let Some(next) = page["next_cursor"].as_str() else { return rows };
        cursor = format!("&cursor={next}");
    }
}

#[tokio::test]
async fn rows_come_newest_first_with_every_column() {
    let bed = populated();
    let rows = all(&bed, &format!("/api/v1/predictions?{RANGE}"), 1000).await;
    assert_eq!(rows.len(), 60);
    let first = rows[0].as_object().unwrap();
    let columns: Vec<_> = contract::lake::columns(Kind::Prediction).map(|column| column.name).collect();
    assert_eq!(first.keys().collect::<Vec<_>>(), columns);
    assert_eq!(rows[0]["seq"], 58, "of one moment, the lower number comes first");
    assert_eq!(rows[59]["seq"], 1);
    assert_eq!(rows[0]["corrected_at"], "2026-11-23T18:00:29.000000Z");
    assert_eq!(rows[2]["score"], json!(0.93333334), "scores are given as the 32-bit numbers they are");

    let events = all(&bed, &format!("/api/v1/events?{RANGE}"), 10).await;
    assert_eq!((&events[0]["before"], &events[0]["after"]), (&Value::Null, &json!("open")));
}

#[tokio::test]
async fn filters_hold_together_and_pages_neither_lose_nor_repeat() {
    let bed = populated();
    for (filter, count) in [
        ("", 60),
        ("&camera=rear", 20),
        ("&camera=rear&label=open", 4),
        ("&label=open", 12),
        ("&label=odd", 0),
        ("&min_score=0.5", 30),
        ("&site=plant&gateway=gw&region=full", 60),
        ("&site=yard", 0),
    ] {
        let uri = format!("/api/v1/predictions?{RANGE}{filter}");
        let whole = all(&bed, &uri, 1000).await;
        assert_eq!(whole.len(), count, "{filter}");
        for limit in [1, 7, 60] {
            assert_eq!(all(&bed, &uri, limit).await, whole, "{filter} by {limit}");
        }
    }
}

#[tokio::test]
async fn times_take_offsets_and_their_end_is_outside() {
    let bed = populated();
    for (range, count) in [
        ("from=2026-11-23T18:00:00Z&to=2026-11-23T18:00:10Z", 20),
        ("from=2026-11-23T18:00:10Z&to=2026-11-23T18:00:30Z", 40),
        ("from=2026-11-23T19:00:00%2B01:00&to=2026-11-23T19:00:10%2B01:00", 20),
        ("from=2026-11-23T19:00:00+01:00&to=2026-11-23T19:00:10+01:00", 20), // `+` not encoded, as people type it
        ("from=2026-11-23t13:00:00-05:00&to=2026-11-23T18:00:10Z", 20),
        ("from=2026-11-23T18:00:00.999999Z&to=2026-11-23T18:00:01.000001Z", 2),
    ] {
        assert_eq!(all(&bed, &format!("/api/v1/predictions?{range}"), 1000).await.len(), count, "{range}");
    }
}

#[tokio::test]
async fn a_cursor_is_refused_by_another_query_and_keeps_the_resolved_range() {
    let bed = populated();
    let uri = format!("/api/v1/predictions?{RANGE}&camera=front&limit=3");
    let cursor = bed.get(&uri).await.json()["next_cursor"].as_str().unwrap().to_owned();
    for other in [
        format!("/api/v1/predictions?{RANGE}&camera=rear&cursor={cursor}"),
        format!("/api/v1/predictions?{RANGE}&cursor={cursor}"),
        format!("/api/v1/events?{RANGE}&camera=front&cursor={cursor}"),
        format!("/api/v1/predictions?camera=front&cursor={cursor}"),
    ] {
        assert_eq!(bed.get(&other).await.problem(), "bad-cursor", "{other}");
    }
    // Another page length is no other query.
    let page = bed.get(&format!("/api/v1/predictions?{RANGE}&camera=front&limit=5&cursor={cursor}")).await;
    assert_eq!(page.json()["rows"].as_array().unwrap().len(), 5);

    let bed = Bed::new();
    let now = bed.get("/api/v1/predictions").await.json();
    let (from, to) = (now["from"].as_str().unwrap(), now["to"].as_str().unwrap());
    let length = to.parse::<Timestamp>().unwrap().0 - from.parse::<Timestamp>().unwrap().0;
    assert_eq!(length, 86_400 * SECOND, "a day when no range is named");
}
