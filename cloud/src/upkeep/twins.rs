//! Two gateways with one id, told by their logs: each birth names a log, and two agents take turns. Pure.
//!
//! A gateway that begins a new log never comes back to the old one. When the old one is named again, and again, two agents
//! share the id: the broker throws one out when the other connects. Both are told of; nothing of them is mixed, since
//! their logs are two.

use std::collections::HashMap;

use contract::{Epoch, Principal, Timestamp};
use serde::Serialize;

/// So often a log must come back. Once may be a message that was late.
const RETURNS: u32 = 2;
/// Returns longer ago do not count, and twins that were quiet for so long are no more.
const WITHIN_US: i64 = 3_600_000_000;
/// Gateways that are remembered; beyond, those seen longest ago are forgotten.
const GATEWAYS_MAX: usize = 65_536;

/// An id that two gateways use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Twin {
    /// The id.
    pub gateway: Principal,
    /// Their logs.
    pub epochs: [Epoch; 2],
    /// When one of them was last seen.
    pub seen_at: Timestamp,
}

/// What is known of each id.
#[derive(Default)]
pub struct Twins {
    gateways: HashMap<Principal, Seen>,
}

struct Seen {
    epochs: [Epoch; 2],
    returns: u32,
    at: Timestamp,
}

impl Twins {
    /// A gateway was born with this log; says whether this makes two of it for the first time.
    pub fn born(&mut self, who: &Principal, epoch: Epoch, now: Timestamp) -> bool {
        if self.gateways.len() >= GATEWAYS_MAX && !self.gateways.contains_key(who) {
            self.forget_old();
        }
        let fresh = || Seen { epochs: [epoch; 2], returns: 0, at: now };
        let seen = self.gateways.entry(who.clone()).or_insert_with(fresh);
        if now.0.saturating_sub(seen.at.0) > WITHIN_US {
            seen.returns = 0;
        }
        seen.at = now;
        let [current, before] = seen.epochs;
        if epoch == current {
            return false;
        }
        seen.epochs = [epoch, current];
        seen.returns = if epoch == before { seen.returns + 1 } else { 0 };
        seen.returns == RETURNS
    }

    /// The ids that two gateways use now.
    pub fn twins(&self, now: Timestamp) -> Vec<Twin> {
        let is_one = |seen: &&Seen| seen.returns >= RETURNS && now.0.saturating_sub(seen.at.0) <= WITHIN_US;
        let found = self.gateways.iter().filter(|(_, seen)| is_one(seen));
        let mut found: Vec<_> =
            found.map(|(who, seen)| Twin { gateway: who.clone(), epochs: seen.epochs, seen_at: seen.at }).collect();
        found.sort_by(|a, b| a.gateway.cmp(&b.gateway));
        found
    }

    fn forget_old(&mut self) {
        let mut times: Vec<_> = self.gateways.values().map(|seen| seen.at).collect();
        times.sort_unstable();
        let middle = times[times.len() / 2];
        self.gateways.retain(|_, seen| seen.at > middle);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_that_take_turns_are_told_once_and_new_logs_never() {
        let who = Principal { site: "plant".parse().unwrap(), gateway: "gw".parse().unwrap() };
        let mut twins = Twins::default();
        let at = std::cell::Cell::new(0);
        let born = |twins: &mut Twins, epoch: u128| {
            at.set(at.get() + 1_000_000);
            twins.born(&who, Epoch(epoch), Timestamp(at.get()))
        };
        // restarts, and new logs one after the other
        for epoch in [1, 1, 2, 2, 3, 4] {
            assert!(!born(&mut twins, epoch), "{epoch}");
        }
        // one late message of an old log
        assert!(!born(&mut twins, 3) && !born(&mut twins, 5));
        assert!(twins.twins(Timestamp(at.get())).is_empty());
        let told: Vec<_> = [6, 7, 6, 7, 6, 7].map(|epoch| born(&mut twins, epoch)).into();
        assert_eq!(told, [false, false, false, true, false, false]);
        let found = twins.twins(Timestamp(at.get()));
        assert_eq!((found.len(), found[0].epochs), (1, [Epoch(7), Epoch(6)]));
        assert!(twins.twins(Timestamp(at.get() + WITHIN_US + 1)).is_empty(), "quiet for an hour");
    }
}
