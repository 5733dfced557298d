//! Streams: to whom an epoch belongs, what is committed of it, and the watermark that says so.

use std::collections::{BTreeMap, HashMap};

use contract::{
    Archived, Epoch, Kind, Principal, Timestamp,
    archived::{ArchivedEpoch, ArchivedKind},
};

use sqlx::AssertSqlSafe;

use super::{
    Binding, EpochRow, LakeIndex, RangeSet, Stream, StreamId, WATERMARK_EPOCHS, WATERMARK_RANGES, identity, signed,
};
use crate::tables::{Error, Row, Tx, many};

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
        let mut documents = self.watermarks(std::slice::from_ref(owner)).await?;
        documents.pop().ok_or_else(|| Error::other(format!("no watermark was made for {owner}")))
    }

    /// The watermarks of several gateways, in their order, all of one moment.
    pub async fn watermarks(&self, owners: &[Principal]) -> Result<Vec<Archived>, Error> {
        self.tables().read(|tx| async move { watermarks(&tx, owners).await }).await
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

/// Binds epochs that hardly ever are new, and takes note that they were seen; gives the first that belongs to another.
pub(super) async fn bind_all(
    tx: &Tx,
    owners: &BTreeMap<Epoch, &Principal>,
    now: Timestamp,
) -> Result<Option<(Epoch, Principal)>, Error> {
    let owners: Vec<_> = owners.iter().collect();
    for run in many::runs(&owners) {
        let epochs: Vec<_> = run.iter().map(|(epoch, _)| **epoch).collect();
        let bound: HashMap<_, _> = bound(tx, &epochs).await?.into_iter().collect();
        for (epoch, owner) in run {
            let binding = match bound.get(epoch) {
                Some(bound) if bound == **owner => Binding::Own,
                Some(other) => Binding::Foreign(other.clone()),
                None => bind(tx, owner, **epoch, now).await?,
            };
            if let Binding::Foreign(other) = binding {
                return Ok(Some((**epoch, other)));
            }
        }
    }
    for run in many::runs(&owners) {
        // Only forward: a clock that was set back must not make a gateway's newest epoch look old.
        let sql = format!(
            "UPDATE lake_epochs SET seen_at = ${0} WHERE seen_at < ${0} AND {1}",
            run.len() + 1,
            any_epoch(run.len())
        );
        let statement = run.iter().fold(tx.sql(AssertSqlSafe(sql)), |sql, (epoch, _)| sql.bind(epoch.as_str()));
        statement.bind(now.0).execute().await?;
    }
    Ok(None)
}

/// Those of the epochs that are bound, and to whom.
async fn bound(tx: &Tx, epochs: &[Epoch]) -> Result<Vec<(Epoch, Principal)>, Error> {
    let sql = format!("SELECT epoch, site, gateway FROM lake_epochs WHERE {}", any_epoch(epochs.len()));
    let statement = epochs.iter().fold(tx.sql(AssertSqlSafe(sql)), |sql, epoch| sql.bind(epoch.as_str()));
    statement.fetch_all().await?.iter().map(|row| Ok((row.parse("epoch")?, principal(row)?))).collect()
}

/// `epoch IN ($1, $2)`.
fn any_epoch(count: usize) -> String {
    format!("epoch IN {}", many::places(1, count))
}

pub(super) async fn stream(tx: &Tx, id: StreamId) -> Result<Stream, Error> {
    let sql = "SELECT kind, version, upto, ranges FROM lake_streams WHERE epoch = $1 AND kind = $2";
    match tx.sql(sql).bind(id.epoch.as_str()).bind(id.kind.name()).fetch_optional().await? {
        Some(row) => read_stream(&row, id.epoch),
        None => Ok(Stream { id, version: 0, committed: RangeSet::new() }),
    }
}

/// What is committed of each of these streams, in their order; version 0 and nothing where one is unknown.
pub(super) async fn streams_by_id(tx: &Tx, ids: &[StreamId]) -> Result<Vec<Stream>, Error> {
    let mut epochs: Vec<_> = ids.iter().map(|id| id.epoch).collect();
    epochs.sort_unstable();
    epochs.dedup();
    let mut known: HashMap<_, _> =
        streams_of(tx, &epochs).await?.into_iter().map(|stream| (stream.id, stream)).collect();
    let fresh = |id| Stream { id, version: 0, committed: RangeSet::new() };
    Ok(ids.iter().map(|id| known.remove(id).unwrap_or_else(|| fresh(*id))).collect())
}

/// Every known stream of these epochs.
async fn streams_of(tx: &Tx, epochs: &[Epoch]) -> Result<Vec<Stream>, Error> {
    let mut streams = Vec::new();
    for run in many::runs(epochs) {
        let sql = format!(
            "SELECT epoch, kind, version, upto, ranges FROM lake_streams WHERE {} ORDER BY epoch, kind",
            any_epoch(run.len())
        );
        let statement = run.iter().fold(tx.sql(AssertSqlSafe(sql)), |sql, epoch| sql.bind(epoch.as_str()));
        // A kind that this version does not know belongs to a newer hub that shares the tables; it is not ours to state.
        for row in statement.fetch_all().await?.iter().filter(|row| row.parse::<Kind>("kind").is_ok()) {
            streams.push(read_stream(row, row.parse("epoch")?)?);
        }
    }
    Ok(streams)
}

pub(super) async fn write_streams(tx: &Tx, streams: &[Stream], now: Timestamp) -> Result<(), Error> {
    for run in many::runs(streams) {
        let sql = format!(
            "INSERT INTO lake_streams (epoch, kind, version, upto, ranges, changed_at) VALUES {} \
             ON CONFLICT (epoch, kind) DO UPDATE SET version = excluded.version, upto = excluded.upto, \
             ranges = excluded.ranges, changed_at = excluded.changed_at",
            many::places(run.len(), 6)
        );
        let mut statement = tx.sql(AssertSqlSafe(sql));
        for stream in run {
            let ranges = serde_json::to_string(stream.committed.later()).map_err(|e| Error::other(e.to_string()))?;
            statement = statement
                .bind(stream.id.epoch.as_str())
                .bind(stream.id.kind.name())
                .bind(signed(stream.version, "version")?)
                .bind(signed(stream.committed.upto(), "sequence number")?)
                .bind(ranges)
                .bind(now.0);
        }
        statement.execute().await?;
    }
    Ok(())
}

pub(super) async fn streams(tx: &Tx, epoch: Epoch) -> Result<Vec<Stream>, Error> {
    streams_of(tx, &[epoch]).await
}

async fn watermarks(tx: &Tx, owners: &[Principal]) -> Result<Vec<Archived>, Error> {
    let lake = identity(tx).await?;
    let mut epochs: HashMap<Principal, Vec<Epoch>> = HashMap::new();
    for run in many::runs(owners) {
        let sql = format!(
            "WITH asked(site, gateway) AS (VALUES {}) SELECT site, gateway, epoch FROM (SELECT e.site, e.gateway, e.epoch, \
             row_number() OVER (PARTITION BY e.site, e.gateway ORDER BY e.seen_at DESC, e.epoch) AS place \
             FROM asked JOIN lake_epochs e ON e.site = asked.site AND e.gateway = asked.gateway) AS placed \
             WHERE place <= {WATERMARK_EPOCHS} ORDER BY site, gateway, place",
            many::places(run.len(), 2)
        );
        let mut statement = tx.sql(AssertSqlSafe(sql));
        for who in run {
            statement = statement.bind(who.site.as_str()).bind(who.gateway.as_str());
        }
        for row in statement.fetch_all().await? {
            epochs.entry(principal(&row)?).or_default().push(row.parse("epoch")?);
        }
    }
    let all: Vec<_> = epochs.values().flatten().copied().collect();
    let mut kinds: HashMap<Epoch, BTreeMap<_, _>> = HashMap::new();
    for stream in streams_of(tx, &all).await? {
        kinds.entry(stream.id.epoch).or_default().insert(stream.id.kind, archived(&stream.committed));
    }
    let document = |who: &Principal| {
        let of = epochs.get(who).into_iter().flatten();
        let epochs =
            of.map(|epoch| ArchivedEpoch { epoch: *epoch, kinds: kinds.get(epoch).cloned().unwrap_or_default() });
        Archived {
            schema: contract::SCHEMA,
            lake: lake.lake.clone(),
            incarnation: lake.incarnation.clone(),
            epochs: epochs.collect(),
        }
    };
    Ok(owners.iter().map(document).collect())
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
