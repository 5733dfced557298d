//! What separates an orphan from an object whose commit is still on its way.
//!
//! No grace time does: a hub that is frozen between storing and committing may go on after any time. So the one who deletes
//! first raises a mark in the tables, `orphans_before`, and a transaction that names objects looks at it: an object named
//! before the mark can no longer be committed. Both compare the same number, the time in the object's own name, so that
//! neither clocks nor the server's times matter; and in whichever order the two transactions happen, either the commit
//! finds its objects too old and stores them again, or the other finds them named and leaves them.

use contract::Timestamp;

use super::{LakeIndex, Object, objects};
use crate::tables::{Error, Tx};

/// Hex digits of milliseconds with which an object's name begins.
const DIGITS: usize = 12;

impl LakeIndex {
    /// Raises the mark to `before`, and says which of these keys no commit names, nor ever will. A key that tells no time
    /// is not the lake's own: it counts as unnamed for ever.
    ///
    /// # Errors
    /// Those of the tables.
    pub async fn orphans(&self, keys: &[String], before: Timestamp) -> Result<Vec<String>, Error> {
        self.tables()
            .write(|tx| async move {
                let sql = "UPDATE lake SET orphans_before = $1 WHERE orphans_before < $1";
                tx.sql(sql).bind(before.0).execute().await?;
                let mark = mark(&tx).await?;
                let known = objects::known(&tx, keys).await?;
                let orphan = |key: &&String| named_at(key).is_none_or(|at| at < mark) && !known.contains(*key);
                Ok(keys.iter().filter(orphan).cloned().collect())
            })
            .await
    }
}

/// The mark, when one of these objects is below it: somebody may have deleted that object.
pub(super) async fn too_old(tx: &Tx, objects: &[Object]) -> Result<Option<Timestamp>, Error> {
    let Some(oldest) = objects.iter().filter_map(|object| named_at(&object.key)).min() else { return Ok(None) };
    Ok(Some(mark(tx).await?).filter(|mark| oldest < *mark))
}

async fn mark(tx: &Tx) -> Result<Timestamp, Error> {
    tx.sql("SELECT orphans_before FROM lake").fetch_one().await?.get("orphans_before").map(Timestamp)
}

/// When an object was named, by the clock of the hub that did: its file name begins with 48 bits of milliseconds in hex.
pub fn named_at(key: &str) -> Option<Timestamp> {
    let name = key.rsplit('/').next()?;
    let digits = name.get(..DIGITS).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
    i64::from_str_radix(digits, 16).ok().map(|millis| Timestamp(millis * 1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_its_time() {
        let key = "lake/kind=event/date=2026-11-23/hour=18/01a209a7090c7a087daa5a2fb3b16847.parquet";
        assert_eq!(named_at(key), Some(Timestamp(0x01a2_09a7_090c * 1000)));
        for other in ["", "lake/", "lake/somebody-else.parquet", "lake/01a209a7090"] {
            assert_eq!(named_at(other), None, "{other}");
        }
    }
}
