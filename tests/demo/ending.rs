//! The end, from upstream to downstream, and the count of what arrived.
//!
//! The agent stops its cameras and waits until the hub says that everything is archived; then the test camera goes, then
//! the hub (last flush, broker). Only then, with the object store alone started again, the Parquet objects are read: what
//! counts as archived is what a stranger finds on disk afterwards.

use std::path::Path;

use anyhow::{Context, Result};
use contract::Kind;
use world::{Config, Hub, Lake, lake};

use crate::{
    counts::Counts,
    stage::{Stage, say},
};

/// Stops everything in order, and counts.
pub fn stop_and_count(stage: Stage) -> Result<Counts> {
    let Stage { hub, camera, mut edge } = stage;
    say("stopping the cameras; the agent sends what it still holds");
    let summary = edge.stop().context("stop the agent")?;
    drop(camera);
    say("stopping the hub: last flush, then the broker");
    let state = hub.stop().context("stop the hub")?;
    say("counting the rows in the lake");
    let mut counts = read_lake(&state)?;
    (counts.classified, counts.published) = (summary.classified, summary.published);
    Ok(counts)
}

fn read_lake(state: &Path) -> Result<Counts> {
    let folder = state.parent().unwrap_or(state);
    let config = Config::new().set("s3.listen", "127.0.0.1:0").write(folder, "reader.toml")?;
    let store = Hub::start_with(state, &config, &["--roles", "objects"])?;
    let rows = Lake::open(state)?.rows(Kind::Prediction)?;
    let (holes, doubles) = lake::holes_and_doubles(&rows);
    let mut counts = Counts { holes, doubles, ..Counts::default() };
    for row in &rows {
        *counts.archived.entry(row["camera"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
    }
    store.stop().context("stop the object store")?;
    Ok(counts)
}
