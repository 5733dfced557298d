//! Records of a newer version, read after the upgrade: their tars become rows by one exchange in the manifest.
//!
//! Run once at each start. Safe beside another ingest that does the same: the exchange happens once, and the loser
//! removes what it stored. Their numbers are committed since they arrived; nothing is counted again.

use std::io::Read as _;

use bytes::Bytes;
use contract::{Kind, Timestamp, frame};
use serde::Deserialize;
use store::{
    lake_index::{Exchange, Format, LakeIndex, Object, ObjectQuery},
    objects::Objects,
};

use super::{
    batch::Batch,
    build,
    flush::{chain, now},
};
use crate::lake::{self, Record, Row};

/// Why a tar of kept records leaves the manifest.
const RULE: &str = "read after an upgrade";

/// The version up to which this program reads frames and records.
pub const READABLE: u16 =
    if contract::SCHEMA < frame::VERSION as u16 { contract::SCHEMA } else { frame::VERSION as u16 };

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// What is known of a kept record beside its bytes.
#[derive(Deserialize)]
struct Facts {
    received_at: Timestamp,
}

/// Makes rows of all that is readable by now; says how many.
pub async fn read_kept(index: &LakeIndex, objects: &Objects, readable: u16) -> usize {
    let mut rows = 0;
    for kind in Kind::ALL {
        let query = ObjectQuery { format: Format::Newer, ..ObjectQuery::rows_of(kind) };
        let kept = match index.objects(&query).await {
            Ok(kept) => kept,
            Err(error) => {
                tracing::warn!(error = %chain(&error), "kept records of a newer version are not looked at");
                return rows;
            }
        };
        for object in kept.into_iter().filter(|object| object.schema <= readable) {
            match exchange(index, objects, &object).await {
                Ok(count) => rows += count,
                Err(error) => {
                    tracing::warn!(key = object.key, error = %chain(&*error), "kept records are not read yet");
                }
            }
        }
    }
    if rows > 0 {
        tracing::info!(rows, "records that a newer gateway had sent are rows now");
    }
    rows
}

async fn exchange(index: &LakeIndex, objects: &Objects, kept: &Object) -> Result<usize, AnyError> {
    let tar = objects.get(&kept.key).await?;
    let mut batch = Batch::default();
    batch.rows.insert(kept.kind, rows(&tar)?);
    let count = batch.row_count();
    let built = build::build(&mut batch, now())?;
    let mut new = Vec::new();
    for upload in built.uploads {
        new.push(lake::put(objects, upload).await?);
    }
    let old = [kept.key.clone()];
    let samples = &built.samples;
    let exchange = Exchange { now: now(), old: &old, new: &new, samples, why: RULE };
    if !index.exchange(&exchange).await? {
        let keys: Vec<_> = new.into_iter().map(|object| object.key).collect();
        objects.delete_many(&keys).await?;
        return Ok(0);
    }
    objects.delete_many(&old).await?;
    index.forget(&old).await?;
    Ok(count)
}

/// The records of a tar: each `.frame` is followed by its `.json`.
fn rows(tar: &[u8]) -> Result<Vec<Row>, AnyError> {
    let mut rows = Vec::new();
    let mut record = None;
    let mut archive = tar::Archive::new(tar);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let is_frame = entry.path()?.extension().is_some_and(|extension| extension == "frame");
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes)?;
        if is_frame {
            record = Some(read(&bytes)?);
        } else if let Some(record) = record.take() {
            let facts: Facts = serde_json::from_slice(&bytes)?;
            rows.push(Row { record, received_at: facts.received_at, clock_offset_us: 0, place: None });
        }
    }
    Ok(rows)
}

fn read(frame: &[u8]) -> Result<Record, AnyError> {
    let bundle: Bytes = [&frame::MAGIC[..], frame].concat().into();
    let frame = frame::frames(&bundle).next().ok_or("a kept frame is empty")??;
    let parts = frame::RecordParts::split(frame.payload)?;
    Ok(Record::read(parts.parse_header()?, &parts)?)
}
