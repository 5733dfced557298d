//! The job: decode, preprocess, write, shard by shard, on as many threads as asked for.
//!
//! A worker takes shards that have no note yet. Killed at any point it leaves whole shards, and at most one file under another
//! name, which nobody reads. A bad picture is noted with its reason and stops nothing.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use contract::{Digest, dataset::Split};
use rayon::prelude::*;
use sha2::{Digest as _, Sha256};
use vision::{Preprocessor, Rect};

use super::{Error, Form, From, INDEX, Index, Row, SHARD, Shard, Store};
use crate::{
    picture::Decoded,
    train::{Tensors as _, checkpoint::replace},
};

/// What a tensor is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loaded {
    /// The archive holds the tensor itself, made with the preprocessing that is asked for.
    Input(Vec<u8>),
    /// A picture, encoded, and the part of it that counts; all of it where there is none.
    Picture(Vec<u8>, Option<Rect>),
}

/// A dataset's items, in its order.
pub trait Pictures: Sync {
    /// How many.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Of an item: its id, class, split, and the digest of what its tensor is made of.
    fn about(&self, number: usize) -> (&str, u16, Split, Digest);

    /// Loads what its tensor is made of.
    ///
    /// # Errors
    /// Why it cannot be had: it is noted, and the others go on.
    fn load(&self, number: usize, form: Form) -> Result<Loaded, String>;
}

/// One job.
pub struct Job<'j> {
    /// The dataset's hash.
    pub dataset: Digest,
    /// Its class names.
    pub classes: &'j [Arc<str>],
    /// Its items.
    pub pictures: &'j dyn Pictures,
    /// What is to be made.
    pub form: Form,
    /// The folder.
    pub out: &'j Path,
    /// Which shards are made here: number `i` of `n`.
    pub part: (usize, usize),
    /// Share of items that may give no tensor, 0 to 1.
    pub max_bad: f64,
    /// Tensors that were made before, of other datasets: the same bytes are not decoded again.
    pub earlier: &'j [Store],
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Done {
    /// Tensors in the shards that are this part's.
    pub items: usize,
    /// Of them made now; the others were there.
    pub made: usize,
    /// Of those taken from earlier tensors.
    pub reused: usize,
    /// Items that gave none.
    pub failed: usize,
    /// Whether all parts are there, and so the index.
    pub complete: bool,
}

/// Makes what is missing; `progress` is told of each item that is done, of any thread.
///
/// # Errors
/// The disk does not let us, the folder is of something else, or too many pictures are bad.
pub fn preprocess(job: &Job<'_>, progress: &(dyn Fn(usize) + Sync)) -> Result<Done, Error> {
    fs::create_dir_all(job.out).map_err(|source| Error::Io { what: "write", path: job.out.into(), source })?;
    job.claim()?;
    let known = job.known();
    let reused = AtomicUsize::new(0);
    let made = AtomicUsize::new(0);
    let (part, parts) = job.part;
    let mine: Vec<usize> = (0..job.shards()).filter(|shard| shard % parts == part).collect();
    // One shard after the other, each on all threads: a kill loses a part of one shard.
    let shards = mine.into_iter().map(|shard| {
        if let Some(note) = job.note(shard)? {
            progress(note.rows.len() + note.failed.len());
            return Ok(note);
        }
        let note = job.make(shard, &known, &reused, progress)?;
        made.fetch_add(note.rows.len(), Ordering::Relaxed);
        Ok(note)
    });
    let shards: Vec<Shard> = shards.collect::<Result<_, Error>>()?;
    let mut done = Done {
        items: shards.iter().map(|shard| shard.rows.len()).sum(),
        made: made.into_inner(),
        reused: reused.into_inner(),
        failed: shards.iter().map(|shard| shard.failed.len()).sum(),
        complete: false,
    };
    job.check_bad(&shards, done)?;
    done.complete = job.finish()?;
    Ok(done)
}

impl Job<'_> {
    fn shards(&self) -> usize {
        self.pictures.len().div_ceil(SHARD)
    }

    /// The folder is this job's alone: what it is for stands in it before anything else.
    fn claim(&self) -> Result<(), Error> {
        let path = self.out.join("job.json");
        let wanted = serde_json::json!({ "dataset": self.dataset, "form": self.form, "items": self.pictures.len() });
        let wanted = wanted.to_string();
        match fs::read_to_string(&path) {
            Ok(found) if found == wanted => Ok(()),
            Ok(found) => Err(Error::Other { path: self.out.into(), found, wanted }),
            Err(_) => replace(&path, wanted.as_bytes()).map_err(|source| Error::Io { what: "write", path, source }),
        }
    }

    /// Where tensors of the same bytes are already.
    fn known(&self) -> HashMap<Digest, (usize, usize)> {
        let earlier = self.earlier.iter().enumerate().filter(|(_, store)| store.index.form == self.form);
        let rows = earlier.flat_map(|(at, store)| {
            let rows = store.index.shards.iter().flat_map(|shard| &shard.rows);
            rows.enumerate().map(move |(number, row)| (row.of, (at, number)))
        });
        rows.collect()
    }

    fn paths(&self, shard: usize) -> (String, PathBuf) {
        (format!("shard-{shard:05}.u8"), self.out.join(format!("shard-{shard:05}.json")))
    }

    /// The note of a shard that is complete.
    fn note(&self, shard: usize) -> Result<Option<Shard>, Error> {
        let (_, path) = self.paths(shard);
        let Ok(json) = fs::read(&path) else { return Ok(None) };
        let read = serde_json::from_slice(&json);
        read.map(Some).map_err(|error| Error::Damaged { path, why: error.to_string() })
    }

    fn make(
        &self,
        shard: usize,
        known: &HashMap<Digest, (usize, usize)>,
        reused: &AtomicUsize,
        progress: &(dyn Fn(usize) + Sync),
    ) -> Result<Shard, Error> {
        let numbers = shard * SHARD..((shard + 1) * SHARD).min(self.pictures.len());
        let length = self.form.spec().len();
        let mut tensors = vec![0u8; numbers.len() * length];
        let made: Vec<Result<From, String>> = tensors
            .par_chunks_mut(length)
            .zip(numbers.clone())
            .map_init(
                || Preprocessor::new(self.form.spec()),
                |preprocessor, (tensor, number)| {
                    let (_, _, _, of) = self.pictures.about(number);
                    let from = match known.get(&of) {
                        Some((store, at)) => {
                            tensor.copy_from_slice(self.earlier[*store].tensor(*at));
                            reused.fetch_add(1, Ordering::Relaxed);
                            Ok(self.earlier[*store].from(*at))
                        }
                        None => self.tensor(number, preprocessor, tensor),
                    };
                    progress(1);
                    from
                },
            )
            .collect();
        self.keep(shard, numbers.start, tensors, made)
    }

    fn tensor(&self, number: usize, preprocessor: &mut Preprocessor, tensor: &mut [u8]) -> Result<From, String> {
        match self.pictures.load(number, self.form)? {
            Loaded::Input(bytes) if bytes.len() == tensor.len() => {
                tensor.copy_from_slice(&bytes);
                Ok(From::Input)
            }
            Loaded::Input(bytes) => {
                Err(format!("its archived input has {} bytes, {} are right", bytes.len(), tensor.len()))
            }
            Loaded::Picture(bytes, region) => {
                let picture = Decoded::read(&bytes)?;
                let (view, region) = picture.part(region)?;
                preprocessor.run(&view, region, tensor).map_err(|error| error.to_string())?;
                Ok(From::Picture)
            }
        }
    }

    /// Writes the shard, and its note last.
    fn keep(
        &self,
        shard: usize,
        first: usize,
        mut tensors: Vec<u8>,
        made: Vec<Result<From, String>>,
    ) -> Result<Shard, Error> {
        let length = self.form.spec().len();
        let (mut rows, mut failed) = (Vec::new(), Vec::new());
        for (at, made) in made.into_iter().enumerate() {
            let (id, class, split, of) = self.pictures.about(first + at);
            match made {
                Ok(from) => {
                    tensors.copy_within(at * length..(at + 1) * length, rows.len() * length);
                    rows.push(Row { id: id.into(), class, split, from, of });
                }
                Err(why) => failed.push((id.into(), why)),
            }
        }
        tensors.truncate(rows.len() * length);
        let (file, note_path) = self.paths(shard);
        let path = self.out.join(&file);
        replace(&path, &tensors).map_err(|source| Error::Io { what: "write", path, source })?;
        let note = Shard { file, sha256: Digest(Sha256::digest(&tensors).into()), rows, failed };
        let json = serde_json::to_vec(&note).unwrap_or_default(); // text keys alone
        replace(&note_path, &json).map_err(|source| Error::Io { what: "write", path: note_path, source })?;
        Ok(note)
    }

    fn check_bad(&self, shards: &[Shard], done: Done) -> Result<(), Error> {
        let items = done.items + done.failed;
        if done.failed as f64 <= self.max_bad * items as f64 {
            return Ok(());
        }
        let first = shards.iter().flat_map(|shard| &shard.failed).next();
        let first = first.map(|(id, why)| format!("`{id}`: {why}")).unwrap_or_default();
        Err(Error::TooManyBad { failed: done.failed, items, first })
    }

    /// Writes the index when every shard is there.
    fn finish(&self) -> Result<bool, Error> {
        let shards = (0..self.shards()).map(|shard| self.note(shard));
        let Some(shards) = shards.collect::<Result<Option<Vec<Shard>>, Error>>()? else { return Ok(false) };
        let index = Index {
            schema: contract::SCHEMA,
            dataset: self.dataset,
            classes: self.classes.to_vec(),
            form: self.form,
            shards,
        };
        let path = self.out.join(INDEX);
        let json = serde_json::to_vec(&index).unwrap_or_default(); // text keys alone
        replace(&path, &json).map_err(|source| Error::Io { what: "write", path, source })?;
        Ok(true)
    }
}
