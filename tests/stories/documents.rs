//! What travels beside the records: a desired document and its answer, a camera's snapshot.

use serde_json::json;
use world::{Config, Edge, Hub, story};

use crate::common::tiny;

#[test]
fn a_desired_document_is_answered_and_a_snapshot_is_a_picture() {
    story(|folder| {
        let hub = Hub::start(folder, Config::new())?;
        let observer = hub.observe()?;
        let config = tiny()?.set("cameras.cam.uri", "test:?fps=10").set("cameras.cam.snapshot", "1s");
        let _edge = Edge::start(folder, &hub, config)?;
        let desired = json!({ "schema": 1, "authority": "hub-7f3a", "generation": 5, "config": {}, "models": [] });
        observer.publish("sightline/down/plant/gw-1/desired", true, desired.to_string())?;
        let reported = observer.wait("the answer to the desired document", |m| {
            (m.topic == "sightline/live/plant/gw-1/reported" && m.json()["generation"] == 5).then(|| m.json())
        })?;
        assert_eq!(
            (&reported["authority"], &reported["outcome"]),
            (&"hub-7f3a".into(), &"accepted".into()),
            "{reported}"
        );
        let snapshot =
            observer.wait("a snapshot", |m| m.topic.ends_with("/cam/snapshot").then(|| m.payload.clone()))?;
        let picture = vision::decode_picture(&snapshot, &vision::Limits::default())?;
        assert!(picture.width() > 0);
        Ok(())
    });
}
