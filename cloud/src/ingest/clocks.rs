//! How far each gateway's clock is off: a pure machine.
//!
//! Every message bounds the offset from one side: nothing arrives before it was captured. What is estimated is not the
//! offset itself but when, by the hub's clock, the gateway's monotonic clock read zero: the minimum over the last
//! [`WINDOW`] messages of `received - monotonic of the newest record - the time that record waited on the gateway`. That
//! survives steps of the gateway's wall clock. The wait is known where the message says when it was sent (user property
//! `sent_at`); otherwise it is taken for zero and the estimate is *weak*: a backlog then looks like a slow clock.
//! So a weak estimate corrects only what cannot be delay: captures from the future, and differences beyond
//! [`DELAY_MAX`]. Offsets within [`NOISE`] count as zero: they are the network's, not the clock's.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use contract::{CaptureSource, Header, Principal, Timestamp};

/// Messages that an estimate looks back on.
const WINDOW: usize = 32;
/// One-way measuring cannot tell less than this from delay, in microseconds.
const NOISE: i64 = 2_000_000;
/// An outbox keeps nothing longer than this, in microseconds (30 days).
const DELAY_MAX: i64 = 30 * 86_400 * 1_000_000;
/// Boots remembered; the one seen longest ago is forgotten first.
const BOOTS_MAX: usize = 16_384;

/// What the hub believes of its gateways' clocks.
#[derive(Default)]
pub struct Clocks {
    boots: HashMap<(Principal, Arc<str>), Boot>,
    observed: u64,
    /// What was last asked, until something is observed: the records of one message are of one boot.
    asked: Option<(Principal, Arc<str>, Zero)>,
}

/// When a boot's monotonic clock read zero, by the hub's clock, as strong and as weak estimates have it.
#[derive(Clone, Copy, Default)]
struct Zero {
    strong: Option<i64>,
    weak: Option<i64>,
}

/// One boot of a gateway: the span of one monotonic clock.
#[derive(Default)]
struct Boot {
    strong: VecDeque<i64>,
    weak: VecDeque<i64>,
    seen: u64,
}

impl Clocks {
    /// Takes note of a message: its newest record, when it was received and, where it says so, sent.
    pub fn observe(&mut self, from: &Principal, newest: &Header, received: Timestamp, sent: Option<Timestamp>) {
        if newest.captured_source != CaptureSource::Arrival {
            return; // the capture time is of another clock than the gateway's
        }
        self.observed += 1;
        self.asked = None;
        let key = (from.clone(), newest.boot_id.clone());
        if self.boots.len() >= BOOTS_MAX && !self.boots.contains_key(&key) {
            self.forget_oldest();
        }
        let boot = self.boots.entry(key).or_default();
        boot.seen = self.observed;
        let zero = received.0.saturating_sub(micros(newest.monotonic_us));
        let waited = sent.map(|sent| sent.0.saturating_sub(newest.captured_at.0)).filter(|waited| *waited >= 0);
        match waited {
            Some(waited) => push(&mut boot.strong, zero.saturating_sub(waited)),
            None => push(&mut boot.weak, zero),
        }
    }

    /// Hub clock minus gateway clock when the record was captured, in microseconds; 0 when nothing is known.
    pub fn offset_us(&mut self, from: &Principal, header: &Header) -> i64 {
        let believed = header.captured_at.0.saturating_sub(micros(header.monotonic_us));
        let zero = self.zero(from, &header.boot_id);
        let offset = |zero: Option<i64>| zero.map(|zero| zero.saturating_sub(believed));
        match (offset(zero.strong), offset(zero.weak)) {
            (Some(strong), _) if strong.abs() > NOISE => strong,
            (None, Some(weak)) if !(-NOISE..=DELAY_MAX).contains(&weak) => weak,
            _ => 0,
        }
    }

    fn zero(&mut self, from: &Principal, boot_id: &Arc<str>) -> Zero {
        if let Some((_, _, zero)) = self.asked.as_ref().filter(|(who, boot, _)| who == from && boot == boot_id) {
            return *zero;
        }
        let key = (from.clone(), boot_id.clone());
        let least = |window: &VecDeque<i64>| window.iter().min().copied();
        let zero = self.boots.get(&key).map(|boot| Zero { strong: least(&boot.strong), weak: least(&boot.weak) });
        let zero = zero.unwrap_or_default();
        self.asked = Some((key.0, key.1, zero));
        zero
    }

    fn forget_oldest(&mut self) {
        let oldest = self.boots.iter().min_by_key(|(_, boot)| boot.seen).map(|(key, _)| key.clone());
        if let Some(key) = oldest {
            self.boots.remove(&key);
        }
    }
}

fn micros(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn push(window: &mut VecDeque<i64>, value: i64) {
    if window.len() == WINDOW {
        window.pop_front();
    }
    window.push_back(value);
}

#[cfg(test)]
mod tests {
    use contract::Kind;

    use super::*;
    use crate::lake::tests::header;

    const SECOND: i64 = 1_000_000;
    const HOUR: i64 = 3600 * SECOND;
    const NOW: i64 = 1_795_458_240 * SECOND;

    fn who() -> Principal {
        Principal { site: "plant".parse().unwrap(), gateway: "gw".parse().unwrap() }
    }

    /// A record captured `ago` before true time `NOW`, by a gateway whose clock reads `wrong` more than the truth.
    fn record(ago: i64, wrong: i64) -> Header {
        let monotonic_us = (10 * HOUR - ago) as u64;
        Header { captured_at: Timestamp(NOW - ago + wrong), monotonic_us, ..header(Kind::Event, 0) }
    }

    fn offset_of(newest: &Header, sent_wrong: Option<i64>) -> i64 {
        let mut clocks = Clocks::default();
        let sent = sent_wrong.map(|wrong| Timestamp(NOW - SECOND / 10 + wrong));
        clocks.observe(&who(), newest, Timestamp(NOW), sent);
        clocks.offset_us(&who(), newest)
    }

    #[test]
    fn right_clocks_are_left_alone() {
        assert_eq!(offset_of(&record(SECOND / 2, 0), None), 0);
        assert_eq!(offset_of(&record(SECOND / 2, 0), Some(0)), 0);
        assert_eq!(offset_of(&record(2 * HOUR, 0), None), 0, "a backlog is no slow clock");
        assert_eq!(offset_of(&record(2 * HOUR, 0), Some(0)), 0);
    }

    #[test]
    fn wrong_clocks_are_measured() {
        let near = |offset: i64, truth: i64| assert!((offset - truth).abs() <= SECOND, "{offset} is not near {truth}");
        near(offset_of(&record(SECOND / 2, HOUR), None), -HOUR);
        near(offset_of(&record(SECOND / 2, HOUR), Some(HOUR)), -HOUR);
        near(offset_of(&record(SECOND / 2, -HOUR), Some(-HOUR)), HOUR);
        near(offset_of(&record(2 * HOUR, -HOUR), Some(-HOUR)), HOUR);
        near(offset_of(&record(SECOND / 2, -NOW), None), NOW);
        assert_eq!(offset_of(&record(SECOND / 2, -HOUR), None), 0, "could be delay");
    }

    #[test]
    fn a_step_of_the_wall_clock_does_not_confuse() {
        let mut clocks = Clocks::default();
        let before = record(60 * SECOND, -NOW); // the gateway woke in 1970
        let after = record(SECOND, 0); // and was then set right
        for newest in [&before, &after] {
            let received = Timestamp(NOW - (10 * HOUR - newest.monotonic_us as i64) + SECOND / 10);
            clocks.observe(&who(), newest, received, None);
        }
        assert_eq!(clocks.offset_us(&who(), &after), 0);
        assert!((clocks.offset_us(&who(), &before) - NOW).abs() < SECOND);
    }
}
