//! Questions to the lake: rows of one kind, newest first, in pages, and a sample's files.

use bytes::Bytes;
use contract::{CameraId, Epoch, FrameId, GatewayId, Kind, RegionId, SiteId, Timestamp};

/// The most rows of one page.
pub const PAGE_MAX: usize = 1000;

/// Which rows. All that is given must hold.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// From this moment of `corrected_at` on.
    pub from: Option<Timestamp>,
    /// Before this moment of `corrected_at`.
    pub to: Option<Timestamp>,
    /// Of this site.
    pub site: Option<SiteId>,
    /// Of this gateway.
    pub gateway: Option<GatewayId>,
    /// Of this camera.
    pub camera: Option<CameraId>,
    /// Of this region.
    pub region: Option<RegionId>,
    /// With this best label; of an event, this `after`.
    pub label: Option<String>,
    /// Of this frame.
    pub frame_id: Option<FrameId>,
}

/// One row: the columns of [`contract::lake::columns`] by name, times as RFC 3339.
pub type Row = serde_json::Map<String, serde_json::Value>;

/// Where the next page begins: after this row, in the order newest first, then epoch, then seq.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    /// `corrected_at` of the last row seen.
    pub at: Timestamp,
    /// Its epoch.
    pub epoch: Epoch,
    /// Its number.
    pub seq: u64,
}

/// Some rows, and where the next ones begin. A page may be short and still have a next one.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The rows, newest first.
    pub rows: Vec<Row>,
    /// Pass it to read on; `None` at the end.
    pub next: Option<Cursor>,
}

/// One of a sample's files.
#[derive(Clone, Debug)]
pub struct SampleFile {
    /// Its bytes: the picture as encoded, or the model's input as compressed.
    pub bytes: Bytes,
    /// The sample's row.
    pub row: Row,
}
