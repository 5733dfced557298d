//! The lake from outside: its tables' file and its bucket, what people do to them by hand, and a way in that nothing holds up.

use std::{path::PathBuf, sync::Arc};

use anyhow::Context as _;
use cloud::clock;
use store::{
    lake_index::LakeIndex,
    objects::Objects,
    simulation::{Bucket, Busy, Careless},
    tables::Tables,
};
use tempfile::TempDir;

use crate::gate::{Gates, Life};

/// The tables, the bucket, and backups.
pub struct Lake {
    folder: TempDir,
    files: usize,
    pub tables: Tables,
    pub bucket: Bucket,
    pub backup: Option<PathBuf>,
    pub busy: Busy,
    /// What operators and checks do passes at once.
    life: Life,
}

impl Lake {
    /// An empty lake.
    pub async fn new(gates: &Gates) -> anyhow::Result<Self> {
        // in memory where there is such a folder: nothing here is to survive
        let memory = std::path::Path::new("/dev/shm");
        let folder = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() };
        let folder = folder.context("folder for the tables")?;
        let tables = open(&folder, 0).await?;
        let (bucket, busy) = (Bucket::default(), Busy::default());
        bucket.set_time(clock::wall());
        Ok(Self { folder, files: 1, tables, bucket, backup: None, busy, life: gates.process(u64::MAX) })
    }

    /// The tables and objects of one process.
    pub async fn reached_by(&self, life: &Life, careless: Careless) -> anyhow::Result<(LakeIndex, Objects)> {
        let tables = self.tables.reached_through(Arc::new(life.clone()), self.busy.clone(), careless);
        let index = LakeIndex::open(tables, clock::wall()).await?;
        Ok((index, self.bucket.reached_through(Arc::new(life.clone()))?))
    }

    /// The same for who is held up by nothing.
    pub async fn open(&self) -> anyhow::Result<(LakeIndex, Objects)> {
        self.reached_by(&self.life, Careless::default()).await
    }

    /// Makes a backup.
    pub async fn back_up(&mut self) -> anyhow::Result<()> {
        let (index, _) = self.open().await?;
        let path = self.next_path("backup");
        index.backup(&path, clock::wall()).await?;
        self.backup = Some(path);
        Ok(())
    }

    /// Restores the backup as the command does; no hub runs.
    pub async fn restore(&self) -> anyhow::Result<()> {
        let Some(backup) = &self.backup else { return Ok(()) };
        let (index, _) = self.open().await?;
        index.restore(backup, true, clock::wall()).await?;
        Ok(())
    }

    /// Puts the backup's file in the tables' place by hand; no hub runs.
    pub async fn roll_back(&mut self) -> anyhow::Result<()> {
        let Some(backup) = self.backup.clone() else { return Ok(()) };
        self.tables.close().await;
        let path = self.folder.path().join(format!("tables-{}.db", self.files));
        std::fs::copy(backup, path)?;
        self.reopen().await
    }

    /// The tables are gone; no hub runs.
    pub async fn lose_tables(&mut self) -> anyhow::Result<()> {
        self.tables.close().await;
        self.backup = None;
        self.reopen().await
    }

    /// Tables and objects are gone; no hub runs.
    pub async fn wipe(&mut self) -> anyhow::Result<()> {
        self.bucket = Bucket::default();
        self.bucket.set_time(clock::wall());
        self.lose_tables().await
    }

    /// Makes the tables anew from the objects; no hub runs.
    pub async fn rebuild(&self) -> anyhow::Result<()> {
        let (index, objects) = self.open().await?;
        cloud::upkeep::rebuild(&index, &objects, clock::wall()).await?;
        Ok(())
    }

    async fn reopen(&mut self) -> anyhow::Result<()> {
        self.tables = open(&self.folder, self.files).await?;
        self.files += 1;
        Ok(())
    }

    fn next_path(&mut self, what: &str) -> PathBuf {
        self.files += 1;
        self.folder.path().join(format!("{what}-{}.db", self.files - 1))
    }
}

async fn open(folder: &TempDir, number: usize) -> anyhow::Result<Tables> {
    let path = folder.path().join(format!("tables-{number}.db"));
    Ok(Tables::open(&format!("sqlite:{}", path.display())).await?)
}
