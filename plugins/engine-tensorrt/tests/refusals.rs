//! Why the engine cannot be used: each reason in one sentence that says what to do.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../../../tests/models/mod.rs"]
mod models;

use std::{fs, path::Path};

use engine_ort::OrtCpu;
use engine_tensorrt::{Build, Options, TensorRt, library};
use inference::{Accuracy, Package, choose};
use tempfile::TempDir;

fn without_a_driver(cache: &Path) -> Options {
    let driver = cache.join("libcuda.so.1");
    Options { libraries: Some(models::run_time("lib/tensorrt")), driver, build: Build::Wait, ..Options::new(cache) }
}

#[test]
fn without_a_driver_it_says_so_and_the_next_engine_is_taken() {
    let cache = TempDir::new().unwrap();
    let tensorrt = TensorRt::new(without_a_driver(cache.path()));
    let package = Package::open(models::tiny()).unwrap();
    let cpu = OrtCpu::new(Some(models::run_time("lib/libonnxruntime.so")));
    let chosen = choose(&[&tensorrt, &cpu], &["tensorrt".into(), "ort-cpu".into()], Accuracy::Exact, &package).unwrap();
    assert_eq!(chosen.engine.name(), "ort-cpu");
    let why = &chosen.refused[0].why;
    assert!(why.contains("there is no driver here"), "{why}");
    assert!(why.contains("leave this engine out of `engines.preference`"), "{why}");
}

#[test]
fn a_library_that_is_not_the_drivers_is_named() {
    let refusal =
        nvidia::look(Path::new("libz.so.1"), 0).or_else(|_| nvidia::look(Path::new("libm.so.6"), 0)).unwrap_err();
    assert!(refusal.why.contains("it is not NVIDIA's driver"), "{}", refusal.why);
}

#[test]
fn missing_libraries_are_named_with_where_they_were_looked_for() {
    let empty = TempDir::new().unwrap();
    let refusal = library::open(Some(empty.path())).unwrap_err();
    let expected = [
        "TensorRT-RTX is missing: the configuration names the folder",
        "libtensorrt_rtx.so and libtensorrt_onnxparser_rtx.so",
        "run `make setup`",
    ];
    for part in expected {
        assert!(refusal.why.contains(part), "{}", refusal.why);
    }
}

#[test]
fn a_library_of_another_kind_is_refused_before_it_is_used() {
    let folder = TempDir::new().unwrap();
    for name in ["libtensorrt_rtx.so", "libtensorrt_onnxparser_rtx.so"] {
        fs::copy(models::run_time("lib/libonnxruntime.so"), folder.path().join(name)).unwrap();
    }
    let refusal = library::open(Some(folder.path())).unwrap_err();
    assert!(refusal.full().contains("is not TensorRT"), "{}", refusal.full());
    fs::write(folder.path().join("libtensorrt_rtx.so"), b"not a library").unwrap();
    let refusal = library::open(Some(folder.path())).unwrap_err();
    assert!(refusal.full().contains("cannot be loaded"), "{}", refusal.full());
}

#[test]
fn a_library_of_another_version_is_refused_with_both_versions() {
    let folder = TempDir::new().unwrap();
    // A library that tells a version and has nothing else.
    let source = folder.path().join("old.c");
    let text = "int getInferLibMajorVersion(void){return 1;} int getInferLibMinorVersion(void){return 2;} \
                int getInferLibPatchVersion(void){return 0;}";
    fs::write(&source, text).unwrap();
    let target = folder.path().join("libtensorrt_rtx.so.1.2.0");
    let done = std::process::Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&target).arg(&source).status();
    assert!(done.unwrap().success());
    fs::copy(&target, folder.path().join("libtensorrt_onnxparser_rtx.so.1.2.0")).unwrap();
    let refusal = library::open(Some(folder.path())).unwrap_err();
    assert!(refusal.why.contains("is TensorRT-RTX 1.2.0, 1.7 or newer"), "{}", refusal.why);
}

#[test]
fn a_gpu_that_the_library_does_not_know_is_refused_before_a_plan_is_made() {
    let library = library::open(Some(&models::run_time("lib/tensorrt"))).unwrap();
    let gpu = |name: &str, major, minor| nvidia::Device {
        ordinal: 0,
        name: name.into(),
        capability: nvidia::Capability { major, minor },
        cuda: 13000,
    };
    for (name, major, minor) in [("T4", 7, 5), ("A100", 8, 0), ("RTX 3090", 8, 6), ("L4", 8, 9), ("RTX 5090", 12, 0)] {
        assert!(library.runs_on(&gpu(name, major, minor)).is_ok(), "{name}");
    }
    for (name, major, minor) in [("V100", 7, 0), ("Orin", 8, 7), ("H100", 9, 0), ("B200", 10, 0)] {
        let refusal = library.runs_on(&gpu(name, major, minor)).unwrap_err();
        let expected = format!("TensorRT-RTX 1.7.1 does not run on {name} (compute capability {major}.{minor})");
        assert!(refusal.why.starts_with(&expected), "{}", refusal.why);
        assert!(refusal.why.contains("use `ort-cuda`"), "{}", refusal.why);
    }
}
