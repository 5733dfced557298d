//! What was found, as metadata of the buffer: a region of interest for each region, with a structure `classification` for
//! each of its best classes, as DL Streamer's elements read and write it.

use gstreamer::{self as gst};
use gstreamer_video::VideoRegionOfInterestMeta;
use vision::Rect;

/// The structure's name.
const CLASSIFICATION: &str = "classification";

/// One class that a model sees in a region.
#[derive(Clone, Debug, PartialEq)]
pub struct Classification {
    /// The class's name.
    pub label: String,
    /// Its index in the model.
    pub label_id: i32,
    /// Its score, 0 to 1.
    pub confidence: f64,
    /// The model's id.
    pub model_name: String,
    /// Its version.
    pub model_version: String,
    /// The digest of its package.
    pub model_digest: String,
    /// The engine that ran it.
    pub engine: String,
}

/// A region with what was found in it, best first.
#[derive(Clone, Debug, PartialEq)]
pub struct Region {
    /// Its name.
    pub name: String,
    /// Where it lies.
    pub rect: Rect,
    /// What is in it; empty for regions that other elements have found and nobody has classified.
    pub found: Vec<Classification>,
}

/// Adds a region to a buffer.
pub fn add(buffer: &mut gst::BufferRef, name: &str, rect: Rect, found: &[Classification]) {
    let at = (rect.x, rect.y, rect.width, rect.height);
    let mut meta = VideoRegionOfInterestMeta::add(buffer, name, at);
    for class in found {
        let structure = gst::Structure::builder(CLASSIFICATION)
            .field("label", &class.label)
            .field("label_id", class.label_id)
            .field("confidence", class.confidence)
            .field("model_name", &class.model_name)
            .field("model_version", &class.model_version)
            .field("model_digest", &class.model_digest)
            .field("engine", &class.engine);
        meta.add_param(structure.build());
    }
}

/// All regions of a buffer, whoever added them.
pub fn regions(buffer: &gst::BufferRef) -> Vec<Region> {
    let region = |meta: gst::MetaRef<'_, VideoRegionOfInterestMeta>| {
        let (x, y, width, height) = meta.rect();
        let found = meta.params().filter(|param| param.name() == CLASSIFICATION).map(|param| {
            let text = |field: &str| param.get::<String>(field).unwrap_or_default();
            Classification {
                label: text("label"),
                label_id: param.get("label_id").unwrap_or(-1),
                confidence: param.get("confidence").unwrap_or(0.0),
                model_name: text("model_name"),
                model_version: text("model_version"),
                model_digest: text("model_digest"),
                engine: text("engine"),
            }
        });
        Region { name: meta.roi_type().to_owned(), rect: Rect { x, y, width, height }, found: found.collect() }
    };
    buffer.iter_meta::<VideoRegionOfInterestMeta>().map(region).collect()
}
