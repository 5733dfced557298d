//! Sets of sequence numbers as ranges: what of a log is committed. Pure arithmetic.

use serde::{Deserialize, Serialize};

/// A set of numbers as half-open ranges `[from, to)`: ascending, disjoint, not touching. In JSON `[[0,10],[12,13]]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "Vec<[u64; 2]>", into = "Vec<[u64; 2]>")]
pub struct RangeSet(Vec<[u64; 2]>);

impl RangeSet {
    /// The empty set.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// The ranges, ascending.
    pub fn ranges(&self) -> &[[u64; 2]] {
        &self.0
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many numbers are in it.
    pub fn count(&self) -> u64 {
        self.0.iter().map(|[from, to]| to - from).sum()
    }

    /// Whether a number is in it.
    pub fn contains(&self, number: u64) -> bool {
        let after = self.0.partition_point(|[from, _]| *from <= number);
        after > 0 && number < self.0[after - 1][1]
    }

    /// Every number below this one is in it.
    pub fn upto(&self) -> u64 {
        match self.0.first() {
            Some([0, to]) => *to,
            _ => 0,
        }
    }

    /// One past the largest number in it; 0 when it is empty.
    pub fn end(&self) -> u64 {
        self.0.last().map_or(0, |[_, to]| *to)
    }

    /// The ranges beyond [`Self::upto`].
    pub fn later(&self) -> &[[u64; 2]] {
        match self.0.first() {
            Some([0, _]) => &self.0[1..],
            _ => &self.0,
        }
    }

    /// Adds one number; says whether it was new.
    pub fn insert(&mut self, number: u64) -> bool {
        let new = !self.contains(number);
        self.insert_range(number, number.saturating_add(1));
        new
    }

    /// Adds `[from, to)`. An empty range adds nothing.
    pub fn insert_range(&mut self, from: u64, to: u64) {
        if from >= to {
            return;
        }
        // Records mostly arrive in order: the new range lies at or behind the last one.
        let first = match self.0.last() {
            None => 0,
            Some([_, end]) if *end < from => self.0.len(),
            Some(_) => self.0.partition_point(|[_, end]| *end < from),
        };
        let last = first + self.0[first..].partition_point(|[start, _]| *start <= to);
        let merged = match &self.0[first..last] {
            [] => [from, to],
            touched => [from.min(touched[0][0]), to.max(touched[touched.len() - 1][1])],
        };
        self.0.splice(first..last, [merged]);
    }

    /// Adds another set.
    pub fn extend(&mut self, other: &Self) {
        other.0.iter().for_each(|[from, to]| self.insert_range(*from, *to));
    }

    /// What is in this set and not in the other.
    pub fn without(&self, other: &Self) -> Self {
        let mut left = Vec::new();
        let mut theirs = other.0.iter().peekable();
        for [mut from, to] in self.0.iter().copied() {
            while theirs.next_if(|[_, end]| *end <= from).is_some() {}
            while let Some([start, end]) = theirs.peek().filter(|[start, _]| *start < to) {
                if from < *start {
                    left.push([from, *start]);
                }
                from = *end;
                if *end >= to {
                    break;
                }
                theirs.next();
            }
            if from < to {
                left.push([from, to]);
            }
        }
        Self(left)
    }

    /// What is in both.
    pub fn intersection(&self, other: &Self) -> Self {
        self.without(&self.without(other))
    }

    /// Whether they share a number.
    pub fn intersects(&self, other: &Self) -> bool {
        let (mut a, mut b) = (self.0.iter().peekable(), other.0.iter().peekable());
        while let (Some([a_from, a_to]), Some([b_from, b_to])) = (a.peek(), b.peek()) {
            if a_from < b_to && b_from < a_to {
                return true;
            }
            if a_to <= b_to {
                a.next()
            } else {
                b.next()
            };
        }
        false
    }
}

impl From<Vec<[u64; 2]>> for RangeSet {
    fn from(ranges: Vec<[u64; 2]>) -> Self {
        let mut set = Self::new();
        ranges.into_iter().for_each(|[from, to]| set.insert_range(from, to));
        set
    }
}

impl From<RangeSet> for Vec<[u64; 2]> {
    fn from(set: RangeSet) -> Self {
        set.0
    }
}

impl FromIterator<u64> for RangeSet {
    fn from_iter<I: IntoIterator<Item = u64>>(numbers: I) -> Self {
        let mut set = Self::new();
        numbers.into_iter().for_each(|n| set.insert_range(n, n.saturating_add(1)));
        set
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    type Model = BTreeSet<u64>;

    fn ranges() -> impl Strategy<Value = Vec<[u64; 2]>> {
        prop::collection::vec((0u64..60, 0u64..12).prop_map(|(from, n)| [from, from + n]), 0..12)
    }

    fn model(ranges: &[[u64; 2]]) -> Model {
        ranges.iter().flat_map(|[from, to]| *from..*to).collect()
    }

    fn normal(set: &RangeSet) -> bool {
        set.0.iter().all(|[from, to]| from < to) && set.0.windows(2).all(|w| w[0][1] < w[1][0])
    }

    proptest! {
        #[test]
        fn agrees_with_a_set_of_numbers(a in ranges(), b in ranges()) {
            let (ma, mb) = (model(&a), model(&b));
            let (sa, sb) = (RangeSet::from(a), RangeSet::from(b));
            let same = |set: &RangeSet, model: Model| normal(set) && self::model(set.ranges()) == model;
            prop_assert!(same(&sa, ma.clone()));
            prop_assert_eq!(sa.count(), ma.len() as u64);
            prop_assert_eq!(sa.end(), ma.last().map_or(0, |n| n + 1));
            prop_assert_eq!(sa.upto(), (0..).find(|n| !ma.contains(n)).unwrap());
            prop_assert_eq!(sa.later().iter().map(|[f, t]| t - f).sum::<u64>() + sa.upto(), sa.count());
            (0..80).for_each(|n| assert_eq!(sa.contains(n), ma.contains(&n)));
            prop_assert!(same(&sa.without(&sb), &ma - &mb));
            prop_assert!(same(&sa.intersection(&sb), &ma & &mb));
            prop_assert_eq!(sa.intersects(&sb), !ma.is_disjoint(&mb));
            let mut union = sa.clone();
            union.extend(&sb);
            prop_assert!(same(&union, &ma | &mb));
            let json = serde_json::to_string(&sa).unwrap();
            prop_assert_eq!(serde_json::from_str::<RangeSet>(&json).unwrap(), sa);
        }

        #[test]
        fn inserting_in_any_order_gives_the_same_set(mut numbers in prop::collection::vec(0u64..50, 0..60)) {
            let set: RangeSet = numbers.iter().copied().collect();
            let mut other = RangeSet::new();
            let fresh = numbers.iter().filter(|n| other.insert(**n)).count();
            prop_assert_eq!(&set, &other);
            numbers.sort_unstable();
            numbers.dedup();
            prop_assert_eq!(fresh, numbers.len());
        }
    }

    #[test]
    fn the_ends_of_the_number_line() {
        let mut set = RangeSet::new();
        set.insert_range(u64::MAX - 1, u64::MAX);
        assert!(set.contains(u64::MAX - 1) && !set.contains(u64::MAX) && !set.contains(0));
        assert_eq!((set.upto(), set.end(), set.count()), (0, u64::MAX, 1));
    }
}
