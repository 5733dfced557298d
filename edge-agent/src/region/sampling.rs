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

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// There is no reason to keep it.
    Pass,
    /// It is kept.
    Keep(Reason),
    /// It would be kept if the day's budget were not spent.
    OverBudget,
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

    /// Whether this classification's frame is kept, and why. The strongest reason wins. What the budget refuses rests like
    /// what was kept, so that a refusal is told once and not with every frame.
    pub fn decide(&mut self, now: Mono, best_score: f32, changed: bool, budget: &Budget) -> Decision {
        let Some(reason) = self.reason(now, best_score, changed) else { return Decision::Pass };
        match reason {
            Reason::Requested => self.requested = false,
            Reason::Uncertain => self.uncertain_due = now.after(UNCERTAIN_EVERY),
            _ => {}
        }
        // Any sample serves as the periodic one.
        if let Some(every) = self.policy.periodic {
            self.periodic_due = now.after(every);
        }
        if budget.allows(reason, now) { Decision::Keep(reason) } else { Decision::OverBudget }
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
    /// What had passed of the day at `began`.
    before: Duration,
    began: Mono,
}

impl Budget {
    /// A day begins now.
    pub fn new(per_day: u64, now: Mono) -> Self {
        Self::resume(per_day, 0, Duration::ZERO, now)
    }

    /// A day of which so much has passed and been spent, before a restart.
    pub fn resume(per_day: u64, spent: u64, elapsed: Duration, now: Mono) -> Self {
        Self { per_day, spent, before: elapsed, began: now }
    }

    /// How much of the day has passed.
    pub fn elapsed(&self, now: Mono) -> Duration {
        self.before + (now - self.began)
    }

    /// Whether a sample may be made now. Unsure frames may run ahead of the day by a tenth of it, so that a bad morning
    /// leaves something for the evening.
    pub fn allows(&self, reason: Reason, now: Mono) -> bool {
        let elapsed = self.elapsed(now);
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
        if self.elapsed(now) >= DAY {
            *self = Self::new(self.per_day, now);
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
    use super::{Decision::*, *};

    const POLICY: Policy = Policy { periodic: Some(Duration::from_secs(60)), uncertain: Some(0.5), changed: true };

    fn at(seconds: u64) -> Mono {
        Mono(seconds * 1_000_000)
    }

    #[test]
    fn the_strongest_reason_wins_and_rests() {
        let budget = Budget::new(1000, at(0));
        let mut s = Sampler::new(POLICY);
        assert_eq!(s.decide(at(0), 0.9, false, &budget), Keep(Reason::Periodic));
        assert_eq!(s.decide(at(1), 0.9, false, &budget), Pass);
        assert_eq!(s.decide(at(2), 0.4, false, &budget), Keep(Reason::Uncertain));
        assert_eq!(s.decide(at(3), 0.4, false, &budget), Pass);
        assert_eq!(s.decide(at(4), 0.4, true, &budget), Keep(Reason::Changed));
        s.request();
        assert_eq!(s.decide(at(5), 0.9, true, &budget), Keep(Reason::Requested));
        assert_eq!(s.decide(at(6), 0.9, false, &budget), Pass);
        assert_eq!(s.decide(at(66), 0.9, false, &budget), Keep(Reason::Periodic));
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
        let resumed = Budget::resume(1000, budget.spent(), budget.elapsed(at(86_000)), at(7));
        assert!(!resumed.allows(Reason::Requested, at(8)) && resumed.allows(Reason::Requested, at(407)));
        budget.spend(10, at(86_401));
        assert_eq!(budget.spent(), 10);
    }

    #[test]
    fn a_refusal_is_told_once_and_rests() {
        let mut budget = Budget::new(1000, at(0));
        budget.spend(1000, at(0));
        let mut s = Sampler::new(POLICY);
        let told: Vec<_> = (0..60).map(|second| s.decide(at(second), 0.9, false, &budget)).collect();
        assert_eq!(told.iter().filter(|decision| **decision == OverBudget).count(), 1);
        s.request();
        assert_eq!(s.decide(at(61), 0.9, false, &budget), OverBudget);
    }
}
