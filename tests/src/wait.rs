//! Waiting for a state, never for a time: look, and look again soon, until it holds or the deadline passes.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

/// How long a story waits for a state before it fails, unless it says otherwise. Far above what is ever needed on an
/// idle machine, since two busy cores are what tests usually get.
pub const PATIENCE: Duration = Duration::from_secs(60);

const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Looks until `look` finds something; after `patience` fails naming `what`.
pub fn until_within<T>(patience: Duration, what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + patience;
    loop {
        let found = look();
        match found {
            Ok(Some(found)) => return Ok(found),
            Ok(None) if Instant::now() < deadline => {}
            Ok(None) => bail!("waited {patience:?} for {what}"),
            Err(error) if Instant::now() >= deadline => return Err(error.context(format!("waiting for {what}"))),
            Err(_) => {}
        }
        thread::sleep(LOOK_AGAIN);
    }
}

/// [`until_within`] with the usual [`PATIENCE`].
pub fn until<T>(what: &str, look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    until_within(PATIENCE, what, look)
}
