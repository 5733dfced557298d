//! A real RTSP server: pictures, the camera's own clock, credentials, and coming back after it was gone.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use edge_agent::{
    camera::{Play, Transport, uri::Userinfo},
    region::rate::Rate,
};
use frames::RectSpec;
use gstreamer::{self as gst, glib};
use gstreamer_rtsp_server::{self as rtsp, prelude::*};
use support::{plan, start, wait_for};

struct Server {
    port: i32,
    main: glib::MainLoop,
    thread: Option<std::thread::JoinHandle<()>>,
}

fn serve(port: i32, credentials: Option<(&str, &str)>) -> Server {
    gst::init().unwrap();
    let context = glib::MainContext::new();
    let server = rtsp::RTSPServer::new();
    server.set_address("127.0.0.1");
    server.set_service(&port.to_string());
    let factory = rtsp::RTSPMediaFactory::new();
    factory.set_launch(
        "( videotestsrc is-live=true pattern=white ! video/x-raw,format=I420,width=320,height=240,framerate=25/1 ! \
         x264enc tune=zerolatency speed-preset=ultrafast key-int-max=10 ! rtph264pay name=pay0 pt=96 config-interval=-1 )",
    );
    factory.set_shared(true);
    if let Some((user, password)) = credentials {
        let auth = rtsp::RTSPAuth::new();
        let token = rtsp::RTSPToken::builder().field("media.factory.role", "viewer").build();
        auth.add_basic(rtsp::RTSPAuth::make_basic(user, password).as_str(), &token);
        server.set_auth(Some(&auth));
        let role = gst::Structure::builder("viewer")
            .field("media.factory.access", true)
            .field("media.factory.construct", true)
            .build();
        factory.add_role_from_structure(&role);
    }
    server.mount_points().unwrap().add_factory("/cam", factory);
    let main = glib::MainLoop::new(Some(&context), false);
    let _source = server.attach(Some(&context)).unwrap();
    let port = server.bound_port();
    let thread = std::thread::spawn({
        let main = main.clone();
        move || {
            main.run();
            // the pool's threads hold the clients' sockets until they are told to let go
            server.client_filter(Some(&mut |_, _| rtsp::RTSPFilterResult::Remove));
        }
    });
    Server { port, main, thread: Some(thread) }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.main.quit();
        self.thread.take().unwrap().join().unwrap();
    }
}

#[test]
fn pictures_come_over_tcp() {
    let server = serve(0, None);
    let camera = start(plan(&format!("rtsp://127.0.0.1:{}/cam", server.port), Play::Loop), RectSpec::FULL, Rate::Every);
    let seen: Vec<_> = (0..20).map(|_| camera.next()).collect();
    assert!(seen.iter().all(|s| s.size == (320, 240) && s.mean > 200.0), "{:?}", seen[0]);
    // The first RTCP sender report brings the camera's own clock.
    wait_for("the camera's clock", || camera.next().source == contract::CaptureSource::Reference);
    camera.finish();
}

#[test]
fn pictures_come_over_udp() {
    let server = serve(0, None);
    let mut udp = plan(&format!("rtsp://127.0.0.1:{}/cam", server.port), Play::Loop);
    udp.transport = Transport::Udp;
    let camera = start(udp, RectSpec::FULL, Rate::Every);
    assert!((0..10).all(|_| camera.next().size == (320, 240)));
    camera.finish();
}

#[test]
fn a_server_that_goes_away_is_tried_again() {
    let server = serve(0, None);
    let port = server.port;
    let camera = start(plan(&format!("rtsp://127.0.0.1:{port}/cam"), Play::Loop), RectSpec::FULL, Rate::Every);
    camera.next();
    drop(server);
    camera.failure();
    assert!(!camera.camera.state().ended, "a camera has no end: {}", camera.reason());
    let _again = serve(port, None);
    wait_for("the camera to be back", || camera.camera.state().presence == contract::live::Presence::Online);
    while camera.seen.try_recv().is_ok() {}
    camera.next();
    camera.finish();
}

#[test]
fn credentials_are_presented_and_never_printed() {
    let server = serve(0, Some(("viewer", "geheim")));
    let uri = format!("rtsp://127.0.0.1:{}/cam", server.port);
    let mut with = plan(&uri, Play::Loop);
    with.credentials = Some(Userinfo { user: "viewer".into(), password: "geheim".into() });
    let camera = start(with.clone(), RectSpec::FULL, Rate::Every);
    camera.next();
    camera.finish();
    with.credentials = Some(Userinfo { user: "viewer".into(), password: "falsch".into() });
    for (plan, part) in [(with, "refuses the user name and password"), (plan(&uri, Play::Loop), "refuses to answer")] {
        let reason = start(plan, RectSpec::FULL, Rate::Every).failure();
        assert!(reason.contains(part) && reason.contains(&uri), "{reason}");
        assert!(!reason.contains("falsch") && !reason.contains("viewer"), "{reason}");
    }
}
