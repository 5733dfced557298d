//! Compaction: the small objects of an hour that is over become few, each of one kind and site.
//!
//! A flush every ten seconds leaves 360 objects an hour; readers open each. The rows are written again through the same
//! code that wrote them first, samples with their pictures into a shard of their own, and one table transaction retires
//! the old objects and names the new ones. Bounded: one merge takes at most [`ROWS_MAX`] rows (about 1.2 KiB of memory
//! each) and [`PICTURES_MAX`] bytes of pictures.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use bytes::Bytes;
use contract::{Kind, SiteId, Timestamp};
use store::{
    lake_index::{Exchange, Format, LakeIndex, Object, RangeSet, SampleRow, StreamId},
    objects::{ErrorKind, Objects},
};

use super::{Error, choose::stream_of, rebuild::read_rows, survey::chain};
use crate::{
    clock::off_loop,
    lake::{self, Body, Partition, Row, Upload},
};

/// Rows of one merged object at most; objects with more than half of it are left as they are.
const ROWS_MAX: u64 = 50_000;
/// Bytes of shards that one merge reads at most.
const PICTURES_MAX: u64 = 64 << 20;
/// Why the old objects leave the manifest.
const RULE: &str = "compaction";

/// What a pass did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Objects that went.
    pub from: u64,
    /// Objects that came.
    pub into: u64,
}

/// Merges the small objects of hours that ended longer ago than `after`.
pub async fn compact(
    index: &LakeIndex,
    objects: &Objects,
    after: Duration,
    now: Timestamp,
) -> Result<Compacted, Error> {
    let live = index.live_objects().await?;
    let shards: HashMap<&str, u64> =
        live.iter().filter(|o| o.format == Format::Shard).map(|o| (o.key.as_str(), o.bytes)).collect();
    let mut done = Compacted::default();
    let newest = super::before(now, after + Duration::from_secs(3600));
    for group in groups(&live, newest) {
        for merge in merges(&group) {
            match run(index, objects, &merge, &shards, now).await {
                Ok(Some(merged)) => {
                    done.from += merged.from;
                    done.into += merged.into;
                }
                Ok(None) => {} // another process was faster
                Err(Error::Objects(error)) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
                Err(error @ Error::Tables(_)) => return Err(error),
                // one that is damaged or not there must not keep the others back
                Err(error) => tracing::warn!(error = chain(&error), "objects are not compacted"),
            }
        }
    }
    Ok(done)
}

/// Small objects by kind, hour and site; those with rows of several sites by themselves. Pure.
fn groups(live: &[Object], newest: Timestamp) -> Vec<Vec<&Object>> {
    let mut groups: BTreeMap<(Kind, &str, u32, Option<&SiteId>), Vec<&Object>> = BTreeMap::new();
    let small = |o: &&Object| {
        o.format == Format::Parquet
            && o.rows <= ROWS_MAX / 2
            && o.schema <= contract::lake::VERSION
            && Partition { date: o.date.clone(), hour: o.hour }.begin().is_some_and(|begin| begin < newest)
    };
    for object in live.iter().filter(small) {
        groups.entry((object.kind, &object.date, object.hour, object.site.as_ref())).or_default().push(object);
    }
    groups.into_values().collect()
}

/// Cuts a group into merges that keep to the bounds and leave fewer objects than they take. Pure.
fn merges<'o>(group: &[&'o Object]) -> Vec<Vec<&'o Object>> {
    let (mut merges, mut merge, mut rows) = (Vec::new(), Vec::new(), 0);
    for object in group {
        if rows + object.rows > ROWS_MAX {
            merges.push(std::mem::take(&mut merge));
            rows = 0;
        }
        rows += object.rows;
        merge.push(*object);
    }
    merges.push(merge);
    let sites = |merge: &[&Object]| {
        merge.iter().flat_map(|o| o.holds.iter().map(|h| h.site.clone())).collect::<BTreeSet<_>>().len()
    };
    merges.retain(|merge| merge.len() > sites(merge).max(1));
    merges
}

async fn run(
    index: &LakeIndex,
    objects: &Objects,
    merge: &[&Object],
    shards: &HashMap<&str, u64>,
    now: Timestamp,
) -> Result<Option<Compacted>, Error> {
    let kind = merge[0].kind;
    let partition = Partition { date: merge[0].date.clone(), hour: merge[0].hour };
    let mut taken = Vec::new();
    let (mut rows, mut pictures) = (Vec::new(), Pictures::default());
    for object in merge {
        let mut more = read_rows(objects, &object.key, kind).await?;
        if !same_numbers(&lake::holdings(&more), &object.holds) {
            return Err(Error::Contradiction { key: object.key.clone() });
        }
        if kind == Kind::Sample && !pictures.attach(objects, &mut more, shards).await? {
            break; // the bound is reached: the rest another time
        }
        rows.append(&mut more);
        taken.push(object.key.clone());
    }
    if taken.len() < 2 {
        return Ok(None);
    }
    let (uploads, samples) = off_loop(move || pack(kind, rows, &partition, now))
        .await
        .map_err(|_| Error::Interrupted { what: "compaction".to_owned() })??;
    taken.extend(pictures.shards.into_keys());
    let mut new = Vec::new();
    for upload in uploads {
        new.push(lake::put(objects, upload).await?);
    }
    let exchange = Exchange { now, old: &taken, new: &new, samples: &samples, why: RULE };
    if !index.exchange(&exchange).await? {
        let keys: Vec<_> = new.into_iter().map(|object| object.key).collect();
        objects.delete_many(&keys).await?;
        return Ok(None);
    }
    Ok(Some(Compacted { from: taken.len() as u64, into: new.len() as u64 }))
}

/// One object a site, samples with a shard.
fn pack(
    kind: Kind,
    mut rows: Vec<Row>,
    partition: &Partition,
    now: Timestamp,
) -> Result<(Vec<Upload>, Vec<SampleRow>), Error> {
    let (mut uploads, mut samples) = (Vec::new(), Vec::new());
    rows.sort_by(|a, b| a.record.header.site.cmp(&b.record.header.site));
    for rows in rows.chunk_by_mut(|a, b| a.record.header.site == b.record.header.site) {
        if kind == Kind::Sample {
            let (shard, index) = lake::shard(rows, partition, now)?;
            uploads.push(shard);
            samples.extend(index);
        }
        uploads.push(lake::parquet(kind, rows, partition, now)?);
    }
    Ok((uploads, samples))
}

fn same_numbers(found: &[store::lake_index::Holding], said: &[store::lake_index::Holding]) -> bool {
    let by_stream = |holds: &[store::lake_index::Holding]| {
        let mut of: BTreeMap<StreamId, RangeSet> = BTreeMap::new();
        holds.iter().for_each(|h| of.entry(stream_of(h)).or_default().extend(&h.ranges));
        of
    };
    by_stream(found) == by_stream(said)
}

/// The shards that a merge has read.
#[derive(Default)]
struct Pictures {
    shards: HashMap<String, Bytes>,
    bytes: u64,
}

impl Pictures {
    /// Gives rows their pictures and inputs back; `false`, and they are to be left out, when that would be too many bytes.
    async fn attach(&mut self, objects: &Objects, rows: &mut [Row], sizes: &HashMap<&str, u64>) -> Result<bool, Error> {
        let keys: BTreeSet<_> = rows.iter().filter_map(|row| Some(row.place.as_ref()?.shard.clone())).collect();
        let fresh: Vec<_> = keys.into_iter().filter(|key| !self.shards.contains_key(key)).collect();
        for key in &fresh {
            let size = sizes.get(key.as_str()).ok_or_else(|| Error::Contradiction { key: key.clone() })?;
            self.bytes += size;
        }
        if self.bytes > PICTURES_MAX && !self.shards.is_empty() {
            return Ok(false);
        }
        for key in fresh {
            let bytes = objects.get(&key).await?;
            self.shards.insert(key, bytes);
        }
        for row in rows {
            let contradiction = || Error::Contradiction {
                key: row.place.as_ref().map_or_else(String::new, |place| place.shard.clone()),
            };
            row.record.blobs = self.blobs(row).ok_or_else(contradiction)?;
            row.record.check().map_err(|_| contradiction())?;
        }
        Ok(true)
    }

    fn blobs(&self, row: &Row) -> Option<Bytes> {
        let (place, Body::Sample(sample)) = (row.place.as_ref()?, &row.record.body) else { return None };
        let shard = self.shards.get(&place.shard)?;
        let slice = |offset: u64, bytes: u64| {
            let (from, to) = (usize::try_from(offset).ok()?, usize::try_from(offset.checked_add(bytes)?).ok()?);
            (to <= shard.len()).then(|| shard.slice(from..to))
        };
        let picture = slice(place.picture_offset, sample.picture.bytes)?;
        match (&sample.input, place.input_offset) {
            (Some(input), Some(offset)) => Some([picture, slice(offset, input.bytes)?].concat().into()),
            _ => Some(picture),
        }
    }
}
