//! Keeps compiled plans on disk: compiling takes seconds to minutes, loading milliseconds.
//!
//! One file a plan, named by its [`Key`]. It begins with a magic, the digest of all that follows, and the key itself, so
//! that a torn, changed or misnamed file is found before the runtime sees it; such a file is removed and the plan
//! compiled again. Two processes that want the same plan do the work once: the second waits on a lock file. Bounded:
//! beyond the bound the plans used longest ago go. Written under a temporary name, synced, then renamed: kill -9 leaves
//! at most a temporary file, which an opening an hour later removes.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use sha2::{Digest as _, Sha256};

use crate::Key;

const MAGIC: &[u8; 8] = b"SLPLAN1\n";
const ENDING: &str = "plan";
const DIGEST: usize = 32;
/// A temporary file of this age belongs to no living writer.
const ABANDONED: Duration = Duration::from_secs(3600);

/// A folder of plans.
#[derive(Clone, Debug)]
pub struct Cache {
    folder: PathBuf,
    bytes_max: u64,
}

/// The cache could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{what} `{}`", path.display())]
pub struct Error {
    what: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// What the cache holds for a key.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// The plan, whole.
    Plan(Vec<u8>),
    /// Nothing.
    Nothing,
    /// A file that is not what its name says; it was removed. Why, for people.
    Broken(&'static str),
}

impl Cache {
    /// The cache in this folder, made when it is absent, for at most so many bytes of plans.
    ///
    /// # Errors
    /// When the folder cannot be made or read.
    pub fn open(folder: &Path, bytes_max: u64) -> Result<Self, Error> {
        let failed = |what| move |source| Error { what, path: folder.to_owned(), source };
        fs::create_dir_all(folder).map_err(failed("make the folder of TensorRT plans"))?;
        for entry in fs::read_dir(folder).map_err(failed("read the folder of TensorRT plans"))?.flatten() {
            if entry.file_name().to_string_lossy().ends_with(".new") && age(&entry) > ABANDONED {
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(Self { folder: folder.to_owned(), bytes_max })
    }

    /// Looks for the plan. A plan that is found counts as just used.
    ///
    /// # Errors
    /// When its file is there and cannot be read.
    pub fn get(&self, key: &Key) -> Result<Found, Error> {
        let path = self.path(key, ENDING);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
            Err(source) => return Err(Error { what: "read the TensorRT plan", path, source }),
        };
        match unpack(&bytes, key) {
            Ok(plan) => {
                let _ = File::open(&path).and_then(|file| file.set_modified(SystemTime::now()));
                Ok(Found::Plan(plan.to_vec()))
            }
            Err(why) => {
                tracing::warn!(path = %path.display(), why, "removed a TensorRT plan, it will be compiled again");
                self.remove(key)?;
                Ok(Found::Broken(why))
            }
        }
    }

    /// Keeps the plan, then removes the plans used longest ago until the bound holds; never this one.
    ///
    /// # Errors
    /// When it cannot be written; the folder is then as before.
    pub fn put(&self, key: &Key, plan: &[u8]) -> Result<(), Error> {
        let path = self.path(key, ENDING);
        write(&path, &pack(key, plan)).map_err(|source| Error {
            what: "write the TensorRT plan",
            path: path.clone(),
            source,
        })?;
        self.shrink(&path);
        Ok(())
    }

    /// Forgets the plan: the runtime did not take it.
    ///
    /// # Errors
    /// When its file is there and cannot be removed.
    pub fn remove(&self, key: &Key) -> Result<(), Error> {
        let path = self.path(key, ENDING);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(Error { what: "remove the TensorRT plan", path, source })
            }
            _ => Ok(()),
        }
    }

    /// Waits until no other process compiles this plan, and keeps others waiting until the guard is dropped.
    ///
    /// # Errors
    /// When the lock file cannot be made.
    pub fn lock(&self, key: &Key) -> Result<Lock, Error> {
        let path = self.path(key, "lock");
        let failed = |source| Error { what: "lock the TensorRT plan", path: path.clone(), source };
        let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
        file.lock().map_err(failed)?;
        Ok(Lock { _file: file })
    }

    fn path(&self, key: &Key, ending: &str) -> PathBuf {
        self.folder.join(format!("{}.{ending}", key.name()))
    }

    fn shrink(&self, newest: &Path) {
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        let mut plans: Vec<(SystemTime, u64, PathBuf)> = entries
            .flatten()
            .filter(|entry| entry.path().extension().is_some_and(|ending| ending == ENDING))
            .filter_map(|entry| {
                let facts = entry.metadata().ok()?;
                Some((facts.modified().ok()?, facts.len(), entry.path()))
            })
            .collect();
        plans.sort();
        let mut bytes: u64 = plans.iter().map(|(_, len, _)| len).sum();
        for (_, len, path) in plans.iter().filter(|(_, _, path)| path != newest) {
            if bytes <= self.bytes_max {
                return;
            }
            if fs::remove_file(path).is_ok() {
                tracing::info!(path = %path.display(), "removed the TensorRT plan used longest ago");
                let _ = fs::remove_file(path.with_extension("lock"));
                bytes -= len;
            }
        }
    }
}

/// Held while a plan is compiled.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

fn pack(key: &Key, plan: &[u8]) -> Vec<u8> {
    let key = serde_json::to_vec(key).unwrap_or_default();
    let len = u32::try_from(key.len()).unwrap_or_default().to_le_bytes();
    let mut digest = Sha256::new();
    for part in [&len[..], &key, plan] {
        digest.update(part);
    }
    [&MAGIC[..], &digest.finalize()[..], &len, &key, plan].concat()
}

/// The plan in the file, if the file is whole and was made for this key.
fn unpack<'a>(file: &'a [u8], key: &Key) -> Result<&'a [u8], &'static str> {
    let rest = file.strip_prefix(MAGIC).ok_or("it is not a plan file, or one of another version of Sightline")?;
    let (digest, body) = rest.split_at_checked(DIGEST).ok_or("it is torn")?;
    if digest != &Sha256::digest(body)[..] {
        return Err("its digest is wrong: it is torn or was changed");
    }
    let (len, rest) = body.split_first_chunk::<4>().ok_or("it is torn")?;
    let len = usize::try_from(u32::from_le_bytes(*len)).unwrap_or(usize::MAX);
    let (stored, plan) = rest.split_at_checked(len).ok_or("it is torn")?;
    match serde_json::from_slice::<Key>(stored) {
        Ok(stored) if stored == *key => Ok(plan),
        _ => Err("it was compiled of or for something else than its name says"),
    }
}

fn age(entry: &fs::DirEntry) -> Duration {
    let modified = entry.metadata().and_then(|facts| facts.modified()).ok();
    modified.and_then(|at| SystemTime::now().duration_since(at).ok()).unwrap_or_default()
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().suffix(".new").tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    File::open(folder)?.sync_all()
}
