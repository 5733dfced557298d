//! `sightlineoverlay`: draws the regions of a picture with their best class.

mod canvas;
mod imp;

use gstreamer::{self as gst, glib, prelude::*};

glib::wrapper! {
    /// The element.
    pub struct Overlay(ObjectSubclass<imp::Overlay>) @extends gstreamer_base::BaseTransform, gst::Element, gst::Object;
}

pub fn register(plugin: Option<&gst::Plugin>) -> Result<(), glib::BoolError> {
    gst::Element::register(plugin, "sightlineoverlay", gst::Rank::NONE, Overlay::static_type())
}
