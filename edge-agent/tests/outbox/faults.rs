//! Disks that fail: full, read-only, broken, unable to sync, rotten. The agent goes on; what is lost is named, and no more.

use std::{path::Path, process::Command, sync::Arc, time::Duration};

use contract::Kind;
use edge_agent::outbox::{
    Bound, Settings,
    disk::{Disk, Fault, Folder, Simulated},
};

use crate::bed::{Bed, SETTINGS, open, try_open};

/// Every number of a kind is held, or named by exactly one gap.
fn all_accounted(bed: &Bed, kind: Kind) {
    let held = bed.pending(kind);
    let gaps: Vec<_> = bed.gaps().into_iter().filter(|gap| gap.0 == kind).collect();
    for seq in 0..bed.next(kind) {
        let named = gaps.iter().filter(|gap| (gap.1..gap.2).contains(&seq)).count();
        assert_eq!(named + usize::from(held.contains_key(&seq)), 1, "{kind} {seq}: {gaps:?}");
    }
}

/// A full disk, as the outbox sees it; `free` makes room.
fn fills_up(disk: Arc<dyn Disk>, fill: impl FnOnce(), free: impl FnOnce()) {
    let mut bed = try_open(disk.clone(), "gw-1", 1, SETTINGS).unwrap();
    bed.fill(Kind::Sample, 40);
    bed.fill(Kind::Event, 10);
    bed.sync();
    fill();
    // Samples make room for events.
    bed.fill(Kind::Event, 30);
    bed.sync();
    assert!(bed.gaps().iter().any(|gap| gap.0 == Kind::Sample && gap.3 == "overflow"), "{:?}", bed.gaps());
    all_accounted(&bed, Kind::Sample);
    // When there is nothing left to give up but what is worth more, the newcomer is lost.
    for _ in 0..400 {
        bed.append(Kind::Sample, &"x".repeat(500));
    }
    assert!(
        bed.outbox.trouble().is_some_and(|t| t.contains("space") || t.contains("full")),
        "{:?}",
        bed.outbox.trouble()
    );
    assert!(bed.outbox.counts().lost[&Kind::Sample] > 0);
    assert_eq!(bed.texts(Kind::Event).len(), 40, "what is there can be sent");
    free();
    bed.wait(Duration::from_secs(10));
    bed.append(Kind::Sample, "there is room again");
    bed.append(Kind::Event, "also here");
    bed.maintain();
    bed.sync();
    assert_eq!(bed.outbox.trouble(), None);
    assert!(bed.gaps().iter().any(|gap| gap.0 == Kind::Sample && gap.3 == "disk"), "{:?}", bed.gaps());
    for kind in [Kind::Sample, Kind::Event] {
        all_accounted(&bed, kind);
    }
    let next = bed.next(Kind::Sample);
    drop(bed);
    let bed = try_open(disk, "gw-1", 2, SETTINGS).unwrap();
    assert_eq!((bed.next(Kind::Sample), bed.outbox.counts().torn_bytes), (next, 0), "no half record was left");
    all_accounted(&bed, Kind::Sample);
}

#[test]
fn a_full_disk() {
    let disk = Simulated::default();
    let (full, free) = (disk.clone(), disk.clone());
    fills_up(Arc::new(disk), move || full.fail(Some(Fault::Full(full.bytes() + 700))), move || free.fail(None));
}

/// The same on a small file system of the kernel, where this process may mount one; else in a folder whose limit is
/// simulated, which [`a_full_disk`] shows already.
#[test]
fn a_full_file_system() {
    let dir = tempfile::tempdir().unwrap();
    let mounted = Mounted::new(dir.path());
    let Some(_mounted) = &mounted else {
        let disk = Simulated::default();
        let (full, free) = (disk.clone(), disk.clone());
        return fills_up(
            Arc::new(disk),
            move || full.fail(Some(Fault::Full(full.bytes() + 100))),
            move || free.fail(None),
        );
    };
    let ballast = dir.path().join("ballast");
    let fill = || {
        use std::io::Write;
        let mut file = std::fs::File::create(&ballast).unwrap();
        while file.write_all(&[1; 512]).is_ok() {}
    };
    fills_up(Arc::new(Folder::new(dir.path())), fill, || std::fs::remove_file(&ballast).unwrap());
}

struct Mounted(std::path::PathBuf);

impl Mounted {
    fn new(path: &Path) -> Option<Self> {
        let options = ["-t", "tmpfs", "-o", "size=2m,mode=700", "tmpfs"];
        let status = Command::new("mount").args(options).arg(path).stderr(std::process::Stdio::null()).status();
        status.is_ok_and(|status| status.success()).then(|| Self(path.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[test]
fn a_disk_that_becomes_read_only_and_comes_back() {
    let disk = Simulated::default();
    let mut bed = open(&disk, 1);
    bed.fill(Kind::Prediction, 10);
    bed.sync();
    disk.fail(Some(Fault::ReadOnly));
    bed.fill(Kind::Prediction, 5);
    assert!(bed.outbox.trouble().unwrap().contains("read-only"));
    assert_eq!(bed.texts(Kind::Prediction).len(), 10, "what is there can be sent");
    bed.archived("a", Kind::Prediction, 10);
    disk.fail(None);
    bed.fill(Kind::Prediction, 1);
    assert_eq!(bed.outbox.counts().lost[&Kind::Prediction], 6, "a broken disk is left alone for a while");
    bed.wait(Duration::from_secs(10));
    bed.maintain();
    bed.fill(Kind::Prediction, 1);
    bed.wait(Duration::from_secs(10));
    bed.maintain();
    bed.sync();
    assert_eq!(bed.gaps(), [(Kind::Prediction, 10, 16, "disk".to_owned())]);
    assert_eq!((bed.texts(Kind::Prediction), bed.outbox.trouble()), (vec!["prediction 16".to_owned()], None));
}

#[test]
fn a_broken_disk_is_asked_less_and_less_often() {
    let disk = Simulated::default();
    let mut bed = open(&disk, 1);
    bed.fill(Kind::Prediction, 1);
    disk.fail(Some(Fault::Broken));
    for _ in 0..600 {
        bed.fill(Kind::Prediction, 10);
        bed.maintain();
        bed.wait(Duration::from_secs(1));
    }
    disk.fail(None);
    bed.wait(Duration::from_secs(61));
    bed.maintain();
    bed.fill(Kind::Prediction, 1);
    bed.sync();
    assert_eq!(bed.gaps(), [(Kind::Prediction, 1, 6001, "disk".to_owned())], "one gap, however long it took");
    assert_eq!(bed.texts(Kind::Prediction).len(), 2);
}

#[test]
fn a_disk_that_cannot_sync_offers_nothing_until_the_file_is_written_anew() {
    let disk = Simulated::default();
    let mut bed = open(&disk, 1);
    bed.fill(Kind::Event, 2);
    bed.sync();
    disk.fail(Some(Fault::SyncFails));
    bed.fill(Kind::Event, 3);
    bed.sync();
    assert_eq!(bed.texts(Kind::Event).len(), 2, "a power cut could still take the others");
    assert!(bed.outbox.trouble().is_some());
    disk.fail(None);
    bed.sync();
    assert_eq!(bed.texts(Kind::Event).len(), 2, "a second sync of the same file proves nothing");
    bed.wait(Duration::from_secs(10));
    bed.maintain();
    assert_eq!(bed.texts(Kind::Event), (0..5).map(|n| format!("event {n}")).collect::<Vec<_>>());
    bed.fill(Kind::Event, 20);
    bed.sync();
    drop(bed);
    let bed = open(&disk, 2);
    assert_eq!((bed.texts(Kind::Event).len(), bed.gaps().len()), (25, 0));
}

#[test]
fn bit_rot_in_the_middle_of_a_segment_costs_what_it_hit() {
    let disk = Simulated::default();
    let bed = open(&disk, 1);
    bed.fill(Kind::Event, 40);
    bed.sync();
    drop(bed);
    let segment = disk.list().unwrap().into_iter().filter(|f| f.name.starts_with("event-")).nth(2).unwrap();
    disk.corrupt(&segment.name, |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle..middle + 30].fill(0xAA);
    });
    let bed = open(&disk, 2);
    let held = bed.pending(Kind::Event);
    bed.sync();
    assert!((38..40).contains(&held.len()), "{}", held.len());
    assert_eq!(bed.outbox.counts().damaged[&Kind::Event] as usize, 40 - held.len());
    assert!(bed.gaps().iter().all(|gap| gap.3 == "damaged"));
    all_accounted(&bed, Kind::Event);
    let gaps = bed.gaps();
    drop(bed);
    let bed = open(&disk, 3);
    bed.pending(Kind::Event);
    bed.sync();
    assert_eq!(bed.gaps(), gaps, "named once");
}

#[test]
fn rot_that_comes_while_it_is_sent_is_found_before_it_is_sent() {
    let disk = Simulated::default();
    let bed = open(&disk, 1);
    bed.fill(Kind::Event, 20);
    bed.sync();
    bed.pending(Kind::Event);
    let names: Vec<_> = disk.list().unwrap().into_iter().map(|f| f.name).filter(|n| n.starts_with("event-")).collect();
    let (sealed, written) = (names[0].clone(), names[names.len() - 1].clone());
    for name in [sealed, written] {
        disk.corrupt(&name, |bytes| bytes[300] ^= 1);
    }
    let all: Vec<u64> = (0..20).collect();
    assert!(bed.outbox.bundle(Kind::Event, &all).is_err());
    bed.sync();
    assert_eq!(bed.pending(Kind::Event).len(), 18);
    bed.sync();
    all_accounted(&bed, Kind::Event);
}

#[test]
fn a_disk_that_cannot_be_read_for_a_while_loses_nothing() {
    let disk = Simulated::default();
    let bed = open(&disk, 1);
    bed.fill(Kind::Event, 40);
    bed.sync();
    drop(bed);
    let bed = open(&disk, 2);
    disk.fail(Some(Fault::Unreadable));
    assert!(bed.outbox.load(Kind::Event, 0).is_err());
    disk.fail(None);
    assert_eq!(bed.pending(Kind::Event).len(), 40);
    assert!(bed.gaps().is_empty());
}

#[test]
fn a_start_on_a_full_disk_goes_on() {
    let disk = Simulated::default();
    let bed = open(&disk, 1);
    bed.fill(Kind::Event, 5);
    drop(bed);
    disk.fail(Some(Fault::Full(disk.bytes())));
    let bed = open(&disk, 2);
    assert_eq!(bed.texts(Kind::Event).len(), 5);
}

#[test]
fn one_large_record_does_not_fit_and_small_ones_do() {
    let disk = Simulated::default();
    let tight = Settings { bound: Bound { max_bytes: 1 << 20, ..SETTINGS.bound }, ..SETTINGS };
    let bed = try_open(Arc::new(disk.clone()) as Arc<dyn Disk>, "gw-1", 1, tight).unwrap();
    bed.fill(Kind::Event, 1);
    bed.fill(Kind::Sample, 1);
    disk.fail(Some(Fault::Full(disk.bytes() + 3000)));
    bed.append(Kind::Sample, &"x".repeat(9000));
    bed.fill(Kind::Event, 3);
    bed.sync();
    assert_eq!(bed.texts(Kind::Event).len(), 4);
    disk.fail(None);
    bed.fill(Kind::Sample, 1);
    bed.sync();
    all_accounted(&bed, Kind::Sample);
}
