//! What is in the lake: its identity, what is committed of each gateway's logs, and the objects that hold it.
//!
//! The one owner of these tables. Objects are stored first, then one transaction names them and the sequence numbers
//! they hold ([`LakeIndex::commit`]); only then is the watermark published ([`LakeIndex::watermark`]). The transaction
//! compares each stream's version with the one that the caller built upon, so that two writers can never commit one
//! number twice, whoever holds a lease or believes to.

mod backup;
mod commit;
mod hashes;
mod manifest;
mod objects;
mod orphans;
mod ranges;
mod samples;
mod schema;
mod streams;
mod types;

pub use orphans::named_at;
pub use ranges::RangeSet;
pub use types::{
    Advance, Binding, Commit, Count, EpochRow, Exchange, Format, Hashes, Holding, Identity, Manifest, Object,
    ObjectQuery, Outcome, SampleInput, SampleQuery, SampleRow, Stream, StreamId,
};

use contract::Timestamp;

use crate::{
    chance::hex_id,
    tables::{Error, Tables, Tx},
};

/// The largest sequence number that can be committed, one below: the tables hold signed 64-bit integers.
pub const SEQ_END: u64 = i64::MAX as u64;
/// The most ranges that a stream may have; a commit that needs more is refused. Ingest holds such records back.
pub const RANGES_MAX: usize = 4096;
/// The epochs of one gateway that a watermark names.
const WATERMARK_EPOCHS: i64 = 4;
/// The later ranges that a watermark names for one stream.
const WATERMARK_RANGES: usize = 32;

/// The lake's tables; a cheap clone.
#[derive(Clone)]
pub struct LakeIndex {
    tables: Tables,
}

impl LakeIndex {
    /// Makes or upgrades the tables, and gives the lake its identity when it has none.
    pub async fn open(tables: Tables, now: Timestamp) -> Result<Self, Error> {
        tables.migrate(&schema::MIGRATIONS).await?;
        let (lake, incarnation) = (&random_id()?, &random_id()?);
        tables
            .write(|tx| async move {
                tx.sql(
                    "INSERT INTO lake (id, incarnation, created_at) SELECT CAST($1 AS TEXT), CAST($2 AS TEXT), CAST($3 AS BIGINT) \
                     WHERE NOT EXISTS (SELECT 1 FROM lake)",
                )
                .bind(lake.as_str())
                .bind(incarnation.as_str())
                .bind(now.0)
                .execute()
                .await
            })
            .await?;
        Ok(Self { tables })
    }

    /// The tables below, for sets of other owners in the same database.
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// Which lake this is.
    pub async fn identity(&self) -> Result<Identity, Error> {
        self.tables.read(|tx| async move { identity(&tx).await }).await
    }

    /// Begins a new life of the lake: after it was restored from a backup. Gateways then state what they hold.
    pub async fn new_incarnation(&self) -> Result<Identity, Error> {
        let incarnation = &random_id()?;
        self.tables
            .write(|tx| async move {
                tx.sql("UPDATE lake SET incarnation = $1").bind(incarnation.as_str()).execute().await?;
                identity(&tx).await
            })
            .await
    }

    /// Ends one life of the lake because its tables were rolled back: a new incarnation, and a rebuild is due. Of several
    /// hubs that notice, one does it; says whether it was this one.
    pub async fn end_incarnation(&self, ended: &str, why: &str) -> Result<bool, Error> {
        let incarnation = &random_id()?;
        self.tables
            .write(|tx| async move {
                let sql = "UPDATE lake SET incarnation = $1, rebuild_due = $2 WHERE incarnation = $3";
                Ok(tx.sql(sql).bind(incarnation.as_str()).bind(why).bind(ended).execute().await? > 0)
            })
            .await
    }

    /// Why the bucket may hold committed objects that the manifest does not name; `None` when it may not. As long as it
    /// may, nothing in the bucket is an orphan.
    pub async fn rebuild_due(&self) -> Result<Option<String>, Error> {
        let sql = "SELECT rebuild_due FROM lake";
        self.tables.read(|tx| async move { tx.sql(sql).fetch_one().await?.get("rebuild_due") }).await
    }

    /// Says that a rebuild is due, and why.
    pub async fn ask_for_rebuild(&self, why: &str) -> Result<(), Error> {
        self.tables
            .write(|tx| async move { tx.sql("UPDATE lake SET rebuild_due = $1").bind(why).execute().await.map(drop) })
            .await
    }
}

async fn identity(tx: &Tx) -> Result<Identity, Error> {
    let row = tx.sql("SELECT id, incarnation FROM lake").fetch_one().await?;
    Ok(Identity { lake: row.get("id")?, incarnation: row.get("incarnation")? })
}

fn random_id() -> Result<String, Error> {
    hex_id().map_err(|e| Error::other(format!("the system gives no random bytes: {e}")))
}

/// A number as the tables hold it.
fn signed(number: u64, what: &str) -> Result<i64, Error> {
    i64::try_from(number).map_err(|_| Error::other(format!("{what} {number} is beyond {SEQ_END}")))
}
