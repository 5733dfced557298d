//! Pictures that a small network can learn to tell apart, made by formula.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::Arc,
};

use contract::{
    dataset::{Source, Split},
    model::{Color, Layout},
};
use trainer::{
    dataset::{self, Bytes, Dataset, Found, Order},
    train::{Examples, Label, Tensors},
};
use vision::Spec;

/// What there is to tell apart.
pub const CLASSES: [&str; 3] = ["across", "down", "slanted"];

/// Stripes of a class, with noise.
pub fn stripes(class: usize, side: usize, dice: &mut fastrand::Rng) -> Vec<u8> {
    let phase = dice.usize(0..6);
    let pixel = |at: usize| {
        let (x, y) = (at % side, at / side);
        let place = [y, x, x + y][class];
        let light = if (place + phase) % 6 < 3 { 170 } else { 80 };
        (light + dice.i32(-40..=40)).clamp(0, 255) as u8
    };
    (0..side * side).map(pixel).collect()
}

/// Many of them, in memory.
struct Many(Vec<u8>, usize);

impl Tensors for Many {
    fn tensor(&self, number: usize) -> &[u8] {
        &self.0[number * self.1..(number + 1) * self.1]
    }
}

/// So many examples a class for training, and a quarter as many for validation.
pub fn examples(side: usize, each: usize, seed: u64) -> Examples {
    let mut dice = fastrand::Rng::with_seed(seed);
    let (mut tensors, mut labels) = (Vec::new(), Vec::new());
    for number in 0..each * 5 / 4 * CLASSES.len() {
        let class = number % CLASSES.len();
        tensors.extend(stripes(class, side, &mut dice));
        let split = if number < each * CLASSES.len() { Split::Train } else { Split::Validation };
        labels.push(Label { class: class as u16, split });
    }
    let spec = Spec { width: side as u32, height: side as u32, color: Color::Gray, layout: Layout::Nhwc };
    let classes = CLASSES.map(Arc::from).to_vec();
    Examples { spec, classes, labels, tensors: Arc::new(Many(tensors, side * side)) }
}

/// The same as a folder a class of PNGs.
pub fn folder(root: &Path, side: usize, each: usize, seed: u64) {
    let mut dice = fastrand::Rng::with_seed(seed);
    for (class, name) in CLASSES.into_iter().enumerate() {
        let folder = root.join(name);
        fs::create_dir_all(&folder).unwrap();
        for number in 0..each {
            fs::write(folder.join(format!("{number:04}.png")), png(&stripes(class, side, &mut dice), side)).unwrap();
        }
    }
}

/// Luma as a PNG.
pub fn png(luma: &[u8], side: usize) -> Vec<u8> {
    Bytes::Gray(Arc::new(luma.to_vec()), 0, [side as u32; 2]).read().unwrap()
}

/// An order with the usual answers.
pub fn order() -> Order {
    Order {
        name: "stripes".into(),
        source: Source::Import { format: "folder".into() },
        classes: None,
        threshold: None,
        shares: [0.6, 0.2, 0.2],
        validation: 0.1,
        grouped_by: "column".into(),
        seed: 1,
        strict: false,
        licence: None,
    }
}

/// A dataset of found pictures, below `out`.
pub fn dataset(found: Vec<Found>, order: &Order, out: &Path) -> Result<Dataset, dataset::Error> {
    let made = dataset::make(found, order, out, &|_| {})?;
    Dataset::open(&made.folder)
}

/// The program.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sightline-train"));
    command.env_remove("MLFLOW_TRACKING_URI");
    command
}

/// Runs it; both streams as text.
pub fn run(arguments: &[&str]) -> (Output, String, String) {
    let ended = program().args(arguments).output().unwrap();
    let [out, err] = [&ended.stdout, &ended.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    (ended, out, err)
}

/// Runs it; it must end well. Gives what it printed.
pub fn done(arguments: &[&str]) -> String {
    let (ended, out, err) = run(arguments);
    assert!(ended.status.success(), "{arguments:?}: {out}{err}");
    out
}

/// A path as an argument.
pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Tensors of stripes, made by the program's own commands.
pub fn tensors(root: &Path, side: usize, each: usize) -> PathBuf {
    folder(&root.join("pictures"), side, each, 5);
    let datasets = root.join("datasets");
    done(&["dataset", "import", "folder", text(&root.join("pictures")), "--out", text(&datasets), "--name", "stripes"]);
    let dataset = fs::read_dir(&datasets).unwrap().next().unwrap().unwrap().path();
    let tensors = root.join("tensors");
    done(&["preprocess", text(&dataset), "--size", "16x16", "--out", text(&tensors)]);
    tensors
}
