//! Which pictures are kept: the reason, and the byte budget a day that all regions share.
//!
//! Policy at the boundary: *drop*. What the budget does not allow is not kept, and counted.

use std::time::Duration;

use contract::record::Reason;

use crate::clock::Mono;

/// When a region keeps a picture, `samples = { periodic = "10m", uncertain = 0.5, changed = true, input = true }`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// By the clock; never when absent.
    pub periodic: Option<Duration>,
    /// When the best score is below this; never when absent.
    pub uncertain: Option<f32>,
    /// When the stable label changes.
    pub changed: bool,
}

/// Unsure frames come in runs: one of them in this time says what all of them say.
const UNCERTAIN_EVERY: Duration = Duration::from_secs(10);

/// The machine of one region.
#[derive(Clone, Debug)]
pub struct Sampler {
    policy: Policy,
    requested: bool,
    periodic_due: Mono,
    uncertain_due: Mono,
}

impl Sampler {
    /// The first periodic sample is due at once.
    pub fn new(policy: Policy) -> Self {
        Self { policy, requested: false, periodic_due: Mono(0), uncertain_due: Mono(0) }
    }

    /// Somebody asked: the next frame is kept.
    pub fn request(&mut self) {
        self.requested = true;
    }

    /// Whether this classification's frame is kept, and why. The strongest reason wins.
    pub fn decide(&mut self, now: Mono, best_score: f32, changed: bool, budget: &Budget) -> Option<Reason> {
        let reason = self.reason(now, best_score, changed)?;
        if !budget.allows(reason, now) {
            return None;
        }
        match reason {
            Reason::Requested => self.requested = false,
            Reason::Uncertain => self.uncertain_due = now.after(UNCERTAIN_EVERY),
            _ => {}
        }
        // Any sample serves as the periodic one.
        if let Some(every) = self.policy.periodic {
            self.periodic_due = now.after(every);
        }
        Some(reason)
    }

    fn reason(&self, now: Mono, best_score: f32, changed: bool) -> Option<Reason> {
        let unsure = self.policy.uncertain.is_some_and(|least| best_score < least) && now >= self.uncertain_due;
        let periodic = self.policy.periodic.is_some() && now >= self.periodic_due;
        match () {
            () if self.requested => Some(Reason::Requested),
            () if changed && self.policy.changed => Some(Reason::Changed),
            () if unsure => Some(Reason::Uncertain),
            () if periodic => Some(Reason::Periodic),
            () => None,
        }
    }
}

const DAY: Duration = Duration::from_secs(86_400);

/// Bytes of samples a day, counted in days of the monotonic clock: a wall clock that jumps neither opens nor closes it.
#[derive(Clone, Debug)]
pub struct Budget {
    per_day: u64,
    spent: u64,
    day_began: Mono,
}

impl Budget {
    /// A day begins now.
    pub fn new(per_day: u64, now: Mono) -> Self {
        Self { per_day, spent: 0, day_began: now }
    }

    /// Whether a sample may be made now. Unsure frames may run ahead of the day by a tenth of it, so that a bad morning
    /// leaves something for the evening.
    pub fn allows(&self, reason: Reason, now: Mono) -> bool {
        let elapsed = now - self.day_began;
        let spent = if elapsed >= DAY { 0 } else { self.spent };
        let limit = match reason {
            Reason::Uncertain => {
                let share = elapsed.as_secs_f64() / DAY.as_secs_f64() + 0.1;
                (self.per_day as f64 * share.min(1.0)) as u64
            }
            _ => self.per_day,
        };
        spent < limit
    }

    /// Accounts for a sample that was made.
    pub fn spend(&mut self, bytes: u64, now: Mono) {
        if now - self.day_began >= DAY {
            self.day_began = now;
            self.spent = 0;
        }
        self.spent = self.spent.saturating_add(bytes);
    }

    /// Bytes spent in the current day.
    pub fn spent(&self) -> u64 {
        self.spent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Policy = Policy { periodic: Some(Duration::from_secs(60)), uncertain: Some(0.5), changed: true };

    fn at(seconds: u64) -> Mono {
        Mono(seconds * 1_000_000)
    }

    #[test]
    fn the_strongest_reason_wins_and_rests() {
        let budget = Budget::new(1000, at(0));
        let mut s = Sampler::new(POLICY);
        assert_eq!(s.decide(at(0), 0.9, false, &budget), Some(Reason::Periodic));
        assert_eq!(s.decide(at(1), 0.9, false, &budget), None);
        assert_eq!(s.decide(at(2), 0.4, false, &budget), Some(Reason::Uncertain));
        assert_eq!(s.decide(at(3), 0.4, false, &budget), None);
        assert_eq!(s.decide(at(4), 0.4, true, &budget), Some(Reason::Changed));
        s.request();
        assert_eq!(s.decide(at(5), 0.9, true, &budget), Some(Reason::Requested));
        assert_eq!(s.decide(at(6), 0.9, false, &budget), None);
        assert_eq!(s.decide(at(66), 0.9, false, &budget), Some(Reason::Periodic));
    }

    #[test]
    fn a_spent_budget_keeps_nothing_until_the_next_day() {
        let mut budget = Budget::new(1000, at(0));
        budget.spend(101, at(1));
        assert!(!budget.allows(Reason::Uncertain, at(2)) && budget.allows(Reason::Periodic, at(2)));
        assert!(budget.allows(Reason::Uncertain, at(43_200)));
        budget.spend(900, at(3));
        assert!(!budget.allows(Reason::Requested, at(4)));
        assert!(budget.allows(Reason::Requested, at(86_401)));
        budget.spend(10, at(86_401));
        assert_eq!(budget.spent(), 10);
    }
}
