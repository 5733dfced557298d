//! A row of the lake: a record and what the hub adds to it.

use contract::{CaptureSource, Kind, Timestamp};

use super::Record;

/// A record as it stands in the lake.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The record; a sample's blobs are in its shard and not here once it is read back.
    pub record: Record,
    /// When the hub received it, by the hub's clock.
    pub received_at: Timestamp,
    /// The hub's estimate of hub clock minus gateway clock at capture, microseconds.
    pub clock_offset_us: i64,
    /// Where a sample's files lie.
    pub place: Option<Place>,
}

/// Where a sample's files lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The tar object.
    pub shard: String,
    /// First byte of the picture; its length stands in the record.
    pub picture_offset: u64,
    /// First byte of the compressed model input, where there is one.
    pub input_offset: Option<u64>,
}

impl Row {
    /// The record's kind.
    pub fn kind(&self) -> Kind {
        self.record.header.kind
    }

    /// What rows are ordered and partitioned by: the capture time by the hub's clock where the gateway's clock took it.
    pub fn corrected_at(&self) -> Timestamp {
        let header = &self.record.header;
        match header.captured_source {
            CaptureSource::Arrival => Timestamp(header.captured_at.0.saturating_add(self.clock_offset_us)),
            CaptureSource::Reference | CaptureSource::Client | CaptureSource::Unknown => header.captured_at,
        }
    }
}
