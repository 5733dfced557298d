//! The RTSP server around the feed: a factory that makes one shared pipeline, and a login where one is asked for.

use anyhow::{Context, Result};
use gstreamer::{self as gst, prelude::*};
use gstreamer_app::AppSrc;
use gstreamer_rtsp_server::{
    RTSPAuth, RTSPMediaFactory, RTSPServer, RTSPToken,
    prelude::{
        RTSPAuthExt, RTSPMediaExt, RTSPMediaFactoryExt, RTSPMediaFactoryExtManual, RTSPMountPointsExt, RTSPServerExt,
        RTSPServerExtManual,
    },
};

use crate::feed::Feed;

/// A server that is attached to the default main context.
pub struct Server {
    /// Where the stream is.
    pub url: String,
    _server: RTSPServer,
}

const PIPELINE: &str = "( appsrc name=source is-live=true format=time block=false max-buffers=4 \
     caps=video/x-h264,stream-format=byte-stream,alignment=au ! h264parse config-interval=-1 ! \
     rtph264pay name=pay0 pt=96 config-interval=-1 aggregate-mode=zero-latency )";

/// Binds, mounts the stream and starts to answer.
pub fn start(port: u16, path: &str, login: Option<(&str, &str)>, feed: Feed) -> Result<Server> {
    let server = RTSPServer::new();
    server.set_address("127.0.0.1");
    server.set_service(&port.to_string());
    let factory = RTSPMediaFactory::new();
    factory.set_launch(PIPELINE);
    factory.set_shared(true);
    factory.set_latency(0);
    factory.connect_media_configure(move |_, media| {
        let source = media.element().downcast::<gst::Bin>().ok().and_then(|bin| bin.by_name("source"));
        if let Some(source) = source.and_then(|source| source.downcast::<AppSrc>().ok()) {
            feed.serve(&source);
        }
    });
    if let Some((user, password)) = login {
        ask_for_login(&server, &factory, user, password);
    }
    let mounts = server.mount_points().context("a new RTSP server has mount points")?;
    mounts.add_factory(&format!("/{path}"), factory);
    server.attach(None).with_context(|| format!("listen on port {port} of loopback"))?;
    Ok(Server { url: format!("rtsp://127.0.0.1:{}/{path}", server.bound_port()), _server: server })
}

fn ask_for_login(server: &RTSPServer, factory: &RTSPMediaFactory, user: &str, password: &str) {
    let token = RTSPToken::builder().field("media.factory.role", "viewer").build();
    let auth = RTSPAuth::new();
    auth.add_basic(&RTSPAuth::make_basic(user, password), &token);
    server.set_auth(Some(&auth));
    let role = gst::Structure::builder("viewer").field("media.factory.access", true);
    factory.add_role_from_structure(&role.field("media.factory.construct", true).build());
}
