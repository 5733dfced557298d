//! Why the hub does not start, and the exit code for it.

use std::path::PathBuf;

use daemon::{exit, listen, state, tls};

use crate::{broker, objects};

/// Why the hub does not start. Each text names what, which and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The state folder.
    #[error(transparent)]
    State(#[from] state::Error),
    /// A file in the state folder.
    #[error("cannot use {}: {source}; is the disk full, or the folder not writable?", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// An address.
    #[error(transparent)]
    Listen(#[from] listen::Error),
    /// A certificate or key.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// The broker.
    #[error(transparent)]
    Broker(#[from] broker::Error),
    /// The way to the broker.
    #[error(transparent)]
    Mqtt(#[from] link::OptionsError),
    /// The embedded S3 server.
    #[error(transparent)]
    ObjectStore(#[from] objects::Error),
    /// The way to the objects.
    #[error(transparent)]
    Location(#[from] store::objects::LocationError),
    /// The objects themselves.
    #[error("objects cannot be used: {0}")]
    Objects(#[source] store::objects::Error),
    /// The tables.
    #[error("tables cannot be used: {0}")]
    Tables(#[from] store::tables::Error),
    /// The tables are of another lake than the bucket, or empty beside a full one.
    #[error("{0}")]
    OtherLake(String),
    /// The model.
    #[error("the hub's model cannot be used: {0}")]
    Model(String),
    /// A thread.
    #[error("the system gives no thread: {0}")]
    Thread(#[source] std::io::Error),
}

impl Error {
    /// The exit code for it.
    pub fn exit_code(&self) -> u8 {
        use store::{objects::ErrorKind as Objects, tables::ErrorKind as Tables};
        match self {
            Self::State(error) => error.exit_code(),
            Self::File { .. } | Self::ObjectStore(_) | Self::OtherLake(_) => exit::STATE_UNUSABLE,
            Self::Listen(listen::Error::Insecure { .. }) | Self::Tls(_) | Self::Mqtt(_) | Self::Location(_) => {
                exit::USAGE
            }
            Self::Listen(_) | Self::Broker(_) | Self::Model(_) => exit::MISSING,
            Self::Objects(error) => match error.kind() {
                Objects::Denied => exit::USAGE,
                _ => exit::MISSING,
            },
            Self::Tables(error) => match error.kind() {
                Tables::Invalid => exit::USAGE,
                Tables::Unreachable => exit::MISSING,
                _ => exit::STATE_UNUSABLE,
            },
            Self::Thread(_) => exit::FAILURE,
        }
    }
}
