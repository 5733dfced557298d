//! The agent is killed with -9 while it works, with a hub and without one: what it ever showed is in the lake, once.

use std::{collections::BTreeSet, time::Duration};

use contract::Kind;
use world::{Config, Edge, Hub, lake, story, wait};

use crate::common::{free_port, tiny};

/// Predictions and events of one moving picture.
fn busy() -> anyhow::Result<Config> {
    let camera = tiny()?.set("cameras.cam.uri", "test:ball?width=320&height=240&fps=25");
    Ok(camera
        .set("cameras.cam.regions.full.fps", "every")
        .set("cameras.cam.regions.full.events.min_score", 0.0)
        .set("cameras.cam.regions.full.samples.periodic", "1s"))
}

#[test]
fn a_killed_agent_loses_nothing() {
    story(|folder| {
        let hub = Hub::start(folder, Config::new())?;
        let observer = hub.observe()?;
        let mut edge = Edge::start(folder, &hub, busy()?)?;
        for round in 1..=3 {
            hub.lake()?.wait_rows(Kind::Prediction, 20 * round)?;
            edge = edge.kill_and_restart()?;
        }
        let before = hub.lake()?.rows(Kind::Prediction)?.len();
        hub.lake()?.wait_rows(Kind::Prediction, before + 20)?;
        edge.stop()?;
        for kind in [Kind::Prediction, Kind::Event, Kind::Sample, Kind::Health] {
            let rows = hub.lake()?.rows(kind)?;
            assert_eq!(lake::holes_and_doubles(&rows), (vec![], vec![]), "{kind}");
            let epochs: BTreeSet<_> = rows.iter().map(|row| row["epoch"].to_string()).collect();
            assert!(epochs.len() <= 1, "a restart goes on with the log: {epochs:?}");
        }
        assert!(hub.lake()?.rows(Kind::Gap)?.is_empty());
        let rows = hub.lake()?.rows(Kind::Prediction)?;
        let frames: BTreeSet<_> = rows.iter().map(|row| row["frame_id"].to_string()).collect();
        assert_eq!(frames.len(), rows.len(), "no frame is numbered twice");
        let archived = lake::addresses(&rows);
        for message in observer.ending("/prediction") {
            let json = message.json();
            let address = (json["epoch"].as_str().unwrap_or_default().to_owned(), json["seq"].as_i64().unwrap_or(-1));
            assert!(archived.contains_key(&address), "{address:?} was seen live and is not in the lake");
        }
        Ok(())
    });
}

#[test]
fn what_an_agent_made_without_a_hub_outlives_it() {
    story(|folder| {
        let port = free_port()?;
        let config = busy()?.set("mqtt.url", format!("mqtt://127.0.0.1:{port}"));
        let edge = Edge::start_alone(folder, config)?;
        let admin = edge.admin()?;
        let made = |admin: &world::Rest| -> anyhow::Result<f64> {
            let text = admin.get("/metrics")?.text();
            let lines = text.lines().filter(|line| line.starts_with("sightline_outbox_records{kind=\"prediction\"}"));
            Ok(lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
        };
        let held = wait::until("predictions in the outbox", || Ok(Some(made(&admin)?).filter(|n| *n >= 50.0)))?;
        let mut edge = edge.kill_and_restart()?;
        let hub = Hub::start(folder, Config::new().set("broker.listen", format!("127.0.0.1:{port}")))?;
        hub.lake()?.wait_rows(Kind::Prediction, held as usize + 20)?;
        edge.process.terminate(Duration::from_secs(60))?;
        let rows = hub.lake()?.rows(Kind::Prediction)?;
        assert_eq!(lake::holes_and_doubles(&rows), (vec![], vec![]));
        assert!(rows.iter().any(|row| row["seq"] == 0) && hub.lake()?.rows(Kind::Gap)?.is_empty());
        Ok(())
    });
}
