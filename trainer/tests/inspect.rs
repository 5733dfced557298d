//! `sightline-train inspect` as a user sees it: texts, JSON, exit codes.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../../tests/models/mod.rs"]
mod models;

use std::{fs, path::Path, process::Command};

use models::Copy;
use serde_json::{Value, json};

struct Ran {
    code: i32,
    out: String,
    err: String,
}

/// Without the set-up's library in reach: `inspect` must do without.
fn train(arguments: &[&str]) -> Ran {
    let output = Command::new(env!("CARGO_BIN_EXE_sightline-train"))
        .args(arguments)
        .env("ORT_DYLIB_PATH", "/nowhere/libonnxruntime.so")
        .env("COLUMNS", "100")
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

fn inspect(path: &Path, more: &[&str]) -> Ran {
    train(&[&["inspect", path.to_str().unwrap()], more].concat())
}

#[test]
fn help_teaches() {
    insta::assert_snapshot!("help", train(&["--help"]).out);
    insta::assert_snapshot!("help_inspect", train(&["inspect", "--help"]).out);
    assert_eq!(train(&[]).code, 2);
    assert_eq!(train(&["inspect"]).code, 2);
}

#[test]
fn a_package_is_told() {
    let ran = inspect(&models::efficientnet(), &[]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    insta::assert_snapshot!("efficientnet", ran.out);
    insta::assert_snapshot!("tiny", inspect(&models::tiny(), &[]).out);
}

#[test]
fn an_onnx_file_is_told() {
    let path = models::tiny().join("model.onnx");
    let out = inspect(&path, &[]).out.replace(path.to_str().unwrap(), "model.onnx");
    insta::assert_snapshot!("tiny_onnx", out);
}

#[test]
fn json_holds_all_of_it() {
    let report: Value = serde_json::from_str(&inspect(&models::efficientnet(), &["--json"]).out).unwrap();
    assert_eq!(report["kind"], "package");
    assert_eq!(report["classes"].as_array().unwrap().len(), 1000);
    assert_eq!(report["inputs"], json!([{"name": "input", "dtype": "uint8", "shape": ["N", 224, 224, 3]}]));
    assert_eq!(report["outputs"][0]["shape"], json!(["N", 1000]));
    assert_eq!(report["preprocessing"]["preprocess"], json!({"version": 1, "filter": "triangle"}));
    assert_eq!(report["onnx"]["opsets"], json!({"ai.onnx": 13}));
    assert_eq!(report["golden"]["rows"], 3);
}

#[test]
fn a_tar_tells_the_same() {
    let folder: Value = serde_json::from_str(&inspect(&models::tiny(), &["--json"]).out).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), Copy::tiny().tar("tiny")).unwrap();
    let mut tar: Value = serde_json::from_str(&inspect(file.path(), &["--json"]).out).unwrap();
    tar["path"] = folder["path"].clone();
    assert_eq!(tar, folder);
}

#[test]
fn float_models_and_thresholds_are_told() {
    let copy = Copy::tiny().manifest(|m| m["thresholds"] = json!({"dark": 0.5}));
    assert!(inspect(copy.path(), &[]).out.contains("thresholds   dark 0.5\n"));
    let out = inspect(Copy::tiny().without_golden().path(), &[]).out;
    assert!(out.contains("golden       none: an engine that computes wrongly would not be noticed\n"), "{out}");
}

#[test]
fn what_cannot_be_used_says_why() {
    let short = Copy::tiny().without_golden().manifest(|m| m["classes"] = json!(["a", "b"]));
    let ran = inspect(short.path(), &[]);
    assert_eq!((ran.code, ran.out.as_str()), (1, ""));
    let expected = "`model.onnx` does not match `manifest.json`: output `logits` gives 5 classes, the manifest lists 2";
    assert!(ran.err.contains(expected), "{}", ran.err);

    let garbage = tempfile::NamedTempFile::new().unwrap();
    fs::write(garbage.path(), "garbage").unwrap();
    let ran = inspect(garbage.path(), &[]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("torn or not ONNX at all"), "{}", ran.err);

    fs::write(garbage.path(), [0x1f, 0x8b, 8, 0]).unwrap();
    assert!(inspect(garbage.path(), &[]).err.contains("is compressed; unpack it"));

    let ran = inspect(Path::new("/nowhere/model"), &[]);
    assert_eq!((ran.code, ran.err.as_str()), (1, NOWHERE));
}

const NOWHERE: &str = "sightline-train: open model `/nowhere/model`: No such file or directory (os error 2)\n";

#[test]
fn check_runs_the_golden_rows() {
    let library = models::run_time("lib/libonnxruntime.so");
    let with = ["--check", "--library", library.to_str().unwrap()];
    let ran = inspect(&models::tiny(), &with);
    assert!(ran.out.contains("ort-cpu 1.31.1 on CPU in fp32; 4 golden rows agree within"), "{}{}", ran.out, ran.err);

    let wrong = json!({"tolerance": 0.01, "rows": [{"input": "golden/slope.u8", "probabilities": {"0": 1.0}}]});
    let copy = Copy::tiny().file("golden.json", &serde_json::to_vec(&wrong).unwrap());
    let ran = inspect(copy.path(), &with);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("golden row 0 (`golden/slope.u8`): probability of class 0 `very-dark`"), "{}", ran.err);

    let ran = inspect(&models::tiny(), &["--check"]);
    assert_eq!(ran.code, 1);
    assert!(
        ran.err.contains("libonnxruntime is missing: ORT_DYLIB_PATH names `/nowhere/libonnxruntime.so`"),
        "{}",
        ran.err
    );

    let ran = inspect(&models::tiny().join("model.onnx"), &["--check"]);
    assert!(ran.err.contains("is an ONNX file: --check needs a package"), "{}", ran.err);
}
