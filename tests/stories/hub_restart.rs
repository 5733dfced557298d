//! The hub is killed as by a power cut while predictions flow, and comes back: nothing is lost, nothing stands twice.

use contract::Kind;
use world::{Config, Edge, Hub, lake, story, wait};

use crate::common::{free_port, tiny};

#[test]
fn a_killed_hub_loses_nothing() {
    story(|folder| {
        let ports = Config::new()
            .set("listen", format!("127.0.0.1:{}", free_port()?))
            .set("broker.listen", format!("127.0.0.1:{}", free_port()?))
            .set("s3.listen", format!("127.0.0.1:{}", free_port()?));
        let mut hub = Hub::start(folder, ports)?;
        let config = tiny()?.set("cameras.cam.uri", "test:ball?fps=25").set("cameras.cam.regions.full.fps", "every");
        let mut edge = Edge::start(folder, &hub, config)?;
        for round in 1..=2 {
            let before = hub.lake()?.wait_rows(Kind::Prediction, 20 * round)?.len();
            hub = hub.kill_and_restart()?;
            wait::until("predictions after the restart", || {
                Ok((hub.lake()?.rows(Kind::Prediction)?.len() > before + 20).then_some(()))
            })?;
        }
        let summary = edge.stop()?;
        let made = summary.classified as usize;
        let rows = hub.committed_rows(Kind::Prediction)?;
        assert_eq!(lake::holes_and_doubles(&rows), (vec![], vec![]));
        assert_eq!(rows.len(), made, "{summary:?}");
        assert!(hub.committed_rows(Kind::Gap)?.is_empty());
        Ok(())
    });
}

#[test]
fn an_agent_that_starts_before_its_hub_waits_and_delivers() {
    story(|folder| {
        let port = free_port()?;
        let config = tiny()?
            .set("cameras.cam.uri", "test:")
            .set("cameras.cam.regions.full.fps", "every")
            .set("mqtt.url", format!("mqtt://127.0.0.1:{port}"));
        let mut edge = Edge::start_alone(folder, config)?;
        edge.process.log().find(wait::PATIENCE, |line| line.to_lowercase().contains("mqtt").then_some(()));
        let hub = Hub::start(folder, Config::new().set("broker.listen", format!("127.0.0.1:{port}")))?;
        let rows = hub.lake()?.wait_rows(Kind::Prediction, 10)?;
        assert!(rows.iter().any(|row| row["seq"] == 0), "the first prediction was made before there was a hub");
        let summary = edge.stop()?;
        let rows = hub.lake()?.rows(Kind::Prediction)?;
        assert_eq!((rows.len() as u64, lake::holes_and_doubles(&rows)), (summary.classified, (vec![], vec![])));
        Ok(())
    });
}
