//! Preprocessed tensors on disk: what `sightline-train preprocess` makes of a dataset, and what training reads.
//!
//! A folder holds shards of uint8 tensors, `[N, height, width, channels]` back to back, so that a reader maps them and copies
//! nothing. Shard `k` is made of the dataset's items `k * SHARD ..`, whoever makes it: so any number of workers, on any
//! machines, make the same bytes. A shard counts when its note (`shard-00000.json`) is there, which is written last; when all are
//! there, `index.json` names them with their digests.

pub mod job;
pub mod store;

use std::{io, path::PathBuf};

use contract::{Digest, dataset::Split, model::Color};
use serde::{Deserialize, Serialize};
use vision::Spec;

pub use job::{Job, Loaded, Pictures, preprocess};
pub use store::Store;

/// Items of the dataset that one shard is made of.
pub const SHARD: usize = 4096;
/// The index's file name.
pub const INDEX: &str = "index.json";

/// The form of the tensors, as files keep it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Form {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Colour or gray.
    pub color: Color,
    /// Version of `vision::preprocess`.
    pub preprocess: u16,
}

impl Form {
    /// As `vision` wants it.
    pub fn spec(self) -> Spec {
        Spec { width: self.width, height: self.height, color: self.color, layout: contract::model::Layout::Nhwc }
    }

    /// For folders' names, as in `28x28-gray-v1`.
    pub fn name(self) -> String {
        let color = if self.color == Color::Gray { "gray" } else { "rgb" };
        format!("{}x{}-{color}-v{}", self.width, self.height, self.preprocess)
    }
}

/// `index.json`: everything that was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Index {
    /// Version of the index's form.
    pub schema: u16,
    /// The dataset.
    pub dataset: Digest,
    /// Its class names.
    pub classes: Vec<std::sync::Arc<str>>,
    /// Form of the tensors.
    pub form: Form,
    /// The shards, in order.
    pub shards: Vec<Shard>,
}

impl Index {
    /// Tensors in all shards.
    pub fn items(&self) -> usize {
        self.shards.iter().map(|shard| shard.rows.len()).sum()
    }
}

/// One shard, and its note.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shard {
    /// Its file.
    pub file: String,
    /// Of the file's bytes.
    pub sha256: Digest,
    /// What its tensors are, in order.
    pub rows: Vec<Row>,
    /// Items that gave no tensor, with the reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<(String, String)>,
}

/// One tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The item.
    pub id: String,
    /// A place in the class names.
    pub class: u16,
    /// What it is for.
    pub split: Split,
    /// What it was made of.
    pub from: From,
    /// Of what it was made of: the same bytes give the same tensor.
    pub of: Digest,
}

/// What a tensor was made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum From {
    /// The input that the archive holds is this tensor.
    Input,
    /// The picture was decoded and preprocessed.
    Picture,
}

/// Tensors cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk does not let us.
    #[error("{what} `{}`", path.display())]
    Io {
        /// `read` or `write`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A document of ours is none.
    #[error("`{}` is damaged ({why}): delete it, and `preprocess` makes it again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The folder is of something else.
    #[error("`{}` holds {found}, and {wanted} is to be made: use another folder", path.display())]
    Other {
        /// The folder.
        path: PathBuf,
        /// What it holds.
        found: String,
        /// What was asked for.
        wanted: String,
    },
    /// Not all shards are there.
    #[error("`{}` lacks {missing} of {all} shards: run `preprocess` for all `--shard i/n`", path.display())]
    Incomplete {
        /// The folder.
        path: PathBuf,
        /// How many are missing.
        missing: usize,
        /// Of how many.
        all: usize,
    },
    /// Too many pictures are bad.
    #[error("{failed} of {items} pictures gave no tensor, as {first}: look at them, or allow more by --max-bad")]
    TooManyBad {
        /// How many.
        failed: usize,
        /// Of how many.
        items: usize,
        /// The first of them, with its reason.
        first: String,
    },
}
