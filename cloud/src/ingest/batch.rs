//! What has been accepted and is not committed yet: one flush's worth.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Instant,
};

use bytes::Bytes;
use contract::{Kind, Principal, Timestamp, frame::Address};
use store::lake_index::{Advance, RangeSet, Stream, StreamId};
use tokio::sync::oneshot;

use super::streams::ByStream;
use crate::lake::Row;

/// A record kept as it came, since this version cannot make a row of it.
#[derive(Debug)]
pub struct Kept {
    /// Whose it is.
    pub owner: Principal,
    /// Its place in its log.
    pub address: Address,
    /// Its kind.
    pub kind: Kind,
    /// When it was received.
    pub received_at: Timestamp,
    /// When its gateway says that it was sent: what its clock is measured by once the record can be read.
    pub sent_at: Option<Timestamp>,
    /// Its bytes: the record for a dead letter, the frame for a newer version.
    pub bytes: Bytes,
    /// Why it was kept.
    pub why: String,
    /// What it needs to be read: a frame or record version; 0 for a dead letter.
    pub version: u16,
    /// Whether its number belongs to another record: it is kept beside that one and accounts for nothing.
    pub beside: bool,
}

/// Rows by kind.
pub type Rows = BTreeMap<Kind, Vec<Row>>;

/// One flush's worth.
#[derive(Default)]
pub struct Batch {
    /// Rows by kind.
    pub rows: Rows,
    /// Records that cannot be read.
    pub dead: Vec<Kept>,
    /// Records of a newer version.
    pub newer: Vec<Kept>,
    /// The hashes of the rows' records, by number as they came.
    pub hashes: ByStream<Vec<(u64, u64)>>,
    /// The numbers that all of these, and gap records, account for.
    pub adds: ByStream<(Principal, RangeSet)>,
    /// Who waits for the commit.
    pub waiters: Vec<oneshot::Sender<()>>,
    /// About how many bytes this holds.
    pub weight: usize,
    /// When the first record came.
    pub since: Option<Instant>,
}

/// Bytes of an entry beside its payload.
const ENTRY: usize = 256;

impl Batch {
    /// Whether there is nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.adds.is_empty() && self.dead.is_empty()
    }

    /// Takes over room for rows, where there is less.
    pub fn make_room(&mut self, room: Rows) {
        for (kind, mut larger) in room {
            let rows = self.rows.entry(kind).or_default();
            if rows.capacity() < larger.capacity() {
                larger.append(rows);
                *rows = larger;
            }
        }
    }

    /// Notes the hash of a row's record.
    pub fn hash(&mut self, id: StreamId, seq: u64, hash: u64) {
        self.hashes.entry(id).or_default().push((seq, hash));
    }

    /// Adds a row.
    pub fn row(&mut self, row: Row, now: Instant) {
        self.weight += row.record.weight();
        self.since.get_or_insert(now);
        self.rows.entry(row.kind()).or_default().push(row);
    }

    /// Adds a record that cannot be read.
    pub fn dead(&mut self, kept: Kept, now: Instant) {
        self.weight += ENTRY + kept.bytes.len();
        self.since.get_or_insert(now);
        self.dead.push(kept);
    }

    /// Adds a record of a newer version.
    pub fn newer(&mut self, kept: Kept, now: Instant) {
        self.weight += ENTRY + kept.bytes.len();
        self.since.get_or_insert(now);
        self.newer.push(kept);
    }

    /// Accounts for a number.
    pub fn add_one(&mut self, id: StreamId, owner: &Principal, seq: u64) {
        let (_, numbers) = self.adds.entry(id).or_insert_with(|| (owner.clone(), RangeSet::new()));
        numbers.insert_range(seq, seq.saturating_add(1));
    }

    /// Accounts for numbers.
    pub fn add(&mut self, id: StreamId, owner: &Principal, numbers: &RangeSet) {
        if !numbers.is_empty() {
            self.adds.entry(id).or_insert_with(|| (owner.clone(), RangeSet::new())).1.extend(numbers);
        }
    }

    /// Takes out numbers that are committed already; what holds their records stays.
    pub fn not_again(&mut self, committed: &BTreeMap<StreamId, RangeSet>) {
        for (id, (_, add)) in &mut self.adds {
            if let Some(committed) = committed.get(id) {
                *add = add.without(committed);
            }
        }
        self.adds.retain(|_, (_, add)| !add.is_empty());
    }

    /// How many rows there are.
    pub fn row_count(&self) -> usize {
        self.rows.values().map(Vec::len).sum()
    }

    /// The gateways that a commit concerns.
    pub fn owners(&self) -> HashSet<Principal> {
        self.adds.values().map(|(owner, _)| owner.clone()).collect()
    }

    /// What a commit adds, built upon these versions.
    pub fn advances(&self, versions: &HashMap<StreamId, u64>) -> Vec<Advance> {
        let advance = |(id, (owner, add)): (&StreamId, &(Principal, RangeSet))| Advance {
            owner: owner.clone(),
            stream: *id,
            expected: versions.get(id).copied().unwrap_or(0),
            add: add.clone(),
        };
        let mut advances: Vec<_> = self.adds.iter().map(advance).collect();
        advances.sort_by_key(|a| a.stream); // one order for all writers
        advances
    }

    /// Another writer was faster: drops what these streams hold by now; says whether anything was dropped.
    pub fn drop_committed(&mut self, streams: &[Stream]) -> bool {
        let committed: HashMap<StreamId, &RangeSet> = streams.iter().map(|s| (s.id, &s.committed)).collect();
        self.drop_where(
            |id, seq| committed.get(&id).is_some_and(|c| c.contains(seq)),
            |id, add| committed.get(&id).map_or_else(|| add.clone(), |c| add.without(c)),
        )
    }

    /// The epoch belongs to another gateway: drops all of it; says how many records that were.
    pub fn drop_epoch(&mut self, epoch: contract::Epoch) -> usize {
        let before = self.row_count() + self.dead.len() + self.newer.len();
        self.drop_where(
            |id, _| id.epoch == epoch,
            |id, add| {
                if id.epoch == epoch { RangeSet::new() } else { add.clone() }
            },
        );
        before - (self.row_count() + self.dead.len() + self.newer.len())
    }

    fn drop_where(
        &mut self,
        gone: impl Fn(StreamId, u64) -> bool,
        left: impl Fn(StreamId, &RangeSet) -> RangeSet,
    ) -> bool {
        let before = self.adds.values().map(|(_, add)| add.count()).sum::<u64>();
        for rows in self.rows.values_mut() {
            rows.retain(|row| {
                let header = &row.record.header;
                !gone(StreamId { epoch: header.epoch, kind: header.kind }, header.seq)
            });
        }
        self.rows.retain(|_, rows| !rows.is_empty());
        let stays = |kept: &Kept| {
            kept.beside || !gone(StreamId { epoch: kept.address.epoch, kind: kept.kind }, kept.address.seq)
        };
        self.dead.retain(stays);
        self.newer.retain(stays);
        for (id, (_, add)) in &mut self.adds {
            *add = left(*id, add);
        }
        self.adds.retain(|_, (_, add)| !add.is_empty());
        before != self.adds.values().map(|(_, add)| add.count()).sum::<u64>()
    }
}
