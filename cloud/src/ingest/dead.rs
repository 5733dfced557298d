//! Keeps the dead letters within their bound: the oldest go first. What they were is still said by their gap rows.

use contract::Kind;
use store::{
    lake_index::{Exchange, Format, LakeIndex, Object, ObjectQuery},
    objects::Objects,
};

use super::flush::chain;
use crate::clock::wall as now;

/// Why a dead letter's object leaves the manifest.
const RULE: &str = "dead letters over their bound";

/// Removes the oldest dead letters until at most `bytes_max` are left. A failure is told and tried at the next flush.
pub async fn prune(index: &LakeIndex, objects: &Objects, bytes_max: u64) {
    if let Err(error) = try_prune(index, objects, bytes_max).await {
        tracing::warn!(error = %chain(&*error), "dead letters are not pruned");
    }
}

async fn try_prune(
    index: &LakeIndex,
    objects: &Objects,
    bytes_max: u64,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mut all: Vec<Object> = Vec::new();
    for kind in Kind::ALL {
        all.extend(index.objects(&ObjectQuery { format: Format::Dead, ..ObjectQuery::rows_of(kind) }).await?);
    }
    all.sort_by_key(|object| object.corrected[0]);
    let mut held: u64 = all.iter().map(|object| object.bytes).sum();
    for object in all {
        if held <= bytes_max {
            break;
        }
        held -= object.bytes;
        let key = [object.key];
        // out of the manifest first: an object that nothing names is harmless, a name without an object is not
        let exchange = Exchange { now: now(), old: &key, new: &[], samples: &[], why: RULE };
        if index.exchange(&exchange).await? {
            objects.delete_many(&key).await?;
            index.forget(&key).await?;
            tracing::info!(key = key[0], "dead letter is removed: {RULE}");
        }
    }
    Ok(())
}
