//! Body files: `bodies/<2 hex digits>/<32 hex digits>`. A file is whole and synced before its name is handed out.

use std::{
    collections::{BTreeSet, VecDeque},
    fs::File,
    io::{self, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use s3s::{
    S3Error,
    crypto::{Checksum as _, Md5},
    s3_error,
};
use tokio::sync::mpsc;
use tokio_util::io::ReaderStream;

use super::{
    checksums::{Checksums, Expected, Sums},
    errors,
};

/// Chunks on their way from the socket to the writing thread.
const CHUNKS: usize = 8;
/// A client that sends nothing for so long is given up.
const IDLE: Duration = Duration::from_secs(60);
/// Bytes read from a file at once.
const READ: usize = 256 << 10;

pub(super) struct Bodies {
    folder: PathBuf,
}

/// A body that is written and synced. Unless kept, it is removed when this is dropped.
pub(super) struct Written {
    pub file: String,
    pub bytes: u64,
    pub md5: [u8; 16],
    pub checksums: Checksums,
    path: PathBuf,
    kept: bool,
}

/// A stretch of a body file.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub file: String,
    pub from: u64,
    pub bytes: u64,
}

enum Step {
    Chunk(Bytes),
    End,
}

impl Bodies {
    pub fn open(store: &Path) -> io::Result<Self> {
        let folder = store.join("bodies");
        std::fs::create_dir_all(&folder)?;
        for shelf in Self::shelves() {
            match std::fs::create_dir(folder.join(shelf)) {
                Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
                _ => {}
            }
        }
        // At each start: an earlier one may have ended between making the folders and this.
        sync_folder(&folder)?;
        sync_folder(store)?;
        let above = store.parent().filter(|above| !above.as_os_str().is_empty());
        match above.map_or(Ok(()), sync_folder) {
            // Whoever may not read the folder above did not make the store's in it either.
            Err(e) if e.kind() != io::ErrorKind::PermissionDenied => Err(e),
            _ => Ok(Self { folder }),
        }
    }

    /// The folders that the files are spread over, so that none grows too long.
    pub fn shelves() -> impl Iterator<Item = String> {
        (0..=255u8).map(|n| format!("{n:02x}"))
    }

    pub fn files_on(&self, shelf: &str) -> BTreeSet<String> {
        let entries = std::fs::read_dir(self.folder.join(shelf)).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }

    /// Removes files that nothing names any more. One that cannot be removed now is removed at the next start.
    pub fn remove(&self, files: &[String]) {
        for file in files {
            if let Err(error) = std::fs::remove_file(self.path(file)) {
                tracing::warn!(file, %error, "object store cannot remove a body file");
            }
        }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.join(&file[..2]).join(file)
    }

    /// Writes a body as it comes, verifies what the client said of it, and syncs it.
    pub async fn write<S, E>(&self, mut body: S, expected: Expected) -> Result<Written, S3Error>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin,
        E: Into<s3s::StdError>,
    {
        let file = new_name()?;
        let path = self.path(&file);
        let (steps, taken) = mpsc::channel(CHUNKS);
        let sums = expected.hasher();
        let writer = tokio::task::spawn_blocking(move || write_file(file, path, taken, sums));
        let mut sent = Ok(());
        loop {
            let step = match tokio::time::timeout(IDLE, body.next()).await {
                Err(_) => Err(s3_error!(RequestTimeout, "the client sent nothing for {} s", IDLE.as_secs())),
                Ok(None) => Ok(Step::End),
                Ok(Some(Ok(chunk))) => Ok(Step::Chunk(chunk)),
                Ok(Some(Err(e))) => Err(errors::body(e.into())),
            };
            let step = match step {
                Ok(step) => step,
                Err(e) => {
                    sent = Err(e);
                    break;
                }
            };
            let end = matches!(step, Step::End);
            // A writer that has gone away has failed, and says below why.
            if steps.send(step).await.is_err() || end {
                break;
            }
        }
        drop(steps);
        let written = writer.await.map_err(|e| errors::io("write a body", io::Error::other(e)))?;
        sent?;
        let (mut written, sums) = written.map_err(|e| errors::io("write a body", e))?;
        expected.verify(written.bytes, &written.md5)?;
        written.checksums = expected.verify_sums(sums)?;
        Ok(written)
    }

    /// Gives the same bytes a second name, for a copy.
    pub async fn link(&self, file: &str) -> Result<String, S3Error> {
        let new = new_name()?;
        let (from, to) = (self.path(file), self.path(&new));
        let linked = tokio::task::spawn_blocking(move || {
            std::fs::hard_link(&from, &to)?;
            to.parent().map_or(Ok(()), sync_folder)
        });
        linked.await.map_err(io::Error::other).flatten().map_err(|e| errors::io("copy a body", e))?;
        Ok(new)
    }

    /// Reads stretches of files one after the other. `None` when the first file has just been removed.
    pub fn read(&self, pieces: Vec<Piece>) -> io::Result<Option<Reader>> {
        let mut pieces: VecDeque<_> = pieces.into_iter().filter(|piece| piece.bytes > 0).collect();
        let current = match pieces.pop_front() {
            None => None,
            Some(piece) => match self.open_piece(&piece) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
                other => Some(other?),
            },
        };
        Ok(Some(Reader { folder: self.folder.clone(), current, pieces }))
    }

    fn open_piece(&self, piece: &Piece) -> io::Result<PieceStream> {
        open_piece(&self.folder, piece)
    }
}

type PieceStream = ReaderStream<tokio::io::Take<tokio::fs::File>>;

fn open_piece(folder: &Path, piece: &Piece) -> io::Result<PieceStream> {
    let mut file = File::open(folder.join(&piece.file[..2]).join(&piece.file))?;
    if piece.from > 0 {
        file.seek(SeekFrom::Start(piece.from))?;
    }
    let file = tokio::io::AsyncReadExt::take(tokio::fs::File::from_std(file), piece.bytes);
    Ok(ReaderStream::with_capacity(file, READ))
}

/// The bytes of an object or of a range of it. The later files of a multipart object are opened as they are reached.
pub(super) struct Reader {
    folder: PathBuf,
    current: Option<PieceStream>,
    pieces: VecDeque<Piece>,
}

impl Reader {
    /// No bytes: for answers to HEAD.
    pub fn empty() -> Self {
        Self { folder: PathBuf::new(), current: None, pieces: VecDeque::new() }
    }
}

impl Stream for Reader {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(current) = &mut self.current {
                if let Some(chunk) = ready!(Pin::new(current).poll_next(cx)) {
                    return Poll::Ready(Some(chunk));
                }
                self.current = None;
            }
            let Some(piece) = self.pieces.pop_front() else { return Poll::Ready(None) };
            match open_piece(&self.folder, &piece) {
                Ok(stream) => self.current = Some(stream),
                Err(e) => return Poll::Ready(Some(Err(e))),
            }
        }
    }
}

impl Written {
    /// A row names the file now.
    pub fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        if !self.kept {
            // What cannot be removed now is removed at the next start.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn write_file(
    file: String,
    path: PathBuf,
    mut steps: mpsc::Receiver<Step>,
    mut sums: Sums,
) -> io::Result<(Written, Sums)> {
    let mut out = File::options().write(true).create_new(true).open(&path)?;
    let mut written = Written { file, bytes: 0, md5: [0; 16], checksums: Checksums::default(), path, kept: false };
    let mut md5 = Md5::new();
    loop {
        match steps.blocking_recv() {
            Some(Step::Chunk(chunk)) => {
                out.write_all(&chunk)?;
                md5.update(&chunk);
                sums.update(&chunk);
                written.bytes += chunk.len() as u64;
            }
            Some(Step::End) => break,
            None => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the upload broke off")),
        }
    }
    out.sync_all()?;
    written.path.parent().map_or(Ok(()), sync_folder)?;
    written.md5.copy_from_slice(md5.finalize().as_ref());
    Ok((written, sums))
}

/// A new file or folder survives a power cut only once the folder that it is in is synced too.
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn new_name() -> Result<String, S3Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|e| errors::io("name a body", io::Error::other(e.to_string())))?;
    Ok(hex::encode(bytes))
}

/// A random id for objects and uploads.
pub(super) fn new_id() -> Result<String, S3Error> {
    new_name()
}
