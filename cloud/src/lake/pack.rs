//! Rows to objects, with what the manifest says of them: one Parquet object, and for samples a tar shard before it.
//!
//! Ingest, compaction and rebuild all write objects through here, so that one description holds for all of them.

use std::{collections::BTreeMap, io};

use bytes::Bytes;
use contract::{Digest, Kind, Timestamp};
use store::lake_index::{Format, Holding, Object, RangeSet, SampleInput, SampleRow};

use super::{Body, Facts, Partition, Row, Shard, WriteError, object_id, reason_name, write_parquet};

/// Media type of a tar.
pub const TAR: &str = "application/x-tar";
/// Media type of a Parquet object.
pub const PARQUET: &str = "application/vnd.apache.parquet";

/// Why rows could not be made objects.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
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
    pub bytes: Bytes,
    /// MIME type.
    pub content_type: &'static str,
}

impl Upload {
    /// Of these bytes and what they say of themselves.
    pub fn new(facts: Facts, key: String, bytes: Vec<u8>, content_type: &'static str) -> Self {
        let object = facts.object(key, bytes.len() as u64, Digest([0; 32]));
        Self { object, bytes: bytes.into(), content_type }
    }
}

/// Rows of one kind and partition as a Parquet object.
pub fn parquet(kind: Kind, rows: &[Row], partition: &Partition, now: Timestamp) -> Result<Upload, PackError> {
    let facts = facts(Format::Parquet, kind, rows, partition);
    let bytes = write_parquet(kind, rows, &facts)?;
    Ok(Upload::new(facts, partition.rows_key(kind, &object_id(now)), bytes, PARQUET))
}

/// The files of samples of one partition as a shard; their rows learn where they lie. The rows must have their blobs.
pub fn shard(rows: &mut [Row], partition: &Partition, now: Timestamp) -> Result<(Upload, Vec<SampleRow>), PackError> {
    let facts = facts(Format::Shard, Kind::Sample, rows, partition);
    let mut shard = Shard::described(partition.shard_key(&object_id(now)), &facts)?;
    for row in rows.iter_mut() {
        row.place = shard.add(&row.record)?;
    }
    let samples = rows.iter().filter_map(sample_row).collect();
    let (key, bytes) = shard.finish()?;
    Ok((Upload::new(facts, key, bytes, TAR), samples))
}

/// What an object with these rows says of itself.
pub fn facts(format: Format, kind: Kind, rows: &[Row], partition: &Partition) -> Facts {
    let site = rows.first().map(|row| &row.record.header.site);
    let one_site = rows.iter().all(|row| Some(&row.record.header.site) == site);
    Facts {
        format,
        kind,
        date: partition.date.clone(),
        hour: partition.hour,
        site: site.filter(|_| one_site).cloned(),
        rows: rows.len() as u64,
        captured: span(rows.iter().map(|row| row.record.header.captured_at)),
        corrected: span(rows.iter().map(Row::corrected_at)),
        schema: contract::lake::VERSION,
        holds: holdings(rows),
    }
}

/// Earliest and latest.
pub fn span(times: impl Iterator<Item = Timestamp> + Clone) -> [Timestamp; 2] {
    [times.clone().min().unwrap_or_default(), times.max().unwrap_or_default()]
}

/// The numbers of these rows, by log.
pub fn holdings(rows: &[Row]) -> Vec<Holding> {
    let mut of: BTreeMap<_, (Holding, Vec<u64>)> = BTreeMap::new();
    let log = |row: &Row| (row.record.header.epoch, row.record.header.kind);
    for run in rows.chunk_by(|a, b| log(a) == log(b)) {
        let h = &run[0].record.header;
        let fresh = || {
            let (site, gateway) = (h.site.clone(), h.gateway.clone());
            (Holding { site, gateway, epoch: h.epoch, kind: h.kind, ranges: RangeSet::new() }, Vec::new())
        };
        let (_, numbers) = of.entry(log(&run[0])).or_insert_with(fresh);
        numbers.extend(run.iter().map(|row| row.record.header.seq));
    }
    let whole = of.into_values().map(|(holding, mut numbers)| {
        numbers.sort_unstable();
        Holding { ranges: numbers.into_iter().collect(), ..holding }
    });
    whole.collect()
}

/// The index row of a sample that has its place.
pub fn sample_row(row: &Row) -> Option<SampleRow> {
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
        reason: reason_name(sample.reason).to_owned(),
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
