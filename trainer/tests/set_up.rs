//! The set-up's scripts: doing nothing twice, repairing what is damaged, and saying what cannot be done.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../../tests/models/mod.rs"]
mod models;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::SystemTime,
};

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/setup").join(name)
}

fn fetch(arguments: &[&str]) -> Output {
    // A proxy that is not there: whoever asks the network for anything fails.
    let dead = ["http_proxy", "https_proxy", "ALL_PROXY"].map(|name| (name, "http://127.0.0.1:9"));
    Command::new(script("fetch.sh")).args(arguments).envs(dead).env("PIP_RETRIES", "0").output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn changed(path: &Path) -> SystemTime {
    fs::metadata(path).unwrap().modified().unwrap()
}

#[test]
fn a_second_run_changes_nothing_and_needs_no_network() {
    let files =
        ["lib/libonnxruntime.so", "models/efficientnet-lite0/manifest.json", "media/vtest.mp4", "media/bikes.mp4"];
    let before = files.map(|name| changed(&models::run_time(name)));
    let output = fetch(&[]);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(said(&output).lines().count(), 1, "{}", said(&output));
    assert!(said(&output).contains(".sightline is complete"));
    assert_eq!(files.map(|name| changed(&models::run_time(name))), before);
}

#[test]
fn a_damaged_package_is_made_again_with_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    for package in [models::efficientnet(), models::tiny()] {
        let copy = folder.path().join("models").join(package.file_name().unwrap());
        let copied = models::Copy::of(&package);
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        assert!(Command::new("cp").arg("-r").arg(copied.path()).arg(&copy).status().unwrap().success());
    }
    let model = folder.path().join("models/tiny-gray64/model.onnx");
    let whole = fs::read(&model).unwrap();
    fs::write(&model, &whole[..100]).unwrap();
    let output = fetch(&["models", "--into", folder.path().to_str().unwrap()]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("models/tiny-gray64 is ready"));
    assert_eq!(fs::read(&model).unwrap(), whole);
}

#[test]
fn without_a_network_it_says_what_could_not_be_fetched() {
    let folder = tempfile::tempdir().unwrap();
    // The environment with pip is there already: a link to it, so that this fails where it should.
    std::os::unix::fs::symlink(models::run_time("venv"), folder.path().join("venv")).unwrap();
    let output = fetch(&["runtime", "--into", folder.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said(&output).contains("fetching onnxruntime 1.31.1 from PyPI (is the network there?) failed"),
        "{}",
        said(&output)
    );
    assert!(!folder.path().join("lib/libonnxruntime.so").exists());
}

#[test]
fn unknown_steps_are_named() {
    let output = fetch(&["modles"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        said(&output).contains("no step is named modles; there are python, runtime, tensorrt, models, media"),
        "{}",
        said(&output)
    );
}

/// Runs packages.sh in a world where this is all there is.
fn packages(programs: &[(&str, &str)], arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    for (name, body) in programs {
        let path = folder.path().join(name);
        fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut command = Command::new("/bin/sh");
    command.arg(script("packages.sh")).args(arguments).env("PATH", folder.path());
    command.stdin(std::process::Stdio::null()).output().unwrap()
}

const ALL_BUT_MOSQUITTO: (&str, &str) = ("dpkg-query", "[ \"$4\" = mosquitto ] || echo installed");

#[test]
fn nothing_missing_means_nothing_done() {
    let output = packages(&[("dpkg-query", "echo installed"), ("apt-get", "exit 9")], &[]);
    assert!(output.status.success() && output.stderr.is_empty(), "{}", said(&output));
}

#[test]
fn who_may_not_install_is_told_the_line_to_run() {
    let output = packages(&[ALL_BUT_MOSQUITTO, ("apt-get", "exit 9"), ("id", "echo 1000")], &[]);
    assert_eq!(output.status.code(), Some(1));
    let line = "sudo sh -c 'apt-get update && apt-get install -y --no-install-recommends mosquitto'";
    assert!(said(&output).contains(line), "{}", said(&output));
}

#[test]
fn root_installs_what_is_missing_after_an_update() {
    let programs = [
        ALL_BUT_MOSQUITTO,
        ("apt-get", "echo ran apt-get \"$@\""),
        ("id", "echo 0"),
        ("env", "while :; do case $1 in *=*) shift;; *) break;; esac; done; \"$@\""),
    ];
    let output = packages(&programs, &[]);
    assert!(output.status.success(), "{}", said(&output));
    let ran = String::from_utf8(output.stdout).unwrap();
    assert_eq!(ran, "ran apt-get update -q\nran apt-get install -y --no-install-recommends mosquitto\n");
}

#[test]
fn check_only_says() {
    let output = packages(&[ALL_BUT_MOSQUITTO, ("apt-get", "exit 9")], &["--check"]);
    assert_eq!((output.status.code(), said(&output).as_str()), (Some(1), "packages: missing: mosquitto\n"));
}

#[test]
fn another_system_is_told_what_it_needs() {
    let output = packages(&[], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said(&output).contains("not a Debian-like system") && said(&output).contains("mosquitto"),
        "{}",
        said(&output)
    );
}
