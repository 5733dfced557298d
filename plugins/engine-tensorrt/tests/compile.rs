//! Real plans of real models by the real library, with no GPU: what a build machine, CI, or a gateway before its first
//! start does. Running them needs a GPU: `make test-gpu`.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

#[path = "../../../tests/models/mod.rs"]
mod models;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::SystemTime,
};

use engine_tensorrt::{
    Build, Key, Options, TensorRt,
    cache::{Cache, Found},
    compile::{Source, compile},
    key::{Profile, Target},
    library::{self, Library},
    prepare,
};
use inference::{Package, graph};
use tempfile::TempDir;

fn folder() -> PathBuf {
    models::run_time("lib/tensorrt")
}

fn library() -> Library {
    library::open(Some(&folder())).unwrap()
}

fn factory(cache: &Path) -> TensorRt {
    TensorRt::new(Options { libraries: Some(folder()), build: Build::Wait, ..Options::new(cache) })
}

/// Every net that the set-up made.
fn every_model() -> Vec<PathBuf> {
    ["models/efficientnet-lite0", "models/tiny-gray64", "models/resnet18-seeded"].map(models::run_time).to_vec()
}

fn plan(cache: &Path, package: &Package) -> (Key, Vec<u8>) {
    let (factory, library) = (factory(cache), library());
    let key = factory.key(package, &library, None).unwrap();
    let plan = factory.plan(package, &library, &key).unwrap();
    (key, plan)
}

#[test]
fn real_models_become_portable_plans_without_a_gpu() {
    let cache = TempDir::new().unwrap();
    for path in every_model() {
        let package = Package::open(&path).unwrap();
        let (key, plan) = plan(cache.path(), &package);
        assert_eq!((key.target, key.driver_major), (Target::Portable, None));
        assert_eq!(key.library, "TensorRT-RTX 1.7.1");
        // A plan holds the weights.
        let weights = package.graph().parameters as usize * 4;
        assert!(plan.len() > weights / 2, "{}: {} bytes for {weights} of weights", path.display(), plan.len());
    }
}

#[test]
fn float16_files_become_plans_too_and_smaller_ones() {
    let library = library();
    for path in every_model() {
        let package = Package::open(&path).unwrap();
        let (model, [_, shape @ ..]) = (package.model().unwrap(), package.spec().shape());
        let half = graph::half(&model).unwrap().model;
        let [exact, half] = [model, half].map(|model| {
            let onnx = prepare::prepare(&model).unwrap();
            let source = Source { onnx: &onnx, input: &package.manifest().input.name, shape };
            compile(&library, source, Profile::up_to(32), Target::Portable).unwrap().len()
        });
        // Beside the weights a plan holds some half a megabyte.
        assert!(half < exact && half > exact / 3, "{}: {half} bytes, float32 {exact}", path.display());
    }
}

#[test]
fn models_that_cannot_run_are_refused_with_the_reason() {
    let library = library();
    let package = Package::open(models::tiny()).unwrap();
    let model = package.model().unwrap();
    let try_it = |model: &[u8], shape| {
        let source = Source { onnx: model, input: "input", shape };
        compile(&library, source, Profile::up_to(8), Target::Portable).unwrap_err().to_string()
    };
    let onnx = prepare::prepare(&model).unwrap();
    let at = onnx.windows(4).position(|four| four == b"Relu").unwrap();
    let mut unknown = onnx.clone();
    unknown[at..at + 4].copy_from_slice(b"Rely");
    let text = try_it(&unknown, [64, 64, 1]);
    assert!(text.contains("TensorRT-RTX cannot read the model") && text.contains("use another engine"), "{text}");
    let text = try_it(&onnx, [32, 32, 1]);
    assert!(text.contains("which no batch size makes"), "{text}");
    let text = try_it(&onnx[..onnx.len() / 2], [64, 64, 1]);
    assert!(text.contains("cannot read the model"), "{text}");

    let weights = 0.25f32.to_le_bytes();
    let at = model.windows(4).position(|four| four == weights).unwrap();
    let mut nan = model.clone();
    nan[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    let text = prepare::prepare(&nan).unwrap_err().to_string();
    assert!(text.contains("holds NaN; train or export it again"), "{text}");
}

#[test]
fn a_plan_is_compiled_once() {
    let cache = TempDir::new().unwrap();
    let package = Package::open(models::tiny()).unwrap();
    let (key, first) = plan(cache.path(), &package);
    let file = cache.path().join(format!("{}.plan", key.name()));
    let long_ago = SystemTime::UNIX_EPOCH;
    fs::File::open(&file).unwrap().set_modified(long_ago).unwrap();
    let inode = inode(&file);
    let (_, second) = plan(cache.path(), &package);
    assert!(first == second && inode == self::inode(&file), "the second comes from the file that the first made");
    assert!(fs::metadata(&file).unwrap().modified().unwrap() > long_ago, "and counts as used now");
}

fn inode(file: &Path) -> u64 {
    std::os::unix::fs::MetadataExt::ino(&fs::metadata(file).unwrap())
}

#[test]
fn a_plan_that_is_torn_or_changed_is_found_and_compiled_again() {
    let folder = TempDir::new().unwrap();
    let package = Package::open(models::tiny()).unwrap();
    let (key, plan) = plan(folder.path(), &package);
    let file = folder.path().join(format!("{}.plan", key.name()));
    let whole = fs::read(&file).unwrap();
    let cache = Cache::open(folder.path(), 1 << 30).unwrap();
    let changed = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    };
    let cases = [
        ("empty", Vec::new()),
        ("cut in its magic", whole[..5].to_vec()),
        ("cut in its digest", whole[..20].to_vec()),
        ("cut in the plan", whole[..whole.len() / 2].to_vec()),
        ("another magic", changed(0)),
        ("a bit of its digest", changed(10)),
        ("a bit of its key", changed(60)),
        ("the last bit", changed(whole.len() - 1)),
    ];
    for (what, bytes) in cases {
        fs::write(&file, bytes).unwrap();
        assert!(matches!(cache.get(&key).unwrap(), Found::Broken(_)), "{what}");
        assert_eq!(cache.get(&key).unwrap(), Found::Nothing, "{what}: it was removed");
    }
    let (_, again) = self::plan(folder.path(), &package);
    assert_eq!(again.len(), plan.len());
}

#[test]
fn a_plan_of_something_else_is_not_taken() {
    let folder = TempDir::new().unwrap();
    let package = Package::open(models::tiny()).unwrap();
    let (key, plan) = plan(folder.path(), &package);
    let cache = Cache::open(folder.path(), 1 << 30).unwrap();
    let others = [
        ("another library", Key { library: "TensorRT-RTX 1.6.1".into(), ..key.clone() }),
        ("another GPU", Key { target: Target::Sm(86), ..key.clone() }),
        ("another driver", Key { driver_major: Some(12), ..key.clone() }),
        ("another model", Key { model: "0".repeat(64), ..key.clone() }),
        ("another recipe", Key { recipe: key.recipe + 1, ..key.clone() }),
    ];
    for (what, other) in others {
        assert_eq!(cache.get(&other).unwrap(), Found::Nothing, "{what}: another name");
        // Even under its name.
        let from = folder.path().join(format!("{}.plan", key.name()));
        fs::copy(&from, folder.path().join(format!("{}.plan", other.name()))).unwrap();
        assert!(matches!(cache.get(&other).unwrap(), Found::Broken(_)), "{what}: another content");
    }
    assert_eq!(cache.get(&key).unwrap(), Found::Plan(plan));
}

#[test]
fn the_cache_keeps_within_its_bound_and_lets_the_longest_unused_go() {
    let folder = TempDir::new().unwrap();
    let cache = Cache::open(folder.path(), 2500).unwrap();
    let key = |n: u16| Key {
        model: n.to_string(),
        library: "x".into(),
        target: Target::Portable,
        driver_major: None,
        profile: Profile::up_to(1),
        recipe: 0,
    };
    for n in 0..2 {
        cache.put(&key(n), &[0; 800]).unwrap();
        let file = folder.path().join(format!("{}.plan", key(n).name()));
        let at = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(u64::from(n) + 1);
        fs::File::open(file).unwrap().set_modified(at).unwrap();
    }
    assert!(matches!(cache.get(&key(0)).unwrap(), Found::Plan(_)), "used, so the other one is the oldest now");
    cache.put(&key(2), &[0; 800]).unwrap();
    let there = [0, 1, 2].map(|n| matches!(cache.get(&key(n)).unwrap(), Found::Plan(_)));
    assert_eq!(there, [true, false, true]);
    cache.put(&key(3), &[0; 5000]).unwrap();
    assert!(matches!(cache.get(&key(3)).unwrap(), Found::Plan(_)), "the newest stays even when it alone is too large");
}

const CHILD: &str = "SIGHTLINE_TEST_COMPILE_INTO";

/// Not a test of its own: what the next one starts twice.
#[test]
#[ignore = "started by two_processes_compile_a_plan_once"]
fn compile_as_a_child() {
    let folder = PathBuf::from(std::env::var_os(CHILD).unwrap());
    let package = Package::open(models::efficientnet()).unwrap();
    let (key, _) = plan(&folder, &package);
    println!("inode {}", inode(&folder.join(format!("{}.plan", key.name()))));
}

#[test]
fn two_processes_compile_a_plan_once() {
    let folder = TempDir::new().unwrap();
    let child = || {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "compile_as_a_child", "--ignored", "--nocapture"])
            .env(CHILD, folder.path())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap()
    };
    let inodes = [child(), child()].map(|child| {
        let done = child.wait_with_output().unwrap();
        assert!(done.status.success());
        let text = String::from_utf8(done.stdout).unwrap();
        text.lines().find(|line| line.contains("inode ")).unwrap().split("inode ").nth(1).unwrap().to_owned()
    });
    assert_eq!(inodes[0], inodes[1], "one wrote the file, the other found it");
}
