//! What an object says of itself, inside its own bytes: enough to write its line of the manifest anew.
//!
//! A Parquet object has it in its key-value metadata, a tar in a pax global header before its first member, which tar
//! readers of every kind (WebDataset's too) take note of and pass over, a record of removal is this document.

use contract::{Digest, Kind, SiteId, Timestamp};
use serde::{Deserialize, Serialize};
use store::lake_index::{Format, Holding, Object};

/// Key of these facts in an object's metadata.
pub const FACTS_KEY: &str = "sightline.object";

/// A line of the manifest without what only the bucket can say: key, length and digest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// How the object is written.
    pub format: Format,
    /// The kind of its rows.
    pub kind: Kind,
    /// Its partition: `YYYY-MM-DD`.
    pub date: String,
    /// Its partition: 0-23.
    pub hour: u32,
    /// The site, where all its rows are of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<SiteId>,
    /// How many rows, or files' samples, it holds.
    pub rows: u64,
    /// Earliest and latest `captured_at`.
    pub captured: [Timestamp; 2],
    /// Earliest and latest `corrected_at`.
    pub corrected: [Timestamp; 2],
    /// Version of its row schema.
    pub schema: u16,
    /// The numbers whose records it holds.
    pub holds: Vec<Holding>,
}

impl Facts {
    /// The line of the manifest.
    pub fn object(self, key: String, bytes: u64, digest: Digest) -> Object {
        let Self { format, kind, date, hour, site, rows, captured, corrected, schema, holds } = self;
        Object { key, format, kind, date, hour, site, rows, bytes, digest, captured, corrected, schema, holds }
    }

    /// As it stands in the object.
    pub fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default() // names, numbers and times: always possible
    }
}
