//! Reads tensors: every shard mapped, checked once when it is opened.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    sync::Arc,
};

use memmap2::Mmap;
use rayon::prelude::*;
use sha2::{Digest as _, Sha256};

use super::{Error, INDEX, Index};
use crate::train::{Examples, Label, Tensors};

/// Opened tensors.
pub struct Store {
    /// What they are.
    pub index: Index,
    shards: Vec<Mmap>,
    /// The number of each shard's first tensor.
    first: Vec<usize>,
    length: usize,
}

impl Store {
    /// Opens a folder that `preprocess` made.
    ///
    /// # Errors
    /// A file is missing, or is not what the index says.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(INDEX);
        let json = fs::read(&path).map_err(|source| Error::Io { what: "read", path: path.clone(), source })?;
        let index: Index =
            serde_json::from_slice(&json).map_err(|error| Error::Damaged { path, why: error.to_string() })?;
        let length = index.form.spec().len();
        let opened = index.shards.par_iter().map(|shard| {
            let path = folder.join(&shard.file);
            let mapped = map(&path)?;
            check(path, &mapped, shard.rows.len() * length, shard.sha256.0)?;
            Ok(mapped)
        });
        let shards: Vec<Mmap> = opened.collect::<Result<_, Error>>()?;
        let first = index.shards.iter().scan(0, |next, shard| {
            let first = *next;
            *next += shard.rows.len();
            Some(first)
        });
        Ok(Self { first: first.collect(), shards, length, index })
    }

    /// What a tensor was made of.
    pub fn from(&self, number: usize) -> super::From {
        let shard = self.first.partition_point(|first| *first <= number) - 1;
        self.index.shards[shard].rows[number - self.first[shard]].from
    }

    /// As training wants them.
    pub fn examples(self) -> Examples {
        let rows = self.index.shards.iter().flat_map(|shard| &shard.rows);
        let labels = rows.map(|row| Label { class: row.class, split: row.split }).collect();
        Examples { spec: self.index.form.spec(), classes: self.index.classes.clone(), labels, tensors: Arc::new(self) }
    }
}

impl Tensors for Store {
    fn tensor(&self, number: usize) -> &[u8] {
        let shard = self.first.partition_point(|first| *first <= number) - 1;
        let from = (number - self.first[shard]) * self.length;
        &self.shards[shard][from..from + self.length]
    }
}

fn map(path: &Path) -> Result<Mmap, Error> {
    let failed = |source| Error::Io { what: "read", path: path.into(), source };
    let file = File::open(path).map_err(failed)?;
    // SAFETY: shards are written under another name and renamed when complete, and nobody of ours writes to one afterwards; a
    // stranger who shortens the file gets this process a SIGBUS, not wrong memory.
    unsafe { Mmap::map(&file) }.map_err(failed)
}

fn check(path: PathBuf, bytes: &[u8], length: usize, sha256: [u8; 32]) -> Result<(), Error> {
    if bytes.len() != length {
        let why = format!("it has {} bytes, {length} are right", bytes.len());
        return Err(Error::Damaged { path, why });
    }
    let found: [u8; 32] = Sha256::digest(bytes).into();
    if found == sha256 { Ok(()) } else { Err(Error::Damaged { path, why: "its digest is another one".into() }) }
}
