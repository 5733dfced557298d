//! Streams: to whom an epoch belongs, what is committed of it, and the watermark that says so.

use std::collections::BTreeMap;

use contract::{
    Archived, Epoch, Kind, Principal, Timestamp,
    archived::{ArchivedEpoch, ArchivedKind},
};

use super::{
    Binding, EpochRow, LakeIndex, RangeSet, Stream, StreamId, WATERMARK_EPOCHS, WATERMARK_RANGES, identity, signed,
};
use crate::tables::{Error, Row, Tx};

impl LakeIndex {
    /// Binds an epoch to the first gateway that uses it: asked at its birth or first record.
    pub async fn bind(&self, owner: &Principal, epoch: Epoch, now: Timestamp) -> Result<Binding, Error> {
        self.tables().write(|tx| async move { bind(&tx, owner, epoch, now).await }).await
    }

    /// What is committed of one stream; version 0 and nothing when it is unknown.
    pub async fn stream(&self, id: StreamId) -> Result<Stream, Error> {
        self.tables().read(|tx| async move { stream(&tx, id).await }).await
    }

    /// What is committed of each known stream of one epoch.
    pub async fn streams(&self, epoch: Epoch) -> Result<Vec<Stream>, Error> {
        self.tables().read(|tx| async move { streams(&tx, epoch).await }).await
    }

    /// The watermark to publish to a gateway: read after the commit, in one transaction.
    pub async fn watermark(&self, owner: &Principal) -> Result<Archived, Error> {
        self.tables().read(|tx| async move { watermark(&tx, owner).await }).await
    }

    /// Every gateway that ever bound an epoch, for publishing all watermarks when the broker lost them.
    pub async fn principals(&self) -> Result<Vec<Principal>, Error> {
        self.tables()
            .read(|tx| async move {
                let rows = tx.sql("SELECT DISTINCT site, gateway FROM lake_epochs ORDER BY site, gateway");
                rows.fetch_all().await?.iter().map(principal).collect()
            })
            .await
    }
}

pub(super) async fn bind(tx: &Tx, owner: &Principal, epoch: Epoch, now: Timestamp) -> Result<Binding, Error> {
    tx.sql(
        "INSERT INTO lake_epochs (epoch, site, gateway, bound_at, seen_at) VALUES ($1, $2, $3, $4, $4) \
         ON CONFLICT (epoch) DO NOTHING",
    )
    .bind(epoch.as_str())
    .bind(owner.site.as_str())
    .bind(owner.gateway.as_str())
    .bind(now.0)
    .execute()
    .await?;
    let row = tx.sql("SELECT site, gateway FROM lake_epochs WHERE epoch = $1").bind(epoch.as_str()).fetch_one().await?;
    let bound = principal(&row)?;
    Ok(if bound == *owner { Binding::Own } else { Binding::Foreign(bound) })
}

pub(super) async fn seen(tx: &Tx, epoch: Epoch, now: Timestamp) -> Result<(), Error> {
    // Only forward: a clock that was set back must not make a gateway's newest epoch look old.
    let sql = "UPDATE lake_epochs SET seen_at = $2 WHERE epoch = $1 AND seen_at < $2";
    tx.sql(sql).bind(epoch.as_str()).bind(now.0).execute().await.map(drop)
}

pub(super) async fn stream(tx: &Tx, id: StreamId) -> Result<Stream, Error> {
    let sql = "SELECT kind, version, upto, ranges FROM lake_streams WHERE epoch = $1 AND kind = $2";
    match tx.sql(sql).bind(id.epoch.as_str()).bind(id.kind.name()).fetch_optional().await? {
        Some(row) => read_stream(&row, id.epoch),
        None => Ok(Stream { id, version: 0, committed: RangeSet::new() }),
    }
}

pub(super) async fn write_stream(tx: &Tx, stream: &Stream, now: Timestamp) -> Result<(), Error> {
    let ranges = serde_json::to_string(stream.committed.later()).map_err(|e| Error::other(e.to_string()))?;
    tx.sql(
        "INSERT INTO lake_streams (epoch, kind, version, upto, ranges, changed_at) VALUES ($1, $2, $3, $4, $5, $6) \
         ON CONFLICT (epoch, kind) DO UPDATE SET version = excluded.version, upto = excluded.upto, \
         ranges = excluded.ranges, changed_at = excluded.changed_at",
    )
    .bind(stream.id.epoch.as_str())
    .bind(stream.id.kind.name())
    .bind(signed(stream.version, "version")?)
    .bind(signed(stream.committed.upto(), "sequence number")?)
    .bind(ranges)
    .bind(now.0)
    .execute()
    .await
    .map(drop)
}

pub(super) async fn streams(tx: &Tx, epoch: Epoch) -> Result<Vec<Stream>, Error> {
    let sql = "SELECT kind, version, upto, ranges FROM lake_streams WHERE epoch = $1 ORDER BY kind";
    let rows = tx.sql(sql).bind(epoch.as_str()).fetch_all().await?;
    // A kind that this version does not know belongs to a newer hub that shares the tables; it is not ours to state.
    let known = |row: &&Row| row.parse::<Kind>("kind").is_ok();
    rows.iter().filter(known).map(|row| read_stream(row, epoch)).collect()
}

async fn watermark(tx: &Tx, owner: &Principal) -> Result<Archived, Error> {
    let lake = identity(tx).await?;
    let sql = "SELECT epoch FROM lake_epochs WHERE site = $1 AND gateway = $2 ORDER BY seen_at DESC, epoch LIMIT $3";
    let rows = tx.sql(sql).bind(owner.site.as_str()).bind(owner.gateway.as_str()).bind(WATERMARK_EPOCHS);
    let mut epochs = Vec::new();
    for row in rows.fetch_all().await? {
        let epoch: Epoch = row.parse("epoch")?;
        let kinds: BTreeMap<_, _> =
            streams(tx, epoch).await?.into_iter().map(|s| (s.id.kind, archived(&s.committed))).collect();
        epochs.push(ArchivedEpoch { epoch, kinds });
    }
    Ok(Archived { schema: contract::SCHEMA, lake: lake.lake, incarnation: lake.incarnation, epochs })
}

/// Every epoch, oldest first.
pub(super) async fn epochs(tx: &Tx) -> Result<Vec<EpochRow>, Error> {
    let sql = "SELECT epoch, site, gateway, bound_at, seen_at FROM lake_epochs ORDER BY bound_at, epoch";
    let read = |row: &Row| {
        let time = |column| row.get(column).map(Timestamp);
        Ok(EpochRow {
            epoch: row.parse("epoch")?,
            owner: principal(row)?,
            bound_at: time("bound_at")?,
            seen_at: time("seen_at")?,
        })
    };
    tx.sql(sql).fetch_all().await?.iter().map(read).collect()
}

/// Writes an epoch that is not there.
pub(super) async fn insert_epoch(tx: &Tx, epoch: &EpochRow) -> Result<(), Error> {
    tx.sql("INSERT INTO lake_epochs (epoch, site, gateway, bound_at, seen_at) VALUES ($1, $2, $3, $4, $5)")
        .bind(epoch.epoch.as_str())
        .bind(epoch.owner.site.as_str())
        .bind(epoch.owner.gateway.as_str())
        .bind(epoch.bound_at.0)
        .bind(epoch.seen_at.0)
        .execute()
        .await
        .map(drop)
}

fn archived(committed: &RangeSet) -> ArchivedKind {
    let later = committed.later().iter().take(WATERMARK_RANGES);
    ArchivedKind { upto: committed.upto(), ranges: later.copied().collect() }
}

fn read_stream(row: &Row, epoch: Epoch) -> Result<Stream, Error> {
    let kind = row.parse("kind")?;
    let ranges: String = row.get("ranges")?;
    let mut committed: RangeSet = serde_json::from_str(&ranges)
        .map_err(|e| Error::other(format!("ranges of stream {epoch} {kind} cannot be read: {e}")))?;
    committed.insert_range(0, row.unsigned("upto")?);
    Ok(Stream { id: StreamId { epoch, kind }, version: row.unsigned("version")?, committed })
}

fn principal(row: &Row) -> Result<Principal, Error> {
    Ok(Principal { site: row.parse("site")?, gateway: row.parse("gateway")? })
}
