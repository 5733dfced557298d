//! Sets of sequence numbers as runs: what is committed, what a gap explains, what was sent ahead. Pure arithmetic.

use std::collections::BTreeMap;

/// Half-open runs `[from, to)`: ascending, disjoint, not touching. Memory grows with the runs, not with the numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    /// Adds the numbers from `from` to before `to`.
    pub fn insert(&mut self, from: u64, to: u64) {
        if from >= to {
            return;
        }
        let (mut start, mut end) = (from, to);
        if let Some((before, until)) = self.0.range(..=from).next_back().filter(|(_, until)| **until >= from) {
            (start, end) = (*before, end.max(*until));
        }
        while let Some((next, until)) = self.0.range(start..=end).next().map(|(a, b)| (*a, *b)) {
            self.0.remove(&next);
            end = end.max(until);
        }
        self.0.insert(start, end);
    }

    /// Whether a number is in it.
    pub fn contains(&self, number: u64) -> bool {
        self.next_missing(number) != number
    }

    /// The first number from `number` on that is not in it.
    pub fn next_missing(&self, number: u64) -> u64 {
        match self.0.range(..=number).next_back() {
            Some((_, to)) if *to > number => *to,
            _ => number,
        }
    }

    /// The first number from `number` on that is in it.
    pub fn next_present(&self, number: u64) -> Option<u64> {
        if self.contains(number) { Some(number) } else { self.0.range(number..).next().map(|(from, _)| *from) }
    }

    /// The runs of `[from, to)` that are not in it.
    pub fn missing(&self, from: u64, to: u64) -> Vec<(u64, u64)> {
        let (mut at, mut out) = (from, Vec::new());
        loop {
            at = self.next_missing(at);
            if at >= to {
                return out;
            }
            let end = self.0.range(at..).next().map_or(to, |(next, _)| (*next).min(to));
            out.push((at, end));
            at = end;
        }
    }

    /// Whether all of `[from, to)` is in it.
    pub fn covers(&self, from: u64, to: u64) -> bool {
        from >= to || self.next_missing(from) >= to
    }

    /// Forgets everything below a number.
    pub fn remove_below(&mut self, number: u64) {
        let mut rest = self.0.split_off(&number);
        if let Some((_, to)) = self.0.last_key_value().filter(|(_, to)| **to > number) {
            rest.insert(number, *to);
        }
        self.0 = rest;
    }

    /// The runs, ascending.
    pub fn runs(&self) -> impl Iterator<Item = (u64, u64)> {
        self.0.iter().map(|(from, to)| (*from, *to))
    }

    /// How many numbers are in it.
    pub fn count(&self) -> u64 {
        self.runs().map(|(from, to)| to - from).sum()
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn runs_say_what_a_set_of_numbers_says(
            inserts in proptest::collection::vec((0u64..60, 0u64..12), 0..20), cut in 0u64..70, from in 0u64..70, len in 0u64..20
        ) {
            let (mut ranges, mut set) = (Ranges::default(), BTreeSet::new());
            for (at, n) in inserts {
                ranges.insert(at, at + n);
                set.extend(at..at + n);
            }
            ranges.remove_below(cut);
            set.retain(|n| *n >= cut);
            let missing: BTreeSet<u64> = ranges.missing(from, from + len).iter().flat_map(|(a, b)| *a..*b).collect();
            prop_assert_eq!(missing, (from..from + len).filter(|n| !set.contains(n)).collect());
            prop_assert_eq!(ranges.count(), set.len() as u64);
            prop_assert_eq!(ranges.next_present(from), set.range(from..).next().copied());
            for n in 0..80 {
                prop_assert_eq!(ranges.contains(n), set.contains(&n));
            }
            prop_assert_eq!(ranges.covers(from, from + len), (from..from + len).all(|n| set.contains(&n)));
            let runs: Vec<_> = ranges.runs().collect();
            prop_assert!(runs.windows(2).all(|w| w[0].1 < w[1].0), "{:?}", runs);
        }
    }
}
