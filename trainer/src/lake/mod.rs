//! A hub's lake, seen from the trainer: its samples ([`samples`]), what people said of them ([`store::labels`]), and their bytes.
//!
//! What is learnt from is copied out: compaction and retention move and remove the lake's objects, and a dataset never changes.

pub mod derived;
pub mod found;
pub mod replay;
pub mod samples;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    time::SystemTime,
};

use contract::Timestamp;
use serde::Deserialize;
use store::{
    labels::Labels,
    lake_index::LakeIndex,
    objects::{Location, LocationError, Objects},
    tables::Tables,
};

pub use found::found;
pub use samples::{Sample, Selection};

/// The lake cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The hub's state folder does not say where its store is.
    #[error("has a hub run with this state folder?")]
    Location(#[from] LocationError),
    /// The store does not answer.
    #[error("is the hub running?")]
    Objects(#[from] store::objects::Error),
    /// The tables do not answer.
    #[error("use the hub's tables")]
    Tables(#[from] store::tables::Error),
    /// A file of this machine.
    #[error("{what} `{}`", path.display())]
    Io {
        /// `read` or `write`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// An object is not what the lake's documents say.
    #[error("object `{key}` of the lake cannot be read: {why}")]
    Object {
        /// Its key.
        key: String,
        /// Why.
        why: String,
    },
    /// A model.
    #[error("{0}")]
    Model(String),
}

/// An opened lake.
pub struct Hub {
    /// Its objects.
    pub objects: Objects,
    /// Which objects there are.
    pub index: LakeIndex,
    /// What people said.
    pub labels: Labels,
}

impl Hub {
    /// Opens the lake of a hub on this machine by the hub's state folder; the hub may be running.
    ///
    /// # Errors
    /// No hub has run there, or its store or tables do not answer.
    pub async fn open(state: &Path) -> Result<Self, Error> {
        let objects = Objects::connect(Location::from_state(state)?)?;
        objects.check().await?;
        let tables = Tables::open(&tables_of(state)?).await?;
        let index = LakeIndex::open(tables.clone(), Timestamp::from_system(SystemTime::now())).await?;
        Ok(Self { objects, index, labels: Labels::open(tables).await? })
    }
}

/// Where the hub says that its tables are.
fn tables_of(state: &Path) -> Result<String, Error> {
    #[derive(Deserialize)]
    struct Endpoints {
        tables: String,
    }
    let path = state.join("endpoints.json");
    let io = |source| Error::Io { what: "read", path: path.clone(), source };
    let read: Endpoints = serde_json::from_slice(&std::fs::read(&path).map_err(io)?).map_err(|e| io(e.into()))?;
    Ok(read.tables)
}

/// Copies of the lake's objects in a folder of this machine.
pub struct Copies<'h> {
    objects: &'h Objects,
    folder: &'h Path,
    known: HashMap<String, PathBuf>,
}

impl<'h> Copies<'h> {
    /// Into this folder.
    pub fn new(objects: &'h Objects, folder: &'h Path) -> Self {
        Self { objects, folder, known: HashMap::new() }
    }

    /// Where an object's copy is; fetched at its first use.
    ///
    /// # Errors
    /// The store, or the disk.
    pub async fn bring(&mut self, key: &str) -> Result<PathBuf, Error> {
        if let Some(path) = self.known.get(key) {
            return Ok(path.clone());
        }
        let path = self.folder.join(format!("{:06}", self.known.len()));
        self.objects.get_file(key, &path).await?;
        self.known.insert(key.into(), path.clone());
        Ok(path)
    }
}
