//! When an engine is left, and when a better one is tried again. A pure machine.

use std::time::{Duration, Instant};

/// How patient a failover is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// An engine that misses so many deadlines in a row is left; any other failure suffices once.
    pub misses: u32,
    /// A better engine is tried again after this time.
    pub first: Duration,
    /// Each time in vain doubles the wait, up to this.
    pub longest: Duration,
    /// An engine that has answered for so long is trusted again: the wait begins anew when it fails later.
    pub calm: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        let s = Duration::from_secs;
        Self { misses: 3, first: s(5), longest: s(300), calm: s(60) }
    }
}

/// The machine.
#[derive(Clone, Debug)]
pub(super) struct Turns {
    pace: Pace,
    missed: u32,
    wait: Duration,
    /// When a better engine is tried, where there may be one.
    due: Option<Instant>,
    /// Since when the engine in use is in use.
    since: Instant,
}

impl Turns {
    /// An engine begins; `best` when none is better.
    pub fn new(pace: Pace, best: bool, now: Instant) -> Self {
        let due = (!best).then_some(now + pace.first);
        Self { pace, missed: 0, wait: pace.first, due, since: now }
    }

    /// It answered.
    pub fn answered(&mut self) {
        self.missed = 0;
    }

    /// It did not, and was late or failed otherwise; whether it is left for that.
    pub fn failed(&mut self, late: bool) -> bool {
        self.missed += 1;
        !late || self.missed >= self.pace.misses
    }

    /// It is left for another one, or stays although it fails, since there is no other. `spread` is uniform from 0 to 1.
    /// What is planned sooner stays: the failures of a stopgap do not keep a better one from being tried.
    pub fn left(&mut self, spread: f64, now: Instant) {
        if now.duration_since(self.since) >= self.pace.calm {
            self.wait = self.pace.first;
        }
        self.missed = 0;
        self.since = now;
        if self.due.is_none_or(|due| due > now + self.wait) {
            self.put_off(spread, now);
        }
    }

    /// A better one was tried in vain.
    pub fn in_vain(&mut self, spread: f64, now: Instant) {
        self.put_off(spread, now);
    }

    /// A better one took over; `best` when none is better still.
    pub fn came_back(&mut self, best: bool, spread: f64, now: Instant) {
        self.missed = 0;
        self.since = now;
        self.put_off(spread, now);
        if best {
            self.due = None;
        }
    }

    /// The best one works again by itself.
    pub fn settled(&mut self) {
        self.due = None;
    }

    /// Whether it is time to try a better one.
    pub fn is_due(&self, now: Instant) -> bool {
        self.due.is_some_and(|due| now >= due)
    }

    /// Each wait is drawn from its upper half, so that gateways that failed together do not come back together.
    fn put_off(&mut self, spread: f64, now: Instant) {
        self.due = Some(now + self.wait.mul_f64(0.5 + 0.5 * spread));
        self.wait = (self.wait * 2).min(self.pace.longest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn deadlines_are_counted_in_a_row_and_other_failures_suffice() {
        let mut turns = Turns::new(Pace::default(), true, Instant::now());
        assert!(!turns.failed(true) && !turns.failed(true));
        turns.answered();
        assert!(!turns.failed(true) && !turns.failed(true) && turns.failed(true));
        turns.answered();
        assert!(turns.failed(false));
    }

    #[test]
    fn a_better_one_is_tried_at_growing_distances_until_it_stays() {
        let begun = Instant::now();
        let mut turns = Turns::new(Pace::default(), true, begun);
        assert!(!turns.is_due(begun + 1000 * S), "the best has none above it");
        turns.left(1.0, begun);
        assert!(!turns.is_due(begun + 4 * S) && turns.is_due(begun + 5 * S));
        let mut now = begun + 5 * S;
        for wait in [10, 20, 40, 80, 160, 300, 300] {
            turns.in_vain(1.0, now);
            assert!(!turns.is_due(now + (wait - 1) * S) && turns.is_due(now + wait * S), "{wait}");
            now += wait * S;
        }
        turns.came_back(true, 1.0, now);
        assert!(!turns.is_due(now + 1000 * S));
        turns.left(1.0, now + S);
        assert!(!turns.is_due(now + 299 * S), "it failed again at once");
        turns.came_back(true, 1.0, now);
        turns.left(1.0, now + 61 * S);
        assert!(turns.is_due(now + 66 * S), "it had stayed");
    }

    #[test]
    fn a_stopgap_that_fails_now_and_then_does_not_put_off_the_better_one() {
        let begun = Instant::now();
        let mut turns = Turns::new(Pace::default(), true, begun);
        turns.left(1.0, begun);
        let mut tried = 0;
        for now in (1..3600).map(|second| begun + second * S) {
            if turns.is_due(now) {
                tried += 1;
                turns.in_vain(1.0, now);
            }
            if now.duration_since(begun).as_secs() % 20 == 0 {
                turns.left(1.0, now);
            }
        }
        assert!(tried >= 15, "tried {tried} times in an hour");
    }

    #[test]
    fn waits_are_spread_over_their_upper_half() {
        let now = Instant::now();
        let mut turns = Turns::new(Pace::default(), true, now);
        turns.left(0.0, now);
        assert!(turns.is_due(now + Duration::from_millis(2500)));
    }
}
