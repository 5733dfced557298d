//! Retention: whole hours of one kind leave the lake by a named rule, oldest first.
//!
//! The numbers stay committed, and a record of removal (a small object of its own, never removed) says which they were and
//! by which rule, so that `verify` and `rebuild` know it. Gap records are never removed: they explain what is missing. An
//! hour of samples goes as one, rows and pictures together.

use std::{collections::BTreeMap, time::Duration};

use contract::{Digest, Epoch, Kind, Timestamp};
use daemon::config::{Bytes, Span};
use serde::{Deserialize, Serialize};
use store::{
    lake_index::{Exchange, Format, Holding, LakeIndex, Object},
    objects::Objects,
};

use super::{Error, before};
use crate::lake::{self, Facts, Partition, Upload};

/// How long, or how much, of one kind is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// Hours whose last row is older go.
    pub age: Option<Duration>,
    /// Over so many bytes, the oldest hours go.
    pub bytes: Option<u64>,
}

/// The rules by kind.
pub type Rules = BTreeMap<Kind, Keep>;

/// The record of a removal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Removal {
    /// Version of the document's form.
    pub schema: u16,
    /// The rule, as in the configuration.
    pub rule: String,
    /// When.
    pub removed_at: Timestamp,
    /// What was removed.
    pub objects: Vec<Removed>,
    /// The numbers, and where they were.
    pub facts: Facts,
}

/// An object that was removed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Removed {
    /// Its key.
    pub key: String,
    /// Its rows.
    pub rows: u64,
    /// Its length.
    pub bytes: u64,
    /// SHA-256 of its bytes.
    pub digest: Digest,
}

/// Removes what the rules no longer keep; says how many objects. Their bytes go after the readers' grace time.
pub async fn retain(index: &LakeIndex, objects: &Objects, rules: &Rules, now: Timestamp) -> Result<u64, Error> {
    if rules.values().all(|keep| *keep == Keep::default()) {
        return Ok(0);
    }
    let live = index.live_objects().await?;
    let mut removed = 0;
    for (kind, keep) in rules.iter().filter(|(kind, _)| **kind != Kind::Gap) {
        for (hour, rule) in outdated(*kind, keep, hours(&live, *kind), now) {
            removed += remove(index, objects, &hour, rule, now).await?;
        }
    }
    Ok(removed)
}

/// The objects of a kind by their hour, oldest first.
fn hours(live: &[Object], kind: Kind) -> Vec<Vec<Object>> {
    let mut hours: BTreeMap<(&str, u32), Vec<Object>> = BTreeMap::new();
    let of_kind = |o: &&Object| o.kind == kind && matches!(o.format, Format::Parquet | Format::Shard);
    for object in live.iter().filter(of_kind) {
        hours.entry((&object.date, object.hour)).or_default().push(object.clone());
    }
    hours.into_values().collect()
}

/// The hours that go, each with its rule. Pure.
fn outdated(kind: Kind, keep: &Keep, hours: Vec<Vec<Object>>, now: Timestamp) -> Vec<(Vec<Object>, String)> {
    let bytes = |hour: &[Object]| hour.iter().map(|o| o.bytes).sum::<u64>();
    let mut held: u64 = hours.iter().map(|hour| bytes(hour)).sum();
    let mut gone = Vec::new();
    for hour in hours {
        let last = hour.iter().map(|o| o.corrected[1]).max().unwrap_or_default();
        let rule = match keep {
            Keep { age: Some(age), .. } if last < before(now, *age) => format!("retention.{kind}.age = {}", Span(*age)),
            Keep { bytes: Some(most), .. } if held > *most => format!("retention.{kind}.bytes = {}", Bytes(*most)),
            _ => continue,
        };
        held -= bytes(&hour);
        gone.push((hour, rule));
    }
    gone
}

async fn remove(
    index: &LakeIndex,
    objects: &Objects,
    hour: &[Object],
    rule: String,
    now: Timestamp,
) -> Result<u64, Error> {
    let removal = Removal {
        schema: contract::SCHEMA,
        rule,
        removed_at: now,
        objects: hour.iter().map(removed).collect(),
        facts: facts(hour),
    };
    let key = partition(hour).removed_key(&lake::object_id(now));
    let json = serde_json::to_vec(&removal).unwrap_or_default();
    let new = lake::put(objects, Upload::new(removal.facts, key, json, "application/json")).await?;
    let old: Vec<_> = hour.iter().map(|object| object.key.clone()).collect();
    let exchange = Exchange { now, old: &old, new: std::slice::from_ref(&new), samples: &[], why: &removal.rule };
    if !index.exchange(&exchange).await? {
        objects.delete(&new.key).await?; // somebody else removed or compacted it: looked at again next time
        return Ok(0);
    }
    tracing::info!(rule = removal.rule, kind = %new.kind, date = new.date, hour = new.hour, rows = new.rows, "an hour is removed");
    Ok(old.len() as u64)
}

fn removed(object: &Object) -> Removed {
    Removed { key: object.key.clone(), rows: object.rows, bytes: object.bytes, digest: object.digest }
}

fn partition(hour: &[Object]) -> Partition {
    Partition { date: hour[0].date.clone(), hour: hour[0].hour }
}

fn facts(hour: &[Object]) -> Facts {
    let rows: Vec<_> = hour.iter().filter(|o| o.format.accounts()).collect();
    let mut holds: BTreeMap<Epoch, Holding> = BTreeMap::new();
    for holding in rows.iter().flat_map(|o| &o.holds) {
        match holds.get_mut(&holding.epoch) {
            Some(known) => known.ranges.extend(&holding.ranges),
            None => drop(holds.insert(holding.epoch, holding.clone())),
        }
    }
    let Partition { date, hour: of_day } = partition(hour);
    Facts {
        format: Format::Removed,
        kind: hour[0].kind,
        date,
        hour: of_day,
        site: None,
        rows: rows.iter().map(|o| o.rows).sum(),
        captured: lake::span(hour.iter().flat_map(|o| o.captured)),
        corrected: lake::span(hour.iter().flat_map(|o| o.corrected)),
        schema: contract::lake::VERSION,
        holds: holds.into_values().collect(),
    }
}
