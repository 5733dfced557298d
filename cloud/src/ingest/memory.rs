//! Gives memory back to the system once large flushes are over: glibc keeps what was freed between longer-lived allocations,
//! and a hub that was once busy would stay large for ever (measured after 300,000 records: 250 MB, and 67 MB with this).
//! Not while the hub is busy: the next flush takes the same memory again, and a page that comes anew costs more than all
//! that is done with the records in it (a fifth of the CPU time, measured).

use std::time::{Duration, Instant};

/// A flush smaller than this leaves nothing worth looking for.
const WORTH_BYTES: usize = 4 << 20;
/// Without a large flush for this long the hub is no longer busy: several of the usual flush intervals.
const REST: Duration = Duration::from_secs(30);

/// When there is memory to give back.
#[derive(Debug, Default)]
pub struct Freed(Option<Instant>);

impl Freed {
    /// A flush of so many bytes is over.
    pub fn flushed(&mut self, bytes: usize, now: Instant) {
        if bytes >= WORTH_BYTES {
            self.0 = Some(now);
        }
    }

    /// Whether it is time to give memory back; says so once.
    pub fn is_due(&mut self, now: Instant) -> bool {
        let due = self.0.is_some_and(|since| now.saturating_duration_since(since) >= REST);
        if due {
            self.0 = None;
        }
        due
    }
}

/// Call off the event loop: it walks the heap.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim takes a number of bytes to leave at the top and has no other precondition; it locks arenas itself.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_goes_back_once_when_large_flushes_are_over() {
        let begin = Instant::now();
        let at = |s| begin + Duration::from_secs(s);
        let mut freed = Freed::default();
        freed.flushed(1000, at(0));
        assert!(!freed.is_due(at(100)), "a small flush leaves nothing");
        for s in [100, 110, 120] {
            freed.flushed(32 << 20, at(s));
            assert!(!freed.is_due(at(s + 9)), "busy");
        }
        assert!(!freed.is_due(at(149)));
        assert!(freed.is_due(at(150)));
        assert!(!freed.is_due(at(200)), "once");
    }
}
