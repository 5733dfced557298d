//! The manifest as a whole: read in one moment, to be verified, or written anew from what the objects say of themselves.

use contract::Timestamp;

use super::{Identity, LakeIndex, Manifest, identity, objects, random_id, samples, streams};
use crate::tables::{Error, Tx};

/// Emptied before a manifest is written; in an order that foreign keys allow.
const TABLES: [&str; 5] = [
    "DELETE FROM lake_hashes",
    "DELETE FROM lake_samples",
    "DELETE FROM lake_objects",
    "DELETE FROM lake_streams",
    "DELETE FROM lake_epochs",
];

impl LakeIndex {
    /// Everything that the tables say of the lake, as one moment had it.
    pub async fn manifest(&self) -> Result<Manifest, Error> {
        self.tables().read(|tx| async move { read(&tx).await }).await
    }

    /// Replaces what the tables say of the lake, begins a new incarnation, and no rebuild is due any more.
    ///
    /// The streams' versions are ones that no ingest can have seen, so that whoever built upon the old tables meets a
    /// conflict and looks again.
    pub async fn write_manifest(&self, manifest: &Manifest, now: Timestamp) -> Result<Identity, Error> {
        let incarnation = &random_id()?;
        self.tables().write(|tx| async move { write(&tx, manifest, incarnation, now).await }).await
    }
}

async fn read(tx: &Tx) -> Result<Manifest, Error> {
    let epochs = streams::epochs(tx).await?;
    let mut all = Vec::new();
    for epoch in &epochs {
        all.extend(streams::streams(tx, epoch.epoch).await?);
    }
    Ok(Manifest {
        lake: Some(identity(tx).await?.lake),
        epochs,
        streams: all,
        objects: objects::live(tx).await?,
        samples: samples::all(tx).await?,
    })
}

async fn write(tx: &Tx, manifest: &Manifest, incarnation: &str, now: Timestamp) -> Result<Identity, Error> {
    let highest = "SELECT CAST(coalesce(max(version), 0) AS BIGINT) AS version FROM lake_streams";
    let version = (tx.sql(highest).fetch_one().await?.unsigned("version")? + 1).max(now.0.unsigned_abs());
    for empty in TABLES {
        tx.sql(empty).execute().await?;
    }
    for epoch in &manifest.epochs {
        streams::insert_epoch(tx, epoch).await?;
    }
    for stream in &manifest.streams {
        let mut stream = stream.clone();
        stream.version = version;
        streams::write_streams(tx, &[stream], now).await?;
    }
    for object in &manifest.objects {
        objects::insert(tx, object, now).await?;
    }
    samples::insert(tx, &manifest.samples).await?;
    let sql = "UPDATE lake SET incarnation = $1, rebuild_due = NULL";
    tx.sql(sql).bind(incarnation).execute().await?;
    if let Some(lake) = &manifest.lake {
        tx.sql("UPDATE lake SET id = $1").bind(lake.as_str()).execute().await?;
    }
    identity(tx).await
}
