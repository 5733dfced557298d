//! Which objects make up the lake, when all that is known is what each says of itself. Pure.
//!
//! A bucket holds more than was committed: objects of a commit that another ingest won, ones that were compacted and wait
//! for their readers to finish, ones of a process that was killed. Which of two objects with the same number was committed
//! cannot be seen from them, and need not be: both hold the same record. What must not happen is that a number which only
//! one of them holds is lost. So every number of every object is kept, once: an object whose numbers are all in others is
//! set aside, one that shares some is written again without those.

use std::collections::{BTreeMap, HashMap, HashSet};

use contract::{Epoch, Kind, Principal, Timestamp};
use store::lake_index::{EpochRow, Format, Holding, Manifest, Object, RangeSet, SampleRow, Stream, StreamId};

use super::{rebuild::Aside, survey::Found};

/// The choice.
#[derive(Default)]
pub struct Chosen {
    /// Objects as they are; of those that are no Parquet the numbers may be fewer than they say.
    pub whole: Vec<Found>,
    /// Parquet objects of which only some rows count, and which.
    pub cut: Vec<(Found, Vec<Holding>)>,
    /// Objects that nothing needs.
    pub aside: Vec<Aside>,
}

/// Chooses among all objects but shards.
pub fn choose(mut found: Vec<Found>) -> Chosen {
    found.sort_by(|a, b| preference(&a.object).cmp(&preference(&b.object)));
    let (mut chosen, mut taken) = (Chosen::default(), HashMap::<StreamId, RangeSet>::new());
    for mut one in found {
        let rest = without(&one.object.holds, &taken);
        let (all, left) = (count(&one.object.holds), count(&rest));
        for holding in &rest {
            taken.entry(stream_of(holding)).or_default().extend(&holding.ranges);
        }
        match one.object.format {
            _ if all == left && one.whole => chosen.whole.push(one),
            _ if left == 0 => {
                chosen
                    .aside
                    .push(Aside { key: one.object.key, why: "all that it holds is in other objects".to_owned() });
            }
            Format::Parquet => chosen.cut.push((one, rest)),
            _ => {
                one.object.holds = rest;
                chosen.whole.push(one);
            }
        }
    }
    chosen
}

/// Rows of samples whose shard is not there count for nothing: a process was killed between the two, or the shard was deleted
/// before them. Their gateway sends them again, or another object has them.
pub fn drop_samples_without_pictures(found: &mut [Found], shards: &[Found]) {
    let there: HashSet<&str> = shards.iter().map(|shard| shard.object.key.as_str()).collect();
    for one in found.iter_mut().filter(|one| one.object.format == Format::Parquet) {
        let (kept, bare): (Vec<_>, Vec<_>) =
            std::mem::take(&mut one.samples).into_iter().partition(|(_, row)| there.contains(row.shard.as_str()));
        one.samples = kept;
        for (epoch, row) in bare {
            one.whole = false;
            let without = RangeSet::from_iter([row.seq]);
            for holding in one.object.holds.iter_mut().filter(|h| (h.epoch, h.kind) == (epoch, Kind::Sample)) {
                holding.ranges = holding.ranges.without(&without);
            }
        }
        one.object.holds.retain(|holding| !holding.ranges.is_empty());
    }
}

/// What removal says comes first; then rows before records kept whole, and the object with more numbers.
fn preference(object: &Object) -> (u8, std::cmp::Reverse<u64>, &str) {
    let rank = match object.format {
        Format::Removed => 0,
        Format::Parquet => 1,
        Format::Newer => 2,
        Format::Dead => 3,
        Format::Shard => 4,
    };
    (rank, std::cmp::Reverse(count(&object.holds)), &object.key)
}

fn without(holds: &[Holding], taken: &HashMap<StreamId, RangeSet>) -> Vec<Holding> {
    let rest = |holding: &Holding| {
        let ranges = match taken.get(&stream_of(holding)) {
            Some(taken) => holding.ranges.without(taken),
            None => holding.ranges.clone(),
        };
        Holding { ranges, ..holding.clone() }
    };
    holds.iter().map(rest).filter(|holding| !holding.ranges.is_empty()).collect()
}

fn count(holds: &[Holding]) -> u64 {
    holds.iter().map(|holding| holding.ranges.count()).sum()
}

/// The stream of a holding.
pub fn stream_of(holding: &Holding) -> StreamId {
    StreamId { epoch: holding.epoch, kind: holding.kind }
}

/// Gives each shard the numbers of the rows that point at it; one that no row points at is set aside.
pub fn shards(shards: Vec<Found>, samples: &[(Epoch, SampleRow)]) -> Chosen {
    let mut pointing: HashMap<&str, Vec<&(Epoch, SampleRow)>> = HashMap::new();
    samples.iter().for_each(|sample| pointing.entry(&sample.1.shard).or_default().push(sample));
    let mut chosen = Chosen::default();
    for mut shard in shards {
        match pointing.get(shard.object.key.as_str()) {
            Some(rows) => {
                describe(&mut shard.object, rows);
                chosen.whole.push(shard);
            }
            None => chosen.aside.push(Aside { key: shard.object.key, why: "no row points at it".to_owned() }),
        }
    }
    chosen
}

fn describe(shard: &mut Object, rows: &[&(Epoch, SampleRow)]) {
    let site = &rows[0].1.site;
    shard.site = rows.iter().all(|(_, row)| row.site == *site).then(|| site.clone());
    shard.rows = rows.len() as u64;
    shard.captured = crate::lake::span(rows.iter().map(|(_, row)| row.captured_at));
    shard.corrected = crate::lake::span(rows.iter().map(|(_, row)| row.corrected_at));
    let mut of: BTreeMap<Epoch, (&SampleRow, Vec<u64>)> = BTreeMap::new();
    for (epoch, row) in rows {
        of.entry(*epoch).or_insert_with(|| (row, Vec::new())).1.push(row.seq);
    }
    let holding = |(epoch, (row, mut numbers)): (Epoch, (&SampleRow, Vec<u64>))| {
        numbers.sort_unstable();
        let ranges = numbers.into_iter().collect();
        Holding { site: row.site.clone(), gateway: row.gateway.clone(), epoch, kind: Kind::Sample, ranges }
    };
    shard.holds = of.into_iter().map(holding).collect();
}

/// Epochs and streams that follow from objects and gap rows.
pub fn streams(objects: &[Object], gaps: &[(Principal, contract::Gap)], now: Timestamp) -> Manifest {
    let mut epochs: BTreeMap<Epoch, EpochRow> = BTreeMap::new();
    let mut committed: BTreeMap<StreamId, RangeSet> = BTreeMap::new();
    for object in objects.iter().filter(|object| object.format.accounts()) {
        for holding in &object.holds {
            let owner = Principal { site: holding.site.clone(), gateway: holding.gateway.clone() };
            let [from, to] = object.corrected;
            let fresh = || EpochRow { epoch: holding.epoch, owner, bound_at: from, seen_at: to };
            let epoch = epochs.entry(holding.epoch).or_insert_with(fresh);
            epoch.bound_at = epoch.bound_at.min(from);
            epoch.seen_at = epoch.seen_at.max(to);
            committed.entry(stream_of(holding)).or_default().extend(&holding.ranges);
        }
    }
    for (by, gap) in gaps {
        let fresh = || EpochRow { epoch: gap.epoch, owner: owner_of(by, gap), bound_at: now, seen_at: now };
        epochs.entry(gap.epoch).or_insert_with(fresh);
        committed.entry(StreamId { epoch: gap.epoch, kind: gap.kind }).or_default().insert_range(gap.from, gap.to);
    }
    let streams = committed.into_iter().map(|(id, committed)| Stream { id, version: 0, committed }).collect();
    Manifest { epochs: epochs.into_values().collect(), streams, ..Manifest::default() }
}

/// Whose log a gap is about: of the gateway that tells of it, or of the one that the hub names in its detail.
fn owner_of(by: &Principal, gap: &contract::Gap) -> Principal {
    let named = || {
        let (who, _) = gap.detail.as_deref()?.split_once(": ")?;
        let (site, gateway) = who.split_once('/')?;
        Some(Principal { site: site.parse().ok()?, gateway: gateway.parse().ok()? })
    };
    if &*gap.reason == "rejected" { named().unwrap_or_else(|| by.clone()) } else { by.clone() }
}

/// Whether a row's number is among these.
pub fn holds(holds: &[Holding], epoch: Epoch, kind: Kind, seq: u64) -> bool {
    holds.iter().any(|h| (h.epoch, h.kind) == (epoch, kind) && h.ranges.contains(seq))
}
