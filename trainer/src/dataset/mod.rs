//! Datasets: pictures with classes, shared out, immutable, named by the hash of their manifest.
//!
//! Importers ([`import`]) and the lake's selection give [`Found`] pictures; [`make`] looks at each of them, leaves out what cannot be
//! used, drops near-identical ones, shares the rest out and writes the folder; [`open`] reads it again.

pub mod croissant;
pub mod crop;
pub mod dedupe;
pub mod describe;
pub mod diff;
pub mod export;
pub mod import;
pub mod items;
pub mod make;
pub mod open;
pub mod phash;
pub mod split;
mod tar;

use std::{fs, io, path::PathBuf, sync::Arc};

use contract::{Digest, dataset::Split};
use sha2::{Digest as _, Sha256};
use vision::Rect;

use crate::tensors::Form;

pub use make::{Made, Order, make};
pub use open::Dataset;

/// One picture of a dataset, with its class: a row of `items.parquet`.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// Unique in the dataset.
    pub id: String,
    /// A place in the manifest's class names.
    pub class: u16,
    /// What it is for.
    pub split: Split,
    /// What must not be torn apart by a split.
    pub group: String,
    /// Where the picture's bytes are.
    pub place: Place,
    /// The part of the picture that the class is about; all of it where there is none.
    pub region: Option<Rect>,
    /// Of the picture's bytes.
    pub sha256: Digest,
    /// `image/jpeg`, `image/png` or `video/x-yuv4mpeg` with one frame.
    pub media_type: String,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Perceptual hash.
    pub phash: u64,
    /// The camera, where it is known.
    pub camera: Option<String>,
    /// Microseconds since 1970 at which the picture was taken, where that is known.
    pub captured_at: Option<i64>,
    /// The model's exact input that the archive held.
    pub input: Option<Input>,
}

impl Item {
    /// The media type of what [`Dataset::shown`] gives.
    pub fn shown_as(&self) -> &str {
        let is_plain = self.region.is_none() && self.media_type.starts_with("image/");
        if is_plain { &self.media_type } else { "image/png" }
    }

    /// Names what a tensor is made of: the same gives the same tensor.
    pub fn source(&self) -> Digest {
        if self.region.is_none() && self.input.is_none() {
            return self.sha256;
        }
        let mut hasher = Sha256::new_with_prefix(self.sha256.0);
        if let Some(Rect { x, y, width, height }) = self.region {
            [x, y, width, height].into_iter().for_each(|side| hasher.update(side.to_le_bytes()));
        }
        if let Some(input) = &self.input {
            hasher.update(input.sha256.0);
            hasher.update(&input.form);
        }
        Digest(hasher.finalize().into())
    }
}

/// A tensor that a gateway made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// Where its bytes are.
    pub place: Place,
    /// Of its bytes.
    pub sha256: Digest,
    /// Its form ([`crate::tensors::Form`]) as JSON.
    pub form: String,
}

/// Where bytes are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// A file of the dataset's folder.
    pub shard: String,
    /// The first byte.
    pub offset: u64,
    /// How many.
    pub length: u64,
}

/// A picture that an importer has found.
#[derive(Clone, Debug)]
pub struct Found {
    /// How people know it: a path or a key, unique in its source.
    pub name: String,
    /// Its class, where somebody said it.
    pub class: Option<String>,
    /// Its split, where the source says it.
    pub split: Option<Split>,
    /// Its group, where the source says it.
    pub group: Option<String>,
    /// Where its bytes are.
    pub bytes: Bytes,
    /// The camera and the time, where they are known.
    pub taken: Option<(String, i64)>,
    /// The part of it that the class is about; all of it where there is none.
    pub region: Option<Rect>,
    /// What the lake knows of it.
    pub archived: Option<Archived>,
}

/// What the lake knows of a picture.
#[derive(Clone, Debug)]
pub struct Archived {
    /// The item's name: a frame's id, `@`, the region.
    pub id: String,
    /// The model's exact input, where it was kept: its bytes, and its form.
    pub input: Option<(Bytes, Form)>,
}

/// Where a found picture's bytes are.
#[derive(Clone, Debug)]
pub enum Bytes {
    /// A file.
    File(PathBuf),
    /// A part of a file.
    Part(PathBuf, u64, u64),
    /// Luma, row by row, to be made a PNG: width, height, and the place in the bytes of many.
    Gray(Arc<Vec<u8>>, usize, [u32; 2]),
    /// Themselves.
    Here(Arc<Vec<u8>>),
    /// A part of a file, compressed with zstd: its place, and how many bytes it becomes.
    Zstd(PathBuf, u64, u64, usize),
}

impl Bytes {
    /// The picture, encoded.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(&self) -> io::Result<Vec<u8>> {
        match self {
            Self::File(path) => fs::read(path),
            Self::Part(path, offset, length) => {
                use std::os::unix::fs::FileExt as _;
                let mut bytes = vec![0; usize::try_from(*length).map_err(io::Error::other)?];
                fs::File::open(path)?.read_exact_at(&mut bytes, *offset)?;
                Ok(bytes)
            }
            Self::Gray(all, from, [width, height]) => {
                let length = *width as usize * *height as usize;
                crop::png(&all[*from..*from + length], [*width, *height], png::ColorType::Grayscale)
                    .map_err(io::Error::other)
            }
            Self::Here(bytes) => Ok(bytes.to_vec()),
            Self::Zstd(path, offset, length, becomes) => {
                let packed = Self::Part(path.clone(), *offset, *length).read()?;
                zstd::bulk::decompress(&packed, *becomes)
            }
        }
    }
}

/// A dataset cannot be made or read.
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
    /// A source is not in the form that was named.
    #[error("`{}` is not {form}: {why}", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// The form.
        form: &'static str,
        /// What is wrong.
        why: String,
    },
    /// A list of labels names pictures that are not there.
    #[error("`{}` names {count} pictures that are not there, as {}: correct the names, or the folder with the pictures", path.display(), some.join(", "))]
    Unknown {
        /// The list.
        path: PathBuf,
        /// How many.
        count: usize,
        /// The first few.
        some: Vec<String>,
    },
    /// Pictures cannot be decoded, and that is not allowed.
    #[error("{count} pictures cannot be used, as {}: mend or remove them, or import without --strict", some.join("; "))]
    Corrupt {
        /// How many.
        count: usize,
        /// The first few, with reasons.
        some: Vec<String>,
    },
    /// The classes do not make a dataset.
    #[error("{0}")]
    Classes(String),
    /// What was read is not what its hash names.
    #[error("`{}` is not what the dataset's hash names: {why}; fetch or make the dataset again", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
        /// What differs.
        why: String,
    },
}

impl Error {
    fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { what, path, source }
    }
}

/// The first few of many, for an error.
fn some(mut all: impl Iterator<Item = String>) -> Vec<String> {
    all.by_ref().take(10).collect()
}
