//! A hub's parts in this process, a gateway that speaks to them, and the program as a child.

mod described;
mod gateway;
mod parts;
mod program;

use std::time::{Duration, Instant, SystemTime};

use contract::Timestamp;

pub use gateway::{Gateway, address, bundle, prediction, reframe, sample};
pub use parts::{Parts, any_port, broker_options};
pub use program::{FREE_PORTS, Hub, command, ends, fails, is_alive};

pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `what` gives something.
pub async fn until<T>(name: &str, mut what: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = what().await {
            return value;
        }
        assert!(Instant::now() < deadline, "waited too long for {name}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub fn now() -> Timestamp {
    Timestamp::from_system(SystemTime::now())
}
