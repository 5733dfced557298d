//! Benchmark: what a training step costs beside PyTorch's on one thread; how fast the loader and the preprocess job are beside what they
//! do at least; how long training waits for pictures. Missed bars end it with status 1; the step has an aim and no bar.

#![allow(clippy::print_stdout, missing_docs)]

use std::{
    hint::black_box,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use burn::tensor::Device;
use contract::{Digest, dataset::Split, model::Color};
use rayon::prelude::*;
use trainer::{
    net::{Architecture, Input, Size, Weights, forward},
    tensors::{Form, Job, Loaded, Pictures, Store, preprocess},
    train::{Alone, Event, Examples, Normal, Settings, batches::Batches, run, settings::Augment, train},
};
use vision::{Limits, Preprocessor, decode_picture, jpeg::Encoder};

#[expect(dead_code, reason = "no child is waited for")]
mod cpu;
#[expect(dead_code, reason = "rounds are not counted")]
mod rounds;

use rounds::Rounds;

/// JPEGs of the job.
const PICTURES: usize = 8192;

fn main() -> Result<()> {
    trainer::train::memory::keep();
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut missed = Vec::new();
    steps(&root)?;
    println!();
    let jpegs = Jpegs::made()?;
    job(&jpegs, &mut missed)?;
    loader(&jpegs, &mut missed)?;
    println!("load {}", rounds::load());
    ensure!(missed.is_empty(), "bars missed: {}", missed.join(", "));
    Ok(())
}

/// Each network's step, ours and PyTorch's by turns.
fn steps(root: &Path) -> Result<()> {
    let python = root.join(".sightline/bench-venv/bin/python");
    ensure!(python.exists(), "{} is absent: run `make bench`, which prepares it", python.display());
    println!(
        "| step of 64 at 28x28, gray | ours, ms CPU (min / median / max) | PyTorch, one thread | ratio, median | aim |"
    );
    println!("|---|---|---|---|---|");
    for architecture in [Architecture::MiniResnet, Architecture::MiniMobilenet] {
        let (mut ours, mut theirs) = (Rounds::default(), Rounds::default());
        for round in 0..=rounds::setting("BENCH_ROUNDS", 5) {
            let a = step_ms(architecture, 20);
            let script = root.join("tests/bench/peers/torch_step.py");
            let said = Command::new(&python).arg(script).args([architecture.as_str(), "20"]).output()?;
            ensure!(said.status.success(), "torch_step.py: {}", String::from_utf8_lossy(&said.stderr));
            let b: f64 = String::from_utf8_lossy(&said.stdout).trim().parse().context("what torch_step.py says")?;
            if round > 0 {
                ours.push(a);
                theirs.push(b);
            }
        }
        let ratio = ours.over(&theirs).median();
        println!("| {architecture} | {} | {} | {ratio:.2} | 1.5 |", ours.show(1), theirs.show(1));
    }
    Ok(())
}

fn step_ms(architecture: Architecture, steps: u32) -> f64 {
    let input = Input { width: 28, height: 28, channels: 1 };
    let net = architecture.net(Size::Medium, input, 10);
    let weights = Weights::seeded(&net, 1);
    let mut dice = fastrand::Rng::with_seed(1);
    let pictures: Vec<f32> = (0..64 * input.len()).map(|_| dice.f32()).collect();
    let mut targets = vec![0.0; 64 * 10];
    (0..64).for_each(|at| targets[at * 10 + dice.usize(0..10)] = 1.0);
    let device = Device::flex();
    let pass = || forward::learn(&net, &weights, pictures.clone(), targets.clone(), &device).loss;
    black_box(pass());
    let begun = cpu::own();
    for _ in 0..steps {
        black_box(pass());
    }
    (cpu::own() - begun) / 1e3 / f64::from(steps)
}

/// JPEGs in memory.
struct Jpegs(Vec<Vec<u8>>);

impl Jpegs {
    /// Of 320 x 240 pixels: half of them sharp, half soft.
    fn made() -> Result<Self> {
        let (width, height) = (320usize, 240usize);
        let mut dice = fastrand::Rng::with_seed(3);
        let mut encoder = Encoder::new()?;
        let mut all = Vec::with_capacity(PICTURES);
        for number in 0..PICTURES {
            let (a, b, soft) = (dice.usize(3..60), dice.usize(3..60), number % 2 * 3);
            let luma: Vec<u8> = (0..width * height)
                .map(|at| ((at % width * a + at / width * b) >> (3 + soft)) as u8 ^ (dice.u8(..) >> (4 + soft)))
                .collect();
            let plane = vision::Plane { data: &luma, stride: width };
            let frame = vision::FrameView::new(
                width as u32,
                height as u32,
                vision::PixelFormat::Gray8,
                &[plane],
                vision::Range::Full,
                vision::Matrix::Bt601,
            )?;
            all.push(encoder.encode(&frame, 85)?);
        }
        Ok(Self(all))
    }
}

impl Pictures for Jpegs {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn about(&self, number: usize) -> (&str, u16, Split, Digest) {
        ("picture", (number % 2) as u16, Split::Train, Digest([number as u8; 32]))
    }

    fn load(&self, number: usize, _: Form) -> Result<Loaded, String> {
        Ok(Loaded::Picture(self.0[number].clone(), None))
    }
}

const FORM: Form = Form { width: 28, height: 28, color: Color::Gray, preprocess: vision::PREPROCESS_VERSION };

/// Pictures a second by the job on so many threads.
fn job_rate(jpegs: &Jpegs, threads: usize) -> Result<(f64, tempfile::TempDir)> {
    let folder = tempfile::tempdir()?;
    let classes: Vec<Arc<str>> = vec!["sharp".into(), "soft".into()];
    let job = Job {
        dataset: Digest([1; 32]),
        classes: &classes,
        pictures: jpegs,
        form: FORM,
        out: folder.path(),
        part: (0, 1),
        max_bad: 0.0,
        earlier: &[],
    };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    let begun = Instant::now();
    pool.install(|| preprocess(&job, &|_| {}))?;
    Ok((PICTURES as f64 / begun.elapsed().as_secs_f64(), folder))
}

/// Pictures a second by decoding and preprocessing alone.
fn bare_rate(jpegs: &Jpegs) -> Result<f64> {
    let mut preprocessor = Preprocessor::new(FORM.spec());
    let mut tensor = vec![0; FORM.spec().len()];
    let begun = Instant::now();
    for jpeg in &jpegs.0 {
        let picture = decode_picture(jpeg, &Limits::default())?;
        let view = picture.view();
        preprocessor.run(&view, view.rect(), &mut tensor)?;
        black_box(&tensor);
    }
    Ok(PICTURES as f64 / begun.elapsed().as_secs_f64())
}

fn job(jpegs: &Jpegs, missed: &mut Vec<&'static str>) -> Result<()> {
    let (mut bare, mut one, mut two) = (Rounds::default(), Rounds::default(), Rounds::default());
    for round in 0..=rounds::setting("BENCH_ROUNDS", 5) {
        let figures = (bare_rate(jpegs)?, job_rate(jpegs, 1)?.0, job_rate(jpegs, 2)?.0);
        if round > 0 {
            bare.push(figures.0);
            one.push(figures.1);
            two.push(figures.2);
        }
    }
    let (share, gain) = (one.over(&bare).median(), two.over(&one).median());
    println!(
        "| preprocess, 320x240 JPEG to 28x28 gray | pictures/s (min / median / max) | ratio, median | bar |\n|---|---|---|---|"
    );
    println!("| decode and preprocess alone | {} | | |", bare.show(0));
    println!("| the job, one worker | {} | {share:.3} of it | >= 0.9 |", one.show(0));
    println!("| the job, two workers | {} | {gain:.2} x one | >= 1.8 |\n", two.show(0));
    if share < 0.9 {
        missed.push("preprocess job");
    }
    if gain < 1.8 {
        missed.push("two workers");
    }
    Ok(())
}

/// From mapped tensors to batches, without augmentation; and how long a training waits for its batches, with.
fn loader(jpegs: &Jpegs, missed: &mut Vec<&'static str>) -> Result<()> {
    let (_, folder) = job_rate(jpegs, 2)?;
    let examples = Store::open(folder.path())?.examples();
    let normal = examples.statistics();
    let plain = Settings { epochs: 1, ..Settings::default() };
    let mut rate = Rounds::default();
    for _ in 0..rounds::setting("BENCH_ROUNDS", 5) {
        rate.push(loaded_rate(&examples, &plain, &normal));
    }
    let augment = Augment { flip: true, shift: 1.0, brightness: 0.1, ..Augment::default() };
    let settings = Settings { epochs: 2, augment, ..Settings::default() };
    let mut waited = 0.0;
    let job = run::Job {
        examples: &examples,
        name: "bench",
        settings: &settings,
        ranks: &Alone,
        device: Device::flex(),
        checkpoint: None,
    };
    train(&job, &mut |event| {
        if let Event::Epoch(pass) = event {
            waited = pass.waited;
        }
        run::Flow::Go
    })?;
    println!("| loader | | bar |\n|---|---|---|");
    println!("| samples/s into batches of 128 (min / median / max) | {} | >= 50000 |", rate.show(0));
    println!("| share of the time in which training waits | {:.2} % | < 2 % |", waited * 100.0);
    if rate.median() < 50_000.0 {
        missed.push("loader");
    }
    if waited >= 0.02 {
        missed.push("waiting");
    }
    Ok(())
}

fn loaded_rate(examples: &Examples, settings: &Settings, normal: &Normal) -> f64 {
    let batches = Batches::new(examples, settings, normal);
    let order = batches.order(1);
    let begun = Instant::now();
    let steps: Vec<u64> = (0..batches.steps()).collect();
    steps.par_iter().for_each(|step| drop(black_box(batches.drawn(1, batches.part(&order, *step, 0)))));
    (batches.steps() as usize * settings.batch) as f64 / begun.elapsed().as_secs_f64()
}
