//! Makes a [`Record`] of system calls. A call that the record cannot hold, and that touches the folder, is an error.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
};

use super::{
    record::{Change, Node, Operation, Record, Sync},
    trace::Call,
};

/// Makes a [`Record`] from calls; for several processes one after the other.
pub struct Recorder {
    root: PathBuf,
    record: Record,
    folders: HashMap<Node, BTreeMap<String, Node>>,
    open: HashMap<i64, Open>,
}

struct Open {
    node: Node,
    offset: usize,
}

impl Recorder {
    /// Of a folder that is there, empty and durable.
    pub fn new(root: &Path) -> Self {
        let record = Record { nodes: vec![(PathBuf::new(), true)], ..Record::default() };
        Self { root: root.to_owned(), record, folders: [(0, BTreeMap::new())].into(), open: HashMap::new() }
    }

    pub fn finish(mut self) -> Record {
        self.record.operations.sort_by_key(|operation| operation.begin);
        self.record.answers.sort_unstable();
        self.record.find_durable();
        self.record
    }

    /// One process from its start to its end. `answer` says whether bytes that are sent begin an answer.
    pub fn process(&mut self, mut calls: Vec<Call>, answer: impl Fn(&[u8]) -> bool) {
        self.open.clear();
        // A descriptor is there once its `openat` has returned.
        calls.sort_by_key(|call| if call.name.starts_with("open") { call.end } else { call.begin });
        for call in &calls {
            self.call(call, &answer);
        }
    }

    fn call(&mut self, call: &Call, answer: &impl Fn(&[u8]) -> bool) {
        if call.result < 0 && call.end < usize::MAX {
            return;
        }
        match call.name.as_str() {
            "openat" if call.end < usize::MAX => self.opened(call),
            "close" => drop(call.fd(0).and_then(|fd| self.open.remove(&fd))),
            "lseek" => {
                if let Some(open) = self.open_at(call, 0) {
                    open.offset = call.result as usize;
                }
            }
            "sendto" | "sendmsg" => {
                if answer(&call.bytes(1)) {
                    self.record.answers.push(call.begin);
                }
            }
            "write" | "writev" => self.written(call, answer),
            "pwrite64" => self.write(call, 0, Some(call.number(3))),
            "fsync" | "fdatasync" => {
                if let Some(open) = self.open_at(call, 0) {
                    let node = open.node;
                    self.record.syncs.push(Sync { node, begin: call.begin, end: call.end });
                }
            }
            "ftruncate" => {
                if let Some(open) = self.open_at(call, 0) {
                    let file = open.node;
                    self.operation(call, Change::Length { file, bytes: call.number(1) });
                }
            }
            "mkdir" => self.made(call, 0, true),
            "unlink" => self.removed(call, 0),
            "unlinkat" | "linkat" => {
                let first = usize::from(call.argument(0).starts_with("AT_FDCWD"));
                match call.name.as_str() {
                    "unlinkat" => self.removed(call, first),
                    _ => self.linked(call, 1, 3),
                }
            }
            "link" => self.linked(call, 0, 1),
            "mmap" => {
                let shared = call.argument(3).contains("MAP_SHARED") && call.argument(2).contains("PROT_WRITE");
                assert!(!shared || !self.is_ours(&call.fd_path(4)), "a file of the store is written through memory");
            }
            _ => self.unknown(call),
        }
    }

    /// A call that the record cannot hold must not touch the folder.
    fn unknown(&self, call: &Call) {
        let touches = (0..6).any(|at| {
            let text = call.argument(at);
            self.is_ours(&call.fd_path(at)) || (text.starts_with('"') && self.is_ours(&call.path(at)))
        });
        assert!(!touches, "the record does not know {}, which the store uses now: {call:?}", call.name);
    }

    /// SQLite's shared memory is not durable and made anew at each start.
    fn is_ours(&self, path: &str) -> bool {
        Path::new(path).starts_with(&self.root) && !path.ends_with("-shm")
    }

    fn open_at(&mut self, call: &Call, at: usize) -> Option<&mut Open> {
        let ours = self.is_ours(&call.fd_path(at));
        let fd = call.fd(at)?;
        assert!(!ours || self.open.contains_key(&fd), "nobody opened {fd}: {call:?}");
        self.open.get_mut(&fd).filter(|_| ours)
    }

    fn operation(&mut self, call: &Call, change: Change) {
        let Call { begin, end, .. } = *call;
        self.record.operations.push(Operation::new(change, begin, end));
    }

    /// The folder that a path is in, and its name there.
    fn place(&self, path: &str) -> (Node, String) {
        let relative = Path::new(path).strip_prefix(&self.root).unwrap();
        let mut folder = 0;
        for part in relative.parent().unwrap().components() {
            folder = self.folders[&folder][part.as_os_str().to_str().unwrap()];
        }
        (folder, relative.file_name().unwrap().to_str().unwrap().to_owned())
    }

    fn opened(&mut self, call: &Call) {
        let path = call.path(1);
        if !self.is_ours(&path) {
            return;
        }
        let node = if Path::new(&path) == self.root {
            0
        } else {
            let (folder, name) = self.place(&path);
            match self.folders[&folder].get(&name) {
                Some(node) => *node,
                None => {
                    assert!(call.argument(2).contains("O_CREAT"), "{path} is there and nobody made it");
                    self.made(call, 1, false);
                    self.record.nodes.len() - 1
                }
            }
        };
        if call.argument(2).contains("O_TRUNC") {
            self.operation(call, Change::Length { file: node, bytes: 0 });
        }
        assert!(!call.argument(2).contains("O_APPEND"), "the record does not know files opened to append");
        self.open.insert(call.result, Open { node, offset: 0 });
    }

    fn made(&mut self, call: &Call, at: usize, is_folder: bool) {
        let path = call.path(at);
        if !self.is_ours(&path) {
            return;
        }
        let (folder, name) = self.place(&path);
        let node = self.record.nodes.len();
        self.record.nodes.push((Path::new(&path).strip_prefix(&self.root).unwrap().to_owned(), is_folder));
        self.folders.entry(folder).or_default().insert(name.clone(), node);
        if is_folder {
            self.folders.insert(node, BTreeMap::new());
        }
        self.operation(call, Change::Add { folder, name, node });
    }

    fn removed(&mut self, call: &Call, at: usize) {
        let path = call.path(at);
        if self.is_ours(&path) {
            let (folder, name) = self.place(&path);
            self.folders.entry(folder).or_default().remove(&name);
            self.operation(call, Change::Remove { folder, name });
        }
    }

    fn linked(&mut self, call: &Call, from: usize, to: usize) {
        let (from, to) = (call.path(from), call.path(to));
        if self.is_ours(&to) {
            let (folder, name) = self.place(&from);
            let node = self.folders[&folder][&name];
            let (folder, name) = self.place(&to);
            self.folders.entry(folder).or_default().insert(name.clone(), node);
            self.operation(call, Change::Add { folder, name, node });
        }
    }

    fn written(&mut self, call: &Call, answer: &impl Fn(&[u8]) -> bool) {
        if self.is_ours(&call.fd_path(0)) {
            self.write(call, 0, None);
        } else if answer(&call.bytes(1)) {
            self.record.answers.push(call.begin);
        }
    }

    fn write(&mut self, call: &Call, fd: usize, at: Option<usize>) {
        let mut bytes = call.bytes(1);
        if call.end < usize::MAX {
            bytes.truncate(call.result as usize);
        }
        let Some(open) = self.open_at(call, fd) else { return };
        let (file, offset) = (open.node, at.unwrap_or(open.offset));
        if at.is_none() {
            open.offset += bytes.len();
        }
        self.operation(call, Change::Write { file, at: offset, bytes });
    }
}
