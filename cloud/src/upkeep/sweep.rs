//! Deletes the bytes of retired objects, once the readers that may still use them have had their time.

use std::time::Duration;

use contract::Timestamp;
use store::{lake_index::LakeIndex, objects::Objects};

use super::{Error, before};

/// Objects deleted in one step.
const STEP: u64 = 1000;

/// Deletes what was retired longer ago than `grace`; says how many objects. Bytes go before rows: a row without bytes is
/// looked at again, bytes without a row would have to be found as orphans.
pub async fn sweep(index: &LakeIndex, objects: &Objects, grace: Duration, now: Timestamp) -> Result<u64, Error> {
    let mut deleted = 0;
    loop {
        let retired = index.retired_before(before(now, grace), STEP).await?;
        let keys: Vec<_> = retired.into_iter().map(|object| object.key).collect();
        if keys.is_empty() {
            return Ok(deleted);
        }
        objects.delete_many(&keys).await?;
        index.forget(&keys).await?;
        deleted += keys.len() as u64;
    }
}
