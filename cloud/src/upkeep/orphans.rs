//! Deletes objects that no commit names: left by a process that was killed between storing and committing.
//!
//! Only what the lake has without it: an object that holds numbers which are not committed may be the only copy of their
//! records, since the tables may have been rolled back and nobody has noticed yet. It stays; if its gateway sends them again
//! it becomes an orphan then, and a rebuild takes it in. Never while a rebuild is due: then the manifest is not what counts, and what looks like an orphan may be the only copy
//! of records that their gateway has deleted. Never before the grace time: a commit may be under way. A commit that comes
//! even later than that finds the mark that is raised here, and stores its objects again.

use std::time::Duration;

use contract::Timestamp;
use store::{
    lake_index::{Holding, LakeIndex, StreamId},
    objects::{Entry, ErrorKind, Objects},
};

use super::{Error, before, claim, claim::Claim, survey};
use crate::lake::PREFIXES;

/// Deletes orphans older than `grace`; says how many.
pub async fn orphans(index: &LakeIndex, objects: &Objects, grace: Duration, now: Timestamp) -> Result<u64, Error> {
    let mut deleted = 0;
    for prefix in PREFIXES {
        let mut pages = objects.list(prefix);
        while let Some(page) = pages.next().await? {
            let old = page.into_iter().filter(|entry| is_old(entry, before(now, grace)));
            let mut keys: Vec<_> = old.map(|entry| entry.key).collect();
            let known = index.known_keys(&keys).await?;
            keys.retain(|key| !known.contains(key));
            if keys.is_empty() {
                continue;
            }
            if let Some(why) = rebuild_due(index, objects).await? {
                tracing::warn!(objects = keys.len(), why, "objects without a commit are left: a rebuild is due");
                return Ok(deleted);
            }
            let keys = spare(index, objects, keys).await?;
            let keys = index.orphans(&keys, before(now, grace)).await?;
            if keys.is_empty() {
                continue;
            }
            objects.delete_many(&keys).await?;
            tracing::info!(objects = keys.len(), first = keys[0], "objects without a commit are deleted");
            deleted += keys.len() as u64;
        }
    }
    Ok(deleted)
}

/// Of these objects, those whose records are all in the lake without them, and those that cannot be read.
async fn spare(index: &LakeIndex, objects: &Objects, keys: Vec<String>) -> Result<Vec<String>, Error> {
    if index.tables().careless().of_grace {
        return Ok(keys);
    }
    let (mut spare, mut kept) = (Vec::with_capacity(keys.len()), 0u64);
    for key in keys {
        let held = match survey::holdings(objects, &key).await {
            Ok(held) => held.unwrap_or_default(),
            Err(Error::Objects(error)) if error.kind() == ErrorKind::NotFound => continue, // another hub was faster
            Err(error) => return Err(error),
        };
        if are_committed(index, &held).await? { spare.push(key) } else { kept += 1 }
    }
    if kept > 0 {
        tracing::info!(objects = kept, "objects without a commit are kept: the lake lacks what they hold");
    }
    Ok(spare)
}

async fn are_committed(index: &LakeIndex, held: &[Holding]) -> Result<bool, Error> {
    for Holding { epoch, kind, ranges, .. } in held {
        let stream = index.stream(StreamId { epoch: *epoch, kind: *kind }).await?;
        if !ranges.without(&stream.committed).is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Why the manifest does not count now; asked right before anything is deleted.
pub(super) async fn rebuild_due(index: &LakeIndex, objects: &Objects) -> Result<Option<String>, Error> {
    if let Some(why) = index.rebuild_due().await? {
        return Ok(Some(why));
    }
    Ok(match claim::state_of(index, objects).await? {
        Claim::Own => None,
        Claim::Rebuild(why) => Some(why),
    })
}

fn is_old(entry: &Entry, limit: Timestamp) -> bool {
    // a server that does not say when is not asked to delete
    entry.modified.0 > 0 && entry.modified < limit
}
