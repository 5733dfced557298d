//! A disk in memory that keeps a journal of what was done to it, and fails when it is told to. For simulators and tests.
//!
//! The journal can be replayed in part: a power cut leaves a prefix of what was done, of which unsynced writes may be
//! missing. [`Simulated::after_power_cut`] makes the disk that a machine would find then.

use std::{
    collections::BTreeMap,
    io::{self, ErrorKind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use contract::Timestamp;

use super::{Disk, File, Found};

/// One thing that was done to the disk. Files are numbered in the order in which they were made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A new name.
    Create(String, usize),
    /// Bytes at the end of a file, and where that was.
    Append(usize, u64, Vec<u8>),
    /// A file was cut.
    Truncate(usize, u64),
    /// A file was synced.
    Sync(usize),
    /// Another name.
    Rename(String, String),
    /// A name is gone.
    Remove(String),
    /// The folder was synced.
    SyncFolder,
    /// A small file was replaced, atomically and durably.
    Replace(String, usize, Vec<u8>),
}

/// How a disk fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Room for so many bytes in all; a write that does not fit is torn where the room ends.
    Full(u64),
    /// Nothing can be changed.
    ReadOnly,
    /// Every write and every sync fails.
    Broken,
    /// Syncs fail; writes do not.
    SyncFails,
    /// Reads fail.
    Unreadable,
}

#[derive(Clone, Debug, Default)]
struct State {
    names: BTreeMap<String, usize>,
    files: Vec<(Vec<u8>, Timestamp)>,
    journal: Vec<Operation>,
    fault: Option<Fault>,
    now: Timestamp,
}

/// The disk; clones are the same disk.
#[derive(Clone, Default)]
pub struct Simulated(Arc<Mutex<State>>);

struct Handle {
    disk: Simulated,
    number: usize,
}

impl Simulated {
    /// Fails from now on, or no longer.
    pub fn fail(&self, fault: Option<Fault>) {
        self.lock().fault = fault;
    }

    /// The wall clock by which files are dated.
    pub fn set_time(&self, now: Timestamp) {
        self.lock().now = now;
    }

    /// Everything that was done so far.
    pub fn journal(&self) -> Vec<Operation> {
        self.lock().journal.clone()
    }

    /// Bytes in files that have a name.
    pub fn bytes(&self) -> u64 {
        self.lock().used()
    }

    /// Changes bytes behind the outbox's back.
    pub fn corrupt(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.lock();
        if let Some(number) = state.names.get(name).copied() {
            change(&mut state.files[number].0);
        }
    }

    /// A copy that goes its own way: a snapshot.
    pub fn snapshot(&self) -> Self {
        let state = State { fault: None, journal: Vec::new(), ..self.lock().clone() };
        Self(Arc::new(Mutex::new(state)))
    }

    /// Operations that make an empty disk hold what this one does, all of it durable.
    pub fn journal_of_everything(&self) -> Vec<Operation> {
        let state = self.lock();
        let file = |(name, number): (&String, &usize)| {
            let contents = state.files[*number].0.clone();
            [
                Operation::Create(name.clone(), *number),
                Operation::Append(*number, 0, contents),
                Operation::Sync(*number),
            ]
        };
        state.names.iter().flat_map(file).chain([Operation::SyncFolder]).collect()
    }

    /// Those of the operations that a power cut after the last one may undo: they were not synced.
    pub fn unsynced(journal: &[Operation]) -> Vec<usize> {
        let mut open: Vec<usize> = Vec::new();
        for (at, operation) in journal.iter().enumerate() {
            match operation {
                Operation::Sync(number) => open.retain(|other| match &journal[*other] {
                    Operation::Append(n, ..) | Operation::Truncate(n, _) => n != number,
                    _ => true,
                }),
                Operation::SyncFolder => {
                    open.retain(|other| matches!(&journal[*other], Operation::Append(..) | Operation::Truncate(..)))
                }
                Operation::Replace(..) => {}
                _ => open.push(at),
            }
        }
        open
    }

    /// The disk after these operations, in their order, on an empty disk. A write whose predecessor is missing lies where
    /// it was made, with zeroes before it: that is what a torn file looks like.
    pub fn after_power_cut<'a>(operations: impl IntoIterator<Item = &'a Operation>) -> Self {
        let mut state = State::default();
        for operation in operations {
            state.apply(operation);
        }
        Self(Arc::new(Mutex::new(state)))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, operation: Operation) -> io::Result<()> {
        let mut state = self.lock();
        match state.fault {
            Some(Fault::ReadOnly) => return Err(ErrorKind::ReadOnlyFilesystem.into()),
            Some(Fault::Broken) => return Err(io::Error::other("the disk is broken")),
            _ => {}
        }
        state.apply(&operation);
        state.journal.push(operation);
        Ok(())
    }

    fn handle(&self, number: usize) -> Arc<dyn File> {
        Arc::new(Handle { disk: self.clone(), number })
    }
}

impl State {
    fn used(&self) -> u64 {
        self.names.values().map(|number| self.files[*number].0.len() as u64).sum()
    }

    fn file(&mut self, number: usize) -> &mut (Vec<u8>, Timestamp) {
        let missing = (number + 1).saturating_sub(self.files.len());
        self.files.extend(std::iter::repeat_n((Vec::new(), Timestamp::default()), missing));
        &mut self.files[number]
    }

    fn apply(&mut self, operation: &Operation) {
        let now = self.now;
        match operation {
            Operation::Create(name, number) => {
                self.file(*number).1 = now;
                self.names.insert(name.clone(), *number);
            }
            Operation::Append(number, at, bytes) => {
                let (contents, modified) = self.file(*number);
                let end = *at as usize + bytes.len();
                contents.resize(contents.len().max(end), 0);
                contents[*at as usize..end].copy_from_slice(bytes);
                *modified = now;
            }
            Operation::Truncate(number, bytes) => self.file(*number).0.truncate(*bytes as usize),
            Operation::Rename(from, to) => {
                if let Some(number) = self.names.remove(from) {
                    self.names.insert(to.clone(), number);
                }
            }
            Operation::Remove(name) => drop(self.names.remove(name)),
            Operation::Replace(name, number, bytes) => {
                *self.file(*number) = (bytes.clone(), now);
                self.names.insert(name.clone(), *number);
            }
            Operation::Sync(_) | Operation::SyncFolder => {}
        }
    }
}

impl Disk for Simulated {
    fn list(&self) -> io::Result<Vec<Found>> {
        let state = self.lock();
        let found = |(name, number): (&String, &usize)| {
            let (contents, modified) = &state.files[*number];
            Found { name: name.clone(), bytes: contents.len() as u64, modified: *modified }
        };
        Ok(state.names.iter().map(found).collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let number = {
            let state = self.lock();
            if state.names.contains_key(name) {
                return Err(ErrorKind::AlreadyExists.into());
            }
            if let Some(Fault::Full(room)) = state.fault
                && state.used() >= room
            {
                return Err(ErrorKind::StorageFull.into());
            }
            state.files.len()
        };
        self.change(Operation::Create(name.into(), number))?;
        Ok(self.handle(number))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let number = self.lock().names.get(name).copied().ok_or(ErrorKind::NotFound)?;
        Ok(self.handle(number))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        if !self.lock().names.contains_key(from) {
            return Err(ErrorKind::NotFound.into());
        }
        self.change(Operation::Rename(from.into(), to.into()))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.change(Operation::Remove(name.into()))
    }

    fn sync_folder(&self) -> io::Result<()> {
        if self.lock().fault == Some(Fault::SyncFails) {
            return Err(io::Error::other("the disk cannot sync"));
        }
        self.change(Operation::SyncFolder)
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let state = self.lock();
        let number = *state.names.get(name).ok_or(ErrorKind::NotFound)?;
        Ok(state.files[number].0.clone())
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let number = {
            let state = self.lock();
            if let Some(Fault::Full(room)) = state.fault
                && state.used() + bytes.len() as u64 > room
            {
                return Err(ErrorKind::StorageFull.into());
            }
            state.files.len()
        };
        self.change(Operation::Replace(name.into(), number, bytes.into()))
    }
}

impl File for Handle {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let (at, room) = {
            let state = self.disk.lock();
            let room = match state.fault {
                Some(Fault::Full(room)) => room.saturating_sub(state.used()),
                _ => u64::MAX,
            };
            (state.files[self.number].0.len() as u64, room)
        };
        let fits = bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        if fits > 0 {
            self.disk.change(Operation::Append(self.number, at, bytes[..fits].into()))?;
        }
        if fits < bytes.len() { Err(ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        let state = self.disk.lock();
        if state.fault == Some(Fault::Unreadable) {
            return Err(io::Error::other("the disk cannot be read"));
        }
        let contents = &state.files[self.number].0;
        let bytes = contents.get(at as usize..at as usize + buffer.len()).ok_or(ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        if self.disk.lock().fault == Some(Fault::SyncFails) {
            return Err(io::Error::other("the disk cannot sync"));
        }
        self.disk.change(Operation::Sync(self.number))
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.disk.change(Operation::Truncate(self.number, bytes))
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.lock().files[self.number].0.len() as u64)
    }
}
