//! How long to wait before trying again: doubling, jittered, bounded.

use std::time::Duration;

/// Doubles from a first wait to a longest one. Each wait is drawn between half of that and all of it, so that many who
/// failed together do not come back together.
#[derive(Clone, Debug)]
pub struct Backoff {
    initial: Duration,
    max: Duration,
    next: Duration,
}

/// Bounds that make no sense.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "backoff from {initial:?} to {max:?} is not possible: the first wait must be above zero and not above the longest"
)]
pub struct Invalid {
    initial: Duration,
    max: Duration,
}

impl Backoff {
    /// From `initial` to `max`.
    pub fn new(initial: Duration, max: Duration) -> Result<Self, Invalid> {
        if initial.is_zero() || initial > max {
            return Err(Invalid { initial, max });
        }
        Ok(Self { initial, max, next: initial })
    }

    /// The next wait.
    pub fn next_wait(&mut self) -> Duration {
        self.next_with(random())
    }

    /// The next wait with `random` uniform over its whole range: the pure form, for machines and tests.
    pub fn next_with(&mut self, random: u64) -> Duration {
        let full = self.next;
        self.next = full.saturating_mul(2).min(self.max);
        full.mul_f64(0.5 + 0.5 * (random >> 11) as f64 / (1u64 << 53) as f64)
    }

    /// It worked: begin at the first wait next time.
    pub fn reset(&mut self) {
        self.next = self.initial;
    }
}

fn random() -> u64 {
    // without system randomness the wait is not spread, which is no reason to fail
    getrandom::u64().unwrap_or(u64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_within_their_bounds() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(100), ms(500)).unwrap();
        let waits: Vec<_> = [0, u64::MAX, 0, 0, 0].map(|r| backoff.next_with(r).as_millis()).to_vec();
        assert_eq!(waits, [50, 200, 200, 250, 250]);
        backoff.reset();
        assert!((ms(50)..=ms(100)).contains(&backoff.next_wait()));
        assert!(Backoff::new(ms(0), ms(1)).is_err() && Backoff::new(ms(2), ms(1)).is_err());
    }
}
