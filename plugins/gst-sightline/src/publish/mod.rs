//! `sightlinepublish`: what was found goes to a file as JSON lines, or to MQTT, as prediction records.

mod imp;
mod record;
mod sink;

use gstreamer::{self as gst, glib, prelude::*};

glib::wrapper! {
    /// The element.
    pub struct Publish(ObjectSubclass<imp::Publish>) @extends gstreamer_base::BaseTransform, gst::Element, gst::Object;
}

pub fn register(plugin: Option<&gst::Plugin>) -> Result<(), glib::BoolError> {
    gst::Element::register(plugin, "sightlinepublish", gst::Rank::NONE, Publish::static_type())
}
