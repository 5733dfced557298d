//! Stories and properties of the uplink machine: a hub that loses, delays and forgets, in virtual time.

use super::*;
use crate::outbox::Entry;
use contract::Timestamp;
use proptest::prelude::*;
use std::collections::BTreeSet;

fn entry(len: u32, at: Mono) -> Entry {
    Entry { len, appended: at, captured_at: Timestamp(0), tag: 0, archived: false }
}

fn limits() -> Limits {
    Limits { window_bytes: 1000, message_max: 404, ..Limits::default() }
}

fn ms(n: u64) -> Mono {
    Mono(n * 1000)
}

#[test]
fn records_share_a_message_and_events_do_not_wait() {
    let (mut uplink, mut index) = (Uplink::new(limits()), Index::new(100_000));
    index.append(Kind::Prediction, entry(60, ms(0)));
    assert_eq!(uplink.poll(ms(0), &index), Action::Wait(None));
    uplink.connected(ms(1));
    assert_eq!(uplink.poll(ms(1), &index), Action::Wait(Some(ms(250))));
    index.append(Kind::Event, entry(60, ms(2)));
    assert_eq!(uplink.poll(ms(2), &index), Action::Bundle { kind: Kind::Event, seqs: vec![0] });
    (0..4).for_each(|_| index.append(Kind::Prediction, entry(60, ms(3))));
    assert_eq!(uplink.poll(ms(3), &index), Action::Bundle { kind: Kind::Prediction, seqs: vec![0, 1, 2, 3] });
    assert!(matches!(uplink.poll(ms(3), &index), Action::Wait(Some(_))));
}

#[test]
fn a_long_record_goes_in_fragments_and_the_window_closes() {
    let (mut uplink, mut index) = (Uplink::new(limits()), Index::new(100_000));
    uplink.connected(ms(0));
    index.append(Kind::Sample, entry(2000, ms(0)));
    index.append(Kind::Event, entry(10, ms(0)));
    assert_eq!(uplink.poll(ms(0), &index), Action::Bundle { kind: Kind::Event, seqs: vec![0] });
    assert_eq!(uplink.poll(ms(0), &index), Action::Fragments { kind: Kind::Sample, seq: 0 });
    index.append(Kind::Event, entry(10, ms(0)));
    assert!(matches!(uplink.poll(ms(0), &index), Action::Wait(Some(_))), "window is closed");
    let mark = ArchivedKind { upto: 1, ranges: vec![] };
    index.archived(Kind::Sample, &mark);
    uplink.archived(Kind::Sample, &mark, ms(5));
    assert_eq!(uplink.poll(ms(5), &index), Action::Bundle { kind: Kind::Event, seqs: vec![1] });
}

#[test]
fn what_is_not_archived_is_sent_again_and_only_that() {
    let (mut uplink, mut index) = (Uplink::new(limits()), Index::new(100_000));
    uplink.connected(ms(0));
    (0..3).for_each(|_| index.append(Kind::Event, entry(10, ms(0))));
    assert_eq!(uplink.poll(ms(0), &index), Action::Bundle { kind: Kind::Event, seqs: vec![0, 1, 2] });
    let mark = ArchivedKind { upto: 1, ranges: vec![[2, 3]] };
    index.archived(Kind::Event, &mark);
    uplink.archived(Kind::Event, &mark, ms(10));
    assert_eq!(uplink.poll(ms(20), &index), Action::Wait(Some(ms(30_010))));
    assert_eq!(uplink.poll(ms(30_010), &index), Action::Bundle { kind: Kind::Event, seqs: vec![1] });
    uplink.disconnected();
    uplink.connected(ms(30_020));
    assert_eq!(uplink.poll(ms(30_020), &index), Action::Bundle { kind: Kind::Event, seqs: vec![1] });
    assert_eq!(uplink.resends(), 1);
}

proptest! {
    /// Over a line that loses messages and connections, every record is archived in the end, and the window holds.
    #[test]
    fn everything_arrives(seed in proptest::collection::vec(any::<u8>(), 200..600)) {
        let (mut uplink, mut index) = (Uplink::new(limits()), Index::new(1 << 30));
        let mut now = ms(0);
        let mut arrived: [BTreeSet<u64>; KINDS.len()] = Default::default();
        let mut appended = 0;
        uplink.connected(now);
        let dice = seed.iter().copied().chain(std::iter::repeat_n(250, 20_000));
        for die in dice {
            now = Mono(now.0 + 100_000);
            match die {
                0..60 => { index.append(KINDS[usize::from(die) % 5], entry(u32::from(die) * 10 + 1, now)); appended += 1; }
                60..65 => { uplink.disconnected(); uplink.connected(now); }
                _ => {}
            }
            let lost = (65..120).contains(&die);
            while let (kind, seqs) = match uplink.poll(now, &index) {
                Action::Bundle { kind, seqs } => (kind, seqs),
                Action::Fragments { kind, seq } => (kind, vec![seq]),
                Action::Wait(_) => (Kind::Clip, vec![]),
            } && !seqs.is_empty() {
                prop_assert!(uplink.inflight_bytes() <= 1000 + 1000);
                if !lost {
                    let slot = KINDS.iter().position(|k| *k == kind).unwrap();
                    arrived[slot].extend(seqs);
                }
            }
            if die % 7 == 0 || die == 250 {
                for (slot, kind) in KINDS.iter().enumerate() {
                    let upto = (0..).find(|s| !arrived[slot].contains(s)).unwrap();
                    let later = arrived[slot].range(upto..).take(3).map(|s| [*s, s + 1]).collect();
                    let mark = ArchivedKind { upto, ranges: later };
                    index.archived(*kind, &mark);
                    uplink.archived(*kind, &mark, now);
                }
            }
            if die == 250 && index.is_empty() { break; }
        }
        prop_assert!(index.is_empty(), "{} of {appended} arrived", arrived.iter().map(BTreeSet::len).sum::<usize>());
    }
}
