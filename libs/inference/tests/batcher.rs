//! The batcher's promises: newest wins and is counted, nothing is lost or doubled, nobody starves.
#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use inference::batcher::{Batcher, Counts, Due, Slot, Source};
use proptest::prelude::*;

fn source(model: usize, camera: usize, region: usize) -> Source {
    Source { model, camera: format!("cam-{camera}").parse().unwrap(), region: format!("r{region}").parse().unwrap() }
}

fn offer_all(batcher: &mut Batcher<u32>, slots: &[Slot], except: Option<Slot>, now: Instant) {
    for &slot in slots.iter().filter(|slot| Some(**slot) != except) {
        batcher.offer(slot, 0, now);
    }
}

fn slots(due: &[Due<u32>]) -> Vec<Slot> {
    due.iter().map(|due| due.slot).collect()
}

#[test]
fn the_newest_wins_and_the_old_one_comes_back() {
    let (mut batcher, start) = (Batcher::new(), Instant::now());
    let model = batcher.add_model(4);
    let slot = batcher.add(source(model, 0, 0));
    assert_eq!(batcher.offer(slot, 1, start), None);
    assert_eq!(batcher.offer(slot, 2, start + Duration::from_millis(5)), Some(1));
    let mut due = Vec::new();
    assert_eq!(batcher.take(start + Duration::from_millis(7), &mut due), Some(model));
    assert_eq!(due, [Due { slot, item: 2, waited: Duration::from_millis(2) }]);
    assert_eq!(batcher.take(start, &mut due), None);
    assert!(due.is_empty());
    assert_eq!(batcher.counts(slot), Counts { offered: 2, taken: 1, replaced: 1 });
}

#[test]
fn a_camera_with_many_regions_gets_no_more_turns() {
    let (mut batcher, now) = (Batcher::new(), Instant::now());
    let model = batcher.add_model(2);
    let many: Vec<Slot> = (0..4).map(|region| batcher.add(source(model, 0, region))).collect();
    let one = batcher.add(source(model, 1, 0));
    let mut due = Vec::new();
    let mut of_many = Vec::new();
    for _ in 0..4 {
        for &slot in many.iter().chain([&one]) {
            batcher.offer(slot, 0, now);
        }
        batcher.take(now, &mut due);
        let taken = slots(&due);
        assert!(taken.contains(&one), "the camera with one region is in every batch");
        of_many.extend(taken.into_iter().filter(|slot| *slot != one));
    }
    of_many.sort();
    assert_eq!(of_many, many, "and the regions of the other share its turns");
}

#[test]
fn models_take_turns() {
    let (mut batcher, now) = (Batcher::new(), Instant::now());
    let (a, b) = (batcher.add_model(8), batcher.add_model(1));
    let slots = [batcher.add(source(a, 0, 0)), batcher.add(source(b, 1, 0))];
    let mut due = Vec::new();
    let mut order = Vec::new();
    for _ in 0..4 {
        offer_all(&mut batcher, &slots, None, now);
        order.push(batcher.take(now, &mut due).unwrap());
    }
    assert_eq!(order, [a, b, a, b]);
}

#[test]
fn a_removed_source_takes_nothing_and_its_place_is_used_again() {
    let (mut batcher, now) = (Batcher::new(), Instant::now());
    let model = batcher.add_model(1);
    let slot = batcher.add(source(model, 0, 0));
    batcher.offer(slot, 7, now);
    assert_eq!(batcher.remove(slot), Some(7));
    assert_eq!(batcher.remove(slot), None);
    assert_eq!(batcher.offer(slot, 8, now), Some(8));
    assert_eq!(batcher.pending(), 0);
    let again = batcher.add(source(model, 1, 0));
    assert_eq!(again, slot);
    assert_eq!(batcher.counts(again), Counts::default());
}

#[derive(Clone, Debug)]
enum Step {
    Offer(usize),
    Take,
}

fn steps(sources: usize) -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(prop_oneof![3 => (0..sources).prop_map(Step::Offer), 1 => Just(Step::Take)], 1..200)
}

proptest! {
    /// Every request is taken, given back, or still waits: exactly one of the three, and the newest is what waits.
    #[test]
    fn nothing_is_lost_or_doubled(
        layout in prop::collection::vec((0usize..3, 0usize..4, 0usize..3), 1..10),
        sizes in prop::collection::vec(1usize..5, 3),
        steps in steps(10),
    ) {
        let (mut batcher, now) = (Batcher::new(), Instant::now());
        for size in &sizes {
            batcher.add_model(*size);
        }
        let places: Vec<Slot> = layout.iter().map(|&(m, c, r)| batcher.add(source(m, c, r))).collect();
        let mut waiting: HashMap<Slot, u32> = HashMap::new();
        let mut due = Vec::new();
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Offer(which) => {
                    let slot = places[which % places.len()];
                    prop_assert_eq!(batcher.offer(slot, number as u32, now), waiting.insert(slot, number as u32));
                }
                Step::Take => {
                    let model = batcher.take(now, &mut due);
                    prop_assert_eq!(model.is_none(), waiting.is_empty());
                    if let Some(model) = model {
                        prop_assert!((1..=sizes[model]).contains(&due.len()));
                        let of_model = waiting.keys().filter(|s| batcher.source(**s).unwrap().model == model).count();
                        prop_assert_eq!(due.len(), of_model.min(sizes[model]), "batches are as full as can be");
                    }
                    for due in &due {
                        prop_assert_eq!(waiting.remove(&due.slot), Some(due.item));
                        prop_assert_eq!(batcher.source(due.slot).map(|s| s.model), model);
                    }
                }
            }
            prop_assert_eq!(batcher.pending(), waiting.len());
        }
        let total = places.iter().map(|slot| batcher.counts(*slot)).fold((0, 0, 0), |sum, c| {
            (sum.0 + c.offered, sum.1 + c.taken, sum.2 + c.replaced)
        });
        prop_assert_eq!(total.0, total.1 + total.2 + waiting.len() as u64);
    }

    /// A waiting camera is served within the documented bound while all others offer at every moment.
    #[test]
    fn nobody_starves(
        models in prop::collection::vec(0usize..3, 1..12),
        sizes in prop::collection::vec(1usize..5, 3),
        before in 0usize..20,
        victim in 0usize..12,
    ) {
        let (mut batcher, now) = (Batcher::new(), Instant::now());
        for size in &sizes {
            batcher.add_model(*size);
        }
        let places: Vec<Slot> = models.iter().enumerate().map(|(c, &m)| batcher.add(source(m, c, 0))).collect();
        let victim = places[victim % places.len()];
        let model = batcher.source(victim).unwrap().model;
        let mut due = Vec::new();
        for _ in 0..before {
            offer_all(&mut batcher, &places, None, now);
            batcher.take(now, &mut due);
        }
        batcher.offer(victim, 1, now);
        let sharing = models.iter().filter(|m| **m == model).count();
        let bound = sizes.len() * sharing.div_ceil(sizes[model]);
        let mut calls = 0;
        loop {
            offer_all(&mut batcher, &places, Some(victim), now);
            batcher.take(now, &mut due);
            calls += 1;
            prop_assert!(calls <= bound, "not served within {bound} calls");
            if slots(&due).contains(&victim) {
                break;
            }
        }
    }
}
