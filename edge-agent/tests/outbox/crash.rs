//! Power cuts: what was done to the disk is cut at every moment, and of what was not synced then every single write, every
//! pair within the window between two syncs, and seeded subsets are missing. Each time the log must come back legal: what
//! was synced and is not archived or named by a gap is there, what is there is what was written, and every number between
//! is named.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicUsize, Ordering},
};

use contract::{Kind, archived::ArchivedKind};
use edge_agent::outbox::{
    Bound, KINDS, Settings,
    disk::{Operation, Simulated},
};

use crate::bed::{Bed, SETTINGS, try_open};

/// Seeded subsets.
const SUBSETS: usize = 10_000;

const TIGHT: Settings = Settings { bound: Bound { max_bytes: 9_000, ..SETTINGS.bound }, segment_bytes: 1500 };

fn tight(disk: &Simulated, fresh: u128) -> Bed {
    let shared: std::sync::Arc<dyn edge_agent::outbox::disk::Disk> = std::sync::Arc::new(disk.clone());
    try_open(shared, "gw-1", fresh, TIGHT).unwrap()
}

/// What is known at a moment of the journal.
#[derive(Clone, Debug)]
struct Moment {
    operations: usize,
    durable: [u64; KINDS.len()],
    archived: [u64; KINDS.len()],
}

/// A life: appends, syncs, watermarks, drops, a kill and a restart.
fn life(disk: &Simulated) -> Vec<Moment> {
    let mut moments = Vec::new();
    let mut archived = [0; KINDS.len()];
    let mut bed = tight(disk, 1);
    for step in 0u64..90 {
        let kind = [Kind::Prediction, Kind::Sample, Kind::Event, Kind::Prediction, Kind::Health][(step % 5) as usize];
        bed.fill(kind, 1);
        if step % 4 == 3 {
            bed.sync();
        }
        if step == 40 {
            let upto = bed.outbox.index(|index| index.durable(Kind::Prediction)) - 1;
            archived[3] = upto; // from now on the log may forget them
            let durable = bed.outbox.index(|index| KINDS.map(|kind| index.durable(kind)));
            moments.push(Moment { operations: disk.journal().len(), durable, archived });
            bed.outbox.log(|log| log.archived(Kind::Prediction, &ArchivedKind { upto, ranges: vec![] }, bed.now));
        }
        if step == 60 {
            drop(bed);
            bed = tight(disk, 2);
        }
        let durable = bed.outbox.index(|index| KINDS.map(|kind| index.durable(kind)));
        moments.push(Moment { operations: disk.journal().len(), durable, archived });
    }
    moments
}

fn check(journal: &[Operation], missing: &BTreeSet<usize>, moment: Option<&Moment>, what: &str) {
    let kept = journal.iter().enumerate().filter(|(at, _)| !missing.contains(at)).map(|(_, operation)| operation);
    let disk = Simulated::after_power_cut(kept);
    let bed = tight(&disk, 9);
    bed.sync();
    let held: BTreeMap<Kind, _> = KINDS.into_iter().map(|kind| (kind, bed.pending(kind))).collect();
    bed.sync();
    let gaps = bed.gaps();
    for (at, kind) in KINDS.into_iter().enumerate() {
        let next = bed.next(kind);
        for (seq, body) in &held[&kind] {
            if kind != Kind::Gap {
                assert_eq!(body["text"], format!("{kind} {seq}"), "{what}: invented");
            }
        }
        let (durable, archived) = moment.map_or((0, 0), |m| (m.durable[at], m.archived[at]));
        assert!(next >= durable, "{what}: {kind} ends at {next}, {durable} were synced");
        for seq in archived..next {
            let named = gaps.iter().any(|(k, from, to, _)| *k == kind && (*from..*to).contains(&seq));
            let there = held[&kind].contains_key(&seq);
            assert!(there || named, "{what}: {kind} {seq} is neither there nor named");
            let lost = seq < durable
                && !there
                && gaps.iter().any(|g| g.0 == kind && g.3 == "damaged" && (g.1..g.2).contains(&seq));
            assert!(!lost, "{what}: {kind} {seq} was synced and is damaged");
        }
    }
    // It goes on.
    let before = bed.next(Kind::Event);
    bed.fill(Kind::Event, 1);
    bed.sync();
    assert_eq!(bed.next(Kind::Event), before + 1, "{what}");
}

/// What each sync makes durable, at the last moment before it; and what was never synced.
fn windows(journal: &[Operation]) -> Vec<(usize, Vec<usize>)> {
    let mut windows = Vec::new();
    for cut in 0..=journal.len() {
        let after = journal.get(..=cut).map(Simulated::unsynced).unwrap_or_default();
        let window: Vec<_> =
            Simulated::unsynced(&journal[..cut]).into_iter().filter(|at| !after.contains(at)).collect();
        windows.push((cut, window));
    }
    windows.retain(|(_, window)| !window.is_empty());
    windows
}

/// A moment, and what is missing then.
type Cut = (usize, BTreeSet<usize>);

/// Every moment whole, and without every single write that was not synced; every pair of each window.
fn omissions(journal: &[Operation]) -> Vec<Cut> {
    let mut cuts = Vec::new();
    for cut in 0..=journal.len() {
        cuts.push((cut, BTreeSet::new()));
        cuts.extend(Simulated::unsynced(&journal[..cut]).into_iter().map(|at| (cut, [at].into())));
    }
    for (cut, window) in windows(journal) {
        for (n, a) in window.iter().enumerate() {
            cuts.extend(window[n + 1..].iter().map(|b| (cut, [*a, *b].into())));
        }
    }
    cuts
}

fn subset(journal: &[Operation], seed: u64) -> Cut {
    let mut state = seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut dice = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state >> 16
    };
    let cut = dice() as usize % (journal.len() + 1);
    let rare = 2 + dice() % 4;
    (cut, Simulated::unsynced(&journal[..cut]).into_iter().filter(|_| dice() % rare == 0).collect())
}

#[test]
fn every_power_cut_leaves_a_legal_log() {
    let disk = Simulated::default();
    let moments = life(&disk);
    let journal = disk.journal();
    let omissions = omissions(&journal);
    let all = omissions.len() + SUBSETS;
    let next = AtomicUsize::new(0);
    let try_cuts = || {
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            let (cut, missing) = match omissions.get(n) {
                Some(cut) => cut.clone(),
                None if n < all => subset(&journal, (n - omissions.len()) as u64),
                None => return,
            };
            let known = moments.iter().rfind(|moment| moment.operations <= cut);
            check(&journal[..cut], &missing, known, &format!("number {n}, cut at {cut} without {missing:?}"));
        }
    };
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(try_cuts))));
    eprintln!("{} operations, {} cuts without one or two, {SUBSETS} seeded subsets", journal.len(), omissions.len());
}
