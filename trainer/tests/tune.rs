//! Tuning: what is drawn, who holds a trial, when it ends, and that no kill loses one.

#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use contract::Timestamp;
use made::{done, program, run, tensors, text};
use store::tables::Tables;
use tokio::runtime::Runtime;
use trainer::{
    train::batches::dice,
    tune::{
        Ended, Objective, Outcome, Parameters, Sampler, Space, Trial, Value, Verdict,
        pareto::front,
        prune::Asha,
        sampler::Past,
        study::{ATTEMPTS, Budget, Next, Rules, Study},
        work::{News, work},
    },
};

mod made;

#[expect(dead_code, reason = "what the store's own tests need besides")]
#[path = "../../libs/store/tests/databases/postgres.rs"]
mod postgres;

const CONDITIONAL: &str = "[kind]\nchoice = [\"a\", \"b\"]\n[depth]\nint = [1, 64]\nlog = true\n[drop]\nfloat = [0.0, 1.0]\nstep = 0.25\n\
     [x]\nfloat = [-5.0, 5.0]\nwhen = { kind = [\"a\"] }\n[y]\nfloat = [0.001, 1000.0]\nlog = true\nwhen = { kind = [\"b\"] }\n";

fn number(of: &Parameters, name: &str) -> Option<f64> {
    match of.get(name)? {
        Value::Float(float) => Some(*float),
        Value::Int(int) => Some(*int as f64),
        Value::Text(_) => None,
    }
}

/// Small at x = 2 under `a`; never below a half under `b`.
fn value(of: &Parameters) -> f64 {
    let depth = (number(of, "depth").unwrap().ln() - 2.0).powi(2);
    let rest = match (number(of, "x"), number(of, "y")) {
        (Some(x), None) => (x - 2.0).powi(2),
        (None, Some(y)) => 0.5 + (y.ln() - 1.0).powi(2),
        both => panic!("one of x and y: {both:?}"),
    };
    rest + depth + number(of, "drop").unwrap()
}

fn past(parameters: Parameters, value: f64) -> Past {
    Past { parameters, outcome: Some(Outcome { values: vec![value], constraints: vec![] }), pruned: None }
}

/// All that a sampler draws in a study of its own.
fn drawn(sampler: Sampler, trials: u64, seed: u64) -> Vec<Past> {
    let space = Space::parse(CONDITIONAL).unwrap();
    let mut all = Vec::new();
    for trial in 0..trials {
        let parameters = sampler.draw(&space, &all, &mut dice(seed, &[trial]));
        let value = value(&parameters);
        all.push(past(parameters, value));
    }
    all
}

#[test]
fn every_mistake_of_a_space_is_told() {
    let text = "[a]\nfloat = [1, 0]\n[b]\nint = [0, 5]\nlog = true\n[c]\nchoice = [1]\n[d]\nfloat = [0.0, 1.0]\nwhen = { e = [1] }\n\
         [f]\nfloat = [0.0, 1.0]\nint = [1, 2]\n[g.h]\nfloat = [0.0, 1.0]\nspeed = 3\n";
    let told = Space::parse(text).unwrap_err().to_string();
    for part in [
        "`a`: float = [1, 0]",
        "`b`: int = [0, 5]",
        "`c`: choice needs two",
        "`d` depends on `e`",
        "`f`: say one",
        "`g.h`: unknown field `speed`",
    ] {
        assert!(told.contains(part), "`{part}` is not in: {told}");
    }
    let circle = "[a]\nint = [1, 2]\nwhen = { b = [1] }\n[b]\nint = [1, 2]\nwhen = { a = [1] }\n";
    assert!(Space::parse(circle).unwrap_err().to_string().contains("depends on itself"));
    assert!(Space::parse("").unwrap_err().to_string().contains("declare one"));
}

#[test]
fn what_is_drawn_lies_in_the_space_and_follows_from_the_seed() {
    for sampler in [Sampler::Random, Sampler::Tpe] {
        let all = drawn(sampler, 60, 3);
        assert_eq!(all, drawn(sampler, 60, 3), "the same seed");
        assert_ne!(all, drawn(sampler, 60, 4), "another seed");
        for one in &all {
            let of = &one.parameters;
            let is_a = of["kind"] == Value::Text("a".into());
            assert_eq!((of.contains_key("x"), of.contains_key("y")), (is_a, !is_a), "{of:?}");
            let [depth, drop] = ["depth", "drop"].map(|name| number(of, name).unwrap());
            assert!((1.0..=64.0).contains(&depth) && [0.0, 0.25, 0.5, 0.75, 1.0].contains(&drop), "{of:?}");
            assert!(number(of, "x").is_none_or(|x| (-5.0..=5.0).contains(&x)), "{of:?}");
            assert!(number(of, "y").is_none_or(|y| (0.001..=1000.0).contains(&y)), "{of:?}");
        }
        let kinds = all.iter().filter(|one| one.parameters["kind"] == Value::Text("a".into())).count();
        assert!((6..=58).contains(&kinds), "both kinds are tried: {kinds} of 60 are a");
    }
}

#[test]
fn the_estimator_finds_better_ones_than_chance() {
    let best = |sampler: Sampler, seed: u64| {
        let values = drawn(sampler, 60, seed).into_iter().map(|one| one.outcome.unwrap().values[0]);
        values.fold(f64::INFINITY, f64::min)
    };
    let wins = (0..21).filter(|seed| best(Sampler::Tpe, *seed) < best(Sampler::Random, *seed)).count();
    assert!(wins >= 16, "{wins} of 21; by chance 16 or more come once in 75 times");
}

#[test]
fn constraints_come_before_objectives_and_fronts_hold_what_nothing_beats() {
    let outcome = |values: &[f64], constraint: f64| Outcome { values: values.to_vec(), constraints: vec![constraint] };
    let all = [
        outcome(&[1.0, 5.0], 0.0),
        outcome(&[2.0, 2.0], -1.0),
        outcome(&[3.0, 3.0], 0.0),
        outcome(&[0.0, 0.0], 0.5),
        outcome(&[5.0, 1.0], 0.0),
    ];
    assert_eq!(front(&all.iter().collect::<Vec<_>>()), [0, 1, 4]);
    // Where the best values break a constraint, what is drawn stays on this side of it.
    let space = Space::parse("[x]\nfloat = [0.0, 1.0]\n").unwrap();
    let mut trials: Vec<Past> = Vec::new();
    for trial in 0..80 {
        let parameters = Sampler::Tpe.draw(&space, &trials, &mut dice(1, &[trial]));
        let x = number(&parameters, "x").unwrap();
        trials.push(Past { parameters, outcome: Some(outcome(&[-x], x - 0.4)), pruned: None });
    }
    let late: Vec<f64> = trials[40..].iter().map(|one| number(&one.parameters, "x").unwrap()).collect();
    let near = late.iter().filter(|x| (0.25..=0.4).contains(*x)).count();
    assert!(near >= 20, "{near} of 40 lie just within the constraint: {late:?}");
}

#[test]
fn halving_stops_whoever_is_not_among_the_best_of_its_rung() {
    let asha = Asha { first: 1, factor: 3 };
    assert_eq!((1..=30).filter(|epoch| asha.is_rung(*epoch)).collect::<Vec<_>>(), [1, 3, 9, 27]);
    for (value, all, expected) in [
        (0.5, &[0.5][..], Verdict::Go),
        (0.9, &[0.5, 0.9], Verdict::Go),
        (0.9, &[0.5, 0.9, 0.7], Verdict::Prune),
        (0.5, &[0.5, 0.9, 0.7], Verdict::Go),
        (0.6, &[0.5, 0.9, 0.7, 0.6, 0.8, 0.95], Verdict::Go),
        (0.7, &[0.5, 0.9, 0.7, 0.6, 0.8, 0.95], Verdict::Prune),
        (f64::NAN, &[f64::NAN], Verdict::Prune),
    ] {
        assert_eq!(asha.judge(value, all), expected, "{value} among {all:?}");
    }
}

fn rules(about: &str) -> Rules {
    let space = Space::parse(CONDITIONAL).unwrap();
    Rules { space, sampler: Sampler::Tpe, pruner: None, objectives: 1, seed: 1, about: about.into() }
}

fn threads() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

const SOME: Budget = Budget { trials: Some(3), epochs: None, until: None };

/// The same cases for both databases.
async fn leases(uri: &str) {
    let at = Timestamp;
    let tables = Tables::open(uri).await.unwrap();
    let mut study = Study::open(tables.clone(), "s", rules("a"), at(0)).await.unwrap();
    let taken = |next: Next| match next {
        Next::Trial(trial) => trial,
        other => panic!("a trial, not {other:?}"),
    };
    let first = taken(study.next(SOME, "one", at(0), at(10)).await.unwrap());
    let second = taken(study.next(SOME, "two", at(1), at(11)).await.unwrap());
    assert_eq!((first.number, second.number), (0, 1));
    // The first goes on in time, the second's worker dies.
    assert!(study.hold(&first, at(100)).await.unwrap());
    assert_eq!(study.step(&second, 1, 0.5).await.unwrap(), Some(vec![0.5]));
    let again = taken(study.next(SOME, "three", at(12), at(30)).await.unwrap());
    assert_eq!((again.number, again.attempt, &again.parameters), (1, 2, &second.parameters), "the same once more");
    let outcome = Outcome { values: vec![1.0], constraints: vec![] };
    assert!(!study.hold(&second, at(100)).await.unwrap(), "it is another's by now");
    assert_eq!(study.step(&second, 2, 0.4).await.unwrap(), None);
    assert!(!study.end(&second, "complete", Some(&outcome), None, at(13)).await.unwrap(), "and ends once");
    assert!(study.end(&again, "complete", Some(&outcome), None, at(14)).await.unwrap());
    assert!(!study.end(&again, "failed", None, Some("twice"), at(15)).await.unwrap());
    // The third dies as often as it is begun.
    for attempt in 1..=ATTEMPTS {
        let now = 1000 + 100 * attempt as i64;
        assert!(study.hold(&first, at(1 << 40)).await.unwrap());
        let third = taken(study.next(SOME, &format!("t{attempt}"), at(now), at(now + 1)).await.unwrap());
        assert_eq!((third.number, third.attempt), (2, attempt));
    }
    assert_eq!(study.next(SOME, "x", at(9000), at(9001)).await.unwrap(), Next::Wait, "the first still runs");
    assert!(study.end(&first, "pruned", None, None, at(9002)).await.unwrap());
    assert_eq!(study.next(SOME, "x", at(9003), at(9004)).await.unwrap(), Next::Done);
    let trials = study.trials().await.unwrap();
    let states: Vec<&str> = trials.iter().map(|trial| trial.state.as_str()).collect();
    assert_eq!(states, ["pruned", "complete", "failed"]);
    assert!(trials[2].why.as_ref().unwrap().contains("died 3 times"), "{:?}", trials[2].why);
    assert!(trials[1].last.is_none(), "the first attempt's steps do not count");

    let mut other = rules("a");
    other.space = Space::parse("[x]\nfloat = [0.0, 1.0]\n").unwrap();
    for (changed, part) in [
        (other, "another space, as in"),
        (Rules { seed: 2, ..rules("a") }, "another seed"),
        (rules("b"), "another objective"),
    ] {
        let told = Study::open(tables.clone(), "s", changed, at(0)).await.err().unwrap().to_string();
        assert!(told.contains("study `s` has") && told.contains(part), "{told}");
    }
}

#[test]
fn a_lease_that_runs_out_gives_the_trial_to_another() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = threads();
    runtime.block_on(leases(&format!("sqlite:{}", folder.path().join("s.db").display())));
    let cluster = postgres::Cluster::start();
    runtime.block_on(async { leases(&cluster.create_database("tune").await).await });
}

/// Gives what the trial's number asks for.
struct Odd;

impl Objective for Odd {
    fn run(&mut self, trial: &Trial, report: &mut dyn FnMut(u64, f64) -> Verdict) -> Result<Ended, String> {
        let outcome = |value: f64| Ok(Ended::Complete(Outcome { values: vec![value], constraints: vec![] }));
        match trial.number {
            0 => outcome(f64::NAN),
            1 => Err("out of paper".into()),
            2 => Ok(Ended::Complete(Outcome { values: vec![1.0, 2.0], constraints: vec![] })),
            _ => {
                for epoch in 1..=9 {
                    if report(epoch, trial.number as f64) == Verdict::Prune {
                        return Ok(Ended::Pruned);
                    }
                }
                outcome(trial.number as f64)
            }
        }
    }
}

#[test]
fn a_trial_that_fails_is_told_and_the_study_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = threads();
    let tables = runtime.block_on(Tables::open(&format!("sqlite:{}", folder.path().join("s.db").display()))).unwrap();
    let rules = Rules { pruner: Some(Asha::default()), ..rules("odd") };
    let mut study = runtime.block_on(Study::open(tables, "s", rules, Timestamp(0))).unwrap();
    let budget = Budget { trials: Some(8), ..Budget::default() };
    let mut told = Vec::new();
    let ended = work(&runtime, &mut study, budget, Duration::from_secs(9), &mut Odd, &mut |news| {
        if let News::Ended(trial, state, what) = news {
            told.push((trial.number, state, what));
        }
    });
    assert_eq!(ended.unwrap(), 8);
    let expected = [
        (0, "failed", "its objective is no number: [NaN]"),
        (1, "failed", "out of paper"),
        (2, "failed", "it gave 2 objectives, 1 are right"),
        (3, "complete", "3.00000"),
        (4, "complete", "4.00000"),
        (5, "pruned", ""),
        (6, "pruned", ""),
        (7, "pruned", ""),
    ];
    assert_eq!(told, expected.map(|(number, state, what)| (number, state, what.to_owned())));
    let trials = runtime.block_on(study.trials()).unwrap();
    assert_eq!(trials.iter().map(|trial| trial.epochs).collect::<Vec<_>>(), [0, 0, 0, 9, 9, 1, 1, 1]);
}

const SPACE: &str = "[rate]\nfloat = [0.0001, 0.3]\nlog = true\n[batch]\nint = [8, 32]\n";

fn tune(tensors: &Path, space: &Path, tables: &str, trials: &str) -> Command {
    let mut command = program();
    command.args(["tune", text(tensors), "--study", "s", "--tables", tables, "--space", text(space), "--json"]);
    command.args(["--trials", trials, "--lease", "1", "--set", "architecture=small-cnn", "--set", "size=small"]);
    command.args(["--set", "epochs=2", "--set", "augment.shift=1"]);
    command
}

/// Kills workers at random moments while another one works, then looks at what is there.
fn kills(tensors: &Path, space: &Path, tables: &str) -> Vec<serde_json::Value> {
    const TRIALS: &str = "14";
    let quiet = |mut command: Command| command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut dice = fastrand::Rng::with_seed(4);
    let mut steady = quiet(tune(tensors, space, tables, TRIALS));
    for _ in 0..10 {
        let mut killed = quiet(tune(tensors, space, tables, TRIALS));
        thread::sleep(Duration::from_millis(dice.u64(30..700)));
        killed.kill().unwrap();
        killed.wait().unwrap();
    }
    let deadline = Instant::now() + Duration::from_secs(180);
    while steady.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "the worker that lives does not end");
        thread::sleep(Duration::from_millis(50));
    }
    let said = tune(tensors, space, tables, TRIALS).output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let said: serde_json::Value = serde_json::from_slice(&said.stdout).unwrap();
    said["trials"].as_array().unwrap().clone()
}

#[test]
fn workers_that_are_killed_lose_no_trial_and_end_none_twice() {
    let folder = tempfile::tempdir().unwrap();
    let tensors = tensors(folder.path(), 16, 60);
    let space = folder.path().join("space.toml");
    std::fs::write(&space, SPACE).unwrap();
    let cluster = postgres::Cluster::start();
    let on_postgres = threads().block_on(cluster.create_database("tune"));
    for tables in [format!("sqlite:{}", folder.path().join("s.db").display()), on_postgres] {
        let trials = kills(&tensors, &space, &tables);
        assert_eq!(trials.len(), 14, "none is lost, none is too many");
        for (number, trial) in trials.iter().enumerate() {
            assert_eq!(
                (trial["number"].as_u64(), &trial["state"]),
                (Some(number as u64), &"complete".into()),
                "{trial}"
            );
            assert_eq!(trial["epochs"], 2, "{trial}");
        }
        assert!(trials.iter().any(|trial| trial["attempt"].as_u64() > Some(1)), "a kill hit a trial");
    }
}

#[test]
fn a_study_says_what_is_best_and_what_mattered() {
    let folder = tempfile::tempdir().unwrap();
    let tensors = tensors(folder.path(), 16, 60);
    let [space, tables, best] = ["space.toml", "s.db", "best.toml"].map(|name| folder.path().join(name));
    std::fs::write(&space, SPACE).unwrap();
    let uri = format!("sqlite:{}", tables.display());
    let more = [
        "--study",
        "s",
        "--tables",
        &uri,
        "--space",
        text(&space),
        "--trials",
        "12",
        "--set",
        "architecture=small-cnn",
        "--set",
        "size=small",
        "--set",
        "epochs=1",
        "--set",
        "augment.shift=1",
    ];
    let said = done(&[&["tune", text(&tensors)], &more[..], &["--best", text(&best)]].concat());
    for part in ["12 complete, 0 pruned, 0 failed", "history", "best", "importance  rate", "importance  batch"] {
        assert!(said.contains(part), "`{part}` is not in: {said}");
    }
    let settings: toml::Table = std::fs::read_to_string(&best).unwrap().parse().unwrap();
    assert!(settings["rate"].as_float().is_some_and(|rate| (0.0001..=0.3).contains(&rate)), "{settings:?}");
    assert_eq!(settings["architecture"].as_str(), Some("small-cnn"));
    done(&["train", text(&tensors), "--settings", text(&best), "--run", text(&folder.path().join("run"))]);

    std::fs::write(&space, "[rate]\nfloat = [0.01, 0.2]\nlog = true\n").unwrap();
    let (ended, _, err) = run(&[&["tune", text(&tensors)], &more[..]].concat());
    assert!(ended.status.code() == Some(1) && err.contains("study `s` has another space"), "{err}");
}
