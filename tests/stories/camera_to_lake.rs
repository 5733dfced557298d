//! A file camera, every frame: each becomes one prediction, each prediction one row, once; what was live is what is kept.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use contract::{Archived, Epoch, Kind};
use world::{Config, Edge, Hub, Observer, Row, lake, media, story, wait};

use crate::common::{file, is_prediction, one_camera};

const FRAMES: usize = 60;

#[test]
fn every_frame_of_a_video_is_one_row_and_live_agrees() {
    story(|folder| {
        let video = folder.join("video.mp4");
        media::video(&video, 320, 240, FRAMES as u32)?;
        let hub = Hub::start(folder, Config::new())?;
        let observer = Observer::start(
            &format!("mqtt://{}", hub.mqtt()?),
            &["sightline/live/#", "sightline/up/#", "sightline/down/#"],
        )?;
        let config = one_camera(&file(&video))?.set("cameras.cam.play", "once").set("health.interval", "1s");
        let mut edge = Edge::start(folder, &hub, config)?;

        let rows = hub.lake()?.wait_rows(Kind::Prediction, FRAMES)?;
        assert_eq!(lake::holes_and_doubles(&rows), (vec![], vec![]));
        let frames: std::collections::BTreeSet<_> = rows.iter().map(|row| row["frame_id"].as_str()).collect();
        assert_eq!((rows.len(), frames.len()), (FRAMES, FRAMES));

        let by_seq: BTreeMap<u64, &Row> = rows.iter().map(|row| (row["seq"].as_u64().unwrap_or(0), row)).collect();
        let live: Vec<_> = observer.messages().into_iter().filter(|m| is_prediction(m, "cam")).collect();
        assert!(!live.is_empty(), "no prediction was seen live");
        for message in &live {
            let json = message.json();
            let row = by_seq[&json["seq"].as_u64().context("seq")?];
            for key in ["labels", "frame_id", "epoch", "site", "gateway", "camera", "region"] {
                assert_eq!(json[key], row[key], "{key} of {json}");
            }
            assert_scores(&json["scores"], &row["scores"]);
        }

        let epoch: Epoch = rows[0]["epoch"].as_str().context("epoch")?.parse()?;
        wait::until("the watermark to pass the last prediction", || {
            let document = observer.last("sightline/down/plant/gw-1/archived").context("no watermark yet")?;
            let archived: Archived = serde_json::from_slice(&document.payload)?;
            Ok(archived.of(epoch, Kind::Prediction).filter(|kind| kind.upto == FRAMES as u64).map(drop))
        })?;

        let summary = edge.stop()?;
        assert_eq!((summary.classified, summary.published), (FRAMES as u64, FRAMES as u64));
        let status = observer.wait("the gateway to be offline", |m| {
            (m.topic == "sightline/live/plant/gw-1/status" && m.json()["status"] == "offline").then(|| m.json())
        })?;
        assert_eq!(status["status"], "offline");
        Ok(())
    });
}

/// The same numbers; Parquet holds 32-bit floats, JSON their shortest text.
fn assert_scores(live: &serde_json::Value, row: &serde_json::Value) {
    let floats = |v: &serde_json::Value| -> Vec<f32> {
        v.as_array().into_iter().flatten().map(|s| s.as_f64().unwrap_or(-1.0) as f32).collect()
    };
    assert_eq!(floats(live), floats(row));
    assert!(!floats(row).is_empty());
}

#[test]
fn a_video_played_fast_loses_nothing() {
    story(|folder| {
        let video = folder.join("video.mp4");
        media::video(&video, 320, 240, 300)?;
        let hub = Hub::start(folder, Config::new())?;
        let mut edge = Edge::start(folder, &hub, one_camera(&file(&video))?.set("cameras.cam.play", "fast"))?;
        let rows = hub.lake()?.wait_rows(Kind::Prediction, 300)?;
        assert_eq!(lake::holes_and_doubles(&rows), (vec![], vec![]));
        assert_eq!(edge.stop()?.classified, 300);
        check_partitions(&rows)
    });
}

/// Objects stand in the partition of their rows' time, and are sorted.
fn check_partitions(rows: &[Row]) -> Result<()> {
    for row in rows {
        let at = contract::Timestamp(row["corrected_at"].as_i64().context("corrected_at")?);
        let (year, month, day) = at.date();
        let partition = format!("lake/kind=prediction/date={year:04}-{month:02}-{day:02}/hour={:02}/", at.hour());
        let object = row["object"].as_str().context("object")?;
        assert!(object.starts_with(&partition), "row of {at} stands in {object}");
    }
    Ok(())
}
