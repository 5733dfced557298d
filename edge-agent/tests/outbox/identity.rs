//! Who remembers what: every case in which gateway, hub and broker do not have the same past.

use std::{sync::Arc, sync::atomic::Ordering::Relaxed};

use contract::{Epoch, Kind};
use edge_agent::outbox::disk::{Disk, Simulated};

use crate::bed::{SETTINGS, open, try_open};

/// A hub that has archived the first `upto` of 40 predictions, whose segments are gone.
fn archived(disk: &Simulated, upto: u64) -> crate::bed::Bed {
    let bed = open(disk, 1);
    bed.fill(Kind::Prediction, 40);
    bed.sync();
    assert!(bed.archived("a", Kind::Prediction, upto));
    assert!(!bed.archived("a", Kind::Prediction, upto), "the same lake is no news");
    bed
}

#[test]
fn hub_wiped_while_the_gateway_keeps_its_log() {
    let disk = Simulated::default();
    let bed = archived(&disk, 30);
    let held = bed.outbox.index(|index| index.segments(Kind::Prediction).next().unwrap().first);
    assert!((20..=30).contains(&held), "whole segments went");
    assert!(bed.watermark("b", &[]), "the birth states what is held");
    bed.sync();
    assert_eq!(bed.gaps(), [(Kind::Prediction, 0, held, "not_held".to_owned())]);
    assert_eq!(bed.pending(Kind::Prediction).len() as u64, 40 - held, "all that is held is sent again");
    assert!(!bed.watermark("b", &[]));
    bed.watermark("b", &[(Epoch(1), &[(Kind::Prediction, held)])]);
    bed.sync();
    assert_eq!(bed.gaps().len(), 1, "once for that life of the lake");
    drop(bed);
    let bed = open(&disk, 2);
    bed.watermark("b", &[]);
    bed.sync();
    assert_eq!(bed.gaps().len(), 1, "also after a restart");
    bed.watermark("c", &[]);
    bed.sync();
    assert_eq!(bed.gaps().len(), 1, "the next one gets the same record");
}

#[test]
fn hub_restored_from_yesterdays_backup_while_the_broker_still_holds_todays_watermark() {
    let disk = Simulated::default();
    drop(archived(&disk, 30));
    let bed = open(&disk, 2);
    let all = |upto| [(Kind::Prediction, upto)];
    assert!(!bed.watermark("a", &[(Epoch(1), &all(30))]), "the broker's, retained");
    assert!(bed.watermark("b", &[(Epoch(1), &all(12))]), "the restored hub's");
    bed.sync();
    let held = bed.outbox.index(|index| index.segments(Kind::Prediction).next().unwrap().first);
    assert_eq!(bed.gaps(), [(Kind::Prediction, 12, held, "not_held".to_owned())]);
    assert_eq!(bed.first(Kind::Prediction), held);
}

#[test]
fn hub_tables_rolled_back_by_hand() {
    let disk = Simulated::default();
    let bed = archived(&disk, 30);
    let before = bed.pending(Kind::Prediction);
    assert!(bed.watermark("a", &[(Epoch(1), &[(Kind::Prediction, 12)])]), "the hub is told what it once said");
    bed.sync();
    let seen = bed.outbox.seen_watermark().unwrap();
    assert_eq!((seen.incarnation.as_str(), seen.upto[&Kind::Prediction]), ("a", 30));
    assert_eq!(bed.archive.counts.lowered.load(Relaxed), 1);
    assert_eq!(bed.pending(Kind::Prediction), before, "nothing is deleted and nothing forgotten");
    assert!(bed.gaps().is_empty(), "a gap would be wrong: the objects are there");
    assert!(bed.watermark("a", &[(Epoch(9), &[])]), "an epoch that is forgotten altogether is the same");
    assert!(bed.gaps().is_empty());
    drop(bed);
    let bed = open(&disk, 2);
    assert_eq!(bed.outbox.seen_watermark().map(|seen| seen.incarnation).as_deref(), Some("a"), "a restart remembers");
}

/// A snapshot at 5 of each kind; 9 of each were written and archived; then the snapshot comes back.
fn rolled_back() -> Simulated {
    let disk = Simulated::default();
    let bed = open(&disk, 1);
    bed.fill(Kind::Event, 5);
    bed.fill(Kind::Prediction, 5);
    bed.sync();
    bed.archived("a", Kind::Event, 3);
    let snapshot = disk.snapshot();
    bed.fill(Kind::Event, 4);
    bed.fill(Kind::Prediction, 4);
    snapshot
}

const HUB: [(Kind, u64); 2] = [(Kind::Event, 4), (Kind::Prediction, 9)];

#[test]
fn gateway_rolled_back_to_a_snapshot() {
    let disk = rolled_back();
    let bed = open(&disk, 2);
    assert_eq!(bed.append(Kind::Event, "new event"), 5);
    assert_eq!(bed.append(Kind::Prediction, "new prediction"), 5);
    assert!(bed.watermark("a", &[(Epoch(1), &HUB)]), "the new epoch is stated");
    assert_eq!(bed.archive.counts.beyond_tail.load(Relaxed), 1);
    assert_ne!(bed.outbox.epoch(), Epoch(1));
    assert_eq!(bed.append(Kind::Prediction, "after"), 0, "numbers begin again at once");
    while disk.list().unwrap().iter().any(|file| file.name.starts_with("carry-")) {
        bed.maintain();
    }
    bed.maintain();
    bed.sync();
    // Event 4 the hub never had; what this run wrote has numbers that mean other records there.
    assert_eq!(bed.texts(Kind::Event), ["event 4", "new event"]);
    assert_eq!(bed.texts(Kind::Prediction), ["after", "new prediction"]);
    let event = &bed.pending(Kind::Event)[&0];
    assert_eq!(event["id"], format!("{}-0", bed.outbox.epoch()));
    let epoch = bed.outbox.epoch();
    drop(bed);
    let bed = open(&disk, 3);
    assert_eq!((bed.outbox.epoch(), bed.texts(Kind::Event).len()), (epoch, 2));
}

/// Killed at every moment of the carrying over: each record is carried once.
#[test]
fn a_kill_while_a_new_epoch_begins_loses_and_doubles_nothing() {
    let disk = rolled_back();
    let bed = open(&disk, 2);
    let before = disk.snapshot();
    drop(bed);
    // The watermark comes in the run that begins on the snapshot.
    let whole = before.snapshot();
    let run = |disk: &Simulated| {
        let bed = open(disk, 3);
        bed.watermark("a", &[(Epoch(1), &HUB)]);
        for _ in 0..10 {
            bed.maintain();
        }
        bed.sync();
        (bed.texts(Kind::Event), bed.texts(Kind::Prediction))
    };
    run(&whole);
    let journal = whole.journal();
    let start = before.journal_of_everything();
    for cut in 0..=journal.len() {
        let disk = Simulated::after_power_cut(start.iter().chain(journal[..cut].iter()));
        assert_eq!(run(&disk), (vec!["event 4".to_owned()], vec![]), "killed after {cut} of {}", journal.len());
    }
}

#[test]
fn a_restored_log_is_noticed_at_the_start_where_the_superblock_knows_more() {
    let disk = Simulated::default();
    let bed = archived(&disk, 40);
    bed.outbox.log(|log| log.save_superblock(bed.now));
    let last = disk.list().unwrap().into_iter().rfind(|f| f.name.starts_with("prediction-")).unwrap();
    disk.corrupt(&last.name, |bytes| bytes.truncate(60));
    let bed = open(&disk, 2);
    assert_eq!((bed.outbox.epoch(), bed.next(Kind::Prediction)), (Epoch(2), 0));
}

#[test]
fn gateway_disk_replaced() {
    let bed = open(&Simulated::default(), 7);
    bed.fill(Kind::Event, 3);
    bed.sync();
    let old: (Epoch, &[(Kind, u64)]) = (Epoch(1), &[(Kind::Event, 500)]);
    assert!(bed.watermark("a", &[old]), "the first word of a lake");
    assert_eq!((bed.outbox.epoch(), bed.first(Kind::Event), bed.gaps().len()), (Epoch(7), 0, 0));
    bed.watermark("a", &[(Epoch(7), &[(Kind::Event, 2)]), old]);
    assert_eq!(bed.first(Kind::Event), 2);
    assert_eq!(bed.archive.counts.strangers.load(Relaxed), 0, "an old log is no second gateway");
}

#[test]
fn two_gateways_with_one_id() {
    let bed = open(&Simulated::default(), 7);
    bed.fill(Kind::Event, 3);
    bed.sync();
    for (other, strangers) in [(500, 0), (501, 1), (501, 1), (502, 2)] {
        bed.watermark("a", &[(Epoch(7), &[(Kind::Event, 1)]), (Epoch(1), &[(Kind::Event, other)])]);
        assert_eq!(bed.archive.counts.strangers.load(Relaxed), strangers);
    }
    assert_eq!(bed.first(Kind::Event), 1, "and the other's watermark deletes nothing here");
}

#[test]
fn the_log_of_another_gateway_is_set_aside() {
    let disk = Simulated::default();
    open(&disk, 1).fill(Kind::Event, 3);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let bed = try_open(shared, "gw-2", 2, SETTINGS).unwrap();
    assert_eq!((bed.outbox.epoch(), bed.next(Kind::Event)), (Epoch(2), 0));
    let names: Vec<_> = disk.list().unwrap().into_iter().map(|f| f.name).collect();
    assert!(names.iter().any(|n| n.starts_with("aside-") && n.contains("event-")), "{names:?}");
}

#[test]
fn a_watermark_that_cannot_be_read_changes_nothing() {
    let bed = open(&Simulated::default(), 7);
    bed.fill(Kind::Event, 3);
    assert!(!bed.archive.watermark(b"{") && !bed.archive.watermark(b""));
    assert_eq!(bed.first(Kind::Event), 0);
}
