//! Power cuts: the system calls of a real server process are recorded while it lives through puts, multipart uploads,
//! copies, deletions, a restart and a kill. Then the power is cut at every moment of the record, and within each window
//! between syncs every single change, every pair and seeded subsets are missing. Each time the store is opened on what is
//! left, and must be legal: it holds what was answered, and at most the one request that was under way, whole; bodies that
//! nothing names are gone; and it goes on.
//!
//! Nothing is trusted below the system calls: SQLite's writes and syncs stand in the record as ours do. Its shared memory
//! (`-shm`) alone is left out, since SQLite makes it anew. The shelves, 256 empty folders that the first start makes, are
//! all alike: of their pairs only neighbours are tried. The life is too short for SQLite to copy its log into the database
//! while the store runs (it does so each 1,000 pages); that it does so at the end is in the record.

#[path = "power_cut/legal.rs"]
mod legal;
#[path = "power_cut/life.rs"]
mod life;
#[path = "power_cut/record.rs"]
mod record;
#[path = "power_cut/recorder.rs"]
mod recorder;
#[path = "power_cut/signed.rs"]
mod signed;
#[path = "power_cut/trace.rs"]
mod trace;

use std::{
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use legal::Bench;
use life::{Life, Model};
use record::{Change, Loss, Missing, Record, Window};

/// Seeded subsets.
const SUBSETS: u64 = 10_000;
/// What a disk writes at once.
const SECTOR: usize = 512;

/// A moment, and what of the open changes is missing then.
struct Cut {
    at: usize,
    missing: Missing,
}

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % sides
    }
}

/// Every moment, with nothing missing.
fn prefixes(record: &Record) -> Vec<Cut> {
    record.cuts().into_iter().map(|at| Cut { at, missing: Missing::new() }).collect()
}

/// Every single change of a window, and of writes also a half and the bytes alone; and every pair.
fn omissions(record: &Record, window: &Window) -> Vec<Cut> {
    let mut cuts = Vec::new();
    let mut add =
        |missing: &[(usize, Loss)]| cuts.push(Cut { at: window.cut, missing: missing.iter().cloned().collect() });
    for (n, a) in window.operations.iter().enumerate() {
        add(&[(*a, Loss::Whole)]);
        if let Change::Write { bytes, .. } = &record.operations[*a].change {
            add(&[(*a, Loss::Zeroes)]);
            add(&[(*a, Loss::Torn(0..bytes.len() / 2))]);
        }
        for b in &window.operations[n + 1..] {
            if !(is_shelf(record, *a) && is_shelf(record, *b)) || b - a == 1 {
                add(&[(*a, Loss::Whole), (*b, Loss::Whole)]);
            }
        }
    }
    cuts
}

fn is_shelf(record: &Record, at: usize) -> bool {
    matches!(record.operations[at].change, Change::Add { node, .. } if record.nodes[node].1)
}

/// Any of the open changes may be missing, in any way.
fn subset(record: &Record, moments: &[usize], seed: u64) -> Cut {
    let mut dice = Dice(seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let at = moments[dice.roll(moments.len())];
    let rare = 2 + dice.roll(3);
    let mut missing = Missing::new();
    for open in record.open(at) {
        if dice.roll(rare) > 0 {
            continue;
        }
        let loss = match &record.operations[open].change {
            Change::Write { bytes, .. } => {
                let sector = SECTOR * dice.roll(bytes.len() / SECTOR + 1);
                match dice.roll(4) {
                    0 => Loss::Zeroes,
                    1 => Loss::Torn(0..sector),
                    2 => Loss::Torn(sector..bytes.len()),
                    _ => Loss::Whole,
                }
            }
            _ => Loss::Whole,
        };
        missing.insert(open, loss);
    }
    Cut { at, missing }
}

/// Moments at which something can be missing. Of those before the first answer, when shelves are made, only some; and of
/// those with a body of megabytes, which each take as long as ten others.
fn open_moments(life: &Life, record: &Record) -> Vec<usize> {
    let common = |cut: &usize| {
        let answered = record.answered(*cut);
        answered > 0 && !life.models[answered..].iter().take(2).any(Model::is_large)
    };
    let cuts = record.cuts().into_iter().enumerate();
    let some = cuts.filter(|(n, cut)| n % 16 == 0 || common(cut)).map(|(_, cut)| cut);
    some.filter(|cut| !record.open(*cut).is_empty()).collect()
}

/// Tries cuts on all cores; says what was illegal, at most a few. `count` of them, made by `cut`.
fn illegal(life: &Life, record: &Record, count: usize, cut: impl Fn(usize) -> Cut + Sync, most: usize) -> Vec<String> {
    let (next, found) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut bench = Bench::new();
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= count || found.lock().unwrap().len() >= most {
                        return;
                    }
                    let Cut { at, missing } = cut(n);
                    let answered = record.answered(at);
                    let models = &life.models[answered..life.models.len().min(answered + 2)];
                    if let Err(why) = bench.check(&record.left(at, &missing), models) {
                        let what: Vec<_> = missing.iter().map(|(at, loss)| (record.name(*at), loss)).collect();
                        let said = format!("cut {n} at {at}, after {answered} answers, without {what:?}: {why}");
                        found.lock().unwrap().push(said);
                    }
                }
            });
        }
    });
    found.into_inner().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_power_cut_leaves_a_legal_store() {
    let life = life::live().await;
    let record = &life.record;
    let whole = prefixes(record);
    let partial: Vec<_> = record.windows().iter().flat_map(|window| omissions(record, window)).collect();
    let moments = open_moments(&life, record);
    let began = Instant::now();
    for (what, cuts) in [("nothing", whole), ("one or two changes", partial)] {
        let take = |n: usize| Cut { at: cuts[n].at, missing: cuts[n].missing.clone() };
        let found = illegal(&life, record, cuts.len(), take, 3);
        eprintln!("{} cuts without {what}: {:?}", cuts.len(), began.elapsed());
        assert!(found.is_empty(), "{found:#?}");
    }
    let found = illegal(&life, record, SUBSETS as usize, |n| subset(record, &moments, n as u64), 3);
    eprintln!("{SUBSETS} cuts without seeded subsets: {:?}", began.elapsed());
    assert!(found.is_empty(), "{found:#?}");
    // The test sees: a store that leaves out any of its syncs is found out.
    let in_shelves = |path: &Path, depth| path.starts_with("store/bodies") && path.components().count() == depth;
    type Left<'a> = (&'a str, &'a dyn Fn(&Path) -> bool);
    let left_out: [Left<'_>; 6] = [
        ("bodies", &|path| in_shelves(path, 4)),
        ("shelves", &|path| in_shelves(path, 3)),
        ("the folder of the shelves", &|path| in_shelves(path, 2)),
        ("the store's folder", &|path| path == Path::new("store")),
        ("the folder above the store", &|path| path == Path::new("")),
        ("the database's log", &|path| path == Path::new("store/names.db-wal")),
    ];
    for (what, left_out) in left_out {
        let record = record.without(left_out);
        let moments = open_moments(&life, &record);
        let found = illegal(&life, &record, SUBSETS as usize, |n| subset(&record, &moments, n as u64), 1);
        eprintln!("without syncs of {what}: {:?}: {found:?}", began.elapsed());
        assert!(!found.is_empty(), "syncs of {what} make no difference");
    }
}
