//! Whose bucket it is: a small object names the lake, so that tables which belong to another one are noticed.
//!
//! Empty tables beside a full bucket are a hub whose database was lost, or that was given the wrong one. Taking records
//! then would store again what the bucket has; so the hub does not start until somebody says what it is to be.

use contract::Timestamp;
use serde::{Deserialize, Serialize};
use store::{
    lake_index::LakeIndex,
    objects::{ErrorKind, Objects, PutOptions},
};

use super::Error;
use crate::lake::PREFIXES;

/// Key of the object that names the lake.
pub const MARKER: &str = "sightline-lake.json";

/// What the bucket is to these tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It is theirs.
    Own,
    /// It holds objects, and these tables are of another lake or have never had one.
    Rebuild(String),
}

#[derive(Serialize, Deserialize)]
struct Marker {
    schema: u16,
    lake: String,
    claimed_at: Timestamp,
}

/// Compares tables and bucket; an unclaimed bucket without objects is claimed for the tables.
pub async fn claim(index: &LakeIndex, objects: &Objects, now: Timestamp) -> Result<Claim, Error> {
    let state = state_of(index, objects).await?;
    if state == Claim::Own {
        mark(objects, &index.identity().await?.lake, now).await?;
    }
    Ok(state)
}

/// Compares tables and bucket, and changes nothing.
pub async fn state_of(index: &LakeIndex, objects: &Objects) -> Result<Claim, Error> {
    let lake = index.identity().await?.lake;
    if let Some(marked) = marked(objects).await? {
        let other = || {
            format!(
                "the bucket belongs to lake {marked} and the tables to lake {lake}: run `sightline-hub rebuild` to make \
                 these tables from the objects, or name the tables that belong to this bucket"
            )
        };
        return Ok(if marked == lake { Claim::Own } else { Claim::Rebuild(other()) });
    }
    if !index.principals().await?.is_empty() || !holds_objects(objects).await? {
        return Ok(Claim::Own);
    }
    let why = "the bucket holds a lake's objects and the tables are empty: run `sightline-hub rebuild` to make the tables \
               from the objects, or name the tables that belong to this bucket";
    Ok(Claim::Rebuild(why.to_owned()))
}

/// The lake that the bucket says it belongs to.
pub(super) async fn marked(objects: &Objects) -> Result<Option<String>, Error> {
    let bytes = match objects.get(MARKER).await {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let marker: Marker = serde_json::from_slice(&bytes)
        .map_err(|error| Error::Document { key: MARKER.to_owned(), why: error.to_string() })?;
    Ok(Some(marker.lake))
}

/// Writes the marker where there is none.
pub(super) async fn mark(objects: &Objects, lake: &str, now: Timestamp) -> Result<(), Error> {
    let marker = Marker { schema: contract::SCHEMA, lake: lake.to_owned(), claimed_at: now };
    let options =
        PutOptions { content_type: Some("application/json".into()), if_none_match: true, ..PutOptions::default() };
    match objects.put(MARKER, serde_json::to_vec(&marker).unwrap_or_default(), options).await {
        Err(error) if error.kind() == ErrorKind::Exists => Ok(()),
        other => Ok(other.map(drop)?),
    }
}

async fn holds_objects(objects: &Objects) -> Result<bool, Error> {
    for prefix in PREFIXES {
        if objects.list(prefix).next().await?.is_some_and(|page| !page.is_empty()) {
            return Ok(true);
        }
    }
    Ok(false)
}
