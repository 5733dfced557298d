//! The lake as a stranger reads it: list the Parquet objects in S3, read their rows. The hub is not asked.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, Result};
use bytes::Bytes;
use contract::Kind;
use parquet::{
    file::{reader::FileReader, serialized_reader::SerializedFileReader},
    record::Field,
};
use serde_json::{Map, Value};
use store::objects::{Location, Objects};

use crate::{rest::block_on, wait};

/// One row, by column name.
pub type Row = Map<String, Value>;

/// The lake behind a hub's endpoints.
pub struct Lake {
    objects: Objects,
}

impl Lake {
    /// Of the hub whose state folder this is.
    pub fn open(state: &Path) -> Result<Self> {
        crate::rest::install_crypto();
        let location = Location::from_state(state)?;
        // The client's connections belong to the harness's threads.
        let objects = block_on(async { Objects::connect(location) })?;
        Ok(Self { objects })
    }

    /// Keys under a prefix, in order.
    pub fn keys(&self, prefix: &str) -> Result<Vec<String>> {
        let entries = block_on(self.objects.list(prefix).all())?;
        Ok(entries.into_iter().map(|entry| entry.key).collect())
    }

    /// The bytes of an object.
    pub fn get(&self, key: &str) -> Result<Bytes> {
        Ok(block_on(self.objects.get(key))?)
    }

    /// Every row of a kind, with `object` naming where it stands.
    pub fn rows(&self, kind: Kind) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        for key in self.keys(&format!("lake/kind={kind}/"))? {
            rows.extend(self.rows_of(&key)?);
        }
        Ok(rows)
    }

    /// Every row of one object, likewise.
    pub fn rows_of(&self, key: &str) -> Result<Vec<Row>> {
        let reader = SerializedFileReader::new(self.get(key)?).with_context(|| format!("{key} is not Parquet"))?;
        let mut rows = Vec::new();
        for row in reader.get_row_iter(None)? {
            let row = row.with_context(|| format!("read a row of {key}"))?;
            let mut out: Row = row.get_column_iter().map(|(name, field)| (name.clone(), value(field))).collect();
            out.insert("object".into(), key.into());
            rows.push(out);
        }
        Ok(rows)
    }

    /// Waits until a kind has at least `count` rows, and gives them.
    pub fn wait_rows(&self, kind: Kind, count: usize) -> Result<Vec<Row>> {
        wait::until(&format!("{count} rows of {kind} in the lake"), || {
            Ok(Some(self.rows(kind)?).filter(|rows| rows.len() >= count))
        })
    }
}

/// How many times each `(epoch, seq)` stands in rows: each must stand once.
pub fn addresses(rows: &[Row]) -> BTreeMap<(String, i64), usize> {
    let mut out = BTreeMap::new();
    for row in rows {
        let epoch = row["epoch"].as_str().unwrap_or_default().to_owned();
        *out.entry((epoch, row["seq"].as_i64().unwrap_or(-1))).or_insert(0) += 1;
    }
    out
}

/// Numbers between the first and last of each epoch that are missing, and those that stand twice.
pub fn holes_and_doubles(rows: &[Row]) -> (Vec<i64>, Vec<i64>) {
    let found = addresses(rows);
    let doubles = found.iter().filter(|(_, n)| **n > 1).map(|((_, seq), _)| *seq).collect();
    let mut next: BTreeMap<&str, i64> = BTreeMap::new();
    let mut holes = Vec::new();
    for (epoch, seq) in found.keys() {
        let expected = next.entry(epoch).or_insert(0);
        holes.extend(*expected..*seq);
        *expected = seq + 1;
    }
    (holes, doubles)
}

fn value(field: &Field) -> Value {
    match field {
        Field::Bool(v) => (*v).into(),
        Field::Int(v) => (*v).into(),
        Field::Long(v) | Field::TimestampMicros(v) => (*v).into(),
        Field::TimestampMillis(v) => (v * 1000).into(),
        Field::Float(v) => (*v).into(),
        Field::Double(v) => (*v).into(),
        Field::Str(v) => v.clone().into(),
        Field::ListInternal(list) => list.elements().iter().map(value).collect(),
        Field::Null => Value::Null,
        other => other.to_string().into(),
    }
}
