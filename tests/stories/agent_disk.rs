//! The disk of a gateway: it fills up while the agent runs, or holds an outbox that this version must not touch.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use contract::Kind;
use serde_json::{Value, json};
use world::{Config, Edge, Hub, Process, Rest, SmallDisk, edge, lake, story, wait};

use crate::common::{is_prediction, one_camera};

/// The agent's own state folder on a small disk.
fn start_on(disk: &SmallDisk, folder: &Path, hub: &Hub) -> Result<(Process, Rest)> {
    let config = one_camera("test:ball?width=160&height=120&fps=25")?
        .set("mqtt.url", format!("mqtt://{}", hub.mqtt()?))
        .set("health.interval", "1s");
    let file = edge::with_defaults(config)?.write(folder, "edge.toml")?;
    let mut command = Process::command("sightline-edge")?;
    command.arg("run").arg("--config").arg(file).arg("--state").arg(disk.folder().join("edge"));
    let mut process = Process::start("sightline-edge", &mut disk.run(&command))?;
    let ready = process.ready()?;
    let admin = Rest::plain(ready["admin"].as_str().context("ready line of the agent names no admin address")?)?;
    Ok((process, admin))
}

#[test]
fn an_agent_whose_disk_fills_up_goes_on_and_says_what_it_loses() {
    story(|folder| {
        let place = folder.join("disk");
        fs::create_dir(&place)?;
        let disk = SmallDisk::new(&place, 2 << 10)?;
        let hub = Hub::start(folder, Config::new())?;
        let observer = hub.observe()?;
        let (mut process, admin) = start_on(&disk, folder, &hub)?;
        hub.lake()?.wait_rows(Kind::Prediction, 5)?;
        let ballast = disk.seen_by(process.id()).join("filling");
        ensure!(fs::write(&ballast, vec![1u8; 2 << 20]).is_err(), "the small disk took 2 MiB beside the agent's files");
        let said = |words: &'static str| {
            let line = process.log().find(wait::PATIENCE, |line| line.contains(words).then(|| line.to_owned()));
            line.with_context(|| format!("the log does not say `{words}`"))
        };
        let line = said("outbox cannot keep records")?;
        let which_and_why = ["/outbox/", "space"];
        assert!(which_and_why.iter().all(|word| line.to_lowercase().contains(word)), "which file, and why: {line}");
        observer.wait("the full disk in the health record", |m| {
            let why = m.json()["outbox"].as_str().map(str::to_lowercase);
            (m.topic.ends_with("/health") && why.is_some_and(|why| why.contains("space"))).then_some(())
        })?;
        let seen = observer.messages().iter().filter(|m| is_prediction(m, "cam")).count();
        observer.wait_count("live predictions meanwhile", seen + 25, |m| is_prediction(m, "cam"))?;
        // The reserve in the open segment takes some records even now: only what is beyond it is lost.
        wait::until("predictions that the full disk did not take", || {
            let text = admin.get("/metrics")?.text();
            let lost = text.lines().find(|line| line.starts_with("sightline_outbox_lost_total{kind=\"prediction\"}"));
            Ok(lost.filter(|line| !line.ends_with(" 0")).map(drop))
        })?;

        fs::remove_file(&ballast)?;
        said("outbox keeps records again")?;
        hub.lake()?.wait_rows(Kind::Gap, 1)?;
        process.terminate(edge::DRAIN)?;
        let gaps = hub.lake()?.rows(Kind::Gap)?;
        assert!(gaps.iter().all(|gap| gap["reason"] == "disk" || gap["reason"] == "overflow"), "{gaps:?}");
        let (holes, doubles) = lake::holes_and_doubles(&hub.lake()?.rows(Kind::Prediction)?);
        let named = |seq: &i64| {
            gaps.iter().any(|gap| {
                let number = |key: &str| gap[key].as_i64().unwrap_or_default();
                gap["gap_kind"] == "prediction" && (number("from_seq")..number("to_seq")).contains(seq)
            })
        };
        assert!(!holes.is_empty() && holes.iter().all(named) && doubles.is_empty(), "{holes:?} {doubles:?} {gaps:?}");
        Ok(())
    });
}

#[test]
fn an_outbox_of_a_newer_version_is_refused_and_not_touched() {
    story(|folder| {
        let config = one_camera("test:")?.set("mqtt.url", "mqtt://127.0.0.1:1").set("shutdown.archive_wait", "0s");
        let mut edge = Edge::start_alone(folder, config)?;
        edge.process.terminate(edge::DRAIN)?;
        let path = edge.state.join("outbox/superblock.json");
        let mut superblock: Value = serde_json::from_slice(&fs::read(&path)?)?;
        superblock["version"] = json!(7);
        fs::write(&path, superblock.to_string())?;
        let before = contents(&edge.state.join("outbox"))?;
        let mut command = Process::command("sightline-edge")?;
        command.arg("run").arg("--config").arg(folder.join("edge.toml")).arg("--state").arg(&edge.state);
        let ended = Process::start("sightline-edge", &mut command)?.ended(wait::PATIENCE)?;
        let words = ["the outbox was written by a newer version", "superblock.json has version 7", "run that version"];
        for word in words {
            assert!(ended.text().contains(word), "`{word}` is not in\n{}", ended.text());
        }
        assert_eq!(ended.code, Some(5), "{}", ended.text());
        assert!(contents(&edge.state.join("outbox"))? == before, "the folder was changed");
        Ok(())
    });
}

fn contents(folder: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        all.push((entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path())?));
    }
    all.sort();
    Ok(all)
}
