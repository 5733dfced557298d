//! Seeded schedules, and the proof that they can see.

#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::atomic::{AtomicU64, Ordering};

use simulation::{Mutation, Plan, run};

/// Schedules in the ordinary run; `make soak` runs many more.
const SCHEDULES: u64 = 2000;
/// Schedules that a mutation must not survive.
const MUTATED: u64 = 300;

/// The first of these plans that fails, if one does.
fn first_failure(seeds: std::ops::Range<u64>, mutation: Option<Mutation>) -> Option<(u64, Vec<String>)> {
    let (next, failed) = (AtomicU64::new(seeds.start), std::sync::Mutex::new(None));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while failed.lock().unwrap().is_none() {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if !seeds.contains(&seed) {
                        return;
                    }
                    let plan = Plan::draw(seed);
                    let plan = match mutation {
                        Some(mutation) => plan.mutated(mutation),
                        None => plan,
                    };
                    let outcome = run(&plan).unwrap();
                    if !outcome.is_clean() {
                        failed.lock().unwrap().get_or_insert((seed, outcome.violations));
                    }
                }
            });
        }
    });
    failed.into_inner().unwrap()
}

#[test]
fn nothing_is_lost_and_nothing_is_counted_twice() {
    daemon::install_crypto();
    if let Some((seed, violations)) = first_failure(1..SCHEDULES + 1, None) {
        panic!("seed {seed} fails; again: target/release/simulate --seed {seed}\n{violations:#?}");
    }
}

#[test]
fn a_seed_does_the_same_twice() {
    daemon::install_crypto();
    for seed in 1..20 {
        let plan = Plan::draw(seed);
        assert_eq!(run(&plan).unwrap(), run(&plan).unwrap(), "seed {seed}");
    }
}

#[test]
fn every_mutation_is_seen() {
    daemon::install_crypto();
    for mutation in Mutation::ALL {
        assert!(first_failure(1..MUTATED + 1, Some(mutation)).is_some(), "{mutation:?} survives {MUTATED} schedules");
    }
}
