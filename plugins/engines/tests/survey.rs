//! Three machines: with no libraries at all, with ONNX Runtime alone, and with TensorRT-RTX but no driver.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../../../tests/models/mod.rs"]
mod models;

use engines::{Options, Surveyed, all, survey, table};
use tempfile::TempDir;

/// With the driver hidden, so that a machine that has a GPU tells the same.
fn ask(options: Options) -> (Vec<Surveyed>, String) {
    let plans = TempDir::new().unwrap();
    let driver = Some("/nowhere/libcuda.so.1".into());
    let found = survey(&all(&Options { plans: plans.path().into(), driver, ..options }));
    let text = table(&found);
    (found, text)
}

fn usable(found: &[Surveyed]) -> Vec<(&str, bool)> {
    found.iter().map(|one| (one.engine.as_str(), one.usable)).collect()
}

#[test]
fn nothing_at_all() {
    let (found, text) = ask(Options { onnxruntime: Some("/nowhere/libonnxruntime.so".into()), ..Options::default() });
    assert_eq!(usable(&found), [("tensorrt", false), ("ort-cuda", false), ("ort-cpu", false)]);
    let driver = "the NVIDIA driver's library `/nowhere/libcuda.so.1` cannot be opened: there is no driver here";
    assert_eq!(text.matches(driver).count(), 2, "{text}");
    assert!(text.contains("libonnxruntime is missing: the configuration names `/nowhere/libonnxruntime.so`"), "{text}");
}

#[test]
fn onnx_runtime_alone() {
    let library = models::run_time("lib/libonnxruntime.so");
    let (found, text) = ask(Options { onnxruntime: Some(library), ..Options::default() });
    assert_eq!(usable(&found), [("tensorrt", false), ("ort-cuda", false), ("ort-cpu", true)]);
    assert!(text.lines().any(|line| line == "ort-cpu    yes    1.31.1               fp32         CPU"), "{text}");
}

#[test]
fn tensorrt_but_no_driver() {
    let tensorrt = Some(models::run_time("lib/tensorrt"));
    let onnxruntime = Some(models::run_time("lib/libonnxruntime.so"));
    let (found, text) = ask(Options { onnxruntime, tensorrt, ..Options::default() });
    assert_eq!(usable(&found)[0], ("tensorrt", false));
    let why = found[0].why.as_ref().unwrap();
    assert!(why.contains("there is no driver here") && why.contains("install the driver"), "{why}");
    assert!(text.starts_with("ENGINE     USABLE VERSION"), "{text}");
}
