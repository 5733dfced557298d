//! The manifest: which objects the lake consists of, and finding them by kind and time.

use std::collections::BTreeSet;

use contract::Timestamp;
use sqlx::AssertSqlSafe;

use super::{Count, Exchange, Format, LakeIndex, Object, ObjectQuery, orphans, samples, signed};
use crate::tables::{Error, Row, Tx};

const COLUMNS: &str = "key, format, kind, date, hour, site, row_count, bytes, digest, captured_from, captured_to, \
                       corrected_from, corrected_to, row_schema, holds";
/// Keys in one question.
const KEYS: usize = 500;

impl LakeIndex {
    /// The objects that may hold what a reader wants, by the start of their times.
    pub async fn objects(&self, query: &ObjectQuery) -> Result<Vec<Object>, Error> {
        let order = if query.newest_first { "corrected_to DESC, key DESC" } else { "corrected_from, key" };
        let sql = format!(
            "SELECT {COLUMNS} FROM lake_objects WHERE retired_at IS NULL AND format = $1 AND kind = $2 \
             AND corrected_to >= $3 AND corrected_from < $4 AND (site IS NULL OR $5 = '' OR site = $5) \
             ORDER BY {order} LIMIT $6 OFFSET $7"
        );
        let sql = sql.as_str();
        self.tables()
            .read(|tx| async move {
                let rows = tx
                    .sql(AssertSqlSafe(sql))
                    .bind(query.format.name())
                    .bind(query.kind.name())
                    .bind(query.from.map_or(i64::MIN, |t| t.0))
                    .bind(query.to.map_or(i64::MAX, |t| t.0))
                    .bind(query.site.as_ref().map_or("", |site| site.as_str()))
                    .bind(signed(query.limit, "limit")?)
                    .bind(signed(query.offset, "offset")?);
                rows.fetch_all().await?.iter().map(read).collect()
            })
            .await
    }

    /// One object by its key, retired ones included.
    pub async fn object(&self, key: &str) -> Result<Option<Object>, Error> {
        let sql = format!("SELECT {COLUMNS} FROM lake_objects WHERE key = $1");
        let sql = sql.as_str();
        self.tables()
            .read(|tx| async move {
                let row = tx.sql(AssertSqlSafe(sql)).bind(key).fetch_optional().await?;
                row.as_ref().map(read).transpose()
            })
            .await
    }

    /// Every object that is not retired, by key.
    pub async fn live_objects(&self) -> Result<Vec<Object>, Error> {
        self.tables().read(|tx| async move { live(&tx).await }).await
    }

    /// Which of these keys the manifest knows, retired objects included. Each is asked for by itself: a database orders text
    /// by its locale, and a key that an order hides would be taken for an orphan.
    pub async fn known_keys(&self, keys: &[String]) -> Result<BTreeSet<String>, Error> {
        self.tables().read(|tx| async move { known(&tx, keys).await }).await
    }

    /// How much is in the lake, by kind and format.
    pub async fn counts(&self) -> Result<Vec<Count>, Error> {
        let sql = "SELECT kind, format, count(*) AS objects, CAST(sum(row_count) AS BIGINT) AS row_sum, \
                   CAST(sum(bytes) AS BIGINT) AS byte_sum \
                   FROM lake_objects WHERE retired_at IS NULL GROUP BY kind, format ORDER BY kind, format";
        self.tables().read(|tx| async move { tx.sql(sql).fetch_all().await?.iter().map(read_count).collect() }).await
    }

    /// Exchanges objects for others, in one transaction with the index of their samples.
    ///
    /// All or nothing; `false`, and nothing is changed, when one of the old ones is not there any more, or a new one was
    /// stored so long ago that it may have been taken for an orphan. Retired objects stay
    /// listed by [`Self::retired_before`], so that readers that started earlier may finish before the bytes go. The hashes
    /// of the records in them go at once: what arrives a second time after that counts as unchecked.
    pub async fn exchange(&self, exchange: &Exchange<'_>) -> Result<bool, Error> {
        self.tables().write(|tx| async move { exchange_in(&tx, exchange).await }).await
    }

    /// Objects retired before a time, oldest first: their bytes can go, then [`Self::forget`] their rows.
    pub async fn retired_before(&self, time: Timestamp, limit: u64) -> Result<Vec<Object>, Error> {
        let sql = format!("SELECT {COLUMNS} FROM lake_objects WHERE retired_at < $1 ORDER BY retired_at LIMIT $2");
        let sql = sql.as_str();
        self.tables()
            .read(|tx| async move {
                let rows = tx.sql(AssertSqlSafe(sql)).bind(time.0).bind(signed(limit, "limit")?);
                rows.fetch_all().await?.iter().map(read).collect()
            })
            .await
    }

    /// Removes the rows of retired objects whose bytes are gone.
    pub async fn forget(&self, keys: &[String]) -> Result<(), Error> {
        self.tables()
            .write(|tx| async move {
                for key in keys {
                    tx.sql("DELETE FROM lake_objects WHERE key = $1 AND retired_at IS NOT NULL")
                        .bind(key.as_str())
                        .execute()
                        .await?;
                }
                Ok(())
            })
            .await
    }
}

/// Which of these keys have a row.
pub(super) async fn known(tx: &Tx, keys: &[String]) -> Result<BTreeSet<String>, Error> {
    let mut known = BTreeSet::new();
    for keys in keys.chunks(KEYS) {
        let places: Vec<_> = (1..=keys.len()).map(|n| format!("${n}")).collect();
        let sql = format!("SELECT key FROM lake_objects WHERE key IN ({})", places.join(", "));
        let statement = tx.sql(AssertSqlSafe(sql));
        let rows = keys.iter().fold(statement, |statement, key| statement.bind(key.as_str()));
        for row in &rows.fetch_all().await? {
            known.insert(row.get("key")?);
        }
    }
    Ok(known)
}

async fn exchange_in(tx: &Tx, exchange: &Exchange<'_>) -> Result<bool, Error> {
    for key in exchange.old {
        if !is_there(tx, key).await? {
            return Ok(false);
        }
    }
    if orphans::too_old(tx, exchange.new).await?.is_some() {
        return Ok(false);
    }
    for key in exchange.old {
        retire(tx, key, exchange.why, exchange.now).await?;
    }
    for object in exchange.new {
        insert(tx, object, exchange.now).await?;
    }
    samples::insert(tx, exchange.samples).await?;
    Ok(true)
}

/// Every object that is not retired, by key.
pub(super) async fn live(tx: &Tx) -> Result<Vec<Object>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM lake_objects WHERE retired_at IS NULL ORDER BY key");
    tx.sql(AssertSqlSafe(sql)).fetch_all().await?.iter().map(read).collect()
}

/// Whether an object is in the manifest and not retired.
pub(super) async fn is_there(tx: &Tx, key: &str) -> Result<bool, Error> {
    let sql = "SELECT 1 FROM lake_objects WHERE key = $1 AND retired_at IS NULL";
    Ok(tx.sql(sql).bind(key).fetch_optional().await?.is_some())
}

/// Takes an object out of the manifest, and what stands of its records beside it; its row stays until its bytes are gone.
pub(super) async fn retire(tx: &Tx, key: &str, why: &str, now: Timestamp) -> Result<(), Error> {
    let sql = "UPDATE lake_objects SET retired_at = $2, retired_why = $3 WHERE key = $1";
    tx.sql(sql).bind(key).bind(now.0).bind(why).execute().await?;
    tx.sql("DELETE FROM lake_samples WHERE shard = $1").bind(key).execute().await?;
    tx.sql("DELETE FROM lake_hashes WHERE object = $1").bind(key).execute().await.map(drop)
}

pub(super) async fn insert(tx: &Tx, object: &Object, now: Timestamp) -> Result<(), Error> {
    let holds = serde_json::to_string(&object.holds).map_err(|e| Error::other(e.to_string()))?;
    let sql = format!(
        "INSERT INTO lake_objects ({COLUMNS}, committed_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)"
    );
    tx.sql(AssertSqlSafe(sql))
        .bind(object.key.as_str())
        .bind(object.format.name())
        .bind(object.kind.name())
        .bind(object.date.as_str())
        .bind(i64::from(object.hour))
        .bind(object.site.as_ref().map(|site| site.as_str().to_owned()))
        .bind(signed(object.rows, "row count")?)
        .bind(signed(object.bytes, "length")?)
        .bind(object.digest.as_str())
        .bind(object.captured[0].0)
        .bind(object.captured[1].0)
        .bind(object.corrected[0].0)
        .bind(object.corrected[1].0)
        .bind(i64::from(object.schema))
        .bind(holds)
        .bind(now.0)
        .execute()
        .await
        .map(drop)
}

fn read(row: &Row) -> Result<Object, Error> {
    let key: String = row.get("key")?;
    let holds: String = row.get("holds")?;
    let holds =
        serde_json::from_str(&holds).map_err(|e| Error::other(format!("holdings of {key} cannot be read: {e}")))?;
    let time = |column| row.get(column).map(Timestamp);
    let site: Option<String> = row.get("site")?;
    Ok(Object {
        key,
        format: row.parse("format")?,
        kind: row.parse("kind")?,
        date: row.get("date")?,
        hour: row.unsigned("hour")? as u32,
        site: site.map(|_| row.parse("site")).transpose()?,
        rows: row.unsigned("row_count")?,
        bytes: row.unsigned("bytes")?,
        digest: row.parse("digest")?,
        captured: [time("captured_from")?, time("captured_to")?],
        corrected: [time("corrected_from")?, time("corrected_to")?],
        schema: row.unsigned("row_schema")? as u16,
        holds,
    })
}

fn read_count(row: &Row) -> Result<Count, Error> {
    let format: Format = row.parse("format")?;
    Ok(Count {
        kind: row.parse("kind")?,
        format,
        objects: row.unsigned("objects")?,
        rows: row.unsigned("row_sum")?,
        bytes: row.unsigned("byte_sum")?,
    })
}
