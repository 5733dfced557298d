//! The element itself.

use std::sync::{LazyLock, Mutex, PoisonError};

use frames::Form;
use gstreamer::{self as gst, glib, subclass::prelude::*};
use gstreamer_base::{BaseTransform, subclass::prelude::*};
use gstreamer_video::VideoFrameRef;

use super::canvas::Canvas;
use crate::meta;

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new("sightlineoverlay", gst::DebugColorFlags::empty(), Some("Draws what was found"))
});

/// The element.
#[derive(Default)]
pub struct Overlay {
    form: Mutex<Option<Form>>,
}

#[glib::object_subclass]
impl ObjectSubclass for Overlay {
    const NAME: &'static str = "GstSightlineOverlay";
    type Type = super::Overlay;
    type ParentType = BaseTransform;
}

impl ObjectImpl for Overlay {}
impl GstObjectImpl for Overlay {}

impl ElementImpl for Overlay {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Sightline overlay",
                "Filter/Effect/Video",
                "Draws regions of interest with their best class and its score",
                "Sightline",
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(crate::pads);
        &TEMPLATES
    }
}

impl BaseTransformImpl for Overlay {
    const MODE: gstreamer_base::subclass::BaseTransformMode =
        gstreamer_base::subclass::BaseTransformMode::AlwaysInPlace;
    const PASSTHROUGH_ON_SAME_CAPS: bool = false;
    const TRANSFORM_IP_ON_PASSTHROUGH: bool = false;

    fn set_caps(&self, incaps: &gst::Caps, _: &gst::Caps) -> Result<(), gst::LoggableError> {
        let form = Form::new(incaps).map_err(|error| gst::loggable_error!(CAT, "{error}"))?;
        *self.form.lock().unwrap_or_else(PoisonError::into_inner) = Some(form);
        Ok(())
    }

    fn transform_ip(&self, buffer: &mut gst::BufferRef) -> Result<gst::FlowSuccess, gst::FlowError> {
        let form = self.form.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(form) = &*form else { return Err(gst::FlowError::NotNegotiated) };
        let regions = meta::regions(buffer);
        if regions.is_empty() {
            return Ok(gst::FlowSuccess::Ok);
        }
        let mut frame = VideoFrameRef::from_buffer_ref_writable(buffer, form.info()).map_err(|error| {
            gst::element_imp_error!(self, gst::ResourceError::Write, ("map the picture: {error}"));
            gst::FlowError::Error
        })?;
        let mut canvas = Canvas::new(&mut frame);
        for region in regions {
            let text = match region.found.first() {
                Some(best) => format!("{} {:.0} %", best.label, best.confidence * 100.0),
                None => region.name,
            };
            canvas.label(region.rect, &text);
        }
        Ok(gst::FlowSuccess::Ok)
    }
}
