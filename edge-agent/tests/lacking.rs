//! Elements are asked for when the stream turns out to need them, and then named with their Debian package. A file of its
//! own: it takes elements out of GStreamer's registry, which the whole process shares.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use edge_agent::{camera::Play, region::rate::Rate};
use frames::RectSpec;
use gstreamer::{self as gst, prelude::*};
use support::{launch, plan, start, video};

/// Takes elements away while something is tried.
fn without<T>(names: &[&str], attempt: impl FnOnce() -> T) -> T {
    let registry = gst::Registry::get();
    let taken: Vec<_> = names.iter().filter_map(|name| registry.lookup_feature(name)).collect();
    assert_eq!(taken.len(), names.len(), "{names:?} are not all installed");
    taken.iter().for_each(|feature| registry.remove_feature(feature));
    let outcome = attempt();
    taken.iter().for_each(|feature| registry.add_feature(feature).unwrap());
    outcome
}

/// Every decoder that would take H.264.
fn decoders() -> Vec<String> {
    let caps = gst::Caps::builder("video/x-h264").build();
    gst::ElementFactory::factories_with_type(gst::ElementFactoryType::DECODER, gst::Rank::NONE)
        .into_iter()
        .filter(|factory| factory.can_sink_any_caps(&caps))
        .map(|factory| factory.name().into())
        .collect()
}

#[test]
fn what_the_stream_needs_is_named_and_nothing_else_is_asked_for() {
    gst::init().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let h264 = format!("file:{}", video(dir.path(), "a.mp4", 10, 160, 120).display());
    let mjpeg = dir.path().join("b.avi");
    launch(&format!(
        "videotestsrc num-buffers=10 pattern=white ! video/x-raw,format=I420,width=160,height=120,framerate=25/1 ! jpegenc \
         ! avimux ! filesink location={}",
        mjpeg.display()
    ));
    let decoders = decoders();
    let decoders: Vec<&str> = decoders.iter().map(String::as_str).collect();
    for (missing, element, package) in [
        (&["qtdemux"][..], "qtdemux", "gstreamer1.0-plugins-good"),
        (&["h264parse"], "h264parse", "gstreamer1.0-plugins-bad"),
        (&decoders, "avdec_h264", "gstreamer1.0-libav"),
    ] {
        let reason = without(missing, || start(plan(&h264, Play::Fast), RectSpec::FULL, Rate::Every).failure());
        assert!(reason.contains(&format!("`{element}` is missing")) && reason.contains(package), "{element}: {reason}");
    }
    let lacking = [&["qtdemux", "h264parse", "rtph264depay"][..], &decoders].concat();
    let seen = without(&lacking, || {
        let uri = format!("file:{}", mjpeg.display());
        start(plan(&uri, Play::Fast), RectSpec::FULL, Rate::Every).all()
    });
    assert_eq!(seen.len(), 10, "motion JPEG needs nothing of H.264");
}
