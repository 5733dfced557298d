//! The wall clock and the monotonic one, and where work goes that takes long. What a simulator needs to be different is here
//! and nowhere else: it stops Tokio's clock, and sets the wall clock of its thread.

use std::{
    cell::Cell,
    time::{Instant, SystemTime},
};

use contract::Timestamp;
use tokio::{
    runtime::{Handle, RuntimeFlavor},
    task::JoinError,
};

thread_local! {
    static STOPPED: Cell<Option<Timestamp>> = const { Cell::new(None) };
}

/// The wall clock now.
pub fn wall() -> Timestamp {
    STOPPED.get().unwrap_or_else(|| Timestamp::from_system(SystemTime::now()))
}

/// The wall clock of this thread stands at this time until it is set again; `None` lets it go. For simulators.
pub fn stop_at(time: Option<Timestamp>) {
    STOPPED.set(time);
}

/// The monotonic clock now: the one that timers go by.
pub fn mono() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Work that takes long, off the event loop. A runtime of one thread, as simulators use, does it in place: there it is to
/// happen at its place in the order of things.
pub async fn off_loop<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
    if Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await
}
