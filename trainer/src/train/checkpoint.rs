//! Checkpoints: everything that a training needs to go on bit for bit, in one safetensors file that other tools read.
//!
//! A new one is written beside the old one and takes its name when all of it is on disk: a full disk or a kill leaves the
//! previous one.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};

use super::{Normal, Settings, optimiser::Memory};
use crate::net::{Input, Net, Weights};

/// Version of the file's form.
const VERSION: u32 = 1;
/// Under which name the state stands in the file's metadata.
const STATE: &str = "sightline";

/// A training's state.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// What is known besides numbers.
    pub state: State,
    /// The weights that learn.
    pub weights: Weights,
    /// Their running average; the same while nothing is averaged.
    pub average: Weights,
    /// The best by validation.
    pub best: Weights,
    /// The optimiser's memory.
    pub memory: Memory,
}

/// What is known of a training besides its arrays.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Version of the file's form.
    pub version: u32,
    /// The settings.
    pub settings: Settings,
    /// What goes into the network: width, height, channels.
    pub input: [usize; 3],
    /// Class names.
    pub classes: Vec<Arc<str>>,
    /// How bytes become floats.
    pub normal: Normal,
    /// What was learnt from: the dataset's hash and the preprocessing, as text.
    pub examples: String,
    /// Passes that are complete.
    pub epoch: u32,
    /// Steps of the pass that is under way.
    pub step: u64,
    /// Sums of the pass that is under way: loss, right answers, examples.
    pub sums: [f64; 3],
    /// The best pass so far.
    pub best: Option<Best>,
}

/// The best pass.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Which one, from 1.
    pub epoch: u32,
    /// Share of right answers in validation, 0 to 1.
    pub accuracy: f64,
    /// Mean loss in validation.
    pub loss: f64,
}

/// A checkpoint cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk does not let us.
    #[error("{what} checkpoint `{}`{}", path.display(), hint(source))]
    Io {
        /// `write` or `read`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no checkpoint, or a damaged one.
    #[error("`{}` is no checkpoint of ours, or a damaged one ({why}): begin anew in another folder", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// It belongs to another training.
    #[error("`{}` is of another training: {what} is {found} there and {wanted} here; use another folder, or the same settings", path.display())]
    Other {
        /// The file.
        path: PathBuf,
        /// What differs.
        what: &'static str,
        /// In the file.
        found: String,
        /// Asked for.
        wanted: String,
    },
}

fn hint(error: &io::Error) -> &'static str {
    if error.kind() == io::ErrorKind::StorageFull { ": the disk is full; the previous checkpoint stays" } else { "" }
}

impl Checkpoint {
    /// The network that its arrays belong to.
    pub fn net(&self) -> Net {
        let State { settings, input: [width, height, channels], classes, .. } = &self.state;
        let input = Input { width: *width, height: *height, channels: *channels };
        settings.architecture.net(settings.size, input, classes.len())
    }

    /// Writes it to `path`, whole or not at all.
    ///
    /// # Errors
    /// The disk is full, or does not let us.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let failed = |source| Error::Io { what: "write", path: path.into(), source };
        let arrays = self.arrays().map(|(name, values)| (name, bytes(values)));
        let views = arrays.iter().map(|(name, bytes)| {
            let view = TensorView::new(Dtype::F32, vec![bytes.len() / 4], bytes);
            view.map(|view| (*name, view)).map_err(|error| failed(io::Error::other(error)))
        });
        let views: Vec<_> = views.collect::<Result<_, _>>()?;
        let state = serde_json::to_string(&self.state).map_err(|error| failed(error.into()))?;
        let metadata = HashMap::from([(STATE.to_owned(), state)]);
        let file = safetensors::serialize(views, Some(metadata)).map_err(|error| failed(io::Error::other(error)))?;
        replace(path, &file).map_err(failed)
    }

    /// Reads one; `None` when there is none.
    ///
    /// # Errors
    /// It cannot be read, or is none.
    pub fn read(path: &Path) -> Result<Option<Self>, Error> {
        let file = match fs::read(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::Io { what: "read", path: path.into(), source }),
        };
        let wrong = |why: String| Error::Format { path: path.into(), why };
        let (_, metadata) = SafeTensors::read_metadata(&file).map_err(|error| wrong(error.to_string()))?;
        let state = metadata.metadata().as_ref().and_then(|all| all.get(STATE));
        let state: State = serde_json::from_str(state.map_or("", String::as_str)).map_err(|e| wrong(e.to_string()))?;
        if state.version > VERSION {
            return Err(wrong(format!("form {} is newer than this program's {VERSION}", state.version)));
        }
        let tensors = SafeTensors::deserialize(&file).map_err(|error| wrong(error.to_string()))?;
        let array = |name: &str| -> Result<Vec<f32>, Error> {
            let view = tensors.tensor(name).map_err(|error| wrong(format!("{name}: {error}")))?;
            Ok(view
                .data()
                .chunks_exact(4)
                .map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]]))
                .collect())
        };
        let weights = |values: &str, statistics: &str| -> Result<Weights, Error> {
            Ok(Weights { values: array(values)?, statistics: array(statistics)? })
        };
        let read = Self {
            weights: weights("weights", "weights.statistics")?,
            average: weights("average", "average.statistics")?,
            best: weights("best", "best.statistics")?,
            memory: Memory { first: array("memory.first")?, second: array("memory.second")? },
            state,
        };
        read.check_lengths().map_err(wrong)?;
        Ok(Some(read))
    }

    fn check_lengths(&self) -> Result<(), String> {
        let net = self.net();
        let (parameters, statistics) = (net.parameters(), net.statistics);
        let right = |weights: &Weights| weights.values.len() == parameters && weights.statistics.len() == statistics;
        let memory = self.memory == Memory::new(self.state.settings.optimiser, parameters)
            || self.memory.first.len() == parameters
                && self.memory.second.len() == Memory::new(self.state.settings.optimiser, parameters).second.len();
        let all = [&self.weights, &self.average, &self.best].into_iter().all(right) && memory;
        if all { Ok(()) } else { Err("its arrays do not fit its network".into()) }
    }

    fn arrays(&self) -> [(&'static str, &[f32]); 8] {
        [
            ("weights", &self.weights.values),
            ("weights.statistics", &self.weights.statistics),
            ("average", &self.average.values),
            ("average.statistics", &self.average.statistics),
            ("best", &self.best.values),
            ("best.statistics", &self.best.statistics),
            ("memory.first", &self.memory.first),
            ("memory.second", &self.memory.second),
        ]
    }
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Writes beside, syncs, renames, syncs the folder.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o666); // less the umask
    let mut scratch = tempfile::Builder::new().prefix(".writing-").permissions(readable).tempfile_in(folder)?;
    scratch.write_all(bytes)?;
    scratch.as_file().sync_all()?;
    scratch.persist(path).map_err(|error| error.error)?;
    File::open(folder)?.sync_all()
}
