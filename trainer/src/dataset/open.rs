//! Reads a dataset: what its hash names, or an error.

use std::{
    collections::HashMap,
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use contract::{
    Digest,
    dataset::{DatasetManifest, ITEMS, MANIFEST, Split},
};
use sha2::{Digest as _, Sha256};

use super::{
    Error, Input, Item, Place,
    crop::crop,
    items,
    make::{digest, hash_name},
};
use crate::tensors::{Form, Loaded, Pictures};

/// An opened dataset.
pub struct Dataset {
    /// Its hash.
    pub digest: Digest,
    /// Its folder.
    pub folder: PathBuf,
    /// Its manifest.
    pub manifest: DatasetManifest,
    /// Its items, by id.
    pub items: Vec<Item>,
    files: Mutex<HashMap<String, std::sync::Arc<File>>>,
}

impl Dataset {
    /// Opens the folder of a dataset; its name must be the manifest's hash. Shards are held against their digests only by
    /// [`Dataset::verify`]: each picture is held against its own when it is read.
    ///
    /// # Errors
    /// It is none, or is not what its hash names.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(MANIFEST);
        let json = fs::read(&path).map_err(Error::io("read", &path))?;
        let found = Digest(Sha256::digest(&json).into());
        let named = folder.canonicalize().ok().and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
        if named.as_deref() != Some(&hash_name(found)) {
            let why = format!("its hash is {}, and its folder is named otherwise", hash_name(found));
            return Err(Error::Changed { path, why });
        }
        let manifest: DatasetManifest =
            serde_json::from_slice(&json).map_err(|error| Error::Changed { path, why: error.to_string() })?;
        let path = folder.join(ITEMS);
        let table = fs::read(&path).map_err(Error::io("read", &path))?;
        if manifest.files.get(ITEMS) != Some(&Digest(Sha256::digest(&table).into())) {
            return Err(Error::Changed { path, why: "its digest is another one".into() });
        }
        let items = items::read(&path, table.into())?;
        Ok(Self { digest: found, folder: folder.into(), manifest, items, files: Mutex::default() })
    }

    /// Holds every file against its digest.
    ///
    /// # Errors
    /// The first file that is another one.
    pub fn verify(&self) -> Result<(), Error> {
        for (name, expected) in &self.manifest.files {
            let path = self.folder.join(name);
            if digest(&path)? != *expected {
                return Err(Error::Changed { path, why: "its digest is another one".into() });
            }
        }
        Ok(())
    }

    /// A picture's bytes.
    ///
    /// # Errors
    /// They cannot be read, or are others.
    pub fn picture(&self, item: &Item) -> Result<Vec<u8>, Error> {
        let bytes = self.bytes(&item.place)?;
        if Digest(Sha256::digest(&bytes).into()) == item.sha256 {
            return Ok(bytes);
        }
        let why = format!("the picture of `{}` has another digest", item.id);
        Err(Error::Changed { path: self.folder.join(&item.place.shard), why })
    }

    /// What an item's class is about, in a form that everybody shows: the picture, or as PNG its region or its raw planes.
    ///
    /// # Errors
    /// It cannot be read, is another one, or has no such region.
    pub fn shown(&self, item: &Item) -> Result<Vec<u8>, Error> {
        let bytes = self.picture(item)?;
        if item.shown_as() == item.media_type {
            return Ok(bytes);
        }
        crop(&bytes, item.region).map_err(|why| Error::Changed {
            path: self.folder.join(&item.place.shard),
            why: format!("`{}`: {why}", item.id),
        })
    }

    /// A tensor that a gateway made.
    ///
    /// # Errors
    /// It cannot be read, or is another one.
    pub fn input(&self, input: &Input) -> Result<Vec<u8>, Error> {
        let bytes = self.bytes(&input.place)?;
        if Digest(Sha256::digest(&bytes).into()) == input.sha256 {
            return Ok(bytes);
        }
        let why = format!("the input at byte {} has another digest", input.place.offset);
        Err(Error::Changed { path: self.folder.join(&input.place.shard), why })
    }

    /// Bytes of a shard.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn bytes(&self, place: &Place) -> Result<Vec<u8>, Error> {
        let file = self.file(&place.shard)?;
        let mut bytes = vec![0; usize::try_from(place.length).unwrap_or(usize::MAX)];
        file.read_exact_at(&mut bytes, place.offset).map_err(Error::io("read", self.folder.join(&place.shard)))?;
        Ok(bytes)
    }

    fn file(&self, shard: &str) -> Result<std::sync::Arc<File>, Error> {
        if let Some(file) = self.files.lock().unwrap_or_else(PoisonError::into_inner).get(shard) {
            return Ok(file.clone());
        }
        let path = self.folder.join(shard);
        let file = std::sync::Arc::new(File::open(&path).map_err(Error::io("read", path))?);
        self.files.lock().unwrap_or_else(PoisonError::into_inner).insert(shard.into(), file.clone());
        Ok(file)
    }
}

impl Pictures for Dataset {
    fn len(&self) -> usize {
        self.items.len()
    }

    fn about(&self, number: usize) -> (&str, u16, Split, Digest) {
        let item = &self.items[number];
        (&item.id, item.class, item.split, item.source())
    }

    fn load(&self, number: usize, form: Form) -> Result<Loaded, String> {
        let item = &self.items[number];
        if let Some(input) = &item.input
            && serde_json::from_str::<Form>(&input.form).is_ok_and(|made| made == form)
        {
            return self.input(input).map(Loaded::Input).map_err(|error| error.to_string());
        }
        self.picture(item).map(|bytes| Loaded::Picture(bytes, item.region)).map_err(|error| error.to_string())
    }
}
