//! The program, from pictures to a package that gateways run, killed on the way.

#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    fs,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use inference::Package;
use made::{done, program, run, tensors, text};
use trainer::{tensors::Store, train::Checkpoint};

mod made;

#[path = "../../tests/models/mod.rs"]
mod models;

const QUICK: [&str; 12] = [
    "--architecture",
    "small-cnn",
    "--size",
    "small",
    "--set",
    "batch=16",
    "--set",
    "rate=0.05",
    "--set",
    "epochs=3",
    "--set",
    "augment.shift=1",
];

fn train(tensors: &Path, folder: &Path, more: &[&str]) -> Command {
    let mut command = program();
    command.args(["train", text(tensors), "--run", text(folder)]).args(QUICK).args(more);
    command
}

fn checkpoint(folder: &Path) -> Checkpoint {
    Checkpoint::read(&folder.join("checkpoint.safetensors")).unwrap().unwrap()
}

/// Every file of a folder with its bytes, by name.
fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.sort();
    let of = |path: PathBuf| {
        if path.is_dir() { files(&path) } else { vec![(path.file_name().unwrap().into(), fs::read(&path).unwrap())] }
    };
    all.into_iter().flat_map(of).collect()
}

#[test]
fn pictures_become_a_package_that_gateways_load() {
    let folder = tempfile::tempdir().unwrap();
    let tensors = tensors(folder.path(), 16, 60);
    let runs = folder.path().join("runs/first");
    let said = train(&tensors, &runs, &["--json"]).output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let package = folder.path().join("package");
    let library = models::run_time("lib/libonnxruntime.so");
    let export = |to: &Path| {
        let arguments = [
            "export",
            text(&runs),
            "--tensors",
            text(&tensors),
            "--out",
            text(to),
            "--library",
            text(&library),
            "--json",
        ];
        serde_json::from_str::<serde_json::Value>(&done(&arguments)).unwrap()
    };
    let made = export(&package);
    assert!(made["parity"]["difference"].as_f64().unwrap() <= 1e-4, "{made}");
    let opened = Package::open(&package).unwrap();
    assert_eq!(opened.digest().to_string(), made["digest"].as_str().unwrap());
    assert_eq!(opened.golden().unwrap().rows.len(), 8);
    assert_eq!(opened.manifest().classes.len(), 3);
    done(&["inspect", text(&package), "--check", "--library", text(&library)]);
    assert_eq!(files(&package), {
        export(&folder.path().join("again"));
        files(&folder.path().join("again"))
    });

    let lines = fs::read_to_string(runs.join("metrics.jsonl")).unwrap();
    let about: serde_json::Value = serde_json::from_slice(&fs::read(runs.join("run.json")).unwrap()).unwrap();
    assert_eq!(lines.lines().filter(|line| line.contains("validation_accuracy")).count(), 3, "{lines}");
    assert_eq!((about["status"].as_str(), about["parameters"]["rate"].as_str()), (Some("finished"), Some("0.05")));
    assert!(about["last"]["validation_accuracy"].as_f64().unwrap() > 0.9, "{about}");

    let (ended, _, err) = run(&["export", text(&runs), "--tensors", text(&tensors), "--out", text(&package)]);
    assert!(ended.status.code() == Some(1) && err.contains("exists already"), "{err}");
}

#[test]
fn tensors_do_not_depend_on_workers_parts_or_kills() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    // More pictures than one shard takes.
    made::folder(&root.join("pictures"), 12, 3000, 5);
    fs::write(root.join("pictures/down/0007.png"), b"\x89PNG\r\n\x1a\nbroken").unwrap();
    done(&[
        "dataset",
        "import",
        "folder",
        text(&root.join("pictures")),
        "--out",
        text(&root.join("datasets")),
        "--name",
        "s",
    ]);
    let dataset = fs::read_dir(root.join("datasets")).unwrap().next().unwrap().unwrap().path();
    let make = |to: &str, more: &[&str]| {
        let to = root.join(to);
        let arguments =
            [&["preprocess", text(&dataset), "--size", "32x32", "--color", "rgb", "--out", text(&to)], more].concat();
        (done(&arguments), to)
    };
    let (_, whole) = make("whole", &["--workers", "1"]);
    let expected = files(&whole);
    assert_eq!(Store::open(&whole).unwrap().index.items(), 8999);

    assert_eq!(files(&make("workers", &["--workers", "4"]).1), expected);
    for part in ["1/3", "0/3"] {
        make("parts", &["--shard", part]);
    }
    let lacking = Store::open(&root.join("parts")).err().unwrap().to_string();
    assert!(lacking.contains("index.json"), "{lacking}");
    assert_eq!(files(&make("parts", &["--shard", "2/3"]).1), expected);

    let killed = root.join("killed");
    let mut dice = fastrand::Rng::with_seed(1);
    for _ in 0..10 {
        let arguments = ["preprocess", text(&dataset), "--size", "32x32", "--color", "rgb", "--out", text(&killed)];
        let mut child = program().args(arguments).stdout(Stdio::null()).spawn().unwrap();
        thread::sleep(Duration::from_millis(dice.u64(1..120)));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    make("killed", &[]);
    // What was being written when it was killed lies there under a name that nobody reads.
    let left = files(&killed).into_iter().filter(|(name, _)| !name.to_string_lossy().starts_with(".writing-"));
    assert_eq!(left.collect::<Vec<_>>(), expected);

    let (said, reused) = make("reused", &["--from", text(&whole), "--json"]);
    assert!(said.contains("\"reused\":8999"), "{said}");
    assert_eq!(files(&reused), expected);

    let (ended, _, err) = run(&["preprocess", text(&dataset), "--size", "16x16", "--out", text(&whole)]);
    assert!(ended.status.code() == Some(1) && err.contains("use another folder"), "{err}");
}

#[test]
fn a_training_that_is_killed_ends_with_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let tensors = tensors(folder.path(), 16, 200);
    let more = ["--checkpoint-every", "1", "--epochs", "40"];
    let whole = folder.path().join("whole");
    assert!(train(&tensors, &whole, &more).status().unwrap().success());
    let killed = folder.path().join("killed");
    let mut dice = fastrand::Rng::with_seed(2);
    for _ in 0..10 {
        let mut child = train(&tensors, &killed, &more).spawn().unwrap();
        thread::sleep(Duration::from_millis(dice.u64(20..700)));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(train(&tensors, &killed, &more).status().unwrap().success());
    for file in ["checkpoint.safetensors", "metrics.jsonl"] {
        let read = |folder: &Path| fs::read(folder.join(file)).unwrap();
        assert!(read(&whole) == read(&killed), "{file} is another one");
    }
}

#[test]
fn a_full_disk_leaves_the_previous_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let tensors = tensors(folder.path(), 16, 60);
    let run = folder.path().join("run");
    let mut first = train(&tensors, &run, &["--checkpoint-every", "1", "--set", "augment.blur=2"]).spawn().unwrap();
    while !run.join("checkpoint.safetensors").exists() {
        thread::sleep(Duration::from_millis(5));
    }
    first.kill().unwrap();
    first.wait().unwrap();
    let before = fs::read(run.join("checkpoint.safetensors")).unwrap();
    let limit = before.len() as u64 / 2;
    // The same training goes on; what it then writes does not fit.
    let mut limited = train(&tensors, &run, &["--set", "augment.blur=2"]);
    // SAFETY: between fork and exec only system calls are made.
    unsafe {
        limited.pre_exec(move || {
            let most = libc::rlimit { rlim_cur: limit, rlim_max: limit };
            libc::setrlimit(libc::RLIMIT_FSIZE, &raw const most);
            libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
            Ok(())
        })
    };
    let ended = limited.output().unwrap();
    let err = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.code() == Some(1) && err.contains("write checkpoint `"), "{err}");
    assert!(fs::read(run.join("checkpoint.safetensors")).unwrap() == before, "the previous one stays, whole");
    assert!(train(&tensors, &run, &["--set", "augment.blur=2"]).status().unwrap().success(), "and is gone on from");
}

#[cfg(feature = "mpi")]
#[test]
fn ranks_over_mpi_have_the_bits_of_one_process_that_accumulates() {
    let folder = tempfile::tempdir().unwrap();
    let tensors = tensors(folder.path(), 16, 300);
    let more = ["--set", "micro_batches=4", "--epochs", "2"]; // 2 x 33 steps
    let alone = folder.path().join("alone");
    assert!(train(&tensors, &alone, &more).status().unwrap().success());
    let expected = checkpoint(&alone);
    assert!(expected.state.epoch == 2 && expected.memory.first.iter().any(|value| *value != 0.0));
    for ranks in ["1", "2", "4"] {
        let run = folder.path().join(format!("ranks-{ranks}"));
        let mut launched = Command::new("mpirun");
        launched.args(["--allow-run-as-root", "--oversubscribe", "-n", ranks, env!("CARGO_BIN_EXE_sightline-train")]);
        launched.args(["train", text(&tensors), "--run", text(&run)]).args(QUICK).args(more);
        let ended = launched.env("RAYON_NUM_THREADS", "1").output().unwrap();
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        assert_eq!(checkpoint(&run), expected, "{ranks} ranks");
    }
    let mut odd = Command::new("mpirun");
    odd.args(["--allow-run-as-root", "--oversubscribe", "-n", "3", env!("CARGO_BIN_EXE_sightline-train")]);
    let run = folder.path().join("odd");
    let ended = odd.args(["train", text(&tensors), "--run", text(&run)]).args(QUICK).args(more).output().unwrap();
    let err = String::from_utf8_lossy(&ended.stderr);
    assert!(!ended.status.success() && err.contains("3 ranks cannot share 4 micro-batches evenly"), "{err}");
}

#[test]
fn settings_that_cannot_be_are_named_all_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let tensors = tensors(folder.path(), 16, 20);
    let target = folder.path().join("run");
    let at = ["train", text(&tensors), "--run", text(&target)];
    let cases: [(&[&str], i32, &str); 5] = [
        (
            &["--set", "rate=-1", "--set", "warm_up=2"],
            1,
            "`rate` is -1: use a number above zero, as in 0.1; `warm_up` is 2",
        ),
        (&["--set", "speed=3"], 1, "unknown field `speed`"),
        (&["--set", "rate"], 1, "write KEY=VALUE"),
        (
            &["--architecture", "giant"],
            2,
            "`giant` is no architecture: use one of small-cnn, mini-resnet, mini-mobilenet",
        ),
        (&["--set", "batch=4096"], 1, "fewer than one batch of 4096: lower `batch`"),
    ];
    for (more, code, expected) in cases {
        let (ended, _, err) = run(&[&at[..], more].concat());
        assert!(ended.status.code() == Some(code) && err.contains(expected), "{more:?}: {err}\nshould say {expected}");
    }
    let (ended, _, err) = run(&["train", text(folder.path()), "--run", text(&target)]);
    assert!(ended.status.code() == Some(1) && err.contains("index.json"), "{err}");
    let printed = done(&["train", "--print-settings", "--set", "augment.flip=true"]);
    assert!(printed.contains("flip = true") && printed.contains("architecture = \"mini-resnet\""), "{printed}");
}
