//! The two clocks of this process: monotonic moves machines, wall time says when a picture was taken.
//!
//! They are read here and nowhere else; machines take [`Mono`] as an argument.

use std::{
    fmt,
    ops::Sub,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use contract::Timestamp;

tokio::task_local! {
    static SIMULATED: Arc<Simulated>;
}

/// Both clocks, and where new epochs come from, of one gateway in a simulation.
#[derive(Debug, Default)]
pub struct Simulated {
    mono_us: AtomicU64,
    wall_us: AtomicI64,
    epochs: AtomicU64,
}

impl Simulated {
    /// New epochs count on from `epochs`.
    pub fn new(epochs: u64) -> Arc<Self> {
        Arc::new(Self { epochs: AtomicU64::new(epochs), ..Self::default() })
    }

    /// Both clocks stand here until they are set again.
    pub fn set(&self, mono: Mono, wall: Timestamp) {
        self.mono_us.store(mono.0, Ordering::Relaxed);
        self.wall_us.store(wall.0, Ordering::Relaxed);
    }

    /// The next epoch.
    pub fn epoch(&self) -> u64 {
        self.epochs.fetch_add(1, Ordering::Relaxed)
    }

    /// What `work` does goes by these clocks.
    pub fn during<T>(self: &Arc<Self>, work: impl FnOnce() -> T) -> T {
        SIMULATED.sync_scope(self.clone(), work)
    }

    /// What this future does goes by these clocks.
    pub fn within<F: Future>(self: &Arc<Self>, work: F) -> impl Future<Output = F::Output> + use<F> {
        SIMULATED.scope(self.clone(), work)
    }

    /// The clocks that the caller goes by, in a simulation.
    pub(crate) fn current() -> Option<Arc<Self>> {
        SIMULATED.try_with(Arc::clone).ok()
    }
}

/// A moment of the monotonic clock, in microseconds since this machine's boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mono(pub u64);

impl Mono {
    /// Now.
    pub fn now() -> Self {
        if let Ok(us) = SIMULATED.try_with(|clocks| clocks.mono_us.load(Ordering::Relaxed)) {
            return Self(us);
        }
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
    if let Ok(us) = SIMULATED.try_with(|clocks| clocks.wall_us.load(Ordering::Relaxed)) {
        return Timestamp(us);
    }
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
