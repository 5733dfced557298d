//! Properties of the index against plain sets, and its rules one by one.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

const DAY: Duration = Duration::from_secs(86_400);
const NOON: Timestamp = Timestamp(1_795_458_240_000_000);

fn index(max_bytes: u64) -> Index {
    Index::new(Bound { max_bytes, max_age: 30 * DAY })
}

fn later(at: Timestamp, by: Duration) -> Timestamp {
    Timestamp(at.0 + by.as_micros() as i64)
}

#[derive(Clone, Debug)]
enum Step {
    Begin(usize),
    Append(usize, u64),
    Lose(usize),
    Durable(usize, u64),
    Commit(usize, u64, u64, u64),
    Forget,
    Load(usize, u64),
}

fn step() -> impl Strategy<Value = Step> {
    let kind = 0..KINDS.len();
    prop_oneof![
        2 => kind.clone().prop_map(Step::Begin),
        6 => (kind.clone(), 41u64..300).prop_map(|(k, len)| Step::Append(k, len)),
        1 => kind.clone().prop_map(Step::Lose),
        3 => (kind.clone(), 0u64..60).prop_map(|(k, n)| Step::Durable(k, n)),
        3 => (kind.clone(), 0u64..60, 0u64..60, 0u64..10).prop_map(|(k, u, f, n)| Step::Commit(k, u, f, n)),
        1 => Just(Step::Forget),
        1 => (kind, 0u64..60).prop_map(|(k, n)| Step::Load(k, n)),
    ]
}

#[derive(Default)]
struct Model {
    next: u64,
    durable: u64,
    held: BTreeSet<u64>,
    committed: BTreeSet<u64>,
}

proptest! {
    /// What is wanted is what is held, durable and not committed; the bound holds; memory does not grow with segments.
    #[test]
    fn the_index_says_what_sets_of_numbers_say(steps in proptest::collection::vec(step(), 0..300)) {
        let mut index = index(3000);
        let mut models: [Model; KINDS.len()] = Default::default();
        KINDS.iter().for_each(|kind| index.begin(*kind, 44, NOON));
        for step in steps {
            match step {
                Step::Begin(k) => index.begin(KINDS[k], 44, NOON),
                Step::Append(k, len) => {
                    index.append(KINDS[k], len, NOON);
                    models[k].held.insert(models[k].next);
                    models[k].next += 1;
                }
                Step::Lose(k) => {
                    index.lose(KINDS[k]);
                    models[k].next += 1;
                }
                Step::Durable(k, upto) => {
                    index.mark_durable(KINDS[k], upto);
                    models[k].durable = models[k].durable.max(upto.min(models[k].next));
                }
                Step::Commit(k, upto, from, n) => {
                    index.commit(KINDS[k], &ArchivedKind { upto, ranges: vec![[from, from + n]] });
                    let next = models[k].next;
                    models[k].committed.extend((0..upto.min(next)).chain(from..(from + n).min(next)));
                    for first in index.retired(KINDS[k]) {
                        let gone = index.remove(KINDS[k], first).unwrap();
                        prop_assert!((gone.first..gone.next).all(|n| models[k].committed.contains(&n)));
                        models[k].held.retain(|n| !(gone.first..gone.next).contains(n));
                    }
                }
                Step::Forget => {
                    index.forget_marks();
                    models.iter_mut().for_each(|model| model.committed.clear());
                }
                Step::Load(k, seq) => {
                    if let Some(segment) = index.segment_of(KINDS[k], seq).filter(|s| s.spans.is_none()).cloned() {
                        let held = |n| if models[k].held.contains(&n) { Span { at: 44, len: 50 } } else { Span::default() };
                        index.load(KINDS[k], segment.first, (segment.first..segment.next).map(held).collect());
                    }
                }
            }
            while let Some((kind, first)) = index.over() {
                prop_assert!(kind != Kind::Gap);
                if index.segment(kind, first).is_some_and(|s| !s.sealed) {
                    index.begin(kind, 44, NOON);
                }
                let gone = index.remove(kind, first).unwrap();
                models[slot(kind)].held.retain(|n| !(gone.first..gone.next).contains(n));
            }
            for (k, kind) in KINDS.into_iter().enumerate() {
                let model = &models[k];
                prop_assert_eq!(index.next(kind), model.next);
                let mut wanted = Vec::new();
                let mut at = 0;
                while let Some(seq) = index.wanted(kind, at) {
                    match index.look(kind, seq) {
                        Look::Here(_) => wanted.push(seq),
                        Look::Absent => {}
                        Look::Unloaded(first) => {
                            let segment = index.segment(kind, first).unwrap();
                            prop_assert!((segment.first..segment.next).contains(&seq));
                            if model.held.contains(&seq) {
                                wanted.push(seq);
                            }
                        }
                    }
                    at = seq + 1;
                }
                let expected: Vec<u64> =
                    model.held.iter().filter(|n| **n < model.durable && !model.committed.contains(n)).copied().collect();
                prop_assert_eq!(wanted, expected, "{}", kind);
                let known = index.segments(kind).filter(|s| s.sealed && s.spans.is_some()).count();
                prop_assert!(known <= LOADED, "{} sealed segments of {} are loaded", known, kind);
            }
        }
    }
}

#[test]
fn samples_go_first_then_health_predictions_events_and_gaps_never() {
    let mut index = index(1);
    for kind in KINDS {
        index.begin(kind, 44, NOON);
        index.append(kind, 100, NOON);
        index.begin(kind, 44, NOON);
    }
    let mut gone = Vec::new();
    while let Some((kind, first)) = index.over() {
        gone.push(kind);
        index.remove(kind, first);
    }
    assert_eq!(gone, [Kind::Sample, Kind::Health, Kind::Prediction, Kind::Event]);
    assert_eq!(index.holding(Kind::Gap), Holding { first: 0, next: 1 });
}

#[test]
fn a_segment_in_which_nothing_is_makes_way_for_the_next() {
    let mut index = index(1);
    for _ in 0..=LOADED + 1 {
        index.begin(Kind::Event, 44, NOON);
    }
    assert_eq!(index.segments(Kind::Event).count(), 1);
    index.lose(Kind::Event);
    index.begin(Kind::Event, 44, NOON);
    index.append(Kind::Event, 100, NOON);
    let segments: Vec<_> = index.segments(Kind::Event).map(|s| (s.first, s.next)).collect();
    assert_eq!(segments, [(1, 2)]);
}

#[test]
fn a_newcomer_displaces_only_what_is_worth_no_more() {
    let mut index = index(1 << 20);
    for kind in [Kind::Event, Kind::Prediction] {
        index.begin(kind, 44, NOON);
        index.append(kind, 100, NOON);
    }
    assert_eq!(index.victim(Some(Kind::Sample)), None);
    assert_eq!(index.victim(Some(Kind::Prediction)), Some((Kind::Prediction, 0)));
    assert_eq!(index.victim(Some(Kind::Gap)), None);
}

#[test]
fn what_is_too_old_goes_and_a_clock_that_was_not_set_says_nothing() {
    let mut index = index(1 << 20);
    index.begin(Kind::Event, 44, NOON);
    index.append(Kind::Event, 100, NOON);
    assert_eq!(index.aged(later(NOON, 29 * DAY)), None);
    assert_eq!(index.aged(later(NOON, 31 * DAY)), Some((Kind::Event, 0)));
    assert_eq!(index.stale(later(NOON, 3 * DAY)), []);
    assert_eq!(index.stale(later(NOON, 4 * DAY)), [Kind::Event], "sealed in time to go by itself");
    index.begin(Kind::Health, 44, Timestamp(5));
    index.append(Kind::Health, 100, Timestamp(5));
    assert_eq!(index.victim(None).map(|v| v.0), Some(Kind::Health));
    assert_eq!(index.aged(later(NOON, DAY)), None, "1970 is no age");
    assert_eq!(index.aged(Timestamp(0)), None, "nor is the future");
}

#[test]
fn what_is_held_begins_where_the_hub_has_nothing() {
    let mut index = index(1 << 20);
    index.begin(Kind::Event, 44, NOON);
    (0..10).for_each(|_| index.append(Kind::Event, 100, NOON));
    assert!(!index.is_empty());
    index.commit(Kind::Event, &ArchivedKind { upto: 4, ranges: vec![[6, 8]] });
    assert_eq!(index.holding(Kind::Event), Holding { first: 4, next: 10 });
    assert!((400..500).contains(&index.backlog_bytes()), "four of ten records: {}", index.backlog_bytes());
    index.commit(Kind::Event, &ArchivedKind { upto: 10, ranges: vec![] });
    assert!(index.is_empty() && index.backlog_bytes() == 0 && index.retired(Kind::Event).is_empty());
}
