//! What a process did to a folder, in order, and what of it a power cut may undo.
//!
//! The model is POSIX's, with nothing of what single file systems add: bytes and the length of a file are durable once a
//! sync of that file has returned which began after they were written; a name is durable once its folder was synced in
//! the same way. Until then each change may be missing for itself, whatever the order.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::{Path, PathBuf},
    sync::Arc,
};

/// A file or a folder, whatever its names. The recorded folder is 0.
pub type Node = usize;

#[derive(Clone, Debug)]
pub enum Change {
    Add { folder: Node, name: String, node: Node },
    Remove { folder: Node, name: String },
    Write { file: Node, at: usize, bytes: Vec<u8> },
    Length { file: Node, bytes: usize },
}

#[derive(Clone, Debug)]
pub struct Operation {
    pub change: Change,
    pub begin: usize,
    pub end: usize,
    /// When a sync returned that makes it durable; `usize::MAX`: never.
    durable: usize,
}

#[derive(Clone, Debug)]
pub struct Sync {
    pub node: Node,
    pub begin: usize,
    pub end: usize,
}

/// How an operation is missing.
#[derive(Clone, Debug)]
pub enum Loss {
    Whole,
    /// A write of which only these bytes are on the disk.
    Torn(std::ops::Range<usize>),
    /// A write whose length is there and whose bytes are zeroes.
    Zeroes,
}

/// Which operations are missing.
pub type Missing = BTreeMap<usize, Loss>;

#[derive(Clone, Debug, Default)]
pub struct Record {
    pub operations: Vec<Operation>,
    pub syncs: Vec<Sync>,
    /// The moments when answers left.
    pub answers: Vec<usize>,
    /// Where each node was made, and whether it is a folder.
    pub nodes: Vec<(PathBuf, bool)>,
}

/// What one sync makes durable, and the last moment before it.
pub struct Window {
    pub cut: usize,
    pub operations: Vec<usize>,
}

/// What a power cut leaves.
#[derive(Debug, Default)]
pub struct Left {
    pub folders: BTreeSet<PathBuf>,
    pub files: BTreeMap<PathBuf, Arc<Vec<u8>>>,
}

impl Operation {
    pub fn new(change: Change, begin: usize, end: usize) -> Self {
        Self { change, begin, end, durable: usize::MAX }
    }
}

impl Change {
    /// What must be synced for it to last.
    fn node(&self) -> Node {
        match self {
            Self::Add { folder, .. } | Self::Remove { folder, .. } => *folder,
            Self::Write { file, .. } | Self::Length { file, .. } => *file,
        }
    }
}

impl Change {
    /// Changes a file's bytes, but for what is missing.
    fn apply(&self, loss: Option<&Loss>, contents: &mut Vec<u8>) {
        match (self, loss) {
            (Self::Write { at, bytes, .. }, loss) => {
                let kept = match loss {
                    None => 0..bytes.len(),
                    Some(Loss::Torn(kept)) => kept.clone(),
                    Some(Loss::Zeroes) => 0..0,
                    Some(Loss::Whole) => return,
                };
                let end = if matches!(loss, Some(Loss::Zeroes)) { at + bytes.len() } else { at + kept.end };
                contents.resize(contents.len().max(end), 0);
                contents[at + kept.start..at + kept.end].copy_from_slice(&bytes[kept]);
            }
            (Self::Length { bytes, .. }, None) => contents.resize(*bytes, 0),
            _ => {}
        }
    }
}

impl Record {
    /// Moments at which something has just happened: every state that a power cut can find.
    pub fn cuts(&self) -> Vec<usize> {
        let begins = self.operations.iter().map(|operation| operation.begin);
        let ends = self.syncs.iter().filter(|sync| sync.end < usize::MAX).map(|sync| sync.end);
        let all: BTreeSet<_> =
            begins.chain(ends).chain(self.answers.iter().copied()).map(|moment| moment + 1).collect();
        [0].into_iter().chain(all).collect()
    }

    /// Answers that had left before a cut.
    pub fn answered(&self, cut: usize) -> usize {
        self.answers.partition_point(|answer| *answer < cut)
    }

    /// Operations that a cut may undo.
    pub fn open(&self, cut: usize) -> Vec<usize> {
        let open = |operation: &Operation| operation.begin < cut && operation.durable >= cut;
        (0..self.operations.len()).filter(|at| open(&self.operations[*at])).collect()
    }

    /// For each sync, and for what was never synced, the operations that it makes durable.
    pub fn windows(&self) -> Vec<Window> {
        let mut windows: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (at, operation) in self.operations.iter().enumerate() {
            windows.entry(operation.durable).or_default().push(at);
        }
        windows.into_iter().map(|(cut, operations)| Window { cut, operations }).collect()
    }

    /// An operation in words.
    pub fn name(&self, at: usize) -> String {
        let path = |node: &Node| self.nodes[*node].0.display();
        match &self.operations[at].change {
            Change::Add { folder, name, .. } => format!("{at}: {name} added to {}", path(folder)),
            Change::Remove { folder, name } => format!("{at}: {name} removed from {}", path(folder)),
            Change::Write { file, at: from, bytes } => {
                format!("{at}: {} bytes at {from} of {}", bytes.len(), path(file))
            }
            Change::Length { file, bytes } => format!("{at}: length {bytes} of {}", path(file)),
        }
    }

    /// The record of a program that does not make some of the syncs.
    pub fn without(&self, left_out: impl Fn(&Path) -> bool) -> Self {
        let mut record = self.clone();
        record.syncs.retain(|sync| !left_out(&self.nodes[sync.node].0));
        record.find_durable();
        record
    }

    pub fn find_durable(&mut self) {
        let mut syncs: HashMap<Node, Vec<(usize, usize)>> = HashMap::new();
        for sync in &self.syncs {
            syncs.entry(sync.node).or_default().push((sync.begin, sync.end));
        }
        for operation in &mut self.operations {
            let of_node = syncs.get(&operation.change.node()).into_iter().flatten();
            let after = of_node.filter(|(begin, _)| *begin >= operation.end).map(|(_, end)| *end);
            operation.durable = after.min().unwrap_or(usize::MAX);
        }
    }

    /// The folder after a power cut.
    pub fn left(&self, cut: usize, missing: &Missing) -> Left {
        let mut folders: HashMap<Node, BTreeMap<&str, Node>> = HashMap::new();
        let begun = self.operations.iter().enumerate().take_while(|(_, operation)| operation.begin < cut);
        let kept = begun.clone().filter(|(at, _)| !missing.contains_key(at));
        for (_, operation) in kept {
            match &operation.change {
                Change::Add { folder, name, node } => drop(folders.entry(*folder).or_default().insert(name, *node)),
                Change::Remove { folder, name } => drop(folders.entry(*folder).or_default().remove(name.as_str())),
                Change::Write { .. } | Change::Length { .. } => {}
            }
        }
        let (mut left, mut named) = (Left::default(), BTreeMap::new());
        self.reach(0, Path::new(""), &folders, &mut left.folders, &mut named);
        // Bytes only of files that have a name: those of a deleted large body would take most of the time.
        let mut files: HashMap<Node, Vec<u8>> = named.values().map(|node| (*node, Vec::new())).collect();
        for (at, operation) in begun {
            if let Some(contents) = files.get_mut(&operation.change.node()) {
                operation.change.apply(missing.get(&at), contents);
            }
        }
        let files: HashMap<Node, Arc<Vec<u8>>> = files.into_iter().map(|(node, bytes)| (node, bytes.into())).collect();
        left.files = named.into_iter().map(|(path, node)| (path, files[&node].clone())).collect();
        left
    }

    fn reach(
        &self,
        folder: Node,
        path: &Path,
        folders: &HashMap<Node, BTreeMap<&str, Node>>,
        found: &mut BTreeSet<PathBuf>,
        named: &mut BTreeMap<PathBuf, Node>,
    ) {
        for (name, node) in folders.get(&folder).into_iter().flatten() {
            let path = path.join(name);
            if self.nodes[*node].1 {
                self.reach(*node, &path, folders, found, named);
                found.insert(path);
            } else {
                named.insert(path, *node);
            }
        }
    }
}
