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
    Error, Item, Place, items,
    make::{digest, hash_name},
};
use crate::tensors::{Form, Loaded, Pictures};

/// Begins the name of an object in the lake.
pub const LAKE: &str = "lake:";

/// Brings objects of a lake.
pub trait Lake: Send + Sync {
    /// Where the object lies on this machine now.
    ///
    /// # Errors
    /// Why it cannot be brought.
    fn bring(&self, key: &str) -> Result<PathBuf, String>;
}

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
    lake: Option<Box<dyn Lake>>,
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
        Ok(Self { digest: found, folder: folder.into(), manifest, items, lake: None, files: Mutex::default() })
    }

    /// With a lake behind it, for items that lie there.
    #[must_use]
    pub fn with_lake(mut self, lake: Box<dyn Lake>) -> Self {
        self.lake = Some(lake);
        self
    }

    /// Whether some of its pictures lie in a lake.
    pub fn needs_lake(&self) -> bool {
        self.items.iter().any(|item| item.place.shard.starts_with(LAKE))
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
        let path = match (shard.strip_prefix(LAKE), &self.lake) {
            (None, _) => self.folder.join(shard),
            (Some(key), Some(lake)) => lake.bring(key).map_err(|why| Error::Lake { shard: key.into(), why })?,
            (Some(key), None) => {
                let why = "this dataset lies in a lake: name the hub's state folder by --state".into();
                return Err(Error::Lake { shard: key.into(), why });
            }
        };
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
        (&item.id, item.class, item.split, item.sha256)
    }

    fn load(&self, number: usize, form: Form) -> Result<Loaded, String> {
        let item = &self.items[number];
        if let Some((place, spec)) = &item.input
            && serde_json::from_str::<Form>(spec).is_ok_and(|made| made == form)
        {
            return self.bytes(place).map(Loaded::Input).map_err(|error| error.to_string());
        }
        self.picture(item).map(Loaded::Picture).map_err(|error| error.to_string())
    }
}
