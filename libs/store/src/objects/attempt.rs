//! Attempts: a time limit for each, pauses between them, an end to them; and the faults of tests.

use std::time::Duration;

use super::{
    ErrorKind, Objects,
    error::{Error, Failure},
    faults::{Fault, Operation},
};
use crate::chance::Pauses;

/// How often an operation is tried before its error is handed out, which takes about 3 s of pauses. Callers that hold
/// data (ingest) try again on their own, more slowly, for as long as it takes.
const ATTEMPTS: u32 = 5;
/// Pause before the second attempt; doubles, at most [`PAUSE_MAX`], and is then shortened at random by up to a half.
const PAUSE: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// What an attempt may take before its bytes are counted.
const PATIENCE: Duration = Duration::from_secs(20);
/// The slowest transfer that is waited for, in bytes a second: 256 KiB.
const SLOWEST: u64 = 256 << 10;

impl Objects {
    /// Runs `work` until it succeeds, fails for good, or has been tried often enough. `work` is told its attempt, from 1.
    pub(super) async fn attempt<T, F>(
        &self,
        operation: Operation,
        key: &str,
        bytes: u64,
        mut work: impl FnMut(u32) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let limit = PATIENCE + Duration::from_secs(bytes / SLOWEST);
        let mut pauses = Pauses::new(PAUSE, PAUSE_MAX);
        for attempt in 1.. {
            let failure = match self.once(operation, limit, work(attempt)).await {
                Ok(value) => return Ok(value),
                Err(failure) => failure,
            };
            let error = Error::new(operation.name(), self.location().shown(key), failure);
            if !error.retryable() || attempt == ATTEMPTS {
                return Err(error);
            }
            tracing::debug!(%error, attempt, "object operation is tried again");
            pauses.pause().await;
        }
        unreachable!("the loop returns at its last attempt")
    }

    async fn once<T>(
        &self,
        operation: Operation,
        limit: Duration,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let timed_out = || Failure::new(ErrorKind::Timeout, format!("waited {} s", limit.as_secs()));
        let fault = self.faults().and_then(|faults| faults.next(operation));
        match fault {
            Some(Fault::Fail(kind)) => return Err(Failure::new(kind, "planned fault")),
            Some(Fault::Delay(delay)) => tokio::time::sleep(delay).await,
            Some(Fault::Panic) => std::panic::panic_any("planned fault"),
            Some(Fault::DoneButTimedOut) | None => {}
        }
        let result = tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(timed_out()));
        match fault {
            Some(Fault::DoneButTimedOut) => result.and(Err(Failure::new(ErrorKind::Timeout, "planned fault"))),
            _ => result,
        }
    }
}
