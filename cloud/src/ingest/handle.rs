//! The way into ingest for records made in this process: the hub as a gateway of its own, without the broker between.
//!
//! Policy *refuse*: when the inbox is full, the caller is told at once. What is taken runs through the same checks as
//! what comes over MQTT.

use std::sync::Arc;

use bytes::Bytes;
use contract::{Principal, Timestamp, frame::Address};
use tokio::sync::{broadcast, mpsc, oneshot};

use crate::lake::Record;

/// What arrived and was accepted, for those who watch; a sample's blobs are left out.
#[derive(Clone, Debug)]
pub struct Arrived {
    /// The record.
    pub record: Record,
    /// When the hub received it.
    pub received_at: Timestamp,
}

/// Why records were not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// The inbox is full: try again later.
    #[error("ingest is overloaded: its inbox is full; try again in a second")]
    Overloaded,
    /// Ingest has stopped.
    #[error("ingest is stopping and takes no more records")]
    Stopped,
}

/// Records that came in together and are committed together.
pub(super) struct Submission {
    pub from: Principal,
    pub records: Vec<(Address, Bytes)>,
    pub done: oneshot::Sender<()>,
}

/// The way into ingest for the other roles; a cheap clone.
#[derive(Clone)]
pub struct Handle {
    inbox: mpsc::Sender<Submission>,
    arrived: broadcast::Sender<Arc<Arrived>>,
}

impl Handle {
    pub(super) fn new(inbox: mpsc::Sender<Submission>, arrived: broadcast::Sender<Arc<Arrived>>) -> Self {
        Self { inbox, arrived }
    }

    /// Hands over whole encoded records that belong together (as a prediction and its sample); never waits.
    ///
    /// The receiver answers once all of them are committed, and fails when ingest stops before: then nothing is promised.
    pub fn submit(
        &self,
        from: &Principal,
        records: Vec<(Address, Bytes)>,
    ) -> Result<oneshot::Receiver<()>, SubmitError> {
        let (done, receiver) = oneshot::channel();
        self.inbox.try_send(Submission { from: from.clone(), records, done }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => SubmitError::Overloaded,
            mpsc::error::TrySendError::Closed(_) => SubmitError::Stopped,
        })?;
        Ok(receiver)
    }

    /// Everything that arrives from now on. Bounded: a receiver that lags is told how many it missed.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Arrived>> {
        self.arrived.subscribe()
    }
}
