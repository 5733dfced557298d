//! Samplers on functions whose least values are known: `tune_functions SAMPLER TRIALS SEEDS` prints one JSON document with the
//! best value of each seed, and the CPU time a trial. `tests/peers/tune_optuna.py` runs it beside Optuna and compares.
//! `tune_functions tables TRIALS` measures what a trial costs in the tables of a file.

use std::{
    collections::BTreeMap,
    f64::consts::{E, PI, TAU},
    time::Instant,
};

use contract::Timestamp;
use trainer::{
    train::batches::dice,
    tune::{
        Outcome, Parameters, Sampler, Space, Value,
        sampler::Past,
        study::{Budget, Next, Rules, Study},
    },
};

type Function = (&'static str, String, fn(&Parameters) -> f64);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let sampler = args.next().unwrap_or("tpe".into());
    let trials: u64 = args.next().unwrap_or("100".into()).parse()?;
    if sampler == "tables" {
        return tables(trials);
    }
    let (sampler, seeds): (Sampler, u64) = (sampler.parse()?, args.next().unwrap_or("50".into()).parse()?);
    let mut all: BTreeMap<&str, serde_json::Value> = BTreeMap::new();
    for (name, space, function) in functions() {
        let space = Space::parse(&space)?;
        let (begun, mut bests) = (cpu(), Vec::new());
        for seed in 0..seeds {
            let mut past: Vec<Past> = Vec::new();
            for trial in 0..trials {
                let parameters = sampler.draw(&space, &past, &mut dice(seed, &[trial]));
                let outcome = Some(Outcome { values: vec![function(&parameters)], constraints: vec![] });
                past.push(Past { parameters, outcome, pruned: None });
            }
            let values = past.iter().filter_map(|one| one.outcome.as_ref()).map(|outcome| outcome.values[0]);
            bests.push(values.fold(f64::INFINITY, f64::min));
        }
        let cpu_us = (cpu() - begun) * 1e6 / (seeds * trials) as f64;
        all.insert(name, serde_json::json!({ "best": bests, "cpu_us": cpu_us }));
    }
    eprintln!("{}", serde_json::to_string(&all)?);
    Ok(())
}

/// Trials that do nothing, in a file: asked for, and ended.
fn tables(trials: u64) -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let uri = format!("sqlite:{}", folder.path().join("study.db").display());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    for sampler in [Sampler::Random, Sampler::Tpe] {
        let tables = runtime.block_on(store::tables::Tables::open(&uri))?;
        let space = Space::parse(&functions()[1].1)?;
        let rules = Rules { space, sampler, pruner: None, objectives: 1, seed: 1, about: "nothing".into() };
        let name = format!("{sampler:?}");
        let mut study = runtime.block_on(Study::open(tables, &name, rules, Timestamp(0)))?;
        let budget = Budget { trials: Some(trials), ..Budget::default() };
        let (begun, used) = (Instant::now(), cpu());
        while let Next::Trial(trial) =
            runtime.block_on(study.next(budget, "token", Timestamp(1), Timestamp(i64::MAX)))?
        {
            let outcome = Outcome { values: vec![trial.number as f64], constraints: vec![] };
            runtime.block_on(study.end(&trial, "complete", Some(&outcome), None, Timestamp(2)))?;
        }
        let each = 1e3 / trials as f64;
        let (wall, used) = (begun.elapsed().as_secs_f64() * each, (cpu() - used) * each);
        eprintln!("{name}: {wall:.3} ms wall, {used:.3} ms CPU a trial, {trials} trials");
    }
    Ok(())
}

fn functions() -> Vec<Function> {
    let floats = |n: usize, low: f64, high: f64| -> String {
        (0..n).map(|at| format!("[x{at}]\nfloat = [{low:?}, {high:?}]\n")).collect()
    };
    let mixed = "[kind]\nchoice = [\"a\", \"b\"]\n[z]\nfloat = [-3.0, 3.0]\n\
         [x]\nfloat = [-5.0, 5.0]\nwhen = { kind = [\"a\"] }\n[n]\nint = [1, 10]\nwhen = { kind = [\"a\"] }\n\
         [y]\nfloat = [0.001, 1000.0]\nlog = true\nwhen = { kind = [\"b\"] }\n";
    vec![
        ("branin", "[x0]\nfloat = [-5.0, 10.0]\n[x1]\nfloat = [0.0, 15.0]\n".into(), branin),
        ("ackley5", floats(5, -32.768, 32.768), ackley),
        ("rosenbrock4", floats(4, -5.0, 10.0), rosenbrock),
        ("rastrigin5", floats(5, -5.12, 5.12), rastrigin),
        ("hartmann6", floats(6, 0.0, 1.0), hartmann),
        ("mixed", mixed.into(), self::mixed),
    ]
}

fn number(of: &Parameters, name: &str) -> f64 {
    match of.get(name) {
        Some(Value::Float(float)) => *float,
        Some(Value::Int(int)) => *int as f64,
        _ => f64::NAN,
    }
}

fn xs(of: &Parameters) -> Vec<f64> {
    (0..of.len()).map(|at| number(of, &format!("x{at}"))).collect()
}

fn branin(of: &Parameters) -> f64 {
    let [x, y] = [number(of, "x0"), number(of, "x1")];
    (y - 5.1 / (4.0 * PI * PI) * x * x + 5.0 / PI * x - 6.0).powi(2) + 10.0 * (1.0 - 1.0 / (8.0 * PI)) * x.cos() + 10.0
}

fn ackley(of: &Parameters) -> f64 {
    let (xs, n) = (xs(of), of.len() as f64);
    let squares = xs.iter().map(|x| x * x).sum::<f64>() / n;
    let waves = xs.iter().map(|x| (TAU * x).cos()).sum::<f64>() / n;
    -20.0 * (-0.2 * squares.sqrt()).exp() - waves.exp() + 20.0 + E
}

fn rosenbrock(of: &Parameters) -> f64 {
    xs(of).windows(2).map(|pair| 100.0 * (pair[1] - pair[0] * pair[0]).powi(2) + (1.0 - pair[0]).powi(2)).sum()
}

fn rastrigin(of: &Parameters) -> f64 {
    xs(of).iter().map(|x| x * x - 10.0 * (TAU * x).cos() + 10.0).sum()
}

fn hartmann(of: &Parameters) -> f64 {
    const ALPHA: [f64; 4] = [1.0, 1.2, 3.0, 3.2];
    const A: [[f64; 6]; 4] = [
        [10.0, 3.0, 17.0, 3.5, 1.7, 8.0],
        [0.05, 10.0, 17.0, 0.1, 8.0, 14.0],
        [3.0, 3.5, 1.7, 10.0, 17.0, 8.0],
        [17.0, 8.0, 0.05, 10.0, 0.1, 14.0],
    ];
    const P: [[f64; 6]; 4] = [
        [0.1312, 0.1696, 0.5569, 0.0124, 0.8283, 0.5886],
        [0.2329, 0.4135, 0.8307, 0.3736, 0.1004, 0.9991],
        [0.2348, 0.1451, 0.3522, 0.2883, 0.3047, 0.6650],
        [0.4047, 0.8828, 0.8732, 0.5743, 0.1091, 0.0381],
    ];
    let xs = xs(of);
    let inner = |row: usize| xs.iter().enumerate().map(|(at, x)| A[row][at] * (x - P[row][at]).powi(2)).sum::<f64>();
    -(0..4).map(|row| ALPHA[row] * (-inner(row)).exp()).sum::<f64>()
}

/// A choice, and under each its own parameters.
fn mixed(of: &Parameters) -> f64 {
    let z = number(of, "z");
    if of.get("kind") == Some(&Value::Text("a".into())) {
        (number(of, "x") - 2.0).powi(2) + 0.5 * (number(of, "n") - 7.0).abs() + z * z
    } else {
        (number(of, "y").ln() - 1.0).powi(2) + 0.5 + (z - 1.0).powi(2)
    }
}

/// CPU seconds of this process so far.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}
