//! The files of a package, in a folder or in a plain tar: named safely, bounded in size, read when asked for.
//!
//! Nothing is unpacked and nothing is kept in memory: a tar is an index of offsets. What is read is compared with its
//! digest each time by [`crate::Package`], so a file that changes under us is noticed.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::{Component, Path, PathBuf},
};

use contract::{Digest, model::MANIFEST};
use sha2::{Digest as _, Sha256};

/// Largest file of a package: far above any model that an edge runs, far below what would exhaust a server.
pub const MAX_FILE_BYTES: u64 = 1 << 30;
/// Most files in a tar; a package needs a handful, and golden rows a few more.
const MAX_FILES: usize = 10_000;

/// Why a file could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The system refused.
    #[error("read `{name}`")]
    Read {
        /// The file's name in the package, or the package itself.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// It is not in the package.
    #[error("`{name}` is not in the package; add it, or make the package again")]
    Missing {
        /// The file's name in the package.
        name: String,
    },
    /// It would not be good for us.
    #[error("`{name}` has {bytes} bytes, more than the {max} allowed")]
    TooLarge {
        /// The file's name in the package.
        name: String,
        /// Its size.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// The name leads out of the package.
    #[error("`{name}` is not a name inside the package; use a relative path without `..`")]
    Name {
        /// The name.
        name: String,
    },
    /// The archive is not one that we read.
    #[error("`{path}` {why}")]
    Archive {
        /// The archive.
        path: String,
        /// What is the matter with it, and what to do.
        why: String,
    },
}

/// Where a package's files are.
#[derive(Clone, Debug)]
pub enum Files {
    /// A folder.
    Folder(PathBuf),
    /// An uncompressed tar, with the place of each file in it: offset and length.
    Tar {
        /// The archive.
        path: PathBuf,
        /// Offset and length of each regular file.
        index: BTreeMap<String, (u64, u64)>,
    },
}

impl Files {
    /// A folder as it is, or a tar's index.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let metadata = std::fs::metadata(path).map_err(|source| read(path.display(), source))?;
        if metadata.is_dir() { Ok(Self::Folder(path.to_owned())) } else { open_tar(path) }
    }

    /// The whole file.
    pub fn read(&self, name: &str, max: u64) -> Result<Vec<u8>, Error> {
        let (mut reader, bytes) = self.reader(name, max)?;
        let mut content = Vec::with_capacity(usize::try_from(bytes).unwrap_or(0));
        reader.read_to_end(&mut content).map_err(|source| read(name, source))?;
        Ok(content)
    }

    /// The file's digest, without holding it.
    pub fn digest(&self, name: &str, max: u64) -> Result<Digest, Error> {
        let (mut reader, _) = self.reader(name, max)?;
        let mut hash = Sha256::new();
        let mut chunk = vec![0; 64 << 10];
        loop {
            match reader.read(&mut chunk).map_err(|source| read(name, source))? {
                0 => return Ok(Digest(hash.finalize().into())),
                n => hash.update(&chunk[..n]),
            }
        }
    }

    /// A reader that ends at the file's end or at the limit, and the file's length.
    fn reader(&self, name: &str, max: u64) -> Result<(io::Take<File>, u64), Error> {
        check_name(name)?;
        let (file, bytes) = match self {
            Self::Folder(folder) => open_in_folder(folder, name)?,
            Self::Tar { path, index } => {
                let &(offset, bytes) = index.get(name).ok_or_else(|| Error::Missing { name: name.into() })?;
                let mut file = File::open(path).map_err(|source| read(path.display(), source))?;
                file.seek(SeekFrom::Start(offset)).map_err(|source| read(name, source))?;
                (file, bytes)
            }
        };
        if bytes > max {
            return Err(Error::TooLarge { name: name.into(), bytes, max });
        }
        Ok((file.take(bytes), bytes))
    }
}

fn open_in_folder(folder: &Path, name: &str) -> Result<(File, u64), Error> {
    let path = folder.join(name);
    let missing = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => Error::Missing { name: name.into() },
        _ => read(path.display(), source),
    };
    // The kind is looked at before opening: opening a pipe would wait for its writer.
    let metadata = std::fs::metadata(&path).map_err(missing)?;
    if !metadata.is_file() {
        return Err(read(path.display(), io::Error::other("not a regular file")));
    }
    Ok((File::open(&path).map_err(missing)?, metadata.len()))
}

fn open_tar(path: &Path) -> Result<Files, Error> {
    let bad = |why: &str| Error::Archive { path: path.display().to_string(), why: why.into() };
    let mut file = File::open(path).map_err(|source| read(path.display(), source))?;
    let mut magic = [0; 4];
    let n = file.read(&mut magic).map_err(|source| read(path.display(), source))?;
    if magic[..n].starts_with(&[0x1f, 0x8b]) || magic[..n] == [0x28, 0xb5, 0x2f, 0xfd] {
        return Err(bad("is compressed; unpack it, or make a plain tar of the package's files"));
    }
    file.seek(SeekFrom::Start(0)).map_err(|source| read(path.display(), source))?;

    let unreadable = |source: io::Error| Error::Archive {
        path: path.display().to_string(),
        why: format!("is not a package: neither a folder nor a readable tar ({source})"),
    };
    let mut index = BTreeMap::new();
    let mut archive = tar::Archive::new(file);
    for entry in archive.entries_with_seek().map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let name = name.strip_prefix("./").unwrap_or(&name).to_owned();
        check_name(&name)?;
        if index.insert(name.clone(), (entry.raw_file_position(), entry.size())).is_some() {
            return Err(bad(&format!("holds `{name}` twice; make it again")));
        }
        if index.len() > MAX_FILES {
            return Err(bad(&format!("holds more than {MAX_FILES} files; a package needs only a few")));
        }
    }
    Ok(Files::Tar { path: path.to_owned(), index: without_top_folder(index) })
}

/// `tar cf p.tar folder` puts one folder around the package: look inside it.
fn without_top_folder(index: BTreeMap<String, (u64, u64)>) -> BTreeMap<String, (u64, u64)> {
    if index.contains_key(MANIFEST) {
        return index;
    }
    let suffix = format!("/{MANIFEST}");
    let tops: Vec<&str> = index.keys().filter_map(|k| k.strip_suffix(&suffix)).filter(|t| !t.contains('/')).collect();
    let [top] = tops[..] else { return index };
    let prefix = format!("{top}/");
    index.iter().filter_map(|(name, place)| Some((name.strip_prefix(&prefix)?.to_owned(), *place))).collect()
}

/// A name stays inside the package: relative, plain components, no backslash that another system would split.
pub fn check_name(name: &str) -> Result<(), Error> {
    let plain = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
    if plain && !name.is_empty() && !name.contains(['\\', '\0']) && !name.ends_with('/') {
        Ok(())
    } else {
        Err(Error::Name { name: name.into() })
    }
}

fn read(name: impl ToString, source: io::Error) -> Error {
    Error::Read { name: name.to_string(), source }
}
