//! A batch to objects: one Parquet object a kind and partition, samples' files in tar shards, kept records in tars.
//!
//! Straight computation, run off the event loop. Built again from the same batch when another ingest was faster.

use std::collections::BTreeMap;

use contract::{Kind, Timestamp, frame::Address};
use store::lake_index::{Format, Hashes, Holding, Object, RangeSet, SampleRow, StreamId};

use super::{
    batch::{Batch, Kept},
    streams::ByStream,
};
use crate::lake::{self, Facts, PackError, Partition, Row, Shard, Upload};

/// All that a flush stores.
#[derive(Default)]
pub struct Built {
    /// The objects, shards before the rows that point at them.
    pub uploads: Vec<Upload>,
    /// One entry a sample.
    pub samples: Vec<SampleRow>,
    /// The hashes of the records in the objects.
    pub hashes: Vec<Hashes>,
}

/// Builds the batch's objects. Rows are put hour by hour and samples learn where their files lie.
pub fn build(batch: &mut Batch, now: Timestamp) -> Result<Built, PackError> {
    let mut built = Built::default();
    batch.hashes.values_mut().for_each(|known| known.sort_by_key(|(seq, _)| *seq));
    for (kind, rows) in &mut batch.rows {
        let hour = |row: &Row| Partition::number(row.corrected_at());
        rows.sort_by_key(hour); // once an hour there are two of them
        for rows in rows.chunk_by_mut(|a, b| hour(a) == hour(b)) {
            let partition = Partition::of(rows[0].corrected_at());
            if *kind == Kind::Sample {
                let (shard, samples) = lake::shard(rows, &partition, now)?;
                built.uploads.push(shard);
                built.samples.extend(samples);
            }
            let upload = lake::parquet(*kind, rows, &partition, now)?;
            built.hashes.extend(hashes(&upload.object, &batch.hashes));
            built.uploads.push(upload);
        }
    }
    kept(&mut built, &batch.dead, Format::Dead, "dead", now)?;
    kept(&mut built, &batch.newer, Format::Newer, "newer", now)?;
    Ok(built)
}

/// A row of hashes for each range that an object holds; none for what this process made itself.
fn hashes(object: &Object, known: &ByStream<Vec<(u64, u64)>>) -> Vec<Hashes> {
    let mut rows = Vec::new();
    for holding in &object.holds {
        let stream = StreamId { epoch: holding.epoch, kind: holding.kind };
        let Some(known) = known.get(&stream) else { continue };
        for [from, to] in holding.ranges.ranges() {
            let at = known.partition_point(|(seq, _)| seq < from);
            let mut rest = known[at..].iter();
            let hashes: Option<Vec<u64>> =
                (*from..*to).map(|seq| rest.next().filter(|(of, _)| *of == seq).map(|(_, hash)| *hash)).collect();
            rows.extend(hashes.map(|hashes| Hashes { object: object.key.clone(), stream, from: *from, hashes }));
        }
    }
    rows
}

/// Records kept as they came, in one tar a kind and version, so that each is read as soon as its own version can be:
/// the bytes, and beside them a JSON with what is known of them.
fn kept(built: &mut Built, kept: &[Kept], format: Format, prefix: &str, now: Timestamp) -> Result<(), PackError> {
    let mut alike: BTreeMap<(Kind, u16), Vec<&Kept>> = BTreeMap::new();
    kept.iter().for_each(|k| alike.entry((k.kind, k.version)).or_default().push(k));
    for ((kind, version), kept) in alike {
        let partition = Partition::of(kept[0].received_at);
        let received = lake::span(kept.iter().map(|k| k.received_at));
        let facts = Facts {
            format,
            kind,
            date: partition.date.clone(),
            hour: partition.hour,
            site: None,
            rows: kept.len() as u64,
            captured: received,
            corrected: received,
            schema: version,
            holds: holdings_of_kept(&kept),
        };
        let mut shard = Shard::described(partition.kept_key(prefix, &lake::object_id(now)), &facts)?;
        for one in &kept {
            let Address { epoch, seq, .. } = one.address;
            let name = format!("{}_{}_{epoch}_{kind}_{seq}", one.owner.site, one.owner.gateway);
            let facts = serde_json::json!({
                "site": one.owner.site, "gateway": one.owner.gateway, "epoch": epoch, "kind": kind, "seq": seq,
                "received_at": one.received_at, "sent_at": one.sent_at, "why": one.why, "version": version,
                "beside": one.beside,
            });
            shard.file(
                &format!("{name}.{}", if format == Format::Dead { "record" } else { "frame" }),
                &one.bytes,
                now,
            )?;
            shard.file(&format!("{name}.json"), facts.to_string().as_bytes(), now)?;
        }
        let (key, bytes) = shard.finish()?;
        built.uploads.push(Upload::new(facts, key, bytes, lake::TAR));
    }
    Ok(())
}

fn holdings_of_kept(kept: &[&Kept]) -> Vec<Holding> {
    let mut of: BTreeMap<_, Holding> = BTreeMap::new();
    for one in kept.iter().filter(|one| !one.beside) {
        let epoch = one.address.epoch;
        let (site, gateway) = (one.owner.site.clone(), one.owner.gateway.clone());
        let fresh = || Holding { site, gateway, epoch, kind: one.kind, ranges: RangeSet::new() };
        of.entry((epoch, one.kind)).or_insert_with(fresh).ranges.insert(one.address.seq);
    }
    of.into_values().collect()
}
