//! The chooser: order, reasons, and that an engine that computes wrongly is never taken.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../../../tests/models/mod.rs"]
mod models;

use std::time::Duration;

use inference::{Accuracy, Batch, Engine, EngineError, EngineFactory, Health, Package, Probe, Refusal, choose};
use models::Copy;
use serde_json::json;

/// Says class `input[0] % 5` with 0.9 and shares the rest; `skew` makes it wrong.
struct Fake {
    skew: f32,
}

impl Engine for Fake {
    fn name(&self) -> &str {
        "fake"
    }
    fn version(&self) -> &str {
        "1"
    }
    fn max_batch(&self) -> usize {
        2
    }
    fn run(&mut self, batch: Batch<'_>, out: &mut [f32], _: Option<Duration>) -> Result<(), EngineError> {
        inference::engine::check_batch(&batch, out, 4096, 5, 2)?;
        for (input, out) in batch.input.chunks_exact(4096).zip(out.chunks_exact_mut(5)) {
            out.fill(0.025 - self.skew / 4.0);
            out[usize::from(input[0] % 5)] = 0.9 + self.skew;
        }
        Ok(())
    }
    fn health(&self) -> Health {
        Health::Ready
    }
}

struct Factory(&'static str, fn() -> Result<f32, Refusal>);

impl EngineFactory for Factory {
    fn name(&self) -> &str {
        self.0
    }
    fn probe(&self) -> Result<Probe, Refusal> {
        (self.1)().map(|_| Probe { version: "1".into(), device: "test".into(), library: None })
    }
    fn load(&self, _: &Package) -> Result<Box<dyn Engine>, Refusal> {
        Ok(Box::new(Fake { skew: (self.1)()? }))
    }
}

const GOOD: Factory = Factory("good", || Ok(0.0));
const OTHER: Factory = Factory("other", || Ok(0.0));
const WRONG: Factory = Factory("wrong", || Ok(0.05));
const NAN: Factory = Factory("nan", || Ok(f32::NAN));
const ABSENT: Factory = Factory("absent", || Err(Refusal::caused("no libwonder; install it", "dlopen failed")));

fn package() -> (Copy, Package) {
    let row = |name: &str, class: &str| json!({"input": name, "probabilities": {class: 0.9}});
    let rows = [row("golden/flat-0.u8", "0"), row("golden/flat-96.u8", "1"), row("golden/flat-255.u8", "0")];
    let golden = json!({"tolerance": 0.01, "rows": rows});
    let copy = Copy::tiny().file("golden.json", &serde_json::to_vec(&golden).unwrap());
    let package = Package::open(copy.path()).unwrap();
    (copy, package)
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn the_preference_decides() {
    let (_copy, package) = package();
    let chosen = choose(&[&GOOD, &OTHER], &names(&["other", "good"]), Accuracy::Exact, &package).unwrap();
    assert_eq!(
        chosen.reason,
        "`other` is the first in the preference: other 1 on test in fp32; 3 golden rows agree within 0.0e0"
    );
    let chosen = choose(&[&GOOD, &OTHER], &[], Accuracy::Exact, &package).unwrap();
    assert!(chosen.reason.starts_with("`good` is the first engine of this program"), "{}", chosen.reason);
}

#[test]
fn refused_engines_are_passed_with_their_reasons() {
    let (_copy, package) = package();
    let wanted = names(&["tensorflow", "absent", "wrong", "nan", "good"]);
    let chosen = choose(&[&ABSENT, &WRONG, &NAN, &GOOD], &wanted, Accuracy::Exact, &package).unwrap();
    let why: Vec<&str> = chosen.refused.iter().map(|refused| refused.why.as_str()).collect();
    assert_eq!(why[0], "no engine of this name is built in; known: absent, wrong, nan, good");
    assert_eq!(why[1], "no libwonder; install it: dlopen failed");
    assert!(
        why[2].contains("golden row 0 (`golden/flat-0.u8`): probability of class 0 `very-dark` is 0.95"),
        "{}",
        why[2]
    );
    assert!(why[3].contains("is not a distribution"), "{}", why[3]);
    assert!(chosen.reason.starts_with("`good` is the first that works (`tensorflow` refused: "), "{}", chosen.reason);
}

#[test]
fn no_engine_names_each() {
    let (_copy, package) = package();
    let error = choose(&[&ABSENT], &[], Accuracy::Exact, &package).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no engine can run model `tiny-gray64`: `absent` refused: no libwonder; install it: dlopen failed"
    );
    assert!(choose(&[], &[], Accuracy::Exact, &package).unwrap_err().to_string().contains("built without engines"));
}

#[test]
fn without_golden_rows_the_warm_up_must_do() {
    let copy = Copy::tiny().without_golden();
    let package = Package::open(copy.path()).unwrap();
    let chosen = choose(&[&WRONG], &[], Accuracy::Exact, &package).unwrap();
    assert!(chosen.reason.contains("no golden rows, only a warm-up"), "{}", chosen.reason);
}
