//! A batch to objects: one Parquet object a kind and partition, samples' files in tar shards, kept records in tars.
//!
//! Straight computation, run off the event loop. Built again from the same batch when another ingest was faster.

use std::{collections::BTreeMap, io};

use contract::{Digest, Kind, Timestamp, frame::Address};
use store::lake_index::{Format, Holding, Object, RangeSet, SampleInput, SampleRow};

use super::batch::{Batch, Kept};
use crate::lake::{self, Body, Partition, Row, Shard, WriteError};

/// Why a batch could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Parquet.
    #[error(transparent)]
    Rows(#[from] WriteError),
    /// Tar.
    #[error("could not write a tar shard")]
    Shard(#[from] io::Error),
}

/// One object to be stored.
pub struct Upload {
    /// What the manifest will say; the digest comes from storing it.
    pub object: Object,
    /// Its bytes.
    pub bytes: bytes::Bytes,
    /// MIME type.
    pub content_type: &'static str,
}

/// All that a flush stores.
#[derive(Default)]
pub struct Built {
    /// The objects, shards before the rows that point at them.
    pub uploads: Vec<Upload>,
    /// One entry a sample.
    pub samples: Vec<SampleRow>,
}

/// Builds the batch's objects. Rows are sorted in place and samples learn where their files lie.
pub fn build(batch: &mut Batch, now: Timestamp) -> Result<Built, BuildError> {
    let mut built = Built::default();
    for (kind, rows) in &mut batch.rows {
        rows.sort_by_cached_key(|row| Partition::of(row.corrected_at()));
        for rows in rows.chunk_by_mut(|a, b| Partition::of(a.corrected_at()) == Partition::of(b.corrected_at())) {
            let partition = Partition::of(rows[0].corrected_at());
            if *kind == Kind::Sample {
                shard(&mut built, rows, &partition, now)?;
            }
            built.uploads.push(parquet(*kind, rows, &partition, now)?);
        }
    }
    kept(&mut built, &batch.dead, Format::Dead, "dead", now)?;
    kept(&mut built, &batch.newer, Format::Newer, "newer", now)?;
    Ok(built)
}

fn parquet(kind: Kind, rows: &mut [Row], partition: &Partition, now: Timestamp) -> Result<Upload, BuildError> {
    let holds = holdings(rows);
    let ranges = serde_json::to_string(&holds).unwrap_or_default();
    let bytes = lake::write_parquet(kind, rows, &ranges)?;
    let key = partition.rows_key(kind, &lake::object_id(now));
    let object = object(key, Format::Parquet, kind, rows, partition, holds, bytes.len());
    Ok(Upload { object, bytes: bytes.into(), content_type: "application/vnd.apache.parquet" })
}

fn shard(built: &mut Built, rows: &mut [Row], partition: &Partition, now: Timestamp) -> Result<(), BuildError> {
    let mut shard = Shard::new(partition.shard_key(&lake::object_id(now)));
    for row in rows.iter_mut() {
        row.place = shard.add(&row.record)?;
        built.samples.extend(sample_row(row));
    }
    let (key, bytes) = shard.finish()?;
    let object = object(key, Format::Shard, Kind::Sample, rows, partition, holdings(rows), bytes.len());
    built.uploads.push(Upload { object, bytes: bytes.into(), content_type: "application/x-tar" });
    Ok(())
}

fn object(
    key: String,
    format: Format,
    kind: Kind,
    rows: &[Row],
    partition: &Partition,
    holds: Vec<Holding>,
    bytes: usize,
) -> Object {
    let site = &rows[0].record.header.site;
    let one_site = rows.iter().all(|row| row.record.header.site == *site);
    Object {
        key,
        format,
        kind,
        date: partition.date.clone(),
        hour: partition.hour,
        site: one_site.then(|| site.clone()),
        rows: rows.len() as u64,
        bytes: bytes as u64,
        digest: Digest([0; 32]),
        captured: span(rows.iter().map(|row| row.record.header.captured_at)),
        corrected: span(rows.iter().map(Row::corrected_at)),
        schema: contract::lake::VERSION,
        holds,
    }
}

fn span(times: impl Iterator<Item = Timestamp> + Clone) -> [Timestamp; 2] {
    [times.clone().min().unwrap_or_default(), times.max().unwrap_or_default()]
}

fn holdings(rows: &[Row]) -> Vec<Holding> {
    let mut of: BTreeMap<_, (Holding, Vec<u64>)> = BTreeMap::new();
    for row in rows {
        let h = &row.record.header;
        let fresh = || {
            let (site, gateway) = (h.site.clone(), h.gateway.clone());
            (Holding { site, gateway, epoch: h.epoch, kind: h.kind, ranges: RangeSet::new() }, Vec::new())
        };
        of.entry((h.epoch, h.kind)).or_insert_with(fresh).1.push(h.seq);
    }
    let whole = of.into_values().map(|(holding, mut numbers)| {
        numbers.sort_unstable();
        Holding { ranges: numbers.into_iter().collect(), ..holding }
    });
    whole.collect()
}

fn sample_row(row: &Row) -> Option<SampleRow> {
    let (Body::Sample(sample), Some(place)) = (&row.record.body, &row.place) else { return None };
    let header = &row.record.header;
    let input = sample.input.as_ref().zip(place.input_offset).map(|(input, offset)| SampleInput {
        at: [offset, input.bytes],
        digest: input.sha256,
        encoding: input.encoding.to_string(),
        dtype: input.dtype.to_string(),
        shape: input.shape.clone(),
    });
    Some(SampleRow {
        frame_id: header.frame_id.clone()?,
        region: header.region.clone()?,
        seq: header.seq,
        site: header.site.clone(),
        gateway: header.gateway.clone(),
        camera: header.camera.clone()?,
        corrected_at: row.corrected_at(),
        captured_at: header.captured_at,
        reason: lake::reason_name(sample.reason).to_owned(),
        label: sample.labels.first().map_or_else(String::new, ToString::to_string),
        score: sample.scores.first().copied().unwrap_or(0.0),
        shard: place.shard.clone(),
        media_type: sample.picture.media_type.to_string(),
        picture: [place.picture_offset, sample.picture.bytes],
        picture_digest: sample.picture.sha256,
        size: [sample.picture.width, sample.picture.height],
        input,
    })
}

/// Records kept as they came, in one tar a kind and version, so that each is read as soon as its own version can be:
/// the bytes, and beside them a JSON with what is known of them.
fn kept(built: &mut Built, kept: &[Kept], format: Format, prefix: &str, now: Timestamp) -> Result<(), BuildError> {
    let mut alike: BTreeMap<(Kind, u16), Vec<&Kept>> = BTreeMap::new();
    kept.iter().for_each(|k| alike.entry((k.kind, k.version)).or_default().push(k));
    for ((kind, version), kept) in alike {
        let partition = Partition::of(kept[0].received_at);
        let key = partition.kept_key(prefix, &lake::object_id(now));
        let mut shard = Shard::new(key.clone());
        for one in &kept {
            let Address { epoch, seq, .. } = one.address;
            let name = format!("{}_{}_{epoch}_{kind}_{seq}", one.owner.site, one.owner.gateway);
            let facts = serde_json::json!({
                "site": one.owner.site, "gateway": one.owner.gateway, "epoch": epoch, "kind": kind, "seq": seq,
                "received_at": one.received_at, "sent_at": one.sent_at, "why": one.why, "version": version,
            });
            shard.file(
                &format!("{name}.{}", if format == Format::Dead { "record" } else { "frame" }),
                &one.bytes,
                now,
            )?;
            shard.file(&format!("{name}.json"), facts.to_string().as_bytes(), now)?;
        }
        let (_, bytes) = shard.finish()?;
        let received = span(kept.iter().map(|k| k.received_at));
        let object = Object {
            key,
            format,
            kind,
            date: partition.date,
            hour: partition.hour,
            site: None,
            rows: kept.len() as u64,
            bytes: bytes.len() as u64,
            digest: Digest([0; 32]),
            captured: received,
            corrected: received,
            schema: version,
            holds: holdings_of_kept(&kept),
        };
        built.uploads.push(Upload { object, bytes: bytes.into(), content_type: "application/x-tar" });
    }
    Ok(())
}

fn holdings_of_kept(kept: &[&Kept]) -> Vec<Holding> {
    let mut of: BTreeMap<_, Holding> = BTreeMap::new();
    for one in kept {
        let epoch = one.address.epoch;
        let (site, gateway) = (one.owner.site.clone(), one.owner.gateway.clone());
        let fresh = || Holding { site, gateway, epoch, kind: one.kind, ranges: RangeSet::new() };
        of.entry((epoch, one.kind)).or_insert_with(fresh).ranges.insert(one.address.seq);
    }
    of.into_values().collect()
}
