//! Which of several outcomes are better: by constraints, by one objective, or by two at once.

use super::{Outcome, sampler::Past};

/// Whether the first is nowhere worse and somewhere better.
pub fn dominates(first: &[f64], second: &[f64]) -> bool {
    first.iter().zip(second).all(|(a, b)| a <= b) && first.iter().zip(second).any(|(a, b)| a < b)
}

/// A rank for each, the smaller the better: by one objective its value's place; by two the number of its front (Deb et al. 2002)
/// with the lesser sum of both places first; then those that hold no constraint, by how little; then pruned ones, the furthest first.
pub fn ranks(past: &[&Past]) -> Vec<f64> {
    let mut ranks = vec![0.0; past.len()];
    let feasible = |outcome: &Outcome| outcome.violation() <= 0.0;
    let complete: Vec<usize> = (0..past.len()).filter(|at| past[*at].outcome.as_ref().is_some_and(feasible)).collect();
    let values = |at: usize| past[at].outcome.as_ref().map(|outcome| &outcome.values[..]).unwrap_or_default();
    for (place, at) in in_order(&complete, &values).into_iter().enumerate() {
        ranks[at] = place as f64;
    }
    let mut broken: Vec<usize> =
        (0..past.len()).filter(|at| past[*at].outcome.as_ref().is_some_and(|o| !feasible(o))).collect();
    let violation = |at: usize| past[at].outcome.as_ref().map_or(0.0, Outcome::violation);
    broken.sort_by(|a, b| violation(*a).total_cmp(&violation(*b)));
    let mut pruned: Vec<usize> = (0..past.len()).filter(|at| past[*at].outcome.is_none()).collect();
    let reached = |at: usize| past[at].pruned.unwrap_or((0, f64::INFINITY));
    pruned.sort_by(|a, b| reached(*b).0.cmp(&reached(*a).0).then(reached(*a).1.total_cmp(&reached(*b).1)));
    let first = complete.len();
    broken.into_iter().chain(pruned).enumerate().for_each(|(place, at)| ranks[at] = (first + place) as f64);
    ranks
}

fn in_order<'v>(these: &[usize], values: &dyn Fn(usize) -> &'v [f64]) -> Vec<usize> {
    let mut order = these.to_vec();
    if these.first().is_none_or(|at| values(*at).len() < 2) {
        order.sort_by(|a, b| values(*a)[0].total_cmp(&values(*b)[0]));
        return order;
    }
    let dominated = |at: usize| these.iter().filter(|other| dominates(values(**other), values(at))).count();
    let sums = places(these, values);
    let keys: Vec<(usize, f64)> = these.iter().zip(sums).map(|(at, sum)| (dominated(*at), sum)).collect();
    let key = |at: &usize| these.iter().position(|one| one == at).map(|place| keys[place]).unwrap_or((0, 0.0));
    order.sort_by(|a, b| key(a).0.cmp(&key(b).0).then(key(a).1.total_cmp(&key(b).1)));
    order
}

/// The sum of both objectives' places.
fn places<'v>(these: &[usize], values: &dyn Fn(usize) -> &'v [f64]) -> Vec<f64> {
    let mut sums = vec![0.0; these.len()];
    for objective in 0..values(these[0]).len() {
        let mut order: Vec<usize> = (0..these.len()).collect();
        order.sort_by(|a, b| values(these[*a])[objective].total_cmp(&values(these[*b])[objective]));
        order.into_iter().enumerate().for_each(|(place, at)| sums[at] += place as f64);
    }
    sums
}

/// Those that no other dominates, of those that hold all constraints: places in `outcomes`.
pub fn front(outcomes: &[&Outcome]) -> Vec<usize> {
    let held = |at: &usize| outcomes[*at].violation() <= 0.0;
    let beaten = |at: usize| {
        (0..outcomes.len()).filter(held).any(|other| dominates(&outcomes[other].values, &outcomes[at].values))
    };
    (0..outcomes.len()).filter(held).filter(|at| !beaten(*at)).collect()
}
