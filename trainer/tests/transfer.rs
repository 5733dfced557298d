//! Transfer, and whole pipelines from one file.

#![allow(clippy::unwrap_used, missing_docs)]

use std::{fs, path::Path};

use inference::Package;
use made::{done, program, run, tensors, text};
use serde_json::Value;

mod made;

#[path = "../../tests/models/mod.rs"]
mod models;

fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&done(&[arguments, &["--json"]].concat())).unwrap()
}

/// A model that tells stripes apart, to be the backbone.
fn backbone(root: &Path, tensors: &Path, library: &str) -> std::path::PathBuf {
    let (folder, package) = (root.join("first-run"), root.join("backbone"));
    let quick = [
        "--architecture",
        "small-cnn",
        "--size",
        "small",
        "--epochs",
        "3",
        "--set",
        "batch=16",
        "--set",
        "augment.shift=1",
    ];
    done(&[&["train", text(tensors), "--run", text(&folder)], &quick[..]].concat());
    done(&["export", text(&folder), "--tensors", text(tensors), "--out", text(&package), "--library", library]);
    package
}

#[test]
fn a_new_last_layer_on_another_models_features_is_one_package() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let tensors = tensors(root, 16, 60);
    let library = models::run_time("lib/libonnxruntime.so").display().to_string();
    let backbone = backbone(root, &tensors, &library);
    let transfer = |to: &Path| {
        json(&[
            "transfer",
            text(&tensors),
            "--backbone",
            text(&backbone),
            "--out",
            text(to),
            "--library",
            &library,
            "--epochs",
            "20",
        ])
    };
    let made = transfer(&root.join("second"));
    assert!(made["validation_accuracy"].as_f64().unwrap() > 0.9, "{made}");
    assert!(made["parity"]["difference"].as_f64().unwrap() <= 1e-4, "{made}");
    let package = Package::open(root.join("second")).unwrap();
    assert_eq!(package.classes().iter().map(|class| &**class).collect::<Vec<_>>(), made::CLASSES);
    assert_eq!(package.golden().unwrap().rows.len(), 8);
    done(&["inspect", text(&root.join("second")), "--check", "--library", &library]);
    // Features are kept, and the same ones give the same package.
    assert!(
        fs::read_dir(&tensors).unwrap().any(|file| file
            .unwrap()
            .file_name()
            .to_string_lossy()
            .starts_with("features-"))
    );
    assert_eq!(transfer(&root.join("again"))["digest"], made["digest"]);
    assert_ne!(made["digest"].as_str().unwrap(), Package::open(&backbone).unwrap().digest().to_string());

    let other = root.join("other-size");
    let dataset = fs::read_dir(root.join("datasets")).unwrap().next().unwrap().unwrap().path();
    done(&["preprocess", text(&dataset), "--size", "20x20", "--out", text(&other)]);
    let (ended, _, err) = run(&[
        "transfer",
        text(&other),
        "--backbone",
        text(&backbone),
        "--out",
        text(&root.join("no")),
        "--library",
        &library,
    ]);
    let expected = "the backbone takes 16x16 gray, the tensors are 20x20 gray: preprocess the dataset with --size 16x16 --color gray";
    assert!(ended.status.code() == Some(1) && err.contains(expected), "{err}");
}

#[test]
fn one_file_does_every_step_and_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    made::folder(&root.join("pictures"), 16, 60, 5);
    let library = models::run_time("lib/libonnxruntime.so").display().to_string();
    let file = root.join("pipeline.toml");
    let text_of = |epochs: u32| {
        format!(
            "name = \"stripes\"\nout = \"made\"\n[dataset.import]\nformat = \"folder\"\npath = \"pictures\"\nshares = \"0.6,0.2,0.2\"\n\
             [preprocess]\nsize = \"16x16\"\n[tune]\ntrials = 2\n[tune.space.rate]\nfloat = [0.03, 0.1]\n\
             [train]\narchitecture = \"small-cnn\"\nsize = \"small\"\nbatch = 16\nepochs = {epochs}\n\
             [export]\nid = \"stripes\"\nlibrary = \"{library}\"\n[evaluate]\nsplit = \"test\"\nlibrary = \"{library}\"\n"
        )
    };
    fs::write(&file, text_of(3)).unwrap();
    let ran = || {
        let ended = program().args(["run", text(&file), "--json"]).output().unwrap();
        let err = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(ended.status.success(), "{err}");
        (serde_json::from_slice::<Value>(&ended.stdout).unwrap(), err)
    };
    let (first, _) = ran();
    for part in ["dataset", "tensors", "best", "run", "model", "report"] {
        assert!(Path::new(first[part].as_str().unwrap()).exists(), "{part}: {first}");
    }
    let report = Path::new(first["report"].as_str().unwrap()).join("report.json");
    let report: Value = serde_json::from_slice(&fs::read(report).unwrap()).unwrap();
    assert!(report["models"][0]["metrics"]["accuracy"].as_f64().unwrap() > 0.9, "{report}");
    let (second, said) = ran();
    assert_eq!(first, second);
    for step in ["train", "export", "evaluate"] {
        assert!(said.contains(&format!("{step} is done already")), "{said}");
    }
    // Another setting makes another run, of the same tensors.
    fs::write(&file, text_of(4)).unwrap();
    let (third, _) = ran();
    assert_eq!(first["tensors"], third["tensors"]);
    assert_ne!(first["model"], third["model"]);

    fs::write(&file, text_of(3).replace("[preprocess]\nsize", "[preprocess]\nsice")).unwrap();
    let (ended, _, err) = run(&["run", text(&file)]);
    assert!(
        ended.status.code() == Some(1) && err.contains("--sice") && err.contains("step preprocess failed"),
        "{err}"
    );
}

/// By the checker of ONNX itself, shapes and all.
#[test]
fn exported_graphs_pass_the_checker_of_onnx() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let tensors = tensors(root, 16, 60);
    let library = models::run_time("lib/libonnxruntime.so").display().to_string();
    let backbone = backbone(root, &tensors, &library);
    let transferred = root.join("transferred");
    let arguments =
        ["transfer", text(&tensors), "--backbone", text(&backbone), "--out", text(&transferred), "--library", &library];
    done(&[&arguments[..], &["--epochs", "2"]].concat());
    for package in [&backbone, &transferred] {
        let check = "import sys, onnx; onnx.checker.check_model(onnx.load(sys.argv[1]), full_check=True)";
        let python = models::run_time("venv/bin/python");
        let ended =
            std::process::Command::new(python).args(["-c", check]).arg(package.join("model.onnx")).output().unwrap();
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    }
}
