//! Stories and properties of the uplink machine: a hub that loses, delays and forgets, in virtual time.

use super::*;
use crate::outbox::{Bound, LOADED, Span};
use contract::Timestamp;
use proptest::prelude::*;
use std::collections::BTreeSet;

fn limits() -> Limits {
    Limits { window_bytes: 2000, message_max: 404, greeting: Duration::from_millis(10), ..Limits::default() }
}

fn ms(n: u64) -> Mono {
    Mono(n * 1000)
}

fn index() -> Index {
    let mut index = Index::new(Bound { max_bytes: 1 << 40, max_age: Duration::from_secs(1 << 30) });
    KINDS.iter().for_each(|kind| index.begin(*kind, 44, Timestamp(0)));
    index
}

/// Durable records of a length.
fn add(index: &mut Index, kind: Kind, count: usize, len: u64) {
    for _ in 0..count {
        index.append(kind, len, Timestamp(0));
    }
    index.mark_durable(kind, u64::MAX);
}

fn connected(limits: Limits) -> Uplink {
    let mut uplink = Uplink::new(limits);
    uplink.connected(ms(0));
    uplink.greeted();
    uplink
}

fn load(index: &mut Index, kind: Kind, first: u64) {
    let segment = index.segment(kind, first).unwrap().clone();
    let spans = (segment.first..segment.next).map(|_| Span { at: 44, len: 100 }).collect();
    index.load(kind, first, spans);
}

fn bundle(kind: Kind, seqs: impl IntoIterator<Item = u64>) -> Action {
    Action::Bundle { kind, seqs: seqs.into_iter().collect() }
}

#[test]
fn only_what_is_durable_is_sent_and_records_share_a_message() {
    let (mut uplink, mut index) = (connected(limits()), index());
    for _ in 0..7 {
        index.append(Kind::Prediction, 100, Timestamp(0));
    }
    assert_eq!(uplink.poll(ms(1), &index), Action::Wait(None));
    index.mark_durable(Kind::Prediction, 5);
    assert_eq!(uplink.poll(ms(1), &index), bundle(Kind::Prediction, 0..4));
    assert_eq!(uplink.poll(ms(1), &index), bundle(Kind::Prediction, [4]));
    assert!(matches!(uplink.poll(ms(1), &index), Action::Wait(Some(_))));
}

#[test]
fn after_a_connection_the_watermark_is_waited_for_and_not_for_ever() {
    let (mut uplink, mut index) = (Uplink::new(limits()), index());
    add(&mut index, Kind::Event, 3, 50);
    assert_eq!(uplink.poll(ms(0), &index), Action::Wait(None));
    uplink.connected(ms(0));
    assert_eq!(uplink.poll(ms(1), &index), Action::Wait(Some(ms(10))));
    index.commit(Kind::Event, &ArchivedKind { upto: 2, ranges: vec![] });
    uplink.greeted();
    assert_eq!(uplink.poll(ms(2), &index), bundle(Kind::Event, [2]), "what the watermark names is not sent");
    uplink.connected(ms(20));
    assert_eq!(uplink.poll(ms(30), &index), bundle(Kind::Event, [2]), "there may be no watermark");
}

#[test]
fn a_long_record_goes_in_fragments_and_the_window_closes() {
    let (mut uplink, mut index) = (connected(limits()), index());
    add(&mut index, Kind::Sample, 1, 3000);
    add(&mut index, Kind::Event, 1, 50);
    assert_eq!(uplink.poll(ms(0), &index), bundle(Kind::Event, [0]));
    assert_eq!(uplink.poll(ms(0), &index), Action::Fragments { kind: Kind::Sample, seq: 0 });
    add(&mut index, Kind::Event, 1, 50);
    assert!(matches!(uplink.poll(ms(0), &index), Action::Wait(Some(_))), "window is closed");
    let mark = ArchivedKind { upto: 1, ranges: vec![] };
    index.commit(Kind::Sample, &mark);
    uplink.archived(Kind::Sample, &mark, ms(5));
    assert_eq!(uplink.poll(ms(5), &index), bundle(Kind::Event, [1]));
}

#[test]
fn what_is_not_archived_is_sent_again_and_only_that() {
    let (mut uplink, mut index) = (connected(limits()), index());
    add(&mut index, Kind::Event, 3, 50);
    assert_eq!(uplink.poll(ms(0), &index), bundle(Kind::Event, 0..3));
    let mark = ArchivedKind { upto: 1, ranges: vec![[2, 3]] };
    index.commit(Kind::Event, &mark);
    uplink.archived(Kind::Event, &mark, ms(10));
    assert_eq!(uplink.poll(ms(20), &index), Action::Wait(Some(ms(30_010))));
    assert_eq!(uplink.poll(ms(30_010), &index), bundle(Kind::Event, [1]));
    uplink.connected(ms(30_020));
    uplink.greeted();
    assert_eq!(uplink.poll(ms(30_020), &index), bundle(Kind::Event, [1]));
    assert_eq!(uplink.resends(), 1);
}

#[test]
fn a_segment_is_loaded_before_its_records_are_sent() {
    let (mut uplink, mut index) = (connected(limits()), index());
    for _ in 0..=LOADED {
        add(&mut index, Kind::Event, 2, 100);
        index.begin(Kind::Event, 44, Timestamp(0));
    }
    assert_eq!(uplink.poll(ms(0), &index), Action::Load { kind: Kind::Event, first: 0 });
    assert_eq!(uplink.poll(ms(0), &index), Action::Load { kind: Kind::Event, first: 0 });
    load(&mut index, Kind::Event, 0);
    let Action::Bundle { seqs, .. } = uplink.poll(ms(0), &index) else { panic!("nothing is sent") };
    assert_eq!(seqs[0], 0);
}

/// A day's backlog on a line that is as fast as the hub commits: the newest records keep their share of it.
#[test]
fn the_newest_keep_their_share_beside_a_backlog() {
    for (share, least, most) in [(0.5, 0.4, 0.6), (0.2, 0.12, 0.3), (1.0, 0.85, 1.0)] {
        let limits = Limits { newest_share: share, window_bytes: 8000, ..limits() };
        let (mut uplink, mut index) = (connected(limits), index());
        for _ in 0..400 {
            add(&mut index, Kind::Prediction, 10, 100);
            index.begin(Kind::Prediction, 44, Timestamp(0));
        }
        let backlog_end = index.next(Kind::Prediction);
        let (mut newest, mut all, mut sent) = (0u64, 0u64, BTreeSet::new());
        for round in 0..200 {
            // More of today's records than the line carries; segments as they come.
            add(&mut index, Kind::Prediction, 4, 100);
            if round % 5 == 4 {
                index.begin(Kind::Prediction, 44, Timestamp(0));
            }
            match uplink.poll(ms(round), &index) {
                Action::Bundle { kind, seqs } => {
                    newest += seqs.iter().filter(|seq| **seq >= backlog_end).count() as u64;
                    all += seqs.len() as u64;
                    for run in seqs.chunk_by(|a, b| a + 1 == *b) {
                        let mark = ArchivedKind { upto: 0, ranges: vec![[run[0], run[run.len() - 1] + 1]] };
                        index.commit(kind, &mark);
                        uplink.archived(kind, &mark, ms(round));
                    }
                    for seq in seqs {
                        assert!(sent.insert(seq), "{seq} is sent twice");
                    }
                }
                Action::Load { kind, first } => load(&mut index, kind, first),
                other => panic!("{other:?} while there is a backlog"),
            }
        }
        let ratio = newest as f64 / all as f64;
        assert!((least..=most).contains(&ratio), "with a share of {share} the newest had {ratio}");
    }
}

#[test]
fn a_backlog_leaves_a_part_of_the_window_to_the_newest() {
    let limits = Limits { window_bytes: 4000, ..limits() };
    let (mut uplink, mut index) = (connected(limits), index());
    for _ in 0..100 {
        add(&mut index, Kind::Prediction, 4, 100);
        index.begin(Kind::Prediction, 44, Timestamp(0));
    }
    while let action = uplink.poll(ms(1), &index)
        && !matches!(action, Action::Wait(_))
    {
        if let Action::Load { kind, first } = action {
            load(&mut index, kind, first);
        }
    }
    let full = uplink.inflight_bytes();
    assert!((3500..4000).contains(&full), "{full}");
    let newest = index.next(Kind::Prediction);
    add(&mut index, Kind::Prediction, 1, 100);
    assert_eq!(uplink.poll(ms(2), &index), bundle(Kind::Prediction, [newest]));
}

proptest! {
    /// Over a line that loses messages and connections, with segments that come and go, every record is archived in the end,
    /// the window holds, and what is remembered grows with messages, not with records.
    #[test]
    fn everything_arrives(seed in proptest::collection::vec(any::<u8>(), 200..600), share in 0.0f64..1.0) {
        let limits = Limits { newest_share: share, ..limits() };
        let (mut uplink, mut index) = (Uplink::new(limits), index());
        let mut now = ms(0);
        let mut arrived: [BTreeSet<u64>; KINDS.len()] = Default::default();
        let mut appended = 0;
        uplink.connected(now);
        let dice = seed.iter().copied().chain(std::iter::repeat_n(250, 20_000));
        for die in dice {
            now = Mono(now.0 + 100_000);
            let kind = KINDS[usize::from(die) % 5];
            match die {
                0..60 => { add(&mut index, kind, 1, 100); appended += 1; }
                60..65 => { uplink.disconnected(); uplink.connected(now); }
                65..75 => index.begin(kind, 44, Timestamp(0)),
                75..80 => index.forget_marks(),
                _ => {}
            }
            let lost = (80..130).contains(&die);
            loop {
                let (kind, seqs) = match uplink.poll(now, &index) {
                    Action::Bundle { kind, seqs } => (kind, seqs),
                    Action::Fragments { kind, seq } => (kind, vec![seq]),
                    Action::Load { kind, first } => { load(&mut index, kind, first); continue; }
                    Action::Wait(_) => break,
                };
                prop_assert!(seqs.is_sorted());
                prop_assert!(uplink.inflight_bytes() <= limits.window_bytes + limits.message_max as u64);
                prop_assert!(uplink.remembered() < 200);
                if !lost {
                    arrived[slot(kind)].extend(seqs);
                }
            }
            if die % 7 == 0 || die == 250 {
                for kind in KINDS {
                    let arrived = &arrived[slot(kind)];
                    let upto = (0..).find(|s| !arrived.contains(s)).unwrap();
                    let later = arrived.range(upto..).take(3).map(|s| [*s, s + 1]).collect();
                    let mark = ArchivedKind { upto, ranges: later };
                    index.commit(kind, &mark);
                    uplink.archived(kind, &mark, now);
                    for first in index.retired(kind) {
                        index.remove(kind, first);
                    }
                }
            }
            if die == 250 && index.is_empty() { break; }
        }
        prop_assert!(index.is_empty(), "{} of {appended} arrived", arrived.iter().map(BTreeSet::len).sum::<usize>());
    }
}
