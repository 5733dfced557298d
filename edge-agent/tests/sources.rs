//! Every kind of source with real pipelines: frames come, none is lost where none may be, mistakes are named.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use contract::live::Presence;
use edge_agent::{
    camera::{Play, uri::Userinfo},
    region::rate::Rate,
};
use frames::RectSpec;
use support::{launch, plan, start, video, wait_for};

/// GStreamer's test pictures and its JPEG encoder keep video's 16 to 235, whatever their caps say.
const WHITE: f32 = 230.0;
const BLACK: f32 = 20.0;

#[test]
fn test_pictures_of_every_format_are_classified() {
    for format in ["I420", "NV12", "GRAY8", "RGB"] {
        let uri = format!("test:white?width=321&height=241&fps=30&frames=5&format={format}");
        let seen = start(plan(&uri, Play::Fast), RectSpec::FULL, Rate::Every).all();
        assert_eq!(seen.len(), 5, "{format}");
        assert!(seen.iter().all(|s| s.size == (321, 241) && s.mean > WHITE), "{format}: {:?}", seen[0]);
        assert_eq!(seen.iter().map(|s| s.counter).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    }
}

#[test]
fn every_frame_of_a_file_counts_when_it_is_played_fast() {
    let dir = tempfile::tempdir().unwrap();
    let path = video(dir.path(), "a.mp4", 120, 640, 360);
    let seen = start(plan(&format!("file:{}", path.display()), Play::Fast), RectSpec::FULL, Rate::Every).all();
    assert_eq!(seen.len(), 120);
    assert!(seen.iter().any(|s| s.decode_us > 0), "decode times are measured");
}

#[test]
fn a_rate_counts_media_time_when_a_file_is_played_fast() {
    let dir = tempfile::tempdir().unwrap();
    let path = video(dir.path(), "a.mp4", 100, 320, 240);
    let seen = start(plan(&format!("file:{}", path.display()), Play::Fast), RectSpec::FULL, Rate::PerSecond(5.0)).all();
    assert!((19..=21).contains(&seen.len()), "4 s at 5 a second: {}", seen.len());
}

#[test]
fn a_file_is_played_again_and_again_at_its_own_rate() {
    let dir = tempfile::tempdir().unwrap();
    let path = video(dir.path(), "a.mp4", 10, 320, 240);
    let began = std::time::Instant::now();
    let camera = start(plan(&format!("file:{}", path.display()), Play::Loop), RectSpec::FULL, Rate::Every);
    let seen: Vec<_> = (0..25).map(|_| camera.next()).collect();
    assert!(seen.last().unwrap().counter >= 24);
    assert!(began.elapsed() >= Duration::from_millis(700), "25 frames a second: {:?}", began.elapsed());
    assert_eq!(camera.camera.state().presence, Presence::Online);
}

#[test]
fn a_camera_may_change_its_resolution_in_mid_stream() {
    let dir = tempfile::tempdir().unwrap();
    let parts = [video(dir.path(), "a.h264", 10, 640, 480), video(dir.path(), "b.h264", 10, 320, 240)];
    let whole = dir.path().join("ab.h264");
    std::fs::write(&whole, parts.map(|part| std::fs::read(part).unwrap()).concat()).unwrap();
    let rect: RectSpec = toml::from_str("x = 400\ny = 0\nwidth = 200\nheight = 100").unwrap();
    let camera = start(plan(&format!("file:{}", whole.display()), Play::Fast), rect, Rate::Every);
    let region = camera.region.clone();
    let seen = camera.all();
    assert_eq!(seen.len(), 10, "frames of the larger picture only: {seen:?}");
    let error = region.now().error.unwrap();
    assert!(error.contains("x = 400") && error.contains("320x240"), "{error}");
    let seen = start(plan(&format!("file:{}", whole.display()), Play::Fast), RectSpec::FULL, Rate::Every).all();
    let sizes: std::collections::BTreeSet<_> = seen.iter().map(|s| s.size).collect();
    assert_eq!((seen.len(), sizes.len()), (20, 2));
}

#[test]
fn wrong_files_are_named_and_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().join("notes.mp4");
    std::fs::write(&text, "this is no video\n".repeat(100)).unwrap();
    let audio = dir.path().join("tone.wav");
    launch(&format!("audiotestsrc num-buffers=20 ! wavenc ! filesink location={}", audio.display()));
    for (uri, parts) in [
        ("file:/nowhere/a.mp4".to_owned(), ["`/nowhere/a.mp4` cannot be opened", "No such file"]),
        (format!("file:{}", text.display()), ["is not a video", "notes.mp4"]),
        (format!("file:{}", audio.display()), ["no video stream", "tone.wav"]),
        ("folder:/nowhere".to_owned(), ["folder `/nowhere` cannot be opened", "No such file"]),
        ("v4l2:/dev/video99".to_owned(), ["device `/dev/video99` cannot be opened", "No such file"]),
    ] {
        let camera = start(plan(&uri, Play::Loop), RectSpec::FULL, Rate::Every);
        let reason = camera.failure();
        for part in parts {
            assert!(reason.contains(part), "{uri}: {reason}");
        }
        assert_eq!(camera.camera.state().presence, Presence::Offline);
    }
}

fn jpeg(dir: &std::path::Path, name: &str, pattern: &str) -> Vec<u8> {
    let path = dir.join(name);
    launch(&format!(
        "videotestsrc num-buffers=1 pattern={pattern} ! video/x-raw,format=I420,width=64,height=48 ! jpegenc ! filesink location={}",
        path.display()
    ));
    std::fs::read(path).unwrap()
}

#[test]
fn a_folder_is_shown_once_or_watched() {
    let dir = tempfile::tempdir().unwrap();
    for (name, pattern) in [("1.jpg", "white"), ("2.JPEG", "black")] {
        jpeg(dir.path(), name, pattern);
    }
    std::fs::write(dir.path().join("3.jpg"), b"\xff\xd8 torn").unwrap();
    std::fs::write(dir.path().join("readme.txt"), b"no picture").unwrap();
    let uri = format!("folder:{}", dir.path().display());
    let seen = start(plan(&uri, Play::Once), RectSpec::FULL, Rate::Every).all();
    assert!(seen.len() == 2 && seen[0].mean > WHITE && seen[1].mean < BLACK, "{seen:?}");

    let camera = start(plan(&uri, Play::Watch), RectSpec::FULL, Rate::Every);
    camera.next();
    camera.next();
    jpeg(dir.path(), "4.jpg", "white");
    assert_eq!(camera.next().counter, 2);
    camera.finish();

    let empty = tempfile::tempdir().unwrap();
    let camera = start(plan(&format!("folder:{}", empty.path().display()), Play::Once), RectSpec::FULL, Rate::Every);
    assert!(camera.failure().contains("no JPEG or PNG"));
}

/// Answers every request with what `answer` makes of it.
fn http(answer: impl Fn(&str) -> Vec<u8> + Send + 'static) -> String {
    format!("http://{}/pic", serve(|stream| stream, answer))
}

/// The same behind a certificate that nobody has signed; and that certificate, as PEM.
fn https(answer: impl Fn(&str) -> Vec<u8> + Send + 'static) -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let config = rustls::ServerConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .unwrap();
    let config = std::sync::Arc::new(config);
    let encrypted = move |stream| {
        let session = rustls::ServerConnection::new(config.clone()).unwrap();
        rustls::StreamOwned::new(session, stream)
    };
    (format!("https://{}/pic", serve(encrypted, answer)), made.cert.pem())
}

fn serve<S: Read + Write>(
    over: impl Fn(TcpStream) -> S + Send + 'static,
    answer: impl Fn(&str) -> Vec<u8> + Send + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = over(stream.unwrap());
            let mut request = [0; 4096];
            let n = stream.read(&mut request).unwrap_or(0);
            let _ = stream.write_all(&answer(&String::from_utf8_lossy(&request[..n])));
            let _ = stream.flush();
        }
    });
    address
}

fn response(kind: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

#[test]
fn http_snapshots_are_polled_with_credentials() {
    let dir = tempfile::tempdir().unwrap();
    let picture = jpeg(dir.path(), "a.jpg", "white");
    let url = http(move |request| match request.to_lowercase().contains("authorization: basic dtpw") {
        true => response("image/jpeg", &picture),
        false => b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec(),
    });
    let mut with = plan(&url, Play::Loop);
    with.credentials = Some(Userinfo { user: "u".into(), password: "p".into() });
    let camera = start(with.clone(), RectSpec::FULL, Rate::Every);
    assert!((0..3).all(|_| camera.next().mean > WHITE));
    with.credentials = Some(Userinfo { user: "u".into(), password: "geheim".into() });
    let reason = start(with, RectSpec::FULL, Rate::Every).failure();
    assert!(reason.contains("refuses the user name and password") && !reason.contains("geheim"), "{reason}");
    let reason = start(plan(&url, Play::Loop), RectSpec::FULL, Rate::Every).failure();
    assert!(reason.contains("set `username` and `password`"), "{reason}");
}

#[test]
fn https_snapshots_are_polled_from_cameras_that_are_trusted_or_named() {
    daemon::install_crypto();
    let dir = tempfile::tempdir().unwrap();
    let picture = jpeg(dir.path(), "a.jpg", "white");
    let (url, certificate) = https(move |_| response("image/jpeg", &picture));
    let ca = dir.path().join("camera.pem");
    std::fs::write(&ca, certificate).unwrap();
    let mut with = plan(&url, Play::Loop);
    with.ca = Some(ca.clone());
    let camera = start(with.clone(), RectSpec::FULL, Rate::Every);
    assert!((0..3).all(|_| camera.next().mean > WHITE));
    camera.finish();

    let reason = start(plan(&url, Play::Loop), RectSpec::FULL, Rate::Every).failure();
    assert!(reason.contains("cannot be reached") && reason.contains("certificate"), "{reason}");
    std::fs::write(&ca, "no certificate").unwrap();
    let reason = start(with.clone(), RectSpec::FULL, Rate::Every).failure();
    assert!(reason.contains("camera.pem` cannot be opened: no PEM certificate is in it"), "{reason}");
    with.ca = Some(dir.path().join("absent.pem"));
    let reason = start(with, RectSpec::FULL, Rate::Every).failure();
    assert!(reason.contains("certificate `") && reason.contains("absent.pem` cannot be opened: No such"), "{reason}");
}

#[test]
fn mjpeg_streams_are_cut_into_pictures() {
    let dir = tempfile::tempdir().unwrap();
    let picture = jpeg(dir.path(), "a.jpg", "white");
    let url = http(move |_| {
        let part = [&b"--x\r\nContent-Type: image/jpeg\r\n\r\n"[..], &picture, b"\r\n"].concat();
        let head = b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=x\r\n\r\n";
        [&head[..], &part.repeat(5), b"--x--"].concat()
    });
    let camera = start(plan(&url, Play::Loop), RectSpec::FULL, Rate::Every);
    assert!(camera.next().mean > WHITE);
    wait_for("the stream's end", || camera.reason().contains("has ended its stream"));
}

#[test]
fn what_is_no_picture_is_said() {
    let url = http(|_| response("text/html", b"<h1>hello</h1>"));
    let reason = start(plan(&url, Play::Loop), RectSpec::FULL, Rate::Every).failure();
    assert!(reason.contains("does not send pictures"), "{reason}");
    let reason = start(plan("rtsp://127.0.0.1:1/none", Play::Loop), RectSpec::FULL, Rate::Every).failure();
    assert!(reason.contains("rtsp://127.0.0.1:1/none cannot be reached"), "{reason}");
}

#[test]
fn a_live_camera_keeps_its_rate_and_tells_its_latency() {
    let camera =
        start(plan("test:ball?width=320&height=240&fps=30", Play::Loop), RectSpec::FULL, Rate::PerSecond(10.0));
    let began = std::time::Instant::now();
    let seen: Vec<_> = (0..15).map(|_| camera.next()).collect();
    let took = began.elapsed();
    assert!(took > Duration::from_millis(1200), "{took:?}");
    assert_eq!(seen[0].source, contract::CaptureSource::Arrival);
}
