//! The lake for commands that are no hub: beside a running one, or on its state folder while none runs.

use std::{path::Path, time::SystemTime};

use contract::Timestamp;
use daemon::{
    CancellationToken,
    config::Loaded,
    state::{self, Lock, StateDir},
};
use store::{
    lake_index::LakeIndex,
    objects::{Location, Objects},
    tables::Tables,
};
use tokio::task::JoinHandle;

use super::{Error, credentials, places};
use crate::{
    config::{BUCKET, HubConfig, ObjectsPlace},
    objects::Server,
};

/// Whether a hub may be running meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It may: the command reads, or does what reconcilers do.
    Beside,
    /// It may not: the command replaces the tables.
    Alone,
}

/// The lake's two halves, and the embedded S3 server where this process had to start it.
pub struct Lake {
    /// The tables.
    pub index: LakeIndex,
    /// The objects.
    pub objects: Objects,
    s3: Option<(CancellationToken, JoinHandle<std::io::Result<()>>)>,
    _state: Option<StateDir>,
}

/// Opens the lake of a configuration and state folder.
pub async fn open(config: &Loaded<HubConfig>, state: &Path, access: Access) -> Result<Lake, Error> {
    let held = hold(state, access)?;
    let (location, s3) = match (&config.value.objects, &held) {
        (ObjectsPlace::Uri(uri), _) => (places::external(&config.value, uri)?, None),
        (ObjectsPlace::Embedded, None) => (Location::from_state(state)?, None),
        (ObjectsPlace::Embedded, Some(held)) => {
            let (location, server) = serve(held).await?;
            (location, Some(server))
        }
    };
    let objects = Objects::connect(location).map_err(Error::Objects)?;
    let tables = Tables::open(&config.value.tables_uri(state)).await?;
    let index = LakeIndex::open(tables, Timestamp::from_system(SystemTime::now())).await?;
    Ok(Lake { index, objects, s3, _state: held })
}

impl Lake {
    /// Closes the tables and ends the server.
    pub async fn close(self) {
        self.index.tables().close().await;
        if let Some((stop, task)) = self.s3 {
            stop.cancel();
            let _ = task.await; // nothing of it is needed any more
        }
    }
}

/// Takes the state folder, unless a hub has it and may.
fn hold(state: &Path, access: Access) -> Result<Option<StateDir>, Error> {
    drop(StateDir::open(state, Lock::None)?); // a folder that is not there is not to be made by looking
    match StateDir::open(state, Lock::Exclusive) {
        Ok(held) => Ok(Some(held)),
        Err(state::Error::Locked { .. }) if access == Access::Beside => Ok(None),
        Err(error) => Err(error.into()),
    }
}

async fn serve(state: &StateDir) -> Result<(Location, (CancellationToken, JoinHandle<std::io::Result<()>>)), Error> {
    let file = |source| Error::File { path: state.path().to_owned(), source };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").map_err(file)?;
    let address = listener.local_addr().map_err(file)?;
    let keys = credentials::keys(state)?;
    let server = Server::open(&state.folder("objects")?, keys.clone()).await?;
    server.create_bucket(BUCKET).await?;
    let stop = CancellationToken::new();
    let task = tokio::spawn(server.serve(listener, stop.clone()));
    Ok((places::embedded(address, keys), (stop, task)))
}
