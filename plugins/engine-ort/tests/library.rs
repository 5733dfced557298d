//! The runtime's library: missing, wrong, late. Each case is a process of its own, since a process loads only one.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

#[path = "../../../tests/models/mod.rs"]
mod models;

use std::{env, fs, path::PathBuf, process::Command};

use engine_ort::{LIBRARY_VARIABLE, OrtCpu};
use inference::{EngineFactory, Package};

/// What the child process is asked to try, by a variable: `option:<path>` or `usual`.
const CASE: &str = "SIGHTLINE_TEST_LIBRARY";

/// Not a test of its own: the others run it in a child process and read what it prints.
#[test]
fn child() {
    let Ok(case) = env::var(CASE) else { return };
    let factory = OrtCpu::new(case.strip_prefix("option:").map(PathBuf::from));
    for _ in 0..2 {
        match factory.probe() {
            Ok(probe) => println!("FOUND {} {}", probe.version, probe.library.unwrap().display()),
            Err(refusal) => println!("REFUSED {}", refusal.full()),
        }
    }
    if let Ok(good) = env::var("SIGHTLINE_TEST_THEN") {
        let probe = OrtCpu::new(Some(good.into())).probe().unwrap();
        println!("THEN {}", probe.version);
        let package = Package::open(models::tiny()).unwrap();
        factory.load(&package).unwrap();
        // The runtime has something to say of this one, and must not say it on stderr.
        let bytes = fs::read(models::tiny().join("model.onnx")).unwrap();
        let at = bytes.windows(4).position(|window| window == b"Gemm").unwrap();
        let broken = models::Copy::tiny().file("model.onnx", &[&bytes[..at], b"Gexx", &bytes[at + 4..]].concat());
        assert!(factory.load(&Package::open(broken.path()).unwrap()).is_err());
    }
}

struct Child<'a> {
    case: &'a str,
    variable: Option<&'a str>,
    then: Option<PathBuf>,
    at: PathBuf,
}

impl Child<'_> {
    fn of(case: &str) -> Child<'_> {
        Child { case, variable: None, then: None, at: env::current_dir().unwrap() }
    }

    fn lines(self) -> Vec<String> {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", "child", "--nocapture"]).current_dir(self.at);
        command.env_remove(LIBRARY_VARIABLE).env(CASE, self.case);
        if let Some(variable) = self.variable {
            command.env(LIBRARY_VARIABLE, variable);
        }
        if let Some(then) = self.then {
            command.env("SIGHTLINE_TEST_THEN", then);
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "the process must not panic: {}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        let ours = |line: &&str| ["FOUND", "REFUSED", "THEN"].iter().any(|word| line.starts_with(word));
        text.lines().filter(ours).map(str::to_owned).collect()
    }
}

fn library() -> PathBuf {
    models::run_time("lib/libonnxruntime.so").canonicalize().unwrap()
}

#[test]
fn a_missing_library_names_the_file_and_the_way_out() {
    let lines = Child::of("option:/nowhere/libonnxruntime.so").lines();
    assert_eq!(
        lines[0],
        "REFUSED libonnxruntime is missing: the configuration names `/nowhere/libonnxruntime.so`, which is not a file; \
         correct the path, or run `make setup` and remove it"
    );
    assert_eq!(lines.len(), 2, "asked again, it answers again");
    let lines = Child { variable: Some("/nowhere/else.so"), ..Child::of("usual") }.lines();
    assert!(
        lines[0].starts_with("REFUSED libonnxruntime is missing: ORT_DYLIB_PATH names `/nowhere/else.so`"),
        "{lines:?}"
    );
}

#[test]
fn the_set_ups_folder_is_found_from_below() {
    let lines = Child::of("usual").lines();
    assert_eq!(lines, vec![format!("FOUND 1.31.1 {}", library().display()); 2]);
}

#[test]
fn the_option_comes_before_the_variable() {
    let option = format!("option:{}", library().display());
    let lines = Child { variable: Some("/nowhere/else.so"), ..Child::of(&option) }.lines();
    assert_eq!(lines[0], format!("FOUND 1.31.1 {}", library().display()));
}

#[test]
fn what_is_not_the_runtime_is_refused_without_a_panic() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("libonnxruntime.so");
    fs::write(&text, "no library").unwrap();
    let lines = Child::of(&format!("option:{}", text.display())).lines();
    assert!(
        lines[0].contains("is not a library that can be loaded here (") && lines[0].contains("make setup"),
        "{lines:?}"
    );

    // A library that is there on every system, but is not ONNX Runtime.
    let other = fs::read_to_string("/proc/self/maps").unwrap();
    let libc = other.lines().find_map(|line| line.split_whitespace().last().filter(|p| p.contains("libc.so"))).unwrap();
    let lines = Child::of(&format!("option:{libc}")).lines();
    assert!(lines[0].contains("is a library, but not ONNX Runtime (it has no `OrtGetApiBase`)"), "{lines:?}");
}

#[test]
fn a_refusal_does_not_last() {
    let lines = Child { then: Some(library()), ..Child::of("option:/nowhere/libonnxruntime.so") }.lines();
    assert_eq!(lines.last().unwrap(), "THEN 1.31.1");
}
