//! Deletes objects that no commit names: left by a process that was killed between storing and committing.
//!
//! Never while a rebuild is due: then the manifest is not what counts, and what looks like an orphan may be the only copy
//! of records that their gateway has deleted. Never before the grace time: a commit may be under way. A commit that comes
//! even later than that finds the mark that is raised here, and stores its objects again.

use std::time::Duration;

use contract::Timestamp;
use store::{
    lake_index::LakeIndex,
    objects::{Entry, Objects},
};

use super::{Error, before, claim, claim::Claim};
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
