//! Regions: pixels and fractions, a model and a rate of their own, and the refusal of one that is not in the picture.

use anyhow::{Context, Result};
use contract::Kind;
use toml::{Table, Value};
use world::{Config, Edge, Hub, runtime, story, wait};

use crate::common::tiny;

fn rect(text: &str) -> Result<Value> {
    let table: Table = format!("rect = {text}").parse()?;
    Ok(table["rect"].clone())
}

#[test]
fn regions_see_their_own_part_by_their_own_model() {
    story(|folder| {
        let hub = Hub::start(folder, Config::new())?;
        let region = |name: &str, key: &str| format!("cameras.cam.regions.{name}.{key}");
        let config = tiny()?
            .set("models.people", runtime::model()?.display().to_string())
            .set("cameras.cam.uri", "test:")
            .set(&region("left", "rect"), rect("{ x = 0.0, y = 0.0, width = 0.5, height = 1.0 }")?)
            .set(&region("left", "samples.periodic"), "500ms")
            .set(&region("spot", "rect"), rect("{ x = 10, y = 20, width = 64, height = 32 }")?)
            .set(&region("spot", "samples.periodic"), "500ms")
            .set(&region("spot", "model"), "people")
            .set(&region("spot", "fps"), 2);
        let _edge = Edge::start(folder, &hub, config)?;
        let sample = |name: &str| {
            wait::until(&format!("a sample of region {name}"), || {
                Ok(hub.lake()?.rows(Kind::Sample)?.into_iter().find(|row| row["region"] == name))
            })
        };
        let (left, spot) = (sample("left")?, sample("spot")?);
        let width = left["width"].as_i64().context("width")?;
        assert_eq!(left["region_rect"], serde_json::json!([0, 0, width / 2, left["height"]]));
        assert_eq!(spot["region_rect"], serde_json::json!([10, 20, 64, 32]));
        assert_ne!(left["model_digest"], spot["model_digest"]);
        assert_eq!(spot["input_shape"].as_array().map(Vec::len), Some(3));
        Ok(())
    });
}

#[test]
fn a_region_outside_the_picture_is_named_with_both_sizes() {
    story(|folder| {
        let hub = Hub::start(folder, Config::new())?;
        let observer = hub.observe()?;
        let config = tiny()?
            .set("cameras.cam.uri", "test:ball?width=320&height=240")
            .set("cameras.cam.regions.far.rect", rect("{ x = 300, y = 20, width = 64, height = 32 }")?)
            .set("cameras.good.uri", "test:");
        let edge = Edge::start(folder, &hub, config)?;
        observer.wait("the good camera's prediction", |m| m.topic.ends_with("good/full/prediction").then_some(()))?;
        let said = edge.process.log().find(wait::PATIENCE, |line| {
            (line.contains("far") && line.contains("320") && line.contains("300")).then(|| line.to_owned())
        });
        said.context("no line of the log names region, rectangle and picture").map(drop)
    });
}
