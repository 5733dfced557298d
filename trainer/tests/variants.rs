//! `sightline-train variants` as a user sees it: the package that it makes, and what it refuses.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../../tests/models/mod.rs"]
mod models;

use std::{fs, path::Path, process::Command};

use contract::model::Precision;
use inference::Package;
use models::Copy;
use serde_json::Value;
use tempfile::TempDir;

fn variants(model: &Path, out: &Path, more: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_sightline-train"))
        .args(["variants", model.to_str().unwrap(), "--out", out.to_str().unwrap()])
        .args(more)
        .env("ORT_DYLIB_PATH", models::run_time("lib/libonnxruntime.so"))
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_package_gets_a_float16_file_and_keeps_its_own() {
    for (path, inputs) in [(models::tiny(), 64), (models::efficientnet(), 8), (models::resnet(), 4)] {
        let folder = TempDir::new().unwrap();
        let out = folder.path().join("with-fp16");
        let (code, text, err) = variants(&path, &out, &["--json", "--inputs", &inputs.to_string()]);
        assert_eq!(code, 0, "{err}");
        let made: Value = serde_json::from_str(&text).unwrap();
        assert!(made["agreement"]["top1"].as_f64().unwrap() > 0.9, "{text}");
        assert!(made["agreement"]["difference_max"].as_f64().unwrap() < 0.01, "{text}");
        assert_eq!(made["clamped"], 0);
        assert!(made["bytes"].as_u64().unwrap() * 10 < made["bytes_fp32"].as_u64().unwrap() * 6, "{text}");

        let (before, after) = (Package::open(&path).unwrap(), Package::open(&out).unwrap());
        assert_eq!(after.digest().to_string(), made["digest"].as_str().unwrap());
        assert!(before.model().unwrap() == after.model().unwrap(), "the float32 file is the same");
        let half = after.variant(Precision::Fp16).unwrap();
        assert_eq!(half.precision(), Precision::Fp16);
        assert_eq!(half.model().unwrap().len() as u64, made["bytes"].as_u64().unwrap());
        assert!(before.variant(Precision::Fp16).is_none());
    }
}

#[test]
fn what_cannot_be_converted_is_named() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("out");

    let model = fs::read(models::tiny().join("model.onnx")).unwrap();
    let at = model.windows(4).position(|four| four == b"Relu").unwrap();
    let mut selu = model.clone();
    selu[at..at + 4].copy_from_slice(b"Selu");
    let copy = Copy::tiny().file("model.onnx", &selu);
    let (code, _, err) = variants(copy.path(), &out, &[]);
    assert!(code == 1 && err.contains("operator Selu of the model is not known to work in float16"), "{err}");
    assert!(!out.exists(), "nothing is left behind");

    let (code, _, err) = variants(Path::new("/nowhere"), &out, &[]);
    assert!(code == 1 && err.contains("/nowhere"), "{err}");

    assert_eq!(variants(&models::tiny(), &out, &["--inputs", "1"]).0, 0);
    let (code, _, err) = variants(&models::tiny(), &out, &[]);
    assert!(code == 1 && err.contains("exists already: name another folder by --out"), "{err}");
    let (code, _, err) = variants(&out, &folder.path().join("again"), &[]);
    assert!(code == 1 && err.contains("has an fp16 file already"), "{err}");
    let (code, _, err) = variants(&models::tiny(), &folder.path().join("none"), &["--inputs", "0"]);
    assert_eq!(code, 0, "golden rows are inputs too: {err}");
}

#[test]
fn a_variant_that_does_not_fit_is_found_when_the_package_is_opened() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("out");
    assert_eq!(variants(&models::tiny(), &out, &["--inputs", "1"]).0, 0);
    let open = |copy: Copy| models::full(&Package::open(copy.path()).unwrap_err());
    let agreement = |key: &'static str, value: f64| {
        Copy::of(&out).manifest(|manifest| manifest["variants"]["fp16"]["agreement"][key] = value.into())
    };
    let text = open(agreement("top1", 1.5));
    assert!(text.contains("variant `fp16`: `agreement.top1` is 1.5"), "{text}");
    let text = open(Copy::of(&out).manifest(|manifest| manifest["variants"]["fp16"]["file"] = "model.onnx".into()));
    assert!(text.contains("variant `fp16` is `model.onnx` itself"), "{text}");
    let text = open(Copy::of(&out).manifest(|manifest| manifest["variants"]["fp16"]["file"] = "gone.onnx".into()));
    assert!(text.contains("`files` does not name `gone.onnx`"), "{text}");
    let other = fs::read(models::efficientnet().join("model.onnx")).unwrap();
    let text = open(Copy::of(&out).file("model.fp16.onnx", &other));
    assert!(text.contains("`model.fp16.onnx` does not match `manifest.json`"), "{text}");
}
