//! What a restart finds: after a kill, after a power cut, after everything was archived, after a downgrade.

use contract::{Epoch, Kind, live::Holding};
use edge_agent::outbox::{
    KINDS, LOADED, OpenError,
    disk::{Disk, Simulated},
};

use crate::bed::{SETTINGS, open, try_open};

#[test]
fn a_killed_agent_goes_on_where_it_was() {
    let disk = Simulated::default();
    let bed = open(&disk, 1);
    for kind in [Kind::Event, Kind::Prediction] {
        bed.fill(kind, 30);
    }
    assert_eq!((bed.outbox.epoch(), bed.outbox.frames_from()), (Epoch(1), 0));
    drop(bed); // nothing was synced
    let bed = open(&disk, 2);
    assert_eq!(bed.outbox.epoch(), Epoch(1), "the log outlives the process");
    assert!(bed.outbox.frames_from() > 1_000_000_000, "frames of the second run are others");
    assert_eq!(bed.append(Kind::Event, "next"), 30);
    bed.sync();
    let texts = bed.texts(Kind::Prediction);
    assert_eq!(texts, (0..30).map(|n| format!("prediction {n}")).collect::<Vec<_>>());
    assert_eq!(bed.texts(Kind::Event).len(), 31);
    assert!(bed.gaps().is_empty() && bed.outbox.counts().torn_bytes == 0);
}

#[test]
fn numbers_go_on_after_everything_was_archived_and_deleted() {
    let disk = Simulated::default();
    let bed = open(&disk, 1);
    bed.fill(Kind::Prediction, 100);
    bed.sync();
    let before = disk.bytes();
    bed.archived("a", Kind::Prediction, 100);
    assert!(bed.outbox.index(|index| index.is_empty()));
    assert!(disk.bytes() < before - 20_000, "sealed segments are gone: {} of {before}", disk.bytes());
    let killed = disk.snapshot();
    let bed_after_kill = open(&killed, 2);
    assert_eq!(bed_after_kill.next(Kind::Prediction), 100);
    bed_after_kill.archived("a", Kind::Prediction, 100); // which a killed agent may have to hear again
    assert_eq!(bed_after_kill.outbox.holds()[&Kind::Prediction], Holding { first: 100, next: 100 });
    bed.outbox.log(|log| log.save_superblock(bed.now));
    drop(bed);
    let bed = open(&disk, 2);
    assert_eq!(bed.outbox.holds()[&Kind::Prediction], Holding { first: 100, next: 100 }, "one that was stopped knows");
}

#[test]
fn what_is_committed_in_the_middle_goes_too_and_is_no_damage_later() {
    let disk = Simulated::default();
    let bed = open(&disk, 1);
    bed.fill(Kind::Prediction, 60);
    bed.sync();
    let mark = contract::archived::ArchivedKind { upto: 2, ranges: vec![[20, 50]] };
    let files = || disk.list().unwrap().len();
    let before = files();
    bed.outbox.archived(Kind::Prediction, &mark);
    assert!(files() < before, "whole segments of the middle are deleted");
    let bed = open(&disk, 2);
    bed.outbox.archived(Kind::Prediction, &mark);
    let held: Vec<u64> = bed.pending(Kind::Prediction).into_keys().collect();
    assert_eq!(held, (2..20).chain(50..60).collect::<Vec<_>>());
    assert!(bed.gaps().is_empty());
}

#[test]
fn a_torn_tail_is_cut_and_told_and_its_number_is_given_again() {
    let disk = Simulated::default();
    let bed = open(&disk, 1);
    bed.fill(Kind::Event, 3);
    drop(bed);
    disk.corrupt("event-00000000000000000000.seg", |bytes| bytes.truncate(bytes.len() - 7));
    let bed = open(&disk, 2);
    assert!(bed.outbox.counts().torn_bytes > 100);
    assert_eq!(bed.append(Kind::Event, "again"), 2);
    bed.sync();
    assert_eq!(bed.texts(Kind::Event), ["event 0", "event 1", "again"]);
    assert!(bed.gaps().is_empty(), "it was never durable, and nobody has seen it");
}

#[test]
fn a_folder_of_a_newer_version_is_refused_and_not_touched() {
    let disk = Simulated::default();
    open(&disk, 1).fill(Kind::Event, 3);
    let newer_segment = disk.snapshot();
    newer_segment.corrupt("event-00000000000000000000.seg", |bytes| {
        bytes[4] = 2;
        let checksum = crc32c::crc32c(&bytes[..40]);
        bytes[40..44].copy_from_slice(&checksum.to_le_bytes());
    });
    let newer_superblock = disk.snapshot();
    newer_superblock.corrupt("superblock.json", |bytes| {
        *bytes = String::from_utf8_lossy(bytes).replace("\"version\": 1", "\"version\": 9").into();
    });
    for (disk, file, version) in [(newer_segment, "event-", 2), (newer_superblock, "superblock.json", 9)] {
        let before = disk.list().unwrap();
        let shared: std::sync::Arc<dyn Disk> = std::sync::Arc::new(disk.clone());
        let Err(error) = try_open(shared, "gw-1", 5, SETTINGS) else { panic!("it was opened") };
        assert!(matches!(&error, OpenError::Newer { version: v, .. } if *v == version), "{error}");
        assert!(error.to_string().contains(file) && error.to_string().contains("newer version"), "{error}");
        assert_eq!(disk.list().unwrap(), before);
        assert!(disk.journal().is_empty());
    }
}

#[test]
fn a_lost_superblock_costs_neither_records_nor_numbers() {
    let disk = Simulated::default();
    open(&disk, 1).fill(Kind::Event, 20);
    disk.corrupt("superblock.json", |bytes| bytes.truncate(5));
    let bed = open(&disk, 2);
    assert_eq!((bed.outbox.epoch(), bed.next(Kind::Event)), (Epoch(1), 20));
    assert!(bed.outbox.frames_from() > 1_000_000_000_000, "no frame is numbered twice");
}

/// The number in the documentation: where each record lies is known for the written segment and two more of each kind.
#[test]
fn memory_does_not_grow_with_the_backlog() {
    let disk = Simulated::default();
    let bed = open(&disk, 1);
    for kind in KINDS {
        bed.fill(kind, 400);
    }
    bed.sync();
    for _ in 0..2 {
        KINDS.iter().for_each(|kind| assert_eq!(bed.pending(*kind).len(), 400));
    }
    for kind in KINDS {
        let (all, known) = bed
            .outbox
            .index(|index| (index.segments(kind).count(), index.segments(kind).filter(|s| s.spans.is_some()).count()));
        assert!(all > 40 && known <= LOADED + 1, "{known} of {all} segments of {kind} are known");
    }
}
