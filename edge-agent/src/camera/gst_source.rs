//! The sources that GStreamer plays: test pictures, files, devices, RTSP. One function a scheme builds its pipeline.

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use gstreamer::{self as gst, prelude::*};

use super::{
    CameraUri, Failure, Plan, Play, Stop, Transport, elements,
    pipeline::{AtEnd, Pipeline, Timing, readable},
    supervisor::Outcome,
    uri::{Remote, TestPicture},
};
use crate::intake::Intake;

const LIVE: Timing = Timing { sync: false, live: true, media_paced: false };

/// Builds the camera's pipeline and plays it.
pub fn run(plan: &Plan, hardware: bool, intake: &Arc<Mutex<Intake>>, stop: &Stop) -> Outcome {
    let again = matches!((&plan.uri, plan.play), (CameraUri::File(_), Play::Loop | Play::Watch));
    match build(plan, hardware, intake.clone()) {
        Ok(pipeline) => pipeline.run(plan, stop, if again { AtEnd::Again } else { AtEnd::Stop }),
        Err(failure) => Outcome::Failed(failure),
    }
}

/// The elements that a scheme needs whatever its stream turns out to be, to be named at start where they are missing.
/// What the stream needs beyond them (depayloader, demuxer, parser, decoder) is known, and named, once it is there.
pub fn needs(uri: &CameraUri) -> &'static [&'static str] {
    match uri {
        CameraUri::Rtsp(_) => &["rtspsrc", "parsebin", "appsink"],
        CameraUri::File(_) => &["filesrc", "parsebin", "appsink"],
        CameraUri::V4l2(_) => &["v4l2src", "capsfilter", "appsink"],
        CameraUri::Test(_) => &["videotestsrc", "capsfilter", "appsink"],
        CameraUri::Folder(_) | CameraUri::Http(_) => &[],
    }
}

fn build(plan: &Plan, hardware: bool, intake: Arc<Mutex<Intake>>) -> Result<Pipeline, Failure> {
    if let Some(missing) = elements::missing(needs(&plan.uri)).into_iter().next() {
        return Err(missing.into());
    }
    match &plan.uri {
        CameraUri::Test(picture) => test(picture, plan.play, intake),
        CameraUri::File(path) => file(path, plan, hardware, intake),
        CameraUri::V4l2(path) => v4l2(path, intake),
        CameraUri::Rtsp(remote) => rtsp(remote, plan, hardware, intake),
        CameraUri::Folder(_) | CameraUri::Http(_) => Err(Failure::Pipeline {
            element: "pipeline".into(),
            message: format!("{} is not played by GStreamer", plan.uri),
        }),
    }
}

fn test(picture: &TestPicture, play: Play, intake: Arc<Mutex<Intake>>) -> Result<Pipeline, Failure> {
    let fast = play == Play::Fast;
    let source = elements::make("videotestsrc")?;
    source.set_property_from_str("pattern", &picture.pattern);
    source.set_property("is-live", !fast);
    if let Some(frames) = picture.frames {
        source.set_property("num-buffers", i32::try_from(frames).unwrap_or(i32::MAX));
    }
    let caps = gst::Caps::builder("video/x-raw")
        .field("format", picture.format.as_str())
        .field("width", picture.width as i32)
        .field("height", picture.height as i32)
        .field("framerate", gst::Fraction::new(picture.fps as i32, 1))
        .build();
    let filter = elements::make("capsfilter")?;
    filter.set_property("caps", &caps);
    let timing = if fast { Timing { sync: false, live: false, media_paced: true } } else { LIVE };
    let pipeline = Pipeline::new(intake, timing, false);
    pipeline.chain(&[&source, &filter])?;
    attach(&pipeline, &filter, &caps, "video/x-raw")?;
    Ok(pipeline)
}

fn file(path: &Path, plan: &Plan, hardware: bool, intake: Arc<Mutex<Intake>>) -> Result<Pipeline, Failure> {
    readable("file", path)?;
    let fast = plan.play == Play::Fast;
    let source = elements::make("filesrc")?;
    source.set_property("location", path);
    let parse = elements::make("parsebin")?;
    let timing = Timing { sync: !fast, live: false, media_paced: fast };
    let pipeline = Pipeline::new(intake, timing, hardware);
    pipeline.chain(&[&source, &parse])?;
    let tail = pipeline.tail();
    parse.connect_pad_added(move |_, pad| tail.accept(pad));
    Ok(pipeline)
}

fn rtsp(remote: &Remote, plan: &Plan, hardware: bool, intake: Arc<Mutex<Intake>>) -> Result<Pipeline, Failure> {
    let source = elements::make("rtspsrc")?;
    source.set_property("location", remote.url.as_str());
    source.set_property("latency", u32::try_from(plan.latency.as_millis()).unwrap_or(u32::MAX));
    source.set_property("drop-on-latency", true);
    source.set_property("add-reference-timestamp-meta", true);
    source.set_property("tcp-timeout", u64::try_from(plan.stall.as_micros()).unwrap_or(u64::MAX));
    let protocols = if plan.transport == Transport::Tcp { "tcp" } else { "udp" };
    source.set_property_from_str("protocols", protocols);
    // As properties and not in the address: the address stands in logs and errors.
    if let Some(credentials) = &plan.credentials {
        source.set_property("user-id", &credentials.user);
        source.set_property("user-pw", &credentials.password);
    }
    source.connect("select-stream", false, |values| {
        let caps = values.get(2).and_then(|value| value.get::<gst::Caps>().ok());
        let media = caps.and_then(|caps| caps.structure(0)?.get::<String>("media").ok());
        Some((media.as_deref() == Some("video")).to_value())
    });
    let parse = elements::make("parsebin")?;
    let pipeline = Pipeline::new(intake, LIVE, hardware);
    pipeline.chain(&[&source])?;
    pipeline.chain(&[&parse])?;
    let tail = pipeline.tail();
    parse.connect_pad_added(move |_, pad| tail.accept(pad));
    let into = parse.downgrade();
    source.connect_pad_added(move |_, pad| {
        let free = into.upgrade().and_then(|parse| parse.static_pad("sink")).filter(|sink| !sink.is_linked());
        // A second stream of the same camera is not played.
        if let Some(sink) = free
            && let Err(error) = pad.link(&sink)
        {
            tracing::warn!(%error, "stream of the camera is not played");
        }
    });
    Ok(pipeline)
}

fn v4l2(path: &Path, intake: Arc<Mutex<Intake>>) -> Result<Pipeline, Failure> {
    let absent = |why: String| Failure::Absent { what: "device", path: path.display().to_string(), why };
    std::fs::metadata(path).map_err(|error| absent(error.to_string()))?;
    let source = elements::make("v4l2src")?;
    source.set_property("device", path.to_string_lossy().as_ref());
    // What the device offers is known once it is open.
    source.set_state(gst::State::Ready).map_err(|_| absent("it cannot be opened as a camera".into()))?;
    let offered = source.static_pad("src").map(|pad| pad.query_caps(None)).unwrap_or_else(gst::Caps::new_any);
    let filter = elements::make("capsfilter")?;
    let caps = preferred(&offered);
    filter.set_property("caps", &caps);
    let pipeline = Pipeline::new(intake, LIVE, false);
    pipeline.chain(&[&source, &filter])?;
    let media = caps.structure(0).map_or_else(|| "video/x-raw".to_owned(), |s| s.name().to_string());
    attach(&pipeline, &filter, &caps, &media)?;
    Ok(pipeline)
}

/// Of what a device offers: raw as we read it, else JPEG, else any raw, which is converted.
fn preferred(offered: &gst::Caps) -> gst::Caps {
    let ours = ["I420", "NV12", "GRAY8", "RGB"].map(|f| gst::Caps::builder("video/x-raw").field("format", f).build());
    let jpeg = gst::Caps::new_empty_simple("image/jpeg");
    let mut wanted = ours.into_iter().chain([jpeg]);
    wanted.find(|caps| offered.can_intersect(caps)).unwrap_or_else(|| gst::Caps::new_empty_simple("video/x-raw"))
}

fn attach(pipeline: &Pipeline, last: &gst::Element, caps: &gst::Caps, media: &str) -> Result<(), Failure> {
    match last.static_pad("src") {
        Some(pad) => pipeline.tail().attach(&pad, caps, media),
        None => Ok(()),
    }
}
