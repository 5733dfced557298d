//! What ingest has done since it began, in numbers: each drop with its reason.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! facts {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// One thing that is counted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Fact {
            $($(#[$doc])* $name,)*
        }

        impl Fact {
            /// Every fact.
            pub const ALL: &'static [Fact] = &[$(Fact::$name,)*];
        }
    };
}

facts! {
    /// Messages received on the archive lane.
    Messages,
    /// Their bytes.
    Bytes,
    /// Records accepted, from the archive lane and from this process.
    Records,
    /// Records that were committed or on their way already.
    Duplicates,
    /// Second arrivals with nothing to compare them with: compacted, or a gap stands for the number.
    Unchecked,
    /// Second arrivals of a number with other contents than the first, kept aside.
    Differing,
    /// Messages of a topic that is not ours, or that are no bundle.
    NoBundle,
    /// Messages that end inside a frame.
    Torn,
    /// Frames with a wrong checksum; the rest of their message goes with them.
    Checksum,
    /// Frames whose fragment numbers are nonsense, or whose record would be too long.
    Fragment,
    /// Records of a kind that this version does not know; their gateway keeps them.
    UnknownKind,
    /// Records of an epoch that belongs to another gateway.
    Foreign,
    /// Records held back because their log has too many holes.
    HeldBack,
    /// Records given up while fragments were missing.
    Incomplete,
    /// Records kept as dead letters, their numbers committed as gaps.
    Rejected,
    /// Records of a newer version, kept whole.
    Newer,
    /// Flushes committed.
    Flushes,
    /// Attempts to store or commit that failed and are repeated.
    FlushFailures,
    /// Commits that another ingest was faster with, rebuilt and repeated.
    Conflicts,
    /// Objects stored.
    Objects,
    /// Their bytes.
    ObjectBytes,
    /// Rows committed.
    Rows,
    /// Watermarks published.
    Watermarks,
    /// Microseconds from a record's capture to its commit, summed over committed rows (by the corrected clock).
    CommitLatencyUs,
}

/// The numbers.
pub struct Stats {
    counts: [AtomicU64; Fact::ALL.len()],
    /// Bytes accepted and not committed yet.
    backlog: AtomicU64,
}

impl Default for Stats {
    fn default() -> Self {
        Self { counts: std::array::from_fn(|_| AtomicU64::new(0)), backlog: AtomicU64::new(0) }
    }
}

impl Stats {
    /// One more.
    pub fn count(&self, fact: Fact) {
        self.add(fact, 1);
    }

    /// So many more.
    pub fn add(&self, fact: Fact, n: u64) {
        self.counts[fact as usize].fetch_add(n, Ordering::Relaxed);
    }

    /// How many so far.
    pub fn get(&self, fact: Fact) -> u64 {
        self.counts[fact as usize].load(Ordering::Relaxed)
    }

    /// Bytes accepted and not committed yet.
    pub fn backlog_bytes(&self) -> u64 {
        self.backlog.load(Ordering::Relaxed)
    }

    pub(super) fn set_backlog(&self, bytes: usize) {
        self.backlog.store(bytes as u64, Ordering::Relaxed);
    }
}
