//! The hub as the last engine: it answers what no engine of the gateway can, marked, and the gateway comes home.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result};
use contract::Kind;
use world::{Config, Edge, Hub, Observer, Row, runtime, story, wait};

use crate::common::{free_port, tiny};

/// A hub with the small model in a folder of packages, on a port that it comes back to.
fn hub(folder: &Path) -> Result<Hub> {
    let packages = folder.join("packages");
    fs::create_dir(&packages)?;
    std::os::unix::fs::symlink(runtime::tiny_model()?, packages.join("tiny"))?;
    let config = Config::new()
        .set("listen", format!("127.0.0.1:{}", free_port()?))
        .set("broker.listen", format!("127.0.0.1:{}", free_port()?))
        .set("inference.models", packages.display().to_string())
        .set("inference.library", runtime::onnxruntime()?.display().to_string());
    Hub::start(folder, config)
}

/// An agent whose ONNX Runtime is where `library` says.
fn agent(hub: &Hub, library: &Path) -> Result<Config> {
    Ok(tiny()?
        .set("cameras.cam.uri", "test:ball?width=320&height=240&fps=20")
        .set("cameras.cam.regions.full.fps", "every")
        .set("engines.library", library.display().to_string())
        .set("engines.hub.url", format!("http://{}", hub.http()?)))
}

fn by<'r>(rows: &'r [Row], engine: &str) -> Vec<&'r Row> {
    rows.iter().filter(|row| row["engine"] == *engine).collect()
}

fn engine_of(observer: &Observer) -> Result<String> {
    let status = observer.last("sightline/live/plant/gw-1/status").context("no status yet")?.json();
    Ok(status["engine"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn the_hub_answers_what_the_gateway_cannot_and_the_gateway_comes_home() {
    story(|folder| {
        let hub = hub(folder)?;
        let observer = hub.observe()?;
        let library = folder.join("libonnxruntime.so");
        let mut edge = Edge::start(folder, &hub, agent(&hub, &library)?)?;
        let lake = hub.lake()?;
        lake.wait_rows(Kind::Prediction, 20)?;
        assert!(engine_of(&observer)?.starts_with("hub "), "{}", engine_of(&observer)?);

        // The library is put in its place while the gateway runs.
        std::os::unix::fs::symlink(runtime::onnxruntime()?, &library)?;
        wait::until("the gateway to use its own engine", || {
            Ok(engine_of(&observer)?.starts_with("ort-cpu ").then_some(()))
        })?;
        wait::until("predictions by it", || {
            Ok((by(&lake.rows(Kind::Prediction)?, "ort-cpu").len() >= 20).then_some(()))
        })?;
        edge.stop()?;

        let rows = lake.rows(Kind::Prediction)?;
        for (engine, served_by) in [("hub", "hub"), ("ort-cpu", "gateway")] {
            let mine = by(&rows, engine);
            assert!(mine.len() >= 20 && mine.iter().all(|row| row["served_by"] == *served_by), "{engine}");
        }
        let mut frames: Vec<_> = rows.iter().map(|row| row["frame_id"].to_string()).collect();
        let all = frames.len();
        frames.sort();
        frames.dedup();
        assert_eq!(frames.len(), all, "a frame was answered twice");
        let health = lake.rows(Kind::Health)?;
        let told =
            |words: &str| health.iter().any(|row| row["engine_reason"].as_str().is_some_and(|why| why.contains(words)));
        assert!(told("`hub` is the first that works") && told("`ort-cpu` refused: "), "{health:?}");
        Ok(())
    });
}

#[test]
fn a_hub_that_is_away_is_said_and_what_it_does_not_answer_is_counted() {
    story(|folder| {
        let mut hub = hub(folder)?;
        let config = agent(&hub, Path::new("/nowhere/libonnxruntime.so"))?.set("engines.hub.requests_per_second", 5.0);
        let edge = Edge::start(folder, &hub, config)?;
        let lake = hub.lake()?;
        lake.wait_rows(Kind::Prediction, 10)?;
        let admin = edge.admin()?;
        let metric = |name: &str| -> Result<f64> {
            let text = admin.get("/metrics")?.text();
            let line =
                text.lines().find(|line| line.starts_with(&format!("{name} "))).with_context(|| name.to_owned())?;
            Ok(line.rsplit(' ').next().unwrap_or_default().parse()?)
        };
        wait::until("a spent budget", || Ok((metric("sightline_engine_skipped_total")? > 5.0).then_some(())))?;
        assert_eq!(metric("sightline_engine_failing")?, 0.0, "what is skipped is no failure");

        hub.process.kill()?;
        wait::until("the gateway to say so", || {
            let ready = admin.get("/ready")?.text();
            Ok((ready.contains("hub at http://127.0.0.1:") && ready.contains("does not answer")).then_some(()))
        })?;
        assert!(metric("sightline_engine_failures_total")? > 0.0);
        let before = lake.rows(Kind::Prediction).map_or(0, |rows| rows.len());
        hub.restart()?;
        let lake = hub.lake()?;
        wait::until_within(Duration::from_secs(90), "the hub to be asked again", || {
            Ok((lake.rows(Kind::Prediction)?.len() >= before + 10).then_some(()))
        })?;
        assert!(lake.rows(Kind::Prediction)?.iter().all(|row| row["served_by"] == "hub"));
        Ok(())
    });
}
