//! Reads the access units of an H.264 MP4 into memory, each with its time in the video.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use gstreamer::{self as gst, prelude::*};
use gstreamer_app::AppSink;

/// One coded picture with everything that belongs to it, as a byte stream.
pub struct AccessUnit {
    /// The bytes; shared with every buffer that is sent.
    pub bytes: gst::Memory,
    /// Presentation time from the video's start.
    pub pts: gst::ClockTime,
    /// Decoding time from the video's start.
    pub dts: gst::ClockTime,
    /// Whether it can only be decoded after an earlier one.
    pub delta: bool,
}

/// A video in memory.
pub struct Video {
    /// Its access units in decoding order.
    pub units: Vec<AccessUnit>,
    /// From its first picture to where its first picture may come again.
    pub duration: gst::ClockTime,
}

/// Reads a whole video.
pub fn read(path: &Path) -> Result<Video> {
    ensure!(path.is_file(), "video {} does not exist", path.display());
    let description = "filesrc name=file ! qtdemux ! h264parse config-interval=-1 ! \
                       video/x-h264,stream-format=byte-stream,alignment=au ! appsink name=sink sync=false";
    let pipeline = gst::parse::launch(description).context("build the reading pipeline")?;
    let pipeline = pipeline.downcast::<gst::Pipeline>().map_err(|_| anyhow::anyhow!("not a pipeline"))?;
    pipeline.by_name("file").context("filesrc")?.set_property("location", path.display().to_string());
    let sink = pipeline.by_name("sink").and_then(|e| e.downcast::<AppSink>().ok()).context("appsink")?;
    pipeline.set_state(gst::State::Playing)?;
    let video = collect(&sink).and_then(|units| measured(units).context("video has no H.264 pictures"));
    let trouble = pipeline.bus().and_then(|bus| bus.pop_filtered(&[gst::MessageType::Error]));
    pipeline.set_state(gst::State::Null)?;
    if let Some(gst::MessageView::Error(error)) = trouble.as_ref().map(|message| message.view()) {
        bail!("read video {}: {}", path.display(), error.error());
    }
    video.with_context(|| format!("read video {}", path.display()))
}

fn collect(sink: &AppSink) -> Result<Vec<AccessUnit>> {
    let mut units = Vec::new();
    while let Ok(sample) = sink.pull_sample() {
        let buffer = sample.buffer_owned().context("a sample has a buffer")?;
        let pts = buffer.pts().context("a picture without a time")?;
        let bytes = gst::Memory::from_slice(buffer.map_readable()?.as_slice().to_vec());
        let delta = buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
        units.push(AccessUnit { bytes, pts, dts: buffer.dts().unwrap_or(pts), delta });
    }
    Ok(units)
}

fn measured(mut units: Vec<AccessUnit>) -> Option<Video> {
    let (first, last) = (units.iter().map(|u| u.pts).min()?, units.iter().map(|u| u.pts).max()?);
    let count = units.len() as u64;
    let step = if count > 1 { (last - first) / (count - 1) } else { gst::ClockTime::from_mseconds(40) };
    for unit in &mut units {
        unit.pts -= first;
        unit.dts = unit.dts.saturating_sub(first);
    }
    Some(Video { units, duration: last - first + step })
}
