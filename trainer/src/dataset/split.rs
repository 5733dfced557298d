//! Sharing items out: by groups, or class by class, always seeded, and the same for the same items in any order.

use std::collections::BTreeMap;

use contract::dataset::Split;

use crate::train::batches::dice;

/// Shares of train, validation and test.
pub type Shares = [f64; 3];

/// Each group whole in one split. Groups are drawn in a seeded order, and each goes where most is missing.
pub fn by_groups(groups: &[&str], shares: Shares, seed: u64) -> Vec<Split> {
    let mut sizes: BTreeMap<&str, usize> = BTreeMap::new();
    groups.iter().for_each(|group| *sizes.entry(group).or_default() += 1);
    let mut order: Vec<_> = sizes.iter().collect();
    dice(seed, &[3]).shuffle(&mut order);
    let total = groups.len() as f64;
    let mut filled = [0.0f64; 3];
    let mut chosen: BTreeMap<&str, Split> = BTreeMap::new();
    for (group, size) in order {
        let missing = |at: &usize| shares[*at] * total - filled[*at];
        let most = (0..3).filter(|at| shares[*at] > 0.0).max_by(|a, b| missing(a).total_cmp(&missing(b))).unwrap_or(0);
        filled[most] += *size as f64;
        chosen.insert(group, Split::ALL[most]);
    }
    groups.iter().map(|group| chosen[group]).collect()
}

/// Class by class: of each as large a share in every split. `ids` give an order that no other order changes.
pub fn stratified(ids: &[&str], classes: &[u16], shares: Shares, seed: u64) -> Vec<Split> {
    let mut of: BTreeMap<u16, Vec<usize>> = BTreeMap::new();
    classes.iter().enumerate().for_each(|(at, class)| of.entry(*class).or_default().push(at));
    let mut splits = vec![Split::Train; ids.len()];
    for (class, mut members) in of {
        members.sort_by_key(|at| ids[*at]);
        dice(seed, &[4, u64::from(class)]).shuffle(&mut members);
        let count = members.len() as f64;
        let test = (shares[2] * count).round() as usize;
        let validation = (shares[1] * count).round() as usize;
        // A class of few keeps one to learn from.
        let held = (test + validation).min(members.len().saturating_sub(1));
        for (place, at) in members.into_iter().take(held).enumerate() {
            splits[at] = if place < test { Split::Test } else { Split::Validation };
        }
    }
    splits
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn groups_are_never_torn(members in prop::collection::vec(0u8..12, 1..200), seed: u64) {
            let names: Vec<String> = members.iter().map(|group| format!("camera-{group}")).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let splits = by_groups(&names, [0.7, 0.15, 0.15], seed);
            let mut of = BTreeMap::new();
            for (name, split) in names.iter().zip(&splits) {
                prop_assert_eq!(*of.entry(*name).or_insert(*split), *split);
            }
        }

        #[test]
        fn shares_hold_class_by_class_and_the_order_of_items_does_not_matter(
            counts in prop::collection::vec(1usize..80, 2..5), seed: u64,
        ) {
            let items = counts.iter().enumerate().flat_map(|(class, n)| (0..*n).map(move |at| (format!("{class}-{at:03}"), class as u16)));
            let items: Vec<_> = items.collect();
            let of = |items: &[(String, u16)]| {
                let ids: Vec<&str> = items.iter().map(|item| &*item.0).collect();
                let classes: Vec<u16> = items.iter().map(|item| item.1).collect();
                stratified(&ids, &classes, [0.6, 0.2, 0.2], seed)
            };
            let splits = of(&items);
            for (class, n) in counts.iter().enumerate() {
                let test = items.iter().zip(&splits).filter(|(item, split)| item.1 == class as u16 && **split == Split::Test);
                let train = items.iter().zip(&splits).filter(|(item, split)| item.1 == class as u16 && **split == Split::Train);
                prop_assert!(test.count().abs_diff((*n as f64 * 0.2).round() as usize) <= 1);
                prop_assert!(train.count() >= 1);
            }
            let mut turned = items.clone();
            turned.reverse();
            let mut again = of(&turned);
            again.reverse();
            prop_assert_eq!(again, splits);
        }
    }
}
