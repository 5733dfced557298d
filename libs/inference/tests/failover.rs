//! Failing over: the frame is answered by the next engine, once; the better one comes back; nobody waits for it.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../../../tests/models/mod.rs"]
mod models;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use inference::{
    Accuracy, Batch, Engine, EngineError, EngineFactory, Failover, Health, Pace, Package, Probe, Refusal, Standing,
};
use models::Copy;

/// What the engines of one name do now.
#[derive(Default)]
struct State {
    broken: Mutex<Option<Broken>>,
    loads: AtomicU32,
    runs: AtomicU32,
}

#[derive(Clone, Copy)]
enum Broken {
    /// Runs fail, and nothing can be loaded.
    Fails,
    /// Runs fail; what is loaded anew works.
    OnceOnly,
    /// Runs are late.
    Late,
}

impl State {
    fn set(&self, broken: Option<Broken>) {
        *self.broken.lock().unwrap() = broken;
    }
}

struct Factory(&'static str, usize, Arc<State>);

impl EngineFactory for Factory {
    fn name(&self) -> &str {
        self.0
    }
    fn probe(&self) -> Result<Probe, Refusal> {
        Ok(Probe { version: "1".into(), device: "test".into(), library: None })
    }
    fn may_come(&self) -> bool {
        self.0 == "c"
    }
    fn load(&self, _: &Package) -> Result<Box<dyn Engine>, Refusal> {
        self.2.loads.fetch_add(1, Ordering::Relaxed);
        let mut broken = self.2.broken.lock().unwrap();
        match *broken {
            Some(Broken::Fails) => return Err(Refusal::new("the device is gone; plug it in")),
            Some(Broken::OnceOnly) => *broken = None,
            _ => {}
        }
        Ok(Box::new(Told { name: self.0, most: self.1, state: self.2.clone() }))
    }
}

struct Told {
    name: &'static str,
    most: usize,
    state: Arc<State>,
}

impl Engine for Told {
    fn name(&self) -> &str {
        self.name
    }
    fn version(&self) -> &str {
        "1"
    }
    fn max_batch(&self) -> usize {
        self.most
    }
    fn run(&mut self, batch: Batch<'_>, out: &mut [f32], deadline: Option<Duration>) -> Result<(), EngineError> {
        inference::engine::check_batch(&batch, out, 4096, 5, self.most)?;
        self.state.runs.fetch_add(1, Ordering::Relaxed);
        let n = batch.n;
        match *self.state.broken.lock().unwrap() {
            Some(Broken::Late) if deadline.is_some() => {
                return Err(EngineError::Deadline { n, after: deadline.unwrap() });
            }
            Some(Broken::Fails | Broken::OnceOnly) => {
                return Err(EngineError::Runtime { engine: self.name.into(), n, source: "device lost".into() });
            }
            _ => {}
        }
        for (input, out) in batch.input.chunks_exact(4096).zip(out.chunks_exact_mut(5)) {
            out.fill(0.025);
            out[usize::from(input[0] % 5)] = 0.9;
        }
        Ok(())
    }
    fn health(&self) -> Health {
        Health::Ready
    }
}

const PACE: Pace = Pace {
    misses: 3,
    first: Duration::from_millis(40),
    longest: Duration::from_millis(80),
    calm: Duration::from_secs(60),
};

struct Bed {
    states: [Arc<State>; 3],
    failover: Failover,
    standing: Arc<Mutex<Standing>>,
    _copy: Copy,
}

/// Three engines: `a` takes batches of 8, `b` of 3, `c` of 1.
fn bed(broken: [Option<Broken>; 3]) -> Bed {
    let states: [Arc<State>; 3] = Default::default();
    states.iter().zip(broken).for_each(|(state, broken)| state.set(broken));
    let factory =
        |at: usize| Box::new(Factory(["a", "b", "c"][at], [8, 3, 1][at], states[at].clone())) as Box<dyn EngineFactory>;
    let factories: Arc<[_]> = (0..3).map(factory).collect();
    let copy = Copy::tiny().without_golden();
    let package = Package::open(copy.path()).unwrap();
    let failover = Failover::start(factories, &[], Accuracy::Exact, &package, PACE).unwrap();
    Bed { states, standing: failover.standing(), failover, _copy: copy }
}

impl Bed {
    /// Classifies a batch; says who answered, or what went wrong. Every answer must be right.
    fn run(&mut self, n: usize) -> Result<String, EngineError> {
        let mut input = vec![0; n * 4096];
        input.chunks_mut(4096).enumerate().for_each(|(at, tensor)| tensor[0] = at as u8);
        let mut out = vec![f32::NAN; n * 5];
        self.failover.run(Batch { input: &input, n }, &mut out, Some(Duration::from_secs(1)))?;
        for (at, out) in out.chunks(5).enumerate() {
            assert_eq!(out[at % 5], 0.9, "of input {at}");
        }
        Ok(self.failover.name().to_owned())
    }

    fn until_answered_by(&mut self, engine: &str) {
        let begun = Instant::now();
        while self.run(1).unwrap() != engine {
            assert!(begun.elapsed() < Duration::from_secs(5), "{engine} does not come back");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn standing(&self) -> Standing {
        self.standing.lock().unwrap().clone()
    }
}

#[test]
fn the_batch_that_failed_is_answered_by_the_next_one_and_the_best_comes_home() {
    let mut bed = bed([None; 3]);
    assert_eq!(bed.run(8).unwrap(), "a");
    bed.states[0].set(Some(Broken::Fails));
    assert_eq!(bed.run(8).unwrap(), "b", "which takes three at a time");
    let standing = bed.standing();
    assert_eq!((&*standing.engine, standing.changes), ("b", 1));
    assert!(standing.reason.contains("`a` refused: run batch of 8 on a: device lost"), "{}", standing.reason);
    bed.states[1].set(Some(Broken::Fails));
    assert_eq!(bed.run(8).unwrap(), "c");
    assert!(bed.states[0].loads.load(Ordering::Relaxed) >= 1);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(bed.run(1).unwrap(), "c", "both are still broken");

    bed.states[1].set(None);
    bed.until_answered_by("b");
    bed.states[0].set(None);
    bed.until_answered_by("a");
    let standing = bed.standing();
    assert_eq!((&*standing.engine, standing.changes, standing.refused.len()), ("a", 4, 0));
    let loads = bed.states[0].loads.load(Ordering::Relaxed);
    std::thread::sleep(Duration::from_millis(200));
    bed.run(1).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(bed.states[0].loads.load(Ordering::Relaxed), loads, "the best looks for no better one");
}

#[test]
fn deadlines_are_forgiven_until_they_are_missed_in_a_row() {
    let mut bed = bed([None; 3]);
    bed.states[0].set(Some(Broken::Late));
    assert!(matches!(bed.run(1), Err(EngineError::Deadline { .. })));
    assert!(matches!(bed.run(1), Err(EngineError::Deadline { .. })));
    assert_eq!(bed.run(1).unwrap(), "b");
}

#[test]
fn the_last_one_that_fails_is_not_left_and_is_loaded_anew() {
    let mut bed = bed([Some(Broken::Fails), Some(Broken::Fails), None]);
    assert_eq!(bed.run(1).unwrap(), "c");
    bed.states[2].set(Some(Broken::Fails));
    let runs = bed.states[2].runs.load(Ordering::Relaxed);
    for _ in 0..20 {
        assert!(matches!(bed.run(1), Err(EngineError::Runtime { .. })));
    }
    assert_eq!(bed.states[2].runs.load(Ordering::Relaxed), runs + 20, "each frame is tried once");
    assert!(bed.standing().refused.iter().any(|refused| refused.engine == "c"));
    // Its own failure lasts for what was loaded before.
    bed.states[2].set(Some(Broken::OnceOnly));
    let begun = Instant::now();
    while bed.run(1).is_err() {
        assert!(begun.elapsed() < Duration::from_secs(5));
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(&*bed.standing().engine, "c");
}

#[test]
fn one_that_was_refused_at_the_start_is_taken_when_it_can_be_had() {
    let mut bed = bed([Some(Broken::Fails), None, None]);
    assert_eq!(bed.run(1).unwrap(), "b");
    assert!(bed.standing().reason.contains("`a` refused: the device is gone; plug it in"));
    bed.states[0].set(None);
    bed.until_answered_by("a");
}

#[test]
fn without_any_it_starts_where_one_may_come() {
    let mut bed = bed([Some(Broken::Fails), Some(Broken::Fails), Some(Broken::Fails)]);
    let error = bed.run(1).unwrap_err();
    let why = std::error::Error::source(&error).unwrap().to_string();
    assert!(why.contains("no engine works yet: `a` refused: the device is gone"), "{why}");
    assert_eq!(&*bed.standing().engine, "none");
    bed.states[2].set(None);
    let begun = Instant::now();
    while bed.run(1).is_err() {
        assert!(begun.elapsed() < Duration::from_secs(5));
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(bed.run(1).unwrap(), "c");
    bed.states[0].set(None);
    bed.until_answered_by("a");
}

#[test]
fn a_batch_that_does_not_fit_the_model_is_the_callers_mistake() {
    let mut bed = bed([None; 3]);
    let mut out = [0.0; 5];
    let wrong = bed.failover.run(Batch { input: &[0; 5], n: 1 }, &mut out, None);
    assert!(matches!(wrong, Err(EngineError::Shape { .. })));
    assert_eq!(bed.run(1).unwrap(), "a");
}
