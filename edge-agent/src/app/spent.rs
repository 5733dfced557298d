//! What is spent of the day's sample budget, on disk: an agent that restarts over and over must not spend it each time.
//!
//! Within one boot the monotonic clock tells how much of the day has passed. After a reboot only the wall clock knows; one
//! that was set back counts as no time.

use std::{path::Path, sync::Arc};

use contract::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    clock::{self, Mono},
    region::sampling::Budget,
};

/// The file's name in the state folder.
const FILE: &str = "samples.json";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Spent {
    bytes: u64,
    /// How much of the day had passed.
    elapsed_us: u64,
    boot_id: Arc<str>,
    monotonic_us: u64,
    at: Timestamp,
}

/// The budget as the last run left it; a whole one where there is none.
pub fn read(state: &Path, per_day: u64, boot_id: &Arc<str>) -> Budget {
    let now = Mono::now();
    let text = std::fs::read(state.join(FILE)).unwrap_or_default();
    match serde_json::from_slice::<Spent>(&text) {
        Ok(spent) => {
            let elapsed = clock::duration(spent.elapsed_us) + spent.since(boot_id, now, clock::wall());
            Budget::resume(per_day, spent.bytes, elapsed, now)
        }
        Err(_) => Budget::new(per_day, now),
    }
}

/// Keeps it.
pub fn write(state: &Path, budget: &Budget, boot_id: &Arc<str>) {
    let now = Mono::now();
    let spent = Spent {
        bytes: budget.spent(),
        elapsed_us: clock::micros(budget.elapsed(now)),
        boot_id: boot_id.clone(),
        monotonic_us: now.0,
        at: clock::wall(),
    };
    let written = serde_json::to_vec(&spent).map_err(std::io::Error::other);
    let written = written.and_then(|json| daemon::state::atomic_write(&state.join(FILE), &json, 0o600));
    if let Err(error) = written {
        tracing::warn!(%error, "spent sample budget is not saved; a restart may spend it again");
    }
}

impl Spent {
    /// The time since it was written.
    fn since(&self, boot_id: &Arc<str>, now: Mono, wall: Timestamp) -> std::time::Duration {
        if self.boot_id == *boot_id {
            return now - Mono(self.monotonic_us);
        }
        clock::duration(u64::try_from(wall.0.saturating_sub(self.at.0)).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_was_spent_stays_spent() {
        let (state, boot) = (tempfile::tempdir().unwrap(), Arc::<str>::from("this boot"));
        assert_eq!(read(state.path(), 100, &boot).spent(), 0);
        let mut budget = Budget::new(100, Mono::now());
        budget.spend(70, Mono::now());
        write(state.path(), &budget, &boot);
        assert_eq!(read(state.path(), 100, &boot).spent(), 70);
        assert_eq!(read(state.path(), 100, &"another boot".into()).spent(), 70);
    }

    #[test]
    fn time_passes_by_the_clock_that_can_tell() {
        let (here, there) = (Arc::<str>::from("here"), Arc::<str>::from("there"));
        let spent = Spent {
            bytes: 1,
            elapsed_us: 0,
            boot_id: here.clone(),
            monotonic_us: 5_000_000,
            at: Timestamp(100_000_000),
        };
        assert_eq!(spent.since(&here, Mono(8_000_000), Timestamp(0)), Duration::from_secs(3));
        assert_eq!(spent.since(&there, Mono(8_000_000), Timestamp(107_000_000)), Duration::from_secs(7));
        assert_eq!(spent.since(&there, Mono(8_000_000), Timestamp(1)), Duration::ZERO, "a clock that was set back");
    }
}
