//! Samples in tar shards, found by the offsets of their index rows, as a reader with nothing but ranges would.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::{Lake, Row};

/// A sample's files.
pub struct Files {
    /// The picture as stored.
    pub picture: Bytes,
    /// The uint8 tensor that the model saw, uncompressed, where it was kept.
    pub input: Option<Vec<u8>>,
}

/// Reads what a row of kind `sample` points to, and checks both digests.
pub fn files(lake: &Lake, row: &Row) -> Result<Files> {
    let shard = lake.get(row["shard"].as_str().context("row names no shard")?)?;
    let picture = slice(&shard, row, "picture")?.context("row has no picture")?;
    ensure!(digest(&picture) == row["picture_sha256"], "picture's digest differs from its row's");
    let input = match slice(&shard, row, "input")? {
        None => None,
        Some(compressed) => {
            let input = zstd::decode_all(&compressed[..]).context("decompress the model's input")?;
            ensure!(digest(&input) == row["input_sha256"], "input's digest differs from its row's");
            Some(input)
        }
    };
    Ok(Files { picture, input })
}

fn slice(shard: &Bytes, row: &Row, what: &str) -> Result<Option<Bytes>> {
    let number = |column: &str| row.get(&format!("{what}_{column}")).and_then(|v| v.as_u64());
    let (Some(offset), Some(bytes)) = (number("offset"), number("bytes")) else { return Ok(None) };
    let (from, to) = (offset as usize, (offset + bytes) as usize);
    ensure!(to <= shard.len(), "{what} ends at byte {to} of a shard of {}", shard.len());
    Ok(Some(shard.slice(from..to)))
}

/// SHA-256 as rows write it.
pub fn digest(bytes: &[u8]) -> String {
    contract::Digest(Sha256::digest(bytes).into()).to_string()
}
