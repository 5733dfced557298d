//! Real pictures, for half a minute: a trainer that is broken anywhere between files and package does not come so far. The bars of a
//! whole training are `make accuracy`'s.

#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;

use made::{done, text};
use serde_json::Value;

mod made;

#[path = "../../tests/models/mod.rs"]
mod models;

#[test]
fn clothes_are_told_apart_after_two_passes() {
    let folder = tempfile::tempdir().unwrap();
    let [datasets, tensors, run, model] = ["datasets", "tensors", "run", "model"].map(|name| folder.path().join(name));
    let (source, library) = (models::run_time("datasets/fashion-mnist"), models::run_time("lib/libonnxruntime.so"));
    done(&["dataset", "import", "idx", text(&source), "--out", text(&datasets), "--name", "clothes"]);
    let dataset = fs::read_dir(&datasets).unwrap().next().unwrap().unwrap().path();
    done(&["preprocess", text(&dataset), "--size", "28x28", "--out", text(&tensors)]);
    let network = ["--architecture", "small-cnn", "--size", "small", "--epochs", "2"];
    done(&[&["train", text(&tensors), "--run", text(&run)], &network[..]].concat());
    let end = ["--out", text(&model), "--library", text(&library)];
    done(&[&["export", text(&run), "--tensors", text(&tensors)], &end[..]].concat());
    let judge = ["evaluate", text(&model), "--dataset", text(&dataset), "--split", "test", "--draws", "50", "--json"];
    let report: Value = serde_json::from_str(&done(&[&judge[..], &["--library", text(&library)]].concat())).unwrap();
    let metrics = &report["models"][0]["metrics"];
    assert_eq!(metrics["count"], 10_000);
    let accuracy = metrics["accuracy"].as_f64().unwrap();
    // 0.850 when this was written.
    assert!(accuracy > 0.83, "{accuracy}");
}
