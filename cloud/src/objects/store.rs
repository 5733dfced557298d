//! The store behind the protocol: body files and names, and the bound on bodies being written.

use std::path::{Path, PathBuf};

use tokio::sync::Semaphore;

use super::{bodies::Bodies, names::Names, serve::Error};

/// Bodies being written at once: each takes a thread that digests and writes, and up to 2 MiB of chunks.
pub(super) const UPLOADS: usize = 64;

pub(super) struct Store {
    folder: PathBuf,
    bodies: Bodies,
    names: Names,
    uploads: Semaphore,
}

impl Store {
    pub async fn open(folder: &Path) -> Result<Self, Error> {
        let shown = folder.display().to_string();
        let bodies = Bodies::open(folder).map_err(|source| Error::Folder { folder: shown.clone(), source })?;
        let names = |source| Error::Names { folder: shown.clone(), source };
        let names_file = folder.join("names.db");
        let store = Self {
            folder: folder.to_owned(),
            bodies,
            names: Names::open(&names_file).await.map_err(names)?,
            uploads: Semaphore::new(UPLOADS),
        };
        store.names.forget_old_uploads().await.map_err(names)?;
        store.clean().await.map_err(names)?;
        Ok(store)
    }

    /// Removes body files that nothing names: left by a crash between the file and its name, or between a name's end and
    /// the file's. Says which names have lost their body: then somebody removed files by hand.
    async fn clean(&self) -> Result<(), ::store::tables::Error> {
        let (mut removed, mut missing) = (0, 0);
        let mut files = self.names.files();
        for shelf in Bodies::shelves() {
            let named = files.on(&shelf).await?;
            let present = self.bodies.files_on(&shelf);
            let orphans: Vec<_> = present.difference(&named).cloned().collect();
            removed += orphans.len();
            self.bodies.remove(&orphans);
            missing += named.difference(&present).count();
        }
        if removed > 0 {
            tracing::info!(removed, "object store removed bodies that a crash left behind");
        }
        if missing > 0 {
            tracing::error!(missing, folder = %self.folder.display(), "object store lacks body files: restore a backup");
        }
        Ok(())
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn bodies(&self) -> &Bodies {
        &self.bodies
    }

    pub fn names(&self) -> &Names {
        &self.names
    }

    /// A place to write a body; waits while all are taken.
    pub async fn upload_place(&self) -> Option<tokio::sync::SemaphorePermit<'_>> {
        self.uploads.acquire().await.ok()
    }

    pub async fn close(&self) {
        self.names.close().await;
    }
}
