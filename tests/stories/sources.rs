//! Each kind of source, side by side in one agent: RTSP (with a login), folders, a polled snapshot, MJPEG, a test picture.

use anyhow::{Context, Result};
use axum::{
    Router,
    body::Body,
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
    routing::get,
};
use contract::Kind;
use world::{Config, Edge, Hub, TestCamera, lake, media, rest::block_on, story, wait};

use crate::common::tiny;

#[test]
fn every_kind_of_source_is_classified() {
    story(|folder| {
        let (video, pictures) = (folder.join("video.mp4"), folder.join("pictures"));
        media::video(&video, 320, 240, 50)?;
        media::pictures(&pictures, 200, 150, 7)?;
        let camera = TestCamera::with(&video, &["--user", "viewer", "--password", "open sesame/1"])?;
        let web = snapshots(media::jpeg(160, 120)?)?;
        let hub = Hub::start(folder, Config::new())?;
        let config = tiny()?
            .set("cameras.rtsp.uri", camera.url.clone())
            .set("cameras.rtsp.username", "viewer")
            .set("cameras.rtsp.password", "open sesame/1")
            .set("cameras.folder.uri", format!("folder:{}", pictures.display()))
            .set("cameras.folder.play", "once")
            .set("cameras.folder.regions.full.fps", "every")
            .set("cameras.snapshot.uri", format!("http://{web}/snapshot.jpg"))
            .set("cameras.snapshot.interval", "200ms")
            .set("cameras.mjpeg.uri", format!("http://{web}/mjpeg"))
            .set("cameras.test.uri", "test:");
        let edge = Edge::start(folder, &hub, config)?;
        let sources = ["rtsp", "folder", "snapshot", "mjpeg", "test"];
        let rows = wait::until("3 rows of each source", || {
            let rows = hub.lake()?.rows(Kind::Prediction)?;
            let enough = |camera: &str| rows.iter().filter(|row| row["camera"] == camera).count() >= 3;
            Ok(sources.iter().all(|camera| enough(camera)).then_some(rows))
        })?;
        assert_eq!(lake::holes_and_doubles(&rows), (vec![], vec![]));
        wait::until("all 7 pictures of the folder", || {
            let rows = hub.lake()?.rows(Kind::Prediction)?;
            Ok((rows.iter().filter(|row| row["camera"] == "folder").count() == 7).then_some(()))
        })?;
        wait::until("capture times from the camera's own clock", || {
            let rows = hub.lake()?.rows(Kind::Prediction)?;
            let by_reference = |row: &world::Row| row["camera"] == "rtsp" && row["captured_source"] == "reference";
            Ok(rows.iter().any(by_reference).then_some(()))
        })?;
        let log = edge.process.log().text();
        assert!(!log.contains("open sesame"), "the log shows a password");
        Ok(())
    });
}

#[test]
fn a_picture_that_comes_into_a_watched_folder_is_classified() {
    story(|folder| {
        let pictures = folder.join("pictures");
        media::pictures(&pictures, 64, 64, 1)?;
        let hub = Hub::start(folder, Config::new())?;
        let config = tiny()?
            .set("cameras.cam.uri", format!("folder:{}", pictures.display()))
            .set("cameras.cam.play", "watch")
            .set("cameras.cam.interval", "100ms")
            .set("cameras.cam.regions.full.fps", "every");
        let _edge = Edge::start(folder, &hub, config)?;
        hub.lake()?.wait_rows(Kind::Prediction, 1)?;
        std::fs::write(folder.join("new.jpg"), media::jpeg(64, 64)?)?;
        std::fs::rename(folder.join("new.jpg"), pictures.join("new.jpg"))?;
        hub.lake()?.wait_rows(Kind::Prediction, 2).map(drop)
    });
}

/// A web server with one picture: as a snapshot, and as an endless MJPEG stream. Gives its address.
fn snapshots(jpeg: Vec<u8>) -> Result<String> {
    let stream = jpeg.clone();
    let app = Router::new()
        .route("/snapshot.jpg", get(move || async move { ([(CONTENT_TYPE, "image/jpeg")], jpeg).into_response() }))
        .route("/mjpeg", get(move || async move { mjpeg(stream) }));
    block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        tokio::spawn(async move { axum::serve(listener, app).await });
        Ok(address)
    })
}

fn mjpeg(jpeg: Vec<u8>) -> Response {
    let (sender, receiver) = tokio::sync::mpsc::channel::<Result<Vec<u8>, std::io::Error>>(1);
    tokio::spawn(async move {
        let head = format!("--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n", jpeg.len());
        let part = [head.as_bytes(), &jpeg, b"\r\n"].concat();
        let mut ticks = tokio::time::interval(std::time::Duration::from_millis(100));
        while sender.send(Ok(part.clone())).await.is_ok() {
            ticks.tick().await;
        }
    });
    let parts = futures::stream::unfold(receiver, |mut r| async { r.recv().await.map(|part| (part, r)) });
    let kind = (CONTENT_TYPE, "multipart/x-mixed-replace; boundary=frame");
    ([kind], Body::from_stream(parts)).into_response()
}

#[test]
fn the_loop_of_a_test_camera_outlives_its_video() {
    story(|folder| {
        let video = folder.join("video.mp4");
        media::video(&video, 160, 120, 10)?; // 0.4 s
        let camera = TestCamera::start(&video)?;
        let hub = Hub::start(folder, Config::new())?;
        let config = tiny()?.set("cameras.cam.uri", camera.url.clone()).set("cameras.cam.regions.full.fps", "every");
        let _edge = Edge::start(folder, &hub, config)?;
        let rows = hub.lake()?.wait_rows(Kind::Prediction, 40)?;
        let captured: Vec<i64> = rows.iter().filter_map(|row| row["captured_at"].as_i64()).collect();
        captured.first().context("no row").map(drop)
    });
}
