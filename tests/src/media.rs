//! Pictures and videos made on the spot, for stories that need one of a certain size, length or flaw.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use gstreamer::{self as gst, prelude::*};

/// An H.264 video in MP4 without B-frames: `frames` frames of a moving ball at 25 frames a second.
pub fn video(path: &Path, width: u32, height: u32, frames: u32) -> Result<()> {
    video_of("ball", path, width, height, frames)
}

/// The same of another pattern of GStreamer's `videotestsrc`, as in `black` and `white`.
pub fn video_of(pattern: &str, path: &Path, width: u32, height: u32, frames: u32) -> Result<()> {
    gst::init()?;
    let encoder = ["x264enc tune=zerolatency speed-preset=ultrafast key-int-max=25", "openh264enc gop-size=25"]
        .into_iter()
        .find(|e| gst::ElementFactory::find(e.split(' ').next().unwrap_or(e)).is_some())
        .context("no H.264 encoder: run `make setup`")?;
    run(&format!(
        "videotestsrc pattern={pattern} num-buffers={frames} ! video/x-raw,format=I420,width={width},height={height},\
         framerate=25/1 ! {encoder} ! video/x-h264,profile=constrained-baseline ! h264parse ! mp4mux ! filesink location=\"{}\"",
        path.display()
    ))
}

/// `count` different JPEG pictures, `<folder>/0000.jpg` and on.
pub fn pictures(folder: &Path, width: u32, height: u32, count: u32) -> Result<()> {
    gst::init()?;
    std::fs::create_dir_all(folder)?;
    run(&format!(
        "videotestsrc pattern=ball num-buffers={count} ! video/x-raw,format=I420,width={width},height={height},\
         framerate=5/1 ! jpegenc ! multifilesink location=\"{}/%04d.jpg\"",
        folder.display()
    ))
}

/// One JPEG.
pub fn jpeg(width: u32, height: u32) -> Result<Vec<u8>> {
    let folder = tempfile::tempdir()?;
    pictures(folder.path(), width, height, 1)?;
    let bytes = std::fs::read(folder.path().join("0000.jpg"))?;
    ensure!(!bytes.is_empty(), "the picture that was made is empty");
    Ok(bytes)
}

fn run(pipeline: &str) -> Result<()> {
    let pipeline = gst::parse::launch(pipeline).context("build a pipeline")?;
    let bus = pipeline.bus().context("a pipeline has a bus")?;
    pipeline.set_state(gst::State::Playing)?;
    let outcome =
        bus.timed_pop_filtered(gst::ClockTime::from_seconds(60), &[gst::MessageType::Eos, gst::MessageType::Error]);
    pipeline.set_state(gst::State::Null)?;
    match outcome.as_ref().map(|message| message.view()) {
        Some(gst::MessageView::Eos(_)) => Ok(()),
        Some(gst::MessageView::Error(error)) => bail!("make media: {} ({:?})", error.error(), error.debug()),
        _ => bail!("make media: nothing happened for 60 s"),
    }
}
