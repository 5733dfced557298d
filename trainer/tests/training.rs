//! Training: it learns, the same every time, and goes on where it was.

#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    path::Path,
    sync::{Arc, Barrier, Mutex},
    time::Duration,
};

use burn::tensor::Device;
use contract::dataset::Split;
use trainer::{
    net::{Architecture, Input, Size, Weights, forward},
    train::{
        Alone, Checkpoint, Event, Examples, Ranks, Settings, Trained,
        ranks::Lost,
        run::{Error, Flow, Job},
        settings::{Augment, Optimiser},
        train,
    },
};

mod made;

fn settings() -> Settings {
    Settings {
        architecture: Architecture::SmallCnn,
        size: Size::Small,
        epochs: 3,
        batch: 12,
        rate: 0.05,
        augment: Augment { shift: 1.0, noise: 0.02, brightness: 0.05, ..Augment::default() },
        ..Settings::default()
    }
}

fn job<'j>(examples: &'j Examples, settings: &'j Settings, checkpoint: Option<&'j Path>) -> Job<'j> {
    let checkpoint = checkpoint.map(|path| (path, Duration::ZERO)); // after every step
    Job { examples, name: "stripes", settings, ranks: &Alone, device: Device::flex(), checkpoint }
}

fn trained(examples: &Examples, settings: &Settings) -> Trained {
    train(&job(examples, settings, None), &mut |_| Flow::Go).unwrap()
}

#[test]
fn gradients_are_those_of_small_differences() {
    let input = Input { width: 8, height: 8, channels: 1 };
    for architecture in Architecture::ALL {
        let net = architecture.net(Size::Small, input, 3);
        let mut weights = Weights::seeded(&net, 5);
        // Branches begin at zero; here they must count.
        weights.values.iter_mut().for_each(|value| *value += 0.05);
        let mut dice = fastrand::Rng::with_seed(2);
        let pictures: Vec<f32> = (0..6 * 64).map(|_| dice.f32() * 2.0 - 1.0).collect();
        let targets: Vec<f32> = (0..6).flat_map(|n| (0..3).map(move |c| f32::from(c == n % 3))).collect();
        let device = Device::flex();
        let loss = |weights: &Weights| {
            f64::from(forward::learn(&net, weights, pictures.clone(), targets.clone(), &device).loss)
        };
        let lesson = forward::learn(&net, &weights, pictures.clone(), targets.clone(), &device);
        // Along a random direction: short enough that few kinks are crossed, long enough that rounding does not show.
        let direction: Vec<f32> = weights.values.iter().map(|_| dice.f32() * 2.0 - 1.0).collect();
        let moved = |by: f32| {
            let mut moved = weights.clone();
            moved.values.iter_mut().zip(&direction).for_each(|(value, along)| *value += along * by);
            moved
        };
        const STEP: f32 = 2e-4;
        let by_difference = (loss(&moved(STEP)) - loss(&moved(-STEP))) / (2.0 * f64::from(STEP));
        let dot: f64 = lesson.gradient.iter().zip(&direction).map(|(a, b)| f64::from(a * b)).sum();
        let off = (dot - by_difference).abs() / by_difference.abs().max(0.05);
        assert!(off < 0.05, "{architecture}: the gradient says {dot}, differences {by_difference}");
    }
}

#[test]
fn learns_to_tell_stripes_apart() {
    let examples = made::examples(16, 100, 7);
    for (optimiser, rate) in [(Optimiser::default(), 0.05), (Optimiser::Adamw { beta1: 0.9, beta2: 0.999 }, 3e-3)] {
        let settings = Settings { optimiser, rate, average: 0.9, ..settings() };
        let best = trained(&examples, &settings).checkpoint.state.best.unwrap();
        assert!(best.accuracy > 0.97, "{optimiser:?}: {best:?}");
    }
}

#[test]
fn threads_change_nothing() {
    let examples = made::examples(16, 24, 7);
    let settings = Settings { micro_batches: 4, epochs: 1, ..settings() };
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| trained(&examples, &settings)).checkpoint
    };
    assert_eq!(with(1), with(4));
}

#[test]
fn goes_on_bit_for_bit_from_any_step() {
    let folder = tempfile::tempdir().unwrap();
    let examples = made::examples(16, 24, 7);
    let settings =
        Settings { average: 0.99, optimiser: Optimiser::Adamw { beta1: 0.9, beta2: 0.99 }, rate: 1e-3, ..settings() };
    let whole = trained(&examples, &settings).checkpoint;
    for stop_after in [1, 4, 6, 7, 11, 17] {
        let path = folder.path().join(format!("{stop_after}.safetensors"));
        let mut steps = 0;
        let halted = train(&job(&examples, &settings, Some(&path)), &mut |event| {
            steps += u32::from(matches!(event, Event::Step { .. }));
            if steps == stop_after { Flow::Stop } else { Flow::Go }
        });
        assert_eq!(halted.unwrap().stopped, Some("told to stop"));
        let resumed = train(&job(&examples, &settings, Some(&path)), &mut |_| Flow::Go).unwrap();
        assert_eq!(resumed.checkpoint, whole, "stopped after step {stop_after}");
        assert_eq!(Checkpoint::read(&path).unwrap(), Some(whole.clone()));
    }
}

/// Ranks that are threads.
#[derive(Debug)]
struct Threads {
    rank: usize,
    size: usize,
    table: Arc<Mutex<Vec<Vec<f32>>>>,
    meet: Arc<Barrier>,
}

impl Ranks for Threads {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn gather(&self, mine: Vec<f32>) -> Result<Vec<Vec<f32>>, Lost> {
        self.table.lock().unwrap()[self.rank] = mine;
        self.meet.wait();
        let all = self.table.lock().unwrap().clone();
        self.meet.wait();
        Ok(all)
    }
}

#[test]
fn ranks_have_the_bits_of_one_process_that_accumulates() {
    let examples = made::examples(16, 48, 7);
    let settings = Settings { micro_batches: 4, epochs: 2, ..settings() };
    let alone = trained(&examples, &settings).checkpoint;
    for size in [2, 4] {
        let (table, meet) = (Arc::new(Mutex::new(vec![Vec::new(); size])), Arc::new(Barrier::new(size)));
        std::thread::scope(|scope| {
            for rank in 0..size {
                let ranks = Threads { rank, size, table: table.clone(), meet: meet.clone() };
                let (examples, settings, alone) = (&examples, &settings, &alone);
                scope.spawn(move || {
                    let job = Job { ranks: &ranks, ..job(examples, settings, None) };
                    let mine = train(&job, &mut |_| Flow::Go).unwrap().checkpoint;
                    assert_eq!(mine.weights, alone.weights, "rank {rank} of {size}");
                    assert_eq!(mine.memory, alone.memory);
                });
            }
        });
    }
}

#[test]
fn stops_early_when_validation_stays_as_it_is() {
    let examples = made::examples(16, 60, 7);
    let settings = Settings { epochs: 40, patience: 2, rate: 0.02, ..settings() };
    let trained = trained(&examples, &settings);
    assert_eq!(trained.stopped, Some("validation did not get better"));
    let state = trained.checkpoint.state;
    assert_eq!(state.epoch, state.best.unwrap().epoch + 2);
}

#[test]
fn a_loss_that_is_no_number_ends_it_and_leaves_the_last_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint.safetensors");
    let examples = made::examples(16, 24, 7);
    let settings = Settings { rate: 1e30, warm_up: 0.0, ..settings() };
    let error = train(&job(&examples, &settings, Some(&path)), &mut |_| Flow::Go).unwrap_err();
    let Error::NotFinite { epoch, step, examples } = &error else { panic!("{error}") };
    assert!(*epoch == 1 && *step > 1 && !examples.is_empty(), "{error}");
    assert!(error.to_string().contains("lower `rate`"), "{error}");
    let kept = Checkpoint::read(&path).unwrap().unwrap();
    assert_eq!(kept.state.step, step - 1, "the one before stays");
}

#[test]
fn a_checkpoint_of_another_training_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint.safetensors");
    let examples = made::examples(16, 24, 7);
    let first = Settings { epochs: 1, ..settings() };
    train(&job(&examples, &first, Some(&path)), &mut |_| Flow::Go).unwrap();
    let cases = [
        (
            Settings { architecture: Architecture::MiniResnet, ..first.clone() },
            "the network is small-cnn small there and mini-resnet small here",
        ),
        (Settings { rate: 0.01, ..first.clone() }, "one of the settings"),
    ];
    for (settings, expected) in cases {
        let error = train(&job(&examples, &settings, Some(&path)), &mut |_| Flow::Go).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let other = Job { name: "others", ..job(&examples, &first, Some(&path)) };
    let error = train(&other, &mut |_| Flow::Go).unwrap_err().to_string();
    assert!(error.contains("the dataset is stripes there and others here"), "{error}");
    std::fs::write(&path, b"what is this").unwrap();
    let error = train(&job(&examples, &first, Some(&path)), &mut |_| Flow::Go).unwrap_err().to_string();
    assert!(error.contains("no checkpoint of ours, or a damaged one"), "{error}");
}

#[test]
fn what_cannot_be_learnt_is_refused() {
    let few = made::examples(16, 2, 7);
    let mut one_class = made::examples(16, 24, 7);
    one_class.labels.iter_mut().for_each(|label| label.class = 0);
    let mut empty = made::examples(16, 24, 7);
    empty.labels.iter_mut().filter(|label| label.class == 1).for_each(|label| label.split = Split::Test);
    let whole = made::examples(16, 24, 7);
    let base = settings();
    let huge = Settings { size: Size::Large, architecture: Architecture::MiniResnet, batch: 60_000, ..base.clone() };
    let mut many = made::examples(16, 24, 7);
    many.labels = (0..60_000).map(|n| many.labels[n % 72]).collect();
    let cases: [(&Examples, Settings, &str); 6] = [
        (&few, base.clone(), "6 training examples are fewer than one batch of 12: lower `batch`"),
        (&one_class, base.clone(), "class `down` has no training example"),
        (&empty, base.clone(), "class `down` has no training example"),
        (
            &whole,
            Settings { micro_batches: 5, rate: -1.0, ..base.clone() },
            "`micro_batches` is 5: use a divisor of `batch`",
        ),
        (&whole, Settings { rate: -1.0, warm_up: 1.5, ..base.clone() }, "`warm_up` is 1.5"),
        (&many, huge, "lower `batch`, or raise `micro_batches` (now 1)"),
    ];
    for (examples, settings, expected) in cases {
        let error = train(&job(examples, &settings, None), &mut |_| Flow::Go).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}\nshould say {expected}");
    }
}

#[test]
fn parameters_are_as_the_architectures_say() {
    let input = Input { width: 28, height: 28, channels: 1 };
    let count = |architecture: Architecture, size| architecture.net(size, input, 10).parameters();
    assert_eq!(count(Architecture::MiniResnet, Size::Medium), 218_490);
    assert!(count(Architecture::MiniResnet, Size::Small) < 100_000);
    for architecture in Architecture::ALL {
        for side in [8, 28, 64, 96, 224] {
            let input = Input { width: side, height: side, channels: 3 };
            let net = architecture.net(Size::Small, input, 4);
            let logits = forward::logits(&net, &Weights::seeded(&net, 1), vec![0.5; 2 * input.len()], &Device::flex());
            assert!(logits.len() == 8 && logits.iter().all(|logit| logit.is_finite()), "{architecture} {side}");
        }
    }
}
