//! Reading the whole bucket: what each object of the lake says of itself, and what cannot be read.
//!
//! Every object is read to its end, for its digest and to know that it is whole. Bounded: [`READS`] objects at a time are
//! in memory; what stays of each is its line of the manifest, its gap rows and the index of its samples.

use bytes::Bytes;
use contract::{Digest, Epoch, Gap, Principal};
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use sha2::Digest as _;
use store::{
    lake_index::{Format, Holding, Object, SampleRow},
    objects::{Entry, Objects},
};

use super::{Error, rebuild::Aside};
use crate::{
    clock::off_loop,
    lake::{self, Body, Facts, PREFIXES, Partition, Row},
};

/// Objects read at a time.
const READS: usize = 4;

/// An object that was read whole.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its line of the manifest.
    pub object: Object,
    /// The gaps that its rows tell of, and who told.
    pub gaps: Vec<(Principal, Gap)>,
    /// The index of its samples, with the log of each.
    pub samples: Vec<(Epoch, SampleRow)>,
    /// Every row of it counts; else only those whose numbers `object` holds.
    pub whole: bool,
}

/// What the bucket holds.
#[derive(Default)]
pub struct Survey {
    /// What could be read.
    pub found: Vec<Found>,
    /// What could not.
    pub damaged: Vec<Aside>,
}

/// Reads everything.
pub async fn survey(objects: &Objects) -> Result<Survey, Error> {
    let mut survey = Survey::default();
    for prefix in PREFIXES {
        let mut pages = objects.list(prefix);
        while let Some(page) = pages.next().await? {
            let reads: Vec<_> = page.into_iter().map(|entry| one(objects, entry).boxed()).collect();
            let read: Vec<_> = futures::stream::iter(reads).buffered(READS).try_collect().await?;
            for (key, found) in read {
                match found {
                    Ok(found) => survey.found.push(found),
                    Err(why) => {
                        tracing::warn!(key, why, "an object of the lake cannot be read");
                        survey.damaged.push(Aside { key, why });
                    }
                }
            }
        }
    }
    Ok(survey)
}

/// What one object holds; `None` when it cannot be read.
pub async fn holdings(objects: &Objects, key: &str) -> Result<Option<Vec<Holding>>, Error> {
    let bytes = objects.get(key).await?;
    let name = key.to_owned();
    let read = off_loop(move || read(&name, bytes)).await.map_err(|_| Error::Interrupted { what: key.to_owned() })?;
    Ok(read.ok().map(|found| found.object.holds))
}

async fn one(objects: &Objects, entry: Entry) -> Result<(String, Result<Found, String>), Error> {
    let bytes = objects.get(&entry.key).await?;
    let key = entry.key.clone();
    let read = off_loop(move || read(&key, bytes)).await;
    match read {
        Ok(found) => Ok((entry.key, found)),
        Err(_) => Err(Error::Interrupted { what: entry.key }),
    }
}

/// What an object says of itself.
fn read(key: &str, bytes: Bytes) -> Result<Found, String> {
    let (length, digest) = (bytes.len() as u64, digest(&bytes));
    if key.starts_with("lake/") {
        return rows(key, bytes, digest);
    }
    let facts = if key.starts_with("removed/") {
        serde_json::from_slice::<super::retention::Removal>(&bytes).map_err(|e| e.to_string())?.facts
    } else {
        check_tar(&bytes)?;
        let said = lake::tar_facts(&bytes).map_err(|e| e.to_string())?;
        match said {
            Some(facts) => facts,
            None if key.starts_with("shards/") => undescribed(key)?,
            None => return Err("it does not say what it holds".to_owned()),
        }
    };
    Ok(Found {
        object: facts.object(key.to_owned(), length, digest),
        gaps: Vec::new(),
        samples: Vec::new(),
        whole: true,
    })
}

fn rows(key: &str, bytes: Bytes, digest: Digest) -> Result<Found, String> {
    let kind = lake::kind_of_key(key).ok_or("its key names no kind")?;
    let partition = Partition::of_key(key).ok_or("its key names no partition")?;
    let length = bytes.len() as u64;
    let schema = lake::schema_version(bytes.clone()).map_err(|e| chain(&e))?;
    let mut rows = Vec::new();
    lake::read_parquet(kind, bytes, |row| rows.push(row)).map_err(|e| chain(&e))?;
    let facts = Facts { schema, ..lake::facts(Format::Parquet, kind, &rows, &partition) };
    Ok(Found {
        object: facts.object(key.to_owned(), length, digest),
        gaps: rows.iter().filter_map(gap).collect(),
        samples: rows.iter().filter_map(|row| Some((row.record.header.epoch, lake::sample_row(row)?))).collect(),
        whole: true,
    })
}

fn gap(row: &Row) -> Option<(Principal, Gap)> {
    let Body::Gap(gap) = &row.record.body else { return None };
    let header = &row.record.header;
    Some((Principal { site: header.site.clone(), gateway: header.gateway.clone() }, gap.clone()))
}

/// A shard of an earlier version: what it holds follows from the rows that point at it.
fn undescribed(key: &str) -> Result<Facts, String> {
    let partition = Partition::of_key(key).ok_or("its key names no partition")?;
    Ok(lake::facts(Format::Shard, contract::Kind::Sample, &[], &partition))
}

/// A tar that was cut off ends within a member or without its end.
fn check_tar(bytes: &[u8]) -> Result<(), String> {
    let ends = bytes.len() >= 1024 && bytes[bytes.len() - 1024..].iter().all(|b| *b == 0);
    if !ends {
        return Err("it is a tar without an end".to_owned());
    }
    for entry in tar::Archive::new(bytes).entries().map_err(|e| e.to_string())? {
        entry.map_err(|e| e.to_string())?;
    }
    Ok(())
}

/// SHA-256 of an object's bytes.
pub(super) fn digest(bytes: &[u8]) -> Digest {
    Digest(sha2::Sha256::digest(bytes).into())
}

/// An error and its causes in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |e| e.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
