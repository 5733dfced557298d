//! Cameras that fail say why, are tried again, and leave the others alone.

use anyhow::{Context, Result};
use contract::Kind;
use world::{Config, Edge, Hub, Observer, TestCamera, media, story, wait};

use crate::common::{is_prediction, tiny};

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
            .set("cameras.nobody.uri", "rtsp://u:wrong-secret@127.0.0.1:1/nobody?password=wrong-secret")
            .set("cameras.snap.uri", "http://u:wrong-secret@127.0.0.1:1/snap.jpg?pwd=wrong-secret");
        let edge = Edge::start(folder, &hub, config)?;
        for (camera, words) in [
            ("absent", &["file `", "absent.mp4`", "cannot be opened: No such file"][..]),
            ("notes", &["notes.mp4`", "is not a video that GStreamer can read"]),
            ("locked", &[locked.url.as_str(), "refuses the user name and password", "set `username` and `password`"]),
            ("nobody", &["camera at rtsp://127.0.0.1:1/nobody", "cannot be reached"]),
            ("snap", &["camera at http://127.0.0.1:1/snap.jpg", "cannot be reached"]),
        ] {
            let said = reason(&observer, camera)?;
            assert!(words.iter().all(|word| said.contains(word)), "camera {camera} says only: {said}");
        }
        hub.lake()?.wait_rows(Kind::Prediction, 5)?;
        let rows = hub.lake()?.rows(Kind::Prediction)?;
        assert!(rows.iter().all(|row| row["camera"] == "good"));
        assert!(!edge.process.log().text().contains("wrong-secret"), "the log shows a password");
        let telling = |m: &world::Message| String::from_utf8_lossy(&m.payload).contains("wrong-secret");
        observer.wait("the settings in force", |m| m.topic.ends_with("/reported").then_some(()))?;
        let messages = observer.messages();
        let told: Vec<_> = messages.iter().filter(|m| telling(m)).map(|m| &m.topic).collect();
        assert!(told.is_empty(), "a password stands on {told:?}");
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
fn a_camera_that_dies_or_freezes_is_seen_again_when_it_is_back() {
    story(|folder| {
        let video = folder.join("video.mp4");
        media::video(&video, 160, 120, 25)?;
        let mut camera = TestCamera::start(&video)?;
        let hub = Hub::start(folder, Config::new())?;
        let observer = hub.observe()?;
        let config = tiny()?
            .set("cameras.cam.uri", camera.url.clone())
            .set("cameras.cam.stall", "2s")
            .set("cameras.cam.regions.full.fps", "every");
        let _edge = Edge::start(folder, &hub, config)?;
        let seen = || observer.messages().iter().filter(|m| is_prediction(m, "cam")).count();
        let more = |what: &str| observer.wait_count(what, seen() + 5, |m| is_prediction(m, "cam"));
        more("predictions")?;

        let port = camera.url.rsplit(':').next().and_then(|rest| rest.split('/').next()).context("port")?.to_owned();
        camera.process.kill()?;
        let said = reason(&observer, "cam")?;
        assert!(said.contains("has ended its stream") || said.contains("cannot be reached"), "{said}");
        camera = TestCamera::with(&video, &["--port", &port])?;
        more("predictions of the camera that came back")?;

        camera.freeze()?;
        observer.wait("the stall in the camera's status", |m| {
            let stalled = m.topic.ends_with("/cam/status") && m.json()["status"] == "offline";
            (stalled && m.json()["reason"] == "no frame came for 2 s").then_some(())
        })?;
        camera.freeze()?;
        more("predictions of the camera that thawed")
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
