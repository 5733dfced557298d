//! `rebuild`: the tables made anew from the objects alone.
//!
//! For the day on which the tables are lost, or are older than the bucket: nothing in them counts, everything follows from
//! what the objects say of themselves. The lake gets a new incarnation, so that gateways state what they hold. What cannot
//! be read is moved below `aside/`, where no reconciler looks. Run it while no hub ingests; one that does all the same
//! meets a conflict at its next commit and looks again.

use contract::{Kind, Timestamp};
use serde::Serialize;
use store::{
    lake_index::{Format, Holding, LakeIndex, Manifest, Object, SampleRow},
    objects::Objects,
};

use super::{
    Error,
    choose::{self, Chosen},
    claim,
    survey::{Found, chain, survey},
};
use crate::{
    clock::off_loop,
    lake::{self, Partition, Row},
};

/// An object that is not part of the lake, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Aside {
    /// The object.
    pub key: String,
    /// Why.
    pub why: String,
}

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Rebuilt {
    /// The lake.
    pub lake: String,
    /// Its new life.
    pub incarnation: String,
    /// Objects in the manifest.
    pub objects: u64,
    /// Rows in them.
    pub rows: u64,
    /// Pictures in the index.
    pub samples: u64,
    /// Gateways' logs.
    pub epochs: u64,
    /// Objects written again without the numbers that others hold: the old key.
    pub written_again: Vec<String>,
    /// Objects that nothing needs; the orphans' grace time runs for them.
    pub unneeded: Vec<Aside>,
    /// Objects that cannot be read; they lie below `aside/` now.
    pub damaged: Vec<Aside>,
}

/// Makes the tables from the objects.
pub async fn rebuild(index: &LakeIndex, objects: &Objects, now: Timestamp) -> Result<Rebuilt, Error> {
    let surveyed = survey(objects).await?;
    let (shards, mut rest): (Vec<_>, Vec<_>) =
        surveyed.found.into_iter().partition(|found| found.object.format == Format::Shard);
    choose::drop_samples_without_pictures(&mut rest, &shards);
    let Chosen { whole, cut, mut aside } = choose::choose(rest);
    let written_again = cut.iter().map(|(found, _)| found.object.key.clone()).collect();
    let mut kept = whole;
    for (found, rest) in cut {
        kept.push(cut_down(objects, found, &rest, now).await?);
    }
    let samples: Vec<_> = kept.iter_mut().flat_map(|found| std::mem::take(&mut found.samples)).collect();
    let chosen = choose::shards(shards, &samples);
    aside.extend(chosen.aside);
    kept.extend(chosen.whole);
    let damaged = set_aside(objects, surveyed.damaged).await?;

    let gaps: Vec<_> = kept.iter_mut().flat_map(|found| std::mem::take(&mut found.gaps)).collect();
    let objects_kept: Vec<Object> = kept.into_iter().map(|found| found.object).collect();
    let lake = claim::marked(objects).await?;
    let samples: Vec<SampleRow> = samples.into_iter().map(|(_, sample)| sample).collect();
    let streams = choose::streams(&objects_kept, &gaps, now);
    let manifest = Manifest { lake, objects: objects_kept, samples, ..streams };
    let identity = index.write_manifest(&manifest, now).await?;
    claim::mark(objects, &identity.lake, now).await?;
    Ok(Rebuilt {
        lake: identity.lake,
        incarnation: identity.incarnation,
        objects: manifest.objects.len() as u64,
        rows: manifest.objects.iter().filter(|o| o.format == Format::Parquet).map(|o| o.rows).sum(),
        samples: manifest.samples.len() as u64,
        epochs: manifest.epochs.len() as u64,
        written_again,
        unneeded: aside,
        damaged,
    })
}

/// Writes a Parquet object again with the rows of some numbers only.
async fn cut_down(objects: &Objects, found: Found, rest: &[Holding], now: Timestamp) -> Result<Found, Error> {
    let Found { object, gaps, mut samples, .. } = found;
    let partition = Partition { date: object.date.clone(), hour: object.hour };
    let mut rows = read_rows(objects, &object.key, object.kind).await?;
    rows.retain(|row| {
        let header = &row.record.header;
        choose::holds(rest, header.epoch, header.kind, header.seq)
    });
    samples.retain(|(epoch, sample)| choose::holds(rest, *epoch, Kind::Sample, sample.seq));
    let upload = lake::parquet(object.kind, &rows, &partition, now)?;
    Ok(Found { object: lake::put(objects, upload).await?, gaps, samples, whole: true })
}

/// Every row of a Parquet object.
pub(super) async fn read_rows(objects: &Objects, key: &str, kind: Kind) -> Result<Vec<Row>, Error> {
    let bytes = objects.get(key).await?;
    let read = off_loop(move || {
        let mut rows = Vec::new();
        lake::read_parquet(kind, bytes, |row| rows.push(row)).map(|()| rows)
    });
    match read.await {
        Ok(rows) => rows.map_err(|source| Error::Read { key: key.to_owned(), source }),
        Err(_) => Err(Error::Interrupted { what: key.to_owned() }),
    }
}

/// Moves what cannot be read to where nothing looks for it.
async fn set_aside(objects: &Objects, damaged: Vec<Aside>) -> Result<Vec<Aside>, Error> {
    for one in &damaged {
        match objects.copy(&one.key, &format!("aside/{}", one.key)).await {
            Ok(()) => objects.delete(&one.key).await?,
            Err(error) => tracing::warn!(key = one.key, error = chain(&error), "a damaged object stays where it is"),
        }
    }
    Ok(damaged)
}
