//! The state folder: one process owns it at a time, and what is written there is whole or not there.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use crate::exit;

/// Whether opening the folder takes possession of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    /// Until the [`StateDir`] is dropped or the process ends, however it ends.
    Exclusive,
    /// Only to read beside a running process.
    None,
}

/// What [`StateDir::probe`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It is there, can be written, and nobody has it.
    Free,
    /// A process has it.
    InUse {
        /// The process, as it wrote itself down.
        pid: Option<u32>,
    },
    /// It is not there and can be made.
    Absent,
}

/// An open state folder.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    _lock: Option<File>,
}

/// Why a state folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another process has it.
    #[error(
        "state folder {} is in use by {}; stop that process or choose another folder with --state",
        .path.display(),
        .pid.map_or("another process".to_owned(), |pid| format!("process {pid}"))
    )]
    Locked {
        /// The folder.
        path: PathBuf,
        /// The other process, as it wrote itself down.
        pid: Option<u32>,
    },
    /// It cannot be made, read or written.
    #[error(
        "state folder {} cannot be used: {source}; make it writable for this user ({}) or choose another with --state",
        .path.display(),
        crate::process::user()
    )]
    Unusable {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is not there, and was only to be read.
    #[error("state folder {} does not exist; start the program that owns it, or name another with --state", .path.display())]
    Absent {
        /// The folder.
        path: PathBuf,
    },
}

impl Error {
    /// The exit code for it.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Locked { .. } => exit::STATE_LOCKED,
            Self::Unusable { .. } | Self::Absent { .. } => exit::STATE_UNUSABLE,
        }
    }
}

impl StateDir {
    /// Opens the folder. With [`Lock::Exclusive`] it is made when it is not there (mode 0700) and must be writable.
    pub fn open(path: impl Into<PathBuf>, lock: Lock) -> Result<Self, Error> {
        let path = path.into();
        if lock == Lock::None {
            return if path.is_dir() { Ok(Self { path, _lock: None }) } else { Err(Error::Absent { path }) };
        }
        let unusable = |source| Error::Unusable { path: path.clone(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(unusable)?;
        let path = path.canonicalize().map_err(unusable)?;
        let unusable = |source| Error::Unusable { path: path.clone(), source };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path.join("lock"))
            .map_err(unusable)?;
        match patiently(|| file.try_lock()) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::Locked { path, pid: owner(&mut file) }),
            Err(TryLockError::Error(source)) => return Err(unusable(source)),
        }
        // the pid is only for people; the lock itself goes with the process
        let write_pid = |file: &mut File| -> io::Result<()> {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        write_pid(&mut file).map_err(unusable)?;
        Ok(Self { path, _lock: Some(file) })
    }

    /// Looks at a folder as `run` would find it, for `check`: makes, changes and removes nothing, and is in nobody's way.
    ///
    /// # Errors
    /// The folder could not be used.
    pub fn probe(path: &Path) -> Result<Found, Error> {
        let unusable = |source| Error::Unusable { path: path.to_owned(), source };
        match fs::metadata(path) {
            Ok(facts) if !facts.is_dir() => Err(unusable(io::ErrorKind::NotADirectory.into())),
            Ok(_) => {
                let lock = path.join("lock");
                let found = match File::open(&lock) {
                    Ok(mut file) => match file.try_lock_shared() {
                        // Let go at once; whoever starts in this moment looks again.
                        Ok(()) => Found::Free,
                        Err(TryLockError::WouldBlock) => return Ok(Found::InUse { pid: owner(&mut file) }),
                        Err(TryLockError::Error(source)) => return Err(unusable(source)),
                    },
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Found::Free,
                    Err(source) => return Err(unusable(source)),
                };
                writable(path).map(|()| found).map_err(unusable)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let above = path.ancestors().skip(1).find(|above| above.exists() || above.as_os_str().is_empty());
                let above = above.filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
                writable(above).map(|()| Found::Absent).map_err(unusable)
            }
            Err(source) => Err(unusable(source)),
        }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path inside.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// A folder inside, made when it is not there.
    pub fn folder(&self, name: &str) -> Result<PathBuf, Error> {
        let path = self.path.join(name);
        match fs::DirBuilder::new().recursive(true).mode(0o700).create(&path) {
            Ok(()) => Ok(path),
            Err(source) => Err(Error::Unusable { path, source }),
        }
    }
}

/// Tries a lock for half a second: [`StateDir::probe`] holds it for a moment.
fn patiently(mut attempt: impl FnMut() -> Result<(), TryLockError>) -> Result<(), TryLockError> {
    for _ in 0..25 {
        match attempt() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(20)),
            outcome => return outcome,
        }
    }
    attempt()
}

/// Who wrote itself into a lock file.
fn owner(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// Whether a file could be made in a folder: makes one that has no name and goes with its handle, or, where the file
/// system has none such, one that is removed at once.
fn writable(folder: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let unnamed = options.write(true).mode(0o600).custom_flags(libc::O_TMPFILE).open(folder);
    match unnamed.map_err(|error| error.raw_os_error()) {
        Err(Some(libc::EOPNOTSUPP | libc::EISDIR)) => {
            let name = folder.join(format!(".probe-{}", std::process::id()));
            options.custom_flags(0).create_new(true).open(&name).and_then(|_| fs::remove_file(&name))
        }
        Err(Some(code)) => Err(io::Error::from_raw_os_error(code)),
        Err(None) => Err(io::ErrorKind::Other.into()),
        Ok(_) => Ok(()),
    }
}

/// Replaces a file as a whole: after a crash there is the old content or the new one, never a part. The file and its
/// folder are synced before this returns.
pub fn atomic_write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let named = |error: io::Error| io::Error::new(error.kind(), WriteError { path: path.to_owned(), source: error });
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().ok_or_else(|| named(io::ErrorKind::InvalidInput.into()))?;
    let draft = folder.join(format!(".{}.{}.draft", name.to_string_lossy(), std::process::id()));
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&draft)?;
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))?; // an old draft keeps its own
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&draft, path)?;
        File::open(folder)?.sync_all()
    };
    write().map_err(|error| {
        let _ = fs::remove_file(&draft); // the first error is the one that matters
        named(error)
    })
}

#[derive(Debug, thiserror::Error)]
#[error("cannot write {}: {source}", .path.display())]
struct WriteError {
    path: PathBuf,
    source: io::Error,
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_folder_has_one_owner_at_a_time() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("deep/state");
        let first = StateDir::open(&path, Lock::Exclusive).unwrap();
        let error = StateDir::open(&path, Lock::Exclusive).unwrap_err();
        assert_eq!(error.exit_code(), exit::STATE_LOCKED);
        assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
        assert!(StateDir::open(&path, Lock::None).is_ok());
        drop(first);
        assert!(StateDir::open(&path, Lock::Exclusive).is_ok());
    }

    #[test]
    fn looking_at_a_folder_leaves_it_as_it_was() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("deep/state");
        assert_eq!(StateDir::probe(&path).unwrap(), Found::Absent);
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0, "nothing is made");
        let owner = StateDir::open(&path, Lock::Exclusive).unwrap();
        assert_eq!(StateDir::probe(&path).unwrap(), Found::InUse { pid: Some(std::process::id()) });
        let before = fs::read_to_string(path.join("lock")).unwrap();
        drop(owner);
        assert_eq!(StateDir::probe(&path).unwrap(), Found::Free);
        assert_eq!(fs::read_to_string(path.join("lock")).unwrap(), before);
        assert_eq!(fs::read_dir(&path).unwrap().count(), 1);
        for unusable in [temp.path().join("deep/state/lock"), "/proc/no/such".into(), "/proc/self".into()] {
            let error = StateDir::probe(&unusable).unwrap_err();
            assert!(error.to_string().contains(&unusable.display().to_string()), "{error}");
        }
    }

    #[test]
    fn a_folder_is_opened_while_somebody_keeps_looking_at_it() {
        let temp = tempfile::tempdir().unwrap();
        drop(StateDir::open(temp.path(), Lock::Exclusive).unwrap());
        let end = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !end.load(std::sync::atomic::Ordering::Relaxed) {
                    StateDir::probe(temp.path()).unwrap();
                }
            });
            for _ in 0..200 {
                StateDir::open(temp.path(), Lock::Exclusive).unwrap();
            }
            end.store(true, std::sync::atomic::Ordering::Relaxed);
        });
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let error = StateDir::open("/proc/no/such", Lock::Exclusive).unwrap_err();
        assert!(error.to_string().contains("/proc/no/such") && error.to_string().contains("--state"), "{error}");
        assert_eq!(error.exit_code(), exit::STATE_UNUSABLE);
        assert!(matches!(StateDir::open("/no/such", Lock::None), Err(Error::Absent { .. })));
    }

    #[test]
    fn a_file_is_replaced_whole_with_its_mode() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("endpoints.json");
        atomic_write(&path, b"old", 0o600).unwrap();
        atomic_write(&path, b"new", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1);
        let error = atomic_write(Path::new("/no/such/file"), b"", 0o600).unwrap_err();
        assert!(error.to_string().contains("/no/such/file"), "{error}");
    }
}
