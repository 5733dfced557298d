//! The two clocks of this process: monotonic moves machines, wall time says when a picture was taken.
//!
//! They are read here and nowhere else; machines take [`Mono`] as an argument.

use std::{fmt, ops::Sub, sync::Arc, time::Duration};

use contract::Timestamp;

/// A moment of the monotonic clock, in microseconds since this machine's boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mono(pub u64);

impl Mono {
    /// Now.
    pub fn now() -> Self {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `time` is a valid timespec that outlives the call, and CLOCK_MONOTONIC exists on every Linux; the call
        // writes nothing else.
        unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
        Self(time.tv_sec.unsigned_abs() * 1_000_000 + time.tv_nsec.unsigned_abs() / 1_000)
    }

    /// This moment, later by `duration`.
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(micros(duration)))
    }

    /// This moment, earlier by `duration`.
    pub fn before(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(micros(duration)))
    }
}

impl Sub for Mono {
    type Output = Duration;
    /// Zero where `other` is later.
    fn sub(self, other: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for Mono {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}us", self.0)
    }
}

/// A duration in whole microseconds.
pub fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A duration of so many microseconds.
pub fn duration(us: u64) -> Duration {
    Duration::from_micros(us)
}

/// The wall clock now.
pub fn wall() -> Timestamp {
    Timestamp::from_system(std::time::SystemTime::now())
}

/// A wall-clock moment, earlier by `duration`.
pub fn wall_before(time: Timestamp, duration: Duration) -> Timestamp {
    Timestamp(time.0.saturating_sub(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
}

/// The id of this boot, which monotonic times count from.
pub fn boot_id() -> Arc<str> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    text.map_or_else(|_| "unknown".into(), |id| id.trim().into())
}
