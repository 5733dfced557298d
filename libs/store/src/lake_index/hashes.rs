//! Hashes of the records, while their objects are as ingest wrote them: a second arrival with other contents is noticed.

use sqlx::AssertSqlSafe;

use super::{Hashes, LakeIndex, StreamId, signed};
use crate::tables::{Error, Row, Statement, Tx, many};

const COLUMN_COUNT: usize = 6;
/// Rows that one question gives at most.
const ROWS_MAX: i64 = 10_000;

impl LakeIndex {
    /// The hashes that are kept of numbers from `from` up to `to`, by number; those of records that were compacted, or that
    /// a gap stands for, are not.
    pub async fn hashes(&self, stream: StreamId, from: u64, to: u64) -> Result<Vec<Hashes>, Error> {
        let sql = "SELECT object, from_seq, hashes FROM lake_hashes \
                   WHERE epoch = $1 AND kind = $2 AND from_seq < $3 AND to_seq > $4 ORDER BY from_seq LIMIT $5";
        self.tables()
            .read(|tx| async move {
                let rows = tx
                    .sql(sql)
                    .bind(stream.epoch.as_str())
                    .bind(stream.kind.name())
                    .bind(signed(to, "sequence number")?)
                    .bind(signed(from, "sequence number")?)
                    .bind(ROWS_MAX);
                rows.fetch_all().await?.iter().map(|row| read(row, stream)).collect()
            })
            .await
    }
}

pub(super) async fn insert(tx: &Tx, hashes: &[Hashes]) -> Result<(), Error> {
    for batch in many::runs(hashes) {
        let statement = tx.sql(AssertSqlSafe(insert_sql(batch.len())));
        batch.iter().try_fold(statement, bind)?.execute().await?;
    }
    Ok(())
}

/// A number that had no record before (a gap) may get hashes again after a rebuild: the newest object counts.
fn insert_sql(rows: usize) -> String {
    format!(
        "INSERT INTO lake_hashes (epoch, kind, from_seq, to_seq, object, hashes) VALUES {} \
         ON CONFLICT (epoch, kind, from_seq) DO UPDATE SET to_seq = excluded.to_seq, object = excluded.object, \
         hashes = excluded.hashes",
        many::places(rows, COLUMN_COUNT)
    )
}

fn bind<'t>(statement: Statement<'t>, of: &Hashes) -> Result<Statement<'t>, Error> {
    let bytes: Vec<u8> = of.hashes.iter().flat_map(|hash| hash.to_le_bytes()).collect();
    Ok(statement
        .bind(of.stream.epoch.as_str())
        .bind(of.stream.kind.name())
        .bind(signed(of.from, "sequence number")?)
        .bind(signed(of.from + of.hashes.len() as u64, "sequence number")?)
        .bind(of.object.as_str())
        .bind(bytes))
}

fn read(row: &Row, stream: StreamId) -> Result<Hashes, Error> {
    let bytes: Vec<u8> = row.get("hashes")?;
    let (hashes, _) = bytes.as_chunks::<8>();
    Ok(Hashes {
        object: row.get("object")?,
        stream,
        from: row.unsigned("from_seq")?,
        hashes: hashes.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect(),
    })
}
