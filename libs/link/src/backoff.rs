//! How long to wait before the next attempt to connect.

use std::{hash::BuildHasher, time::Duration};

/// Doubles from a first wait to a longest one; each wait is drawn between half of that and all of it, so that a fleet
/// does not come back in one moment.
pub(crate) struct Backoff {
    initial: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    pub fn new(initial: Duration, max: Duration) -> Self {
        Self { initial, max: max.max(initial), next: initial }
    }

    /// The wait before the next attempt. `random` is uniform over its whole range.
    pub fn next(&mut self, random: u64) -> Duration {
        let full = self.next;
        self.next = full.saturating_mul(2).min(self.max);
        full.mul_f64(0.5 + 0.5 * (random >> 11) as f64 / (1u64 << 53) as f64)
    }

    /// Begins again: a connection has stood.
    pub fn reset(&mut self) {
        self.next = self.initial;
    }
}

/// A random number good enough to spread waits: the standard library seeds each hasher anew.
pub(crate) fn random() -> u64 {
    std::collections::hash_map::RandomState::new().hash_one(0u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_begin_again() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(100), ms(500));
        let waits: Vec<_> = [0, u64::MAX, 0, 0, 0].map(|r| backoff.next(r).as_millis()).to_vec();
        assert_eq!(waits, [50, 200, 200, 250, 250]);
        backoff.reset();
        assert_eq!(backoff.next(0), ms(50));
    }
}
