//! `sightlineclassify`: runs a model on regions of each picture, and adds what it says as metadata.

mod imp;
mod settings;

use gstreamer::{self as gst, glib, prelude::*};

glib::wrapper! {
    /// The element.
    pub struct Classify(ObjectSubclass<imp::Classify>) @extends gstreamer_base::BaseTransform, gst::Element, gst::Object;
}

pub fn register(plugin: Option<&gst::Plugin>) -> Result<(), glib::BoolError> {
    gst::Element::register(plugin, "sightlineclassify", gst::Rank::NONE, Classify::static_type())
}
