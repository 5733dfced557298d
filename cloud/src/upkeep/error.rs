//! Why upkeep could not go on. What is wrong with a single object is no error: it is reported and the rest goes on.

use store::{objects, tables};

use crate::lake::{PackError, ReadError};

/// Why upkeep could not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The tables.
    #[error("the lake's tables cannot be used")]
    Tables(#[from] tables::Error),
    /// The objects.
    #[error("the lake's objects cannot be used")]
    Objects(#[from] objects::Error),
    /// Writing rows.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// Reading an object that was readable a moment ago.
    #[error("could not read {key}")]
    Read {
        /// The object.
        key: String,
        /// What is wrong with it.
        source: ReadError,
    },
    /// A document of our own that is not one.
    #[error("{key} is not a document of ours: {why}")]
    Document {
        /// The object.
        key: String,
        /// What is wrong with it.
        why: String,
    },
    /// What was read does not fit what the manifest says.
    #[error("{key} does not hold what the manifest says; run `sightline-hub verify`")]
    Contradiction {
        /// The object.
        key: String,
    },
    /// A thread of work ended.
    #[error("the work on {what} was interrupted")]
    Interrupted {
        /// On what.
        what: String,
    },
    /// A file.
    #[error("cannot use {}: {source}", .path.display())]
    File {
        /// The file or folder.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
}
