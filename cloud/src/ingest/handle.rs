//! The way into ingest for records made in this process: the hub as a gateway of its own, without the broker between.
//!
//! Policy *refuse*: when the inbox is full, the caller is told at once. What is taken runs through the same checks as
//! what comes over MQTT.

use std::sync::{Arc, OnceLock};

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
    arrivals: Arrivals,
}

/// Where arriving records are announced. A record nobody wants to see is not even copied: that costs more than reading it.
#[derive(Clone)]
pub(super) struct Arrivals {
    sender: broadcast::Sender<Arc<Arrived>>,
    wanted: Arc<OnceLock<Wanted>>,
}

type Wanted = Box<dyn Fn() -> bool + Send + Sync>;

impl Arrivals {
    pub fn new(capacity: usize) -> Self {
        Self { sender: broadcast::Sender::new(capacity), wanted: Arc::default() }
    }

    pub fn are_wanted(&self) -> bool {
        self.sender.receiver_count() > 0 && self.wanted.get().is_none_or(|wanted| wanted())
    }

    pub fn announce(&self, arrived: Arrived) {
        let _ = self.sender.send(Arc::new(arrived)); // an error says that nobody listens any more
    }
}

impl Handle {
    pub(super) fn new(inbox: mpsc::Sender<Submission>, arrivals: Arrivals) -> Self {
        Self { inbox, arrivals }
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
        self.arrivals.sender.subscribe()
    }

    /// The same, for one who passes on to others and needs nothing while `is_wanted` says no. Said once, for all.
    pub fn subscribe_while(
        &self,
        is_wanted: impl Fn() -> bool + Send + Sync + 'static,
    ) -> broadcast::Receiver<Arc<Arrived>> {
        let _ = self.arrivals.wanted.set(Box::new(is_wanted)); // the first one's word counts
        self.subscribe()
    }
}
