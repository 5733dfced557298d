//! The publications of QoS 1 that wait for their acknowledgement: a pure machine of packet numbers.
//!
//! A publication keeps its place until the broker acknowledges it, over any number of connections. After a
//! reconnection all of them wait to be sent again, in the order in which they were accepted.

use std::collections::{BTreeMap, VecDeque};

pub(crate) struct Inflight<T> {
    slots: BTreeMap<u16, T>,
    /// Numbers in the order of acceptance; those acknowledged are skipped and trimmed.
    order: VecDeque<u16>,
    /// Numbers to be sent again in this connection.
    again: VecDeque<u16>,
    on_wire: usize,
    last: u16,
}

impl<T> Inflight<T> {
    pub fn new() -> Self {
        Self { slots: BTreeMap::new(), order: VecDeque::new(), again: VecDeque::new(), on_wire: 0, last: 0 }
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// A new connection: nothing is on the wire, everything waits to be sent again.
    pub fn reconnected(&mut self) {
        self.on_wire = 0;
        self.again = self.order.iter().copied().filter(|number| self.slots.contains_key(number)).collect();
    }

    /// Takes out those that `wanted` chooses, in the order of acceptance.
    pub fn take(&mut self, wanted: impl Fn(&T) -> bool) -> Vec<T> {
        let chosen: Vec<u16> = self.order.iter().copied().filter(|n| self.slots.get(n).is_some_and(&wanted)).collect();
        chosen.into_iter().filter_map(|number| self.remove(number)).collect()
    }

    /// Whether a new publication may be sent: all old ones are on the wire and `limit` leaves room.
    pub fn has_room(&self, limit: usize) -> bool {
        self.again.is_empty() && self.on_wire < limit
    }

    /// The next one to be sent again, if `limit` leaves room; it is on the wire then.
    pub fn send_again(&mut self, limit: usize) -> Option<(u16, &T)> {
        if self.on_wire >= limit {
            return None;
        }
        let number = loop {
            let number = self.again.pop_front()?;
            if self.slots.contains_key(&number) {
                break number;
            }
        };
        self.on_wire += 1;
        Some((number, &self.slots[&number]))
    }

    /// Takes a new one, which is on the wire then, and numbers it.
    pub fn insert(&mut self, item: T) -> u16 {
        let number = self.unused_number();
        self.slots.insert(number, item);
        self.order.push_back(number);
        self.on_wire += 1;
        number
    }

    /// The one with that number is done; `None` when there is none.
    pub fn remove(&mut self, number: u16) -> Option<T> {
        let item = self.slots.remove(&number)?;
        self.on_wire = self.on_wire.saturating_sub(1);
        if self.order.front() == Some(&number) {
            self.order.pop_front();
        } else {
            self.order.retain(|other| *other != number);
        }
        Some(item)
    }

    /// A number that no waiting publication has; also for subscriptions.
    pub fn unused_number(&mut self) -> u16 {
        loop {
            self.last = self.last.checked_add(1).unwrap_or(1);
            if !self.slots.contains_key(&self.last) {
                return self.last;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_unacknowledged_is_sent_again_in_order_and_within_the_limit() {
        let mut inflight = Inflight::new();
        let numbers: Vec<u16> = (0..5).map(|i| inflight.insert(i)).collect();
        assert_eq!(inflight.remove(numbers[2]), Some(2));
        assert!(!inflight.has_room(4) && inflight.has_room(5));
        inflight.reconnected();
        assert!(!inflight.has_room(100), "old ones go first");
        let first: Vec<i32> = std::iter::from_fn(|| inflight.send_again(3).map(|(_, item)| *item)).collect();
        assert_eq!(first, [0, 1, 3]);
        assert_eq!(inflight.remove(numbers[0]), Some(0));
        assert_eq!(inflight.remove(numbers[0]), None);
        assert_eq!(inflight.send_again(3).map(|(n, item)| (n, *item)), Some((numbers[4], 4)));
        assert!(!inflight.has_room(3) && inflight.has_room(4));
    }

    #[test]
    fn what_is_taken_out_is_not_sent_again() {
        let mut inflight = Inflight::new();
        for i in 0..6 {
            let _ = inflight.insert(i);
        }
        assert_eq!(inflight.take(|i| i % 2 == 1), [1, 3, 5]);
        inflight.reconnected();
        let again: Vec<i32> = std::iter::from_fn(|| inflight.send_again(9).map(|(_, item)| *item)).collect();
        assert_eq!(again, [0, 2, 4]);
    }

    #[test]
    fn numbers_wrap_without_zero_and_without_those_in_use() {
        let mut inflight = Inflight::new();
        let kept = inflight.insert("kept");
        for _ in 0..u32::from(u16::MAX) * 2 {
            let number = inflight.insert("short");
            assert!(number != 0 && number != kept);
            inflight.remove(number);
        }
        assert_eq!(inflight.remove(kept), Some("kept"));
        assert!(inflight.is_empty());
    }
}
