//! What nobody should send reaches a real hub over its broker: each is said with who sent it and what to do, the lake
//! stays true, and everybody else's records go on.

use std::time::SystemTime;

use anyhow::{Context, Result, ensure};
use contract::{
    CaptureSource, Epoch, FrameId, Header, Kind, Timestamp,
    frame::{self, Address},
};
use serde_json::{Value, json};
use world::{Config, Edge, Hub, Observer, story, wait};

use crate::common::tiny;

const EPOCH: Epoch = Epoch(0xf0_1234);

fn header(gateway: &str, kind: Kind, seq: u64) -> Result<Header> {
    let camera = || "cam".parse();
    let about_frame = kind != Kind::Gap;
    Ok(Header {
        schema: contract::SCHEMA,
        kind,
        site: "plant".parse()?,
        gateway: gateway.parse()?,
        camera: if about_frame { Some(camera()?) } else { None },
        region: if about_frame { Some("full".parse()?) } else { None },
        epoch: EPOCH,
        seq,
        captured_at: Timestamp::from_system(SystemTime::now()),
        captured_source: CaptureSource::Arrival,
        monotonic_us: 1,
        boot_id: "boot".into(),
        traceparent: None,
        model: None,
        frame_id: if about_frame { Some(FrameId { epoch: EPOCH, camera: camera()?, counter: seq }) } else { None },
    })
}

/// Sends one record of a gateway, by the number of its kind.
fn send(observer: &Observer, gateway: &str, kind: Kind, number: u8, seq: u64, body: &Value) -> Result<()> {
    let record = frame::encode_record(&header(gateway, kind, seq)?, body, &[])?;
    let mut message = frame::MAGIC.to_vec();
    frame::write_frame(&mut message, Address { epoch: EPOCH, kind: number, seq }, 0, 1, &record);
    observer.publish_wrong(&format!("sightline/up/plant/{gateway}/{kind}"), message)
}

fn event(score: f32) -> Value {
    json!({ "id": "e", "before": null, "after": "open", "score": score, "since": "2026-11-23T18:24:00Z" })
}

fn gap(to: u64) -> Value {
    json!({
        "kind": "prediction", "epoch": EPOCH.to_string(), "from": 0, "to": to, "count": to, "reason": "overflow",
        "captured_from": null, "captured_to": null
    })
}

/// A line of the hub's log with all these words.
fn says(hub: &Hub, words: &[&str]) -> Result<()> {
    let found =
        hub.process.log().find(wait::PATIENCE, |line| words.iter().all(|word| line.contains(word)).then_some(()));
    found.with_context(|| format!("no line of the log holds all of {words:?}"))
}

#[test]
fn what_nobody_should_send_is_said_with_who_sent_it_and_what_to_do() {
    story(|folder| {
        let hub = Hub::start(folder, Config::new())?;
        let observer = hub.observe()?;
        let (lake, kinds) = (hub.lake()?, |kind: Kind| kind.number());
        send(&observer, "forger", Kind::Event, kinds(Kind::Event), 0, &event(0.75))?;
        lake.wait_rows(Kind::Event, 1)?;

        send(&observer, "forger", Kind::Event, kinds(Kind::Event), u64::MAX - 1, &event(0.5))?;
        says(&hub, &["plant/forger", "impossible number", &(u64::MAX - 1).to_string(), "outbox is damaged"])?;

        send(&observer, "forger", Kind::Event, 200, 1, &event(0.5))?;
        says(&hub, &["plant/forger", "kind 200", "does not know", "upgrade the hub"])?;

        send(&observer, "thief", Kind::Event, kinds(Kind::Event), 1, &event(0.5))?;
        says(&hub, &["two gateways use one epoch", "plant/forger", "plant/thief", "empty the copy's outbox"])?;

        send(&observer, "forger", Kind::Event, kinds(Kind::Event), 0, &event(0.25))?;
        says(&hub, &["plant/forger", "differs from the one of its number that came first", "dead/", "event 0"])?;
        wait::until("the difference in the report", || {
            let report = hub.rest()?.json("/api/v1/lake")?;
            Ok((report["duplicates_differing"] == 1).then_some(()))
        })?;
        wait::until("the second one under dead/", || Ok((!lake.keys("dead/")?.is_empty()).then_some(())))?;

        send(&observer, "forger", Kind::Sample, kinds(Kind::Sample), 0, &json!({ "reason": "periodic" }))?;
        says(&hub, &["plant/forger", "sample 0", "cannot be read and is kept aside", "missing field"])?;
        send(&observer, "forger", Kind::Gap, kinds(Kind::Gap), 0, &gap(u64::MAX))?;
        says(&hub, &["plant/forger", "gap 0", "its range makes no sense"])?;
        // Far, and possible: a range like any other.
        send(&observer, "forger", Kind::Gap, kinds(Kind::Gap), 1, &gap(1 << 60))?;
        let gaps = wait::until("what is said of them in the lake", || {
            let gaps = lake.rows(Kind::Gap)?;
            Ok((gaps.len() >= 3).then_some(gaps))
        })?;
        let rejected = gaps.iter().filter(|gap| gap["reason"] == "rejected").count();
        assert_eq!((gaps.len(), rejected), (3, 2), "{gaps:?}");

        let events = lake.rows(Kind::Event)?;
        assert_eq!((events.len(), &events[0]["score"]), (1, &json!(0.75)), "the first one stays, and no other came in");
        let metrics = hub.rest()?.get("/metrics")?.text();
        for reason in ["held_back", "unknown_kind", "foreign_epoch"] {
            let line = format!("sightline_hub_ingest_dropped_total{{reason=\"{reason}\"}} 1");
            ensure!(metrics.lines().any(|found| found == line), "no line `{line}`");
        }
        let mut edge = Edge::start(folder, &hub, tiny()?.set("cameras.cam.uri", "test:"))?;
        lake.wait_rows(Kind::Prediction, 3)?;
        edge.stop()?;
        Ok(())
    });
}
