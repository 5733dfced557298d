//! GStreamer elements: classify the pictures that pass, draw what was found, publish it.
//!
//! ```text
//! gst-launch-1.0 filesrc location=yard.mp4 ! decodebin ! sightlineclassify model=people ! sightlineoverlay ! videoconvert ! autovideosink
//! ```
//!
//! Pixels, models and engines are those of the gateway's agent: `vision`, `inference`, `engines`.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod classify;
mod instance;
mod meta;
mod overlay;
mod publish;

use gstreamer::{self as gst, glib};

/// The raw video that the elements take, in system memory.
fn caps() -> gst::Caps {
    gstreamer_video::VideoCapsBuilder::new().format_list(frames::FORMATS).build()
}

/// Registers the elements with a program that links them.
///
/// # Errors
/// A name that is taken.
pub fn register(plugin: Option<&gst::Plugin>) -> Result<(), glib::BoolError> {
    classify::register(plugin)?;
    overlay::register(plugin)?;
    publish::register(plugin)
}

fn init(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    register(Some(plugin))
}

/// What GStreamer reads when it opens the library.
mod plugin {
    use super::{gst, init};

    gst::plugin_define!(
        sightline,
        "Classifies, draws and publishes what cameras see",
        init,
        env!("CARGO_PKG_VERSION"),
        "MIT/X11",
        "sightline",
        "sightline",
        "urn:sightline"
    );
}

/// The pads of every element here: one picture in, the same one out.
fn pads() -> Vec<gst::PadTemplate> {
    let pad = |name, direction| gst::PadTemplate::new(name, direction, gst::PadPresence::Always, &caps());
    let pads = [pad("sink", gst::PadDirection::Sink), pad("src", gst::PadDirection::Src)];
    pads.into_iter().flatten().collect()
}
