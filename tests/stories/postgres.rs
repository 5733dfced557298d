//! The same path with Postgres for the tables: a private cluster, on a socket and port of its own.

use contract::Kind;
use world::{Config, Edge, Hub, Postgres, lake, story};

use crate::common::tiny;

#[test]
fn the_tables_may_be_in_postgres() {
    story(|folder| {
        let postgres = Postgres::start(folder)?;
        let hub = Hub::start(folder, Config::new().set("tables", postgres.url()))?;
        let config = tiny()?.set("cameras.cam.uri", "test:ball?fps=25").set("cameras.cam.regions.full.fps", "every");
        let mut edge = Edge::start(folder, &hub, config)?;
        hub.lake()?.wait_rows(Kind::Prediction, 20)?;
        let summary = edge.stop()?;
        let rows = hub.lake()?.rows(Kind::Prediction)?;
        assert_eq!(lake::holes_and_doubles(&rows), (vec![], vec![]));
        assert_eq!(rows.len() as u64, summary.classified);
        let page = hub.rest()?.json("/api/v1/predictions?camera=cam&limit=5")?;
        assert!(page.to_string().contains("\"seq\""), "{page}");
        Ok(())
    });
}
