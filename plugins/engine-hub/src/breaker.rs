//! A circuit breaker: a hub that does not answer is left alone for a while, then asked once. A pure machine.

use std::time::{Duration, Instant};

/// Failures in a row that open it.
const FAILURES: u32 = 3;
/// How long it stays open: doubled each time, up to the second.
const OPEN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// The machine.
#[derive(Clone, Debug)]
pub struct Breaker {
    failures: u32,
    open_until: Option<Instant>,
    wait: Duration,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { failures: 0, open_until: None, wait: OPEN.0 }
    }
}

impl Breaker {
    /// How long it still holds requests back; `None` when one may be sent.
    pub fn holds(&self, now: Instant) -> Option<Duration> {
        self.open_until.filter(|until| now < *until).map(|until| until - now)
    }

    /// A request was answered.
    pub fn answered(&mut self) {
        *self = Self::default();
    }

    /// A request failed. `spread` is uniform from 0 to 1: the wait is drawn from its upper half, so that gateways whose hub
    /// went away do not come back together. `at_least` is what the hub asked for; no more than the longest wait is granted.
    pub fn failed(&mut self, spread: f64, at_least: Duration, now: Instant) {
        self.failures += 1;
        // Once it was open, one failure suffices to open it again.
        if self.failures >= FAILURES || !at_least.is_zero() {
            self.open_until = Some(now + self.wait.mul_f64(0.5 + 0.5 * spread).max(at_least.min(OPEN.1)));
            self.wait = (self.wait * 2).min(OPEN.1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn it_opens_after_failures_in_a_row_and_for_longer_each_time() {
        let (mut breaker, mut now) = (Breaker::default(), Instant::now());
        for _ in 0..2 {
            breaker.failed(1.0, Duration::ZERO, now);
            assert_eq!(breaker.holds(now), None);
        }
        breaker.answered();
        for _ in 0..3 {
            assert_eq!(breaker.holds(now), None);
            breaker.failed(1.0, Duration::ZERO, now);
        }
        for wait in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert_eq!(breaker.holds(now), Some(wait * S));
            now += wait * S;
            assert_eq!(breaker.holds(now), None, "one request may try");
            breaker.failed(1.0, Duration::ZERO, now);
        }
        now += 60 * S;
        breaker.answered();
        assert_eq!(breaker.holds(now), None);
        breaker.failed(1.0, Duration::ZERO, now);
        assert_eq!(breaker.holds(now), None, "it forgets");
    }

    #[test]
    fn waits_are_spread_and_as_long_as_the_hub_asks() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        (0..3).for_each(|_| breaker.failed(0.0, Duration::ZERO, now));
        assert_eq!(breaker.holds(now), Some(S / 2));
        let mut asked = Breaker::default();
        asked.failed(0.0, 5 * S, now);
        assert_eq!(asked.holds(now), Some(5 * S));
        let mut absurd = Breaker::default();
        absurd.failed(0.0, Duration::from_secs(u64::MAX), now);
        assert_eq!(absurd.holds(now), Some(60 * S));
    }
}
