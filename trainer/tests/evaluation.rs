//! Numbers of models, held against scikit-learn's and SciPy's; the report; the command on a trained model.

#![allow(clippy::unwrap_used, missing_docs)]

use std::{collections::BTreeMap, fs, sync::Arc};

use made::{done, run, text};
use proptest::prelude::*;
use serde_json::Value;
use trainer::evaluate::{
    Answers, Error, Row, intervals, mcnemar, metrics,
    report::{Judged, Report, html, mistakes},
    slices,
};

mod made;
#[path = "../../tests/models/mod.rs"]
mod models;

fn answers(truth: &[u16], probabilities: &[Vec<f32>]) -> Answers {
    let row = |(at, (truth, probabilities)): (usize, (&u16, &Vec<f32>))| Row {
        id: format!("{at:04}"),
        truth: *truth,
        probabilities: probabilities.clone(),
        camera: None,
        captured_at: None,
        group: format!("{at:04}"),
    };
    let classes = (0..probabilities.first().map_or(2, Vec::len)).map(|class| Arc::from(format!("c{class}"))).collect();
    Answers { classes, rows: truth.iter().zip(probabilities).enumerate().map(row).collect() }
}

fn golden() -> Value {
    serde_json::from_str(include_str!("golden/metrics.json")).unwrap()
}

#[test]
fn numbers_are_those_of_scikit_learn() {
    for case in golden()["cases"].as_array().unwrap() {
        let truth: Vec<u16> = serde_json::from_value(case["truth"].clone()).unwrap();
        let probabilities: Vec<Vec<f32>> = serde_json::from_value(case["probabilities"].clone()).unwrap();
        let of = serde_json::to_value(metrics(&answers(&truth, &probabilities))).unwrap();
        let expected = case["expected"].as_object().unwrap();
        for (name, expected) in expected {
            let near = |found: &Value, expected: &Value| {
                let (found, expected) = (found.as_f64().unwrap(), expected.as_f64().unwrap());
                assert!((found - expected).abs() < 1e-6, "{name} is {found}, scikit-learn says {expected}");
            };
            match name.as_str() {
                "confusion" => assert_eq!(of["confusion"], *expected),
                "precision" | "recall" => {
                    for (class, expected) in expected.as_array().unwrap().iter().enumerate() {
                        near(&of["classes"][class][name], expected);
                    }
                }
                _ => near(&of[name], expected),
            }
        }
    }
}

/// Two models of which one alone is right so often.
fn apart(first: u64, second: u64) -> [Answers; 2] {
    let n = (first + second + 1) as usize;
    let right = |at: usize, one: bool| {
        if one == (at < first as usize) || at == n - 1 { vec![0.9, 0.1] } else { vec![0.2, 0.8] }
    };
    [true, false].map(|one| answers(&vec![0; n], &(0..n).map(|at| right(at, one)).collect::<Vec<_>>()))
}

#[test]
fn mcnemar_is_that_of_scipy() {
    for case in golden()["mcnemar"].as_array().unwrap() {
        let (first, second) = (case["first"].as_u64().unwrap(), case["second"].as_u64().unwrap());
        let [one, other] = apart(first, second);
        let of = mcnemar(&one, &other).unwrap();
        assert_eq!((of.first, of.second), (first, second));
        let expected = case["p"].as_f64().unwrap();
        assert!((of.p - expected).abs() < 1e-6, "{first} {second}: {} instead of {expected}", of.p);
    }
    let [one, mut other] = apart(2, 3);
    other.rows.pop();
    assert_eq!(mcnemar(&one, &other).unwrap_err(), Error::Different("0005".into()));
    assert_eq!(mcnemar(&other, &one).unwrap_err(), Error::Different("0005".into()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn intervals_hold_the_number_and_are_the_same_again(
        rows in prop::collection::vec((0u16..3, prop::collection::vec(0.01f32..1.0, 3)), 5..60), seed: u64,
    ) {
        let (truth, probabilities): (Vec<_>, Vec<_>) = rows.into_iter().map(|(truth, row)| {
            let sum: f32 = row.iter().sum();
            (truth, row.into_iter().map(|one| one / sum).collect::<Vec<f32>>())
        }).unzip();
        let answers = answers(&truth, &probabilities);
        answers.check().unwrap();
        let of = metrics(&answers);
        let within = intervals(&answers, 200, seed);
        prop_assert_eq!(&within, &intervals(&answers, 200, seed));
        let accuracy = within["accuracy"];
        prop_assert!(accuracy.low <= of.accuracy + 1e-9 && of.accuracy <= accuracy.high + 1e-9, "{:?} {}", accuracy, of.accuracy);
    }
}

#[test]
fn more_pictures_make_narrower_intervals_and_groups_wider_ones() {
    let mut dice = fastrand::Rng::with_seed(3);
    let mut many = |n: usize| {
        let rows: Vec<Vec<f32>> =
            (0..n).map(|_| if dice.f32() < 0.7 { vec![0.8, 0.2] } else { vec![0.3, 0.7] }).collect();
        answers(&vec![0; n], &rows)
    };
    let width = |answers: &Answers| {
        let of = intervals(answers, 1000, 1)["accuracy"];
        of.high - of.low
    };
    let (few, more) = (many(100), many(1600));
    // As the root of the number.
    assert!((width(&few) / width(&more) - 4.0).abs() < 1.2, "{} {}", width(&few), width(&more));
    let mut grouped = more.clone();
    grouped.rows.sort_by_key(Row::is_right);
    grouped.rows.iter_mut().enumerate().for_each(|(at, row)| row.group = format!("camera {}", at / 160));
    assert!(width(&grouped) > 3.0 * width(&more), "ten groups are ten draws, not 1600");
}

#[test]
fn answers_that_cannot_be_judged_are_named() {
    let nan = answers(&[0], &[vec![f32::NAN, 0.5]]);
    let short = answers(&[0, 1], &[vec![0.5, 0.5], vec![1.0]]);
    let cases = [
        (Answers { rows: vec![], ..nan.clone() }, "there is no answer to judge"),
        (nan, "the answer to `0000` is no distribution (it sums to NaN)"),
        (short, "the answer to `0001` is no distribution (1 numbers for 2 classes)"),
        (answers(&[0], &[vec![1.5, -0.5]]), "the answer to `0000` is no distribution"),
    ];
    for (answers, expected) in cases {
        let said = answers.check().unwrap_err().to_string();
        assert!(said.starts_with(expected), "{said}");
    }
    // A class without pictures has no area and counts for no mean.
    let of = metrics(&answers(&[0, 0], &[vec![0.9, 0.1], vec![0.6, 0.4]]));
    assert_eq!((of.accuracy, of.balanced_accuracy, of.auroc_macro, of.classes[1].auroc), (1.0, 1.0, None, None));
}

#[test]
fn slices_are_by_camera_and_hour() {
    let mut all = answers(&[0, 0, 1], &[vec![0.9, 0.1], vec![0.1, 0.9], vec![0.2, 0.8]]);
    all.rows[0].camera = Some("door".into());
    all.rows[1].camera = Some("door".into());
    all.rows[1].captured_at = Some(-1); // the last hour of 1969
    let found: Vec<_> = slices(&all).into_iter().map(|of| (of.by, of.value, of.count, of.accuracy)).collect();
    assert_eq!(found, [("camera", "door".to_owned(), 2, 0.5), ("hour", "23".to_owned(), 1, 0.0)]);
}

#[test]
fn the_page_shows_names_as_they_are_and_runs_nothing() {
    let mut all = answers(&[0, 1], &[vec![0.1, 0.9], vec![0.3, 0.7]]);
    all.classes[0] = Arc::from("<script>alert(1)</script>");
    let judged = Judged {
        model: "a & b".into(),
        metrics: metrics(&all),
        intervals: intervals(&all, 10, 1),
        slices: vec![],
        mistakes: mistakes(&all, 8),
    };
    assert_eq!(judged.mistakes.len(), 1);
    let report = Report { dataset: "d \"q\"".into(), split: "test".into(), models: vec![judged], comparison: None };
    let pictures = BTreeMap::from([("0000".to_owned(), ("image/png".to_owned(), b"bytes".to_vec()))]);
    let page = html(&report, &pictures);
    assert!(!page.contains("<script") && page.contains("&lt;script&gt;"), "{page}");
    assert!(page.contains("a &amp; b on d &quot;q&quot;") && page.contains("data:image/png;base64,Ynl0ZXM="));
    assert!(!page.contains("http"), "it needs nothing from elsewhere");
}

#[test]
fn a_model_is_judged_on_a_dataset_alone_and_against_another() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let tensors = made::tensors(root, 16, 60);
    let dataset = fs::read_dir(root.join("datasets")).unwrap().next().unwrap().unwrap().path();
    let library = models::run_time("lib/libonnxruntime.so");
    let package = |name: &str, epochs: &str| {
        let (runs, out) = (root.join(format!("run-{name}")), root.join(name));
        let quick = ["--architecture", "small-cnn", "--size", "small", "--set", "batch=12", "--set", "rate=0.05"];
        done(&[&["train", text(&tensors), "--run", text(&runs), "--epochs", epochs], &quick[..]].concat());
        done(&["export", text(&runs), "--tensors", text(&tensors), "--out", text(&out), "--library", text(&library)]);
        out
    };
    let (good, poor) = (package("good", "4"), package("poor", "1"));
    let report = root.join("report");
    let asked = ["evaluate", text(&good), "--against", text(&poor), "--dataset", text(&dataset), "--split", "test"];
    let more = ["--library", text(&library), "--out", text(&report), "--json"];
    let said: Value = serde_json::from_str(&done(&[&asked[..], &more[..]].concat())).unwrap();
    assert_eq!(said["models"][0]["metrics"]["count"], 18);
    assert!(said["models"][0]["metrics"]["accuracy"].as_f64().unwrap() > 0.9, "{said}");
    assert!(said["comparison"]["p"].as_f64().is_some());
    assert!(fs::read_to_string(report.join("report.html")).unwrap().starts_with("<!doctype html>"));
    assert_eq!(serde_json::from_slice::<Value>(&fs::read(report.join("report.json")).unwrap()).unwrap(), said);

    let tiny = models::tiny();
    let (ended, _, err) = run(&["evaluate", text(&tiny), "--dataset", text(&dataset), "--library", text(&library)]);
    assert_eq!(ended.status.code(), Some(1));
    assert!(err.contains("the model's classes are not the dataset's: it lacks `across`; it lacks `down`"), "{err}");
}
