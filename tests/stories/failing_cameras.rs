//! Cameras that fail say why, are tried again, and leave the others alone.

use anyhow::{Context, Result};
use contract::Kind;
use world::{Config, Edge, Hub, Observer, TestCamera, media, story, wait};

use crate::common::tiny;

fn reason(observer: &Observer, camera: &str) -> Result<String> {
    let topic = format!("sightline/live/plant/gw-1/{camera}/status");
    observer.wait(&format!("why camera {camera} is offline"), |m| {
        let json = m.json();
        let failed = m.topic == topic && json["status"] == "offline" && json["reason"] != "starting";
        failed.then(|| json["reason"].as_str().map(str::to_owned)).flatten()
    })
}

#[test]
fn each_failure_has_its_reason_and_others_go_on() {
    story(|folder| {
        let video = folder.join("video.mp4");
        media::video(&video, 160, 120, 25)?;
        let not_a_video = folder.join("notes.mp4");
        std::fs::write(&not_a_video, "these are notes, not a video\n".repeat(100))?;
        let locked = TestCamera::with(&video, &["--user", "viewer", "--password", "right"])?;
        let hub = Hub::start(folder, Config::new())?;
        let observer = hub.observe()?;
        let config = tiny()?
            .set("cameras.good.uri", "test:")
            .set("cameras.absent.uri", format!("file:{}", folder.join("absent.mp4").display()))
            .set("cameras.notes.uri", format!("file:{}", not_a_video.display()))
            .set("cameras.locked.uri", locked.url.clone())
            .set("cameras.locked.username", "viewer")
            .set("cameras.locked.password", "wrong-secret")
            .set("cameras.nobody.uri", "rtsp://127.0.0.1:1/nobody");
        let edge = Edge::start(folder, &hub, config)?;
        for (camera, words) in [
            ("absent", &["absent.mp4"][..]),
            ("notes", &["notes.mp4"]),
            ("locked", &["password", "credentials", "401", "nauthori"]),
            ("nobody", &["127.0.0.1:1", "connect", "refused"]),
        ] {
            let said = reason(&observer, camera)?;
            assert!(words.iter().any(|word| said.contains(word)), "camera {camera} says only: {said}");
        }
        hub.lake()?.wait_rows(Kind::Prediction, 5)?;
        let rows = hub.lake()?.rows(Kind::Prediction)?;
        assert!(rows.iter().all(|row| row["camera"] == "good"));
        assert!(!edge.process.log().text().contains("wrong-secret"), "the log shows a password");
        Ok(())
    });
}

#[test]
fn a_file_that_appears_later_is_played_then() {
    story(|folder| {
        let video = folder.join("later.mp4");
        let hub = Hub::start(folder, Config::new())?;
        let observer = hub.observe()?;
        let config = tiny()?.set("cameras.cam.uri", format!("file:{}", video.display()));
        let _edge = Edge::start(folder, &hub, config.set("cameras.cam.play", "loop"))?;
        reason(&observer, "cam")?;
        let elsewhere = folder.join("made.mp4");
        media::video(&elsewhere, 160, 120, 25)?;
        std::fs::rename(elsewhere, video)?;
        hub.lake()?.wait_rows(Kind::Prediction, 3).map(drop)
    });
}

#[test]
fn a_stream_that_changes_its_size_goes_on() {
    story(|folder| {
        let (small, large) = (folder.join("small.mp4"), folder.join("large.mp4"));
        media::video(&small, 320, 240, 25)?;
        media::video(&large, 640, 480, 25)?;
        let camera = TestCamera::with(&small, &["--then", &large.display().to_string()])?;
        let hub = Hub::start(folder, Config::new())?;
        let config = tiny()?
            .set("cameras.cam.uri", camera.url.clone())
            .set("cameras.cam.regions.full.fps", 10)
            .set("cameras.cam.regions.full.samples.periodic", "300ms");
        let _edge = Edge::start(folder, &hub, config)?;
        let seen = |width: i64| {
            wait::until(&format!("a sample {width} pixels wide"), || {
                Ok(hub.lake()?.rows(Kind::Sample)?.into_iter().find(|row| row["width"] == width))
            })
        };
        seen(320)?;
        camera.switch()?;
        let row = seen(640)?;
        assert_eq!((&row["height"], row["region_rect"].as_array().context("rect")?.len()), (&480.into(), 4));
        Ok(())
    });
}
