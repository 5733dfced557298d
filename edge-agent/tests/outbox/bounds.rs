//! The bound by bytes and by age: what goes, in which order, and what says so.

use std::{sync::Arc, time::Duration};

use contract::Kind;
use edge_agent::outbox::{
    Bound, KINDS, Settings,
    disk::{Disk, Operation, Simulated},
};

use crate::bed::{Bed, SETTINGS, open, try_open};

const SMALL: Settings = Settings { bound: Bound { max_bytes: 20_000, ..SETTINGS.bound }, ..SETTINGS };

fn small(disk: &Simulated) -> Bed {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    try_open(shared, "gw-1", 1, SMALL).unwrap()
}

/// Every number is held or named, once.
fn accounted(bed: &Bed, kind: Kind) -> (usize, u64) {
    let held = bed.pending(kind).len();
    let gaps = bed.gaps();
    let named: u64 = gaps.iter().filter(|g| g.0 == kind).map(|g| g.2 - g.1).sum();
    assert_eq!(held as u64 + named, bed.next(kind), "{kind}: {gaps:?}");
    (held, named)
}

#[test]
fn over_the_bound_samples_go_first_and_events_last() {
    let disk = Simulated::default();
    let bed = small(&disk);
    bed.fill(Kind::Event, 12);
    bed.fill(Kind::Sample, 20);
    bed.fill(Kind::Health, 12);
    bed.fill(Kind::Prediction, 20);
    bed.sync();
    assert!(accounted(&bed, Kind::Sample).1 > 0);
    assert_eq!(accounted(&bed, Kind::Event).1, 0);
    assert_eq!(accounted(&bed, Kind::Prediction).1, 0);
    bed.fill(Kind::Prediction, 60);
    bed.sync();
    assert_eq!(accounted(&bed, Kind::Sample).0, 0, "no sample is left");
    assert_eq!(accounted(&bed, Kind::Health).0, 0, "nor health");
    assert!(accounted(&bed, Kind::Prediction).1 > 0);
    assert_eq!(accounted(&bed, Kind::Event).0, 12);
    assert!(disk.bytes() < 20_000 + (256 << 10) + 20_000, "{} bytes on disk", disk.bytes());
    let dropped = bed.outbox.counts().dropped;
    assert_eq!(dropped[&Kind::Prediction], accounted(&bed, Kind::Prediction).1);
}

#[test]
fn a_gap_is_durable_before_what_it_names_is_deleted() {
    let disk = Simulated::default();
    let bed = small(&disk);
    bed.fill(Kind::Sample, 100);
    bed.fill(Kind::Event, 30);
    let journal = disk.journal();
    let (mut gap_files, mut dirty) = (Vec::new(), false);
    let mut removals = 0;
    for operation in &journal {
        match operation {
            Operation::Create(name, number) if name.starts_with("gap-") => gap_files.push(*number),
            Operation::Append(number, ..) if gap_files.contains(number) => dirty = true,
            Operation::Sync(number) if gap_files.contains(number) => dirty = false,
            Operation::Remove(name) if name.starts_with("sample-") => {
                assert!(!dirty, "{name} went before its gap was synced");
                removals += 1;
            }
            _ => {}
        }
    }
    assert!(removals > 5);
}

#[test]
fn a_start_finishes_a_deletion_that_a_gap_announced() {
    let disk = Simulated::default();
    let bed = small(&disk);
    bed.fill(Kind::Sample, 100);
    let journal = disk.journal();
    let cut = journal.iter().position(|o| matches!(o, Operation::Remove(n) if n.starts_with("sample-"))).unwrap();
    let disk = Simulated::after_power_cut(&journal[..cut]);
    let samples = |disk: &Simulated| disk.list().unwrap().iter().filter(|f| f.name.starts_with("sample-")).count();
    let before = samples(&disk);
    let bed = small(&disk);
    assert_eq!(samples(&disk), before - 1);
    bed.sync();
    accounted(&bed, Kind::Sample);
}

#[test]
fn what_is_archived_makes_no_gap_when_it_is_dropped() {
    let disk = Simulated::default();
    let bed = small(&disk);
    bed.fill(Kind::Sample, 12);
    bed.sync();
    bed.archived("a", Kind::Sample, 12);
    bed.fill(Kind::Event, 60);
    bed.sync();
    assert!(bed.gaps().iter().all(|gap| gap.0 != Kind::Sample), "{:?}", bed.gaps());
}

#[test]
fn what_is_too_old_goes_whatever_it_is() {
    let disk = Simulated::default();
    let mut bed = open(&disk, 1);
    let day = Duration::from_secs(86_400);
    bed.fill(Kind::Event, 3);
    bed.sync();
    bed.wait(5 * day);
    bed.maintain();
    bed.fill(Kind::Event, 2);
    bed.wait(27 * day);
    bed.maintain();
    bed.sync();
    assert_eq!(bed.gaps(), [(Kind::Event, 0, 3, "age".to_owned())]);
    assert_eq!(bed.texts(Kind::Event), ["event 3", "event 4"]);
}

#[test]
fn gaps_are_never_dropped() {
    let disk = Simulated::default();
    let bed = small(&disk);
    bed.fill(Kind::Sample, 2000);
    bed.sync();
    assert!(bed.next(Kind::Gap) > 100);
    assert_eq!(bed.pending(Kind::Gap).len() as u64, bed.next(Kind::Gap));
    accounted(&bed, Kind::Sample);
    assert_eq!(KINDS[0], Kind::Gap, "and they are sent first");
}
