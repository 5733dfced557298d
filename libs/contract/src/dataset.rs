//! The dataset's manifest: `manifest.json` beside `items.parquet` and, for imported pictures, shards, in a folder that is named
//! by the manifest's hash.
//!
//! The hash is the SHA-256 of the manifest's bytes, and the manifest names the SHA-256 of every other file: one digest names
//! the whole, as with model packages. Nothing in it says where on a machine the dataset came from, so that the same pictures
//! with the same labels and settings give the same hash anywhere.

use std::{collections::BTreeMap, fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::Digest;

/// The manifest's file name in a dataset's folder.
pub const MANIFEST: &str = "manifest.json";
/// The items' file name: one row an item, as [`ITEM_COLUMNS`] says.
pub const ITEMS: &str = "items.parquet";
/// The description for other people's tools, in Croissant's JSON-LD.
pub const CROISSANT: &str = "croissant.json";

/// Columns of `items.parquet`, with their Parquet types. Rows are sorted by `id`.
///
/// `id`: the item, unique in the dataset: a frame's id with its region, or the picture's digest with a number where the same
/// picture stands twice. `shard`, `offset`, `length`: where the picture's bytes are, in a tar of this folder. `group`: what must
/// not be torn apart by a split: (camera, time block), or the source's own group. `phash`: the perceptual hash, of the region.
/// `region_*`: the part of the picture that the class is about, in pixels; null for all of it. `input_*`: the exact tensor that
/// a gateway's model saw, where the archive held it, in a tar of this folder; `input_form` is its form as JSON.
pub const ITEM_COLUMNS: [(&str, &str); 23] = [
    ("id", "utf8"),
    ("class", "uint16"),
    ("split", "utf8"),
    ("group", "utf8"),
    ("shard", "utf8"),
    ("offset", "uint64"),
    ("length", "uint64"),
    ("sha256", "utf8"),
    ("media_type", "utf8"),
    ("width", "uint32"),
    ("height", "uint32"),
    ("phash", "uint64"),
    ("camera", "utf8, may be null"),
    ("captured_at", "int64 microseconds, may be null"),
    ("region_x", "uint32, may be null"),
    ("region_y", "uint32, may be null"),
    ("region_width", "uint32, may be null"),
    ("region_height", "uint32, may be null"),
    ("input_shard", "utf8, may be null"),
    ("input_offset", "uint64, may be null"),
    ("input_length", "uint64, may be null"),
    ("input_sha256", "utf8, may be null"),
    ("input_form", "utf8 JSON, may be null"),
];

/// What a dataset is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DatasetManifest {
    /// Version of the manifest's form.
    pub schema: u16,
    /// The dataset's name, for people.
    pub name: String,
    /// Class names; an item's class is a place in this list.
    pub classes: Vec<Arc<str>>,
    /// Every other file of the folder by its name, with its digest; must name `items.parquet`.
    pub files: BTreeMap<String, Digest>,
    /// How many items each split has of each class, in the order of the classes.
    pub counts: BTreeMap<Split, Vec<u64>>,
    /// What the items were selected from.
    pub source: Source,
    /// How the items were shared out.
    pub split: SplitRule,
    /// How near-identical pictures were dropped.
    pub deduplication: Deduplication,
    /// What was left out, by reason: `duplicate`, `corrupt`, `unlabelled`, `conflicting_label`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub left_out: BTreeMap<String, u64>,
    /// SPDX licence expression of the pictures, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
}

impl DatasetManifest {
    /// Items of a split.
    pub fn items(&self, split: Split) -> u64 {
        self.counts.get(&split).into_iter().flatten().sum()
    }
}

/// What an item is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// Weights are learnt from it.
    Train,
    /// Stopping, tuning and the choice of a checkpoint look at it.
    Validation,
    /// Read once, at the end.
    Test,
}

impl Split {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Train, Self::Validation, Self::Test];

    /// As in items and commands.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Not the name of a split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownSplit(pub String);

impl fmt::Display for UnknownSplit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is no split: use train, validation or test", self.0)
    }
}

impl std::error::Error for UnknownSplit {}

impl FromStr for Split {
    type Err = UnknownSplit;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|split| split.as_str() == text).ok_or_else(|| UnknownSplit(text.into()))
    }
}

/// What the items were selected from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A lake's samples: its id and the selection, as the command's options say it.
    Lake {
        /// The lake.
        lake: String,
        /// Options of the selection by their names.
        selection: BTreeMap<String, String>,
    },
    /// Files in another form.
    Import {
        /// The form: `folder`, `csv`, `idx`, `webdataset`, `label-studio`, `coco`.
        format: String,
    },
}

/// How items were shared out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SplitRule {
    /// The source says it; of its training items, a seeded, stratified share may have become validation.
    Given {
        /// Share of the training items that became validation, 0 to 1.
        validation: f64,
        /// The seed of that choice.
        seed: u64,
    },
    /// By groups: each is whole in one split.
    Groups {
        /// What a group is: `column`, or `camera,block` with the block's length.
        by: String,
        /// Shares of train, validation and test.
        shares: [f64; 3],
        /// The seed.
        seed: u64,
    },
    /// Class by class, after deduplication.
    Stratified {
        /// Shares of train, validation and test.
        shares: [f64; 3],
        /// The seed.
        seed: u64,
    },
}

/// How near-identical pictures were dropped.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Deduplication {
    /// Bits of 64 in which two perceptual hashes may differ and still count as one picture; absent: nothing was dropped.
    pub threshold: Option<u32>,
}
