//! The folder of a real file system.

use std::{
    fs::{self, OpenOptions},
    io::{self, ErrorKind, Write},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use contract::Timestamp;

use super::{Disk, File, Found};

/// A folder of the file system.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// The folder at a path, which is there.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

/// Says which file an error is about.
fn named<T>(path: &Path, result: io::Result<T>) -> io::Result<T> {
    result.map_err(|source| io::Error::new(source.kind(), Named { path: path.to_owned(), source }))
}

#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", .path.display())]
struct Named {
    path: PathBuf,
    source: io::Error,
}

impl Disk for Folder {
    fn list(&self) -> io::Result<Vec<Found>> {
        let mut found = Vec::new();
        for entry in named(&self.0, fs::read_dir(&self.0))? {
            let entry = named(&self.0, entry)?;
            let (Ok(name), Ok(facts)) = (entry.file_name().into_string(), entry.metadata()) else { continue };
            if facts.is_file() {
                let modified = facts.modified().map(Timestamp::from_system).unwrap_or_default();
                found.push(Found { name, bytes: facts.len(), modified });
            }
        }
        Ok(found)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let path = self.path(name);
        let file = OpenOptions::new().read(true).append(true).create_new(true).mode(0o600).open(&path);
        Ok(Arc::new(Open { file: named(&path, file)?, path }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let path = self.path(name);
        let file = match OpenOptions::new().read(true).append(true).open(&path) {
            // What is there can still be sent.
            Err(error) if matches!(error.kind(), ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied) => {
                fs::File::open(&path)
            }
            file => file,
        };
        Ok(Arc::new(Open { file: named(&path, file)?, path }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let path = self.path(from);
        named(&path, fs::rename(&path, self.path(to)))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let path = self.path(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            result => named(&path, result),
        }
    }

    fn sync_folder(&self) -> io::Result<()> {
        named(&self.0, fs::File::open(&self.0).and_then(|folder| folder.sync_all()))
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let path = self.path(name);
        named(&path, fs::read(&path))
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        daemon::state::atomic_write(&self.path(name), bytes, 0o600)
    }
}

/// An open file, and where it was when it was opened.
struct Open {
    file: fs::File,
    path: PathBuf,
}

impl File for Open {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        named(&self.path, (&self.file).write_all(bytes))
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        named(&self.path, self.file.read_exact_at(buffer, at))
    }

    fn sync(&self) -> io::Result<()> {
        // Length and contents; times do not matter.
        named(&self.path, self.file.sync_data())
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        named(&self.path, self.file.set_len(bytes))
    }

    fn len(&self) -> io::Result<u64> {
        Ok(named(&self.path, self.file.metadata())?.len())
    }
}
