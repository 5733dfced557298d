//! The training loop: straight on, one step after the other.

use std::{
    path::{Path, PathBuf},
    sync::mpsc::sync_channel,
    thread,
    time::{Duration, Instant},
};

use burn::tensor::Device;
use contract::dataset::Split;
use rayon::prelude::*;

use super::{
    Examples, Settings,
    batches::{Batch, Batches},
    checkpoint::{self, Best, Checkpoint, State},
    optimiser::{self, Memory, Step},
    ranks::{Lost, Ranks},
    schedule,
    settings::Mistake,
};
use crate::net::{
    Input, Net, Weights,
    forward::{self, Lesson},
};

/// Part of the batch's statistics in the running ones, a step.
const STATISTICS_RATE: f32 = 0.1;
/// Pictures that are validated together.
const VALIDATED: usize = 256;
/// Parts of steps that wait for the network.
const AHEAD: usize = 2;

/// One training.
pub struct Job<'j> {
    /// What is learnt from.
    pub examples: &'j Examples,
    /// Names the examples: the dataset's hash and the preprocessing.
    pub name: &'j str,
    /// How.
    pub settings: &'j Settings,
    /// Who learns.
    pub ranks: &'j dyn Ranks,
    /// Where it is computed.
    pub device: Device,
    /// The file that a training goes on from, and how often it is written besides after each pass.
    pub checkpoint: Option<(&'j Path, Duration)>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Begun, or gone on with.
    Begun {
        /// Learnt numbers.
        parameters: usize,
        /// Steps a pass.
        steps: u64,
        /// Passes and steps that a checkpoint had already.
        from: (u32, u64),
    },
    /// A step is made.
    Step {
        /// The pass, from 1.
        epoch: u32,
        /// The step in it, from 1.
        step: u64,
        /// The batch's mean loss.
        loss: f32,
        /// The learning rate.
        rate: f64,
    },
    /// A pass is made.
    Epoch(Epoch),
}

/// A pass over the training examples.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Epoch {
    /// Which one, from 1.
    pub epoch: u32,
    /// Mean training loss.
    pub loss: f64,
    /// Share of right answers in training, on pictures as they were drawn.
    pub accuracy: f64,
    /// In validation: mean loss and share of right answers; absent without validation examples.
    pub validation: Option<(f64, f64)>,
    /// Whether it is the best so far.
    pub best: bool,
    /// Share of the time in which the network waited for pictures, 0 to 1.
    pub waited: f64,
}

/// What whoever is told wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Go on.
    Go,
    /// End here, with what there is.
    Stop,
}

/// What came out.
#[derive(Clone, Debug)]
pub struct Trained {
    /// The last state; `best` in it is what should be used.
    pub checkpoint: Checkpoint,
    /// Why it ended before its last pass, if it did.
    pub stopped: Option<&'static str>,
}

/// A training cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Settings that cannot be.
    #[error("settings: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Settings(Vec<Mistake>),
    /// Too little to learn from.
    #[error("{0}")]
    Examples(String),
    /// The loss is no number any more.
    #[error(
        "the loss is not a number in pass {epoch}, step {step} (examples {examples:?} and others): lower `rate`, or look at these pictures; the last checkpoint is from before"
    )]
    NotFinite {
        /// The pass, from 1.
        epoch: u32,
        /// The step, from 1.
        step: u64,
        /// The first of the batch's examples, by number.
        examples: Vec<u32>,
    },
    /// It would not fit.
    #[error(
        "a step needs about {need_mib} MiB and {have_mib} MiB are free: lower `batch`, or raise `micro_batches` (now {micro_batches}), or use a smaller `size` or input"
    )]
    Memory {
        /// Estimated.
        need_mib: u64,
        /// As the system says.
        have_mib: u64,
        /// Parts of a step now.
        micro_batches: usize,
    },
    /// The checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] checkpoint::Error),
    /// A rank is gone.
    #[error(transparent)]
    Ranks(#[from] Lost),
}

/// Trains until the last pass, until nothing gets better, or until told to stop.
///
/// # Errors
/// Wrong settings, too few examples, a loss that is no number, a full disk, a lost rank.
pub fn train(job: &Job<'_>, report: &mut dyn FnMut(Event) -> Flow) -> Result<Trained, Error> {
    let mistakes = job.settings.mistakes();
    if !mistakes.is_empty() {
        return Err(Error::Settings(mistakes));
    }
    check_examples(job)?;
    check_memory(&net(job), job.settings)?;
    Training::begin(job)?.run(report)
}

fn input(examples: &Examples) -> Input {
    let spec = examples.spec;
    Input { width: spec.width as usize, height: spec.height as usize, channels: spec.color.channels() }
}

fn net(job: &Job<'_>) -> Net {
    job.settings.architecture.net(job.settings.size, input(job.examples), job.examples.classes.len())
}

fn check_examples(job: &Job<'_>) -> Result<(), Error> {
    let Job { examples, settings, ranks, .. } = job;
    let parts = settings.micro_batches;
    if !parts.is_multiple_of(ranks.size()) {
        let ranks = ranks.size();
        return Err(Error::Examples(format!(
            "{ranks} ranks cannot share {parts} micro-batches evenly: set `micro_batches` to a multiple of {ranks}"
        )));
    }
    let train = examples.of(Split::Train);
    if train.len() < settings.batch {
        let (have, batch) = (train.len(), settings.batch);
        return Err(Error::Examples(format!(
            "{have} training examples are fewer than one batch of {batch}: lower `batch`"
        )));
    }
    let mut counts = vec![0u64; examples.classes.len()];
    train.iter().for_each(|number| counts[usize::from(examples.labels[*number as usize].class)] += 1);
    if let Some(empty) = counts.iter().position(|count| *count == 0) {
        let class = &examples.classes[empty];
        return Err(Error::Examples(format!("class `{class}` has no training example: label some, or leave it out")));
    }
    if counts.len() < 2 {
        return Err(Error::Examples("there is one class alone: nothing can be told apart; label a second one".into()));
    }
    Ok(())
}

/// What a step takes: each layer's output and its gradient, and burn's unfolded convolution inputs.
fn check_memory(net: &Net, settings: &Settings) -> Result<(), Error> {
    let Some(have) = available() else { return Ok(()) };
    let part = (settings.batch / settings.micro_batches) as u64;
    let need = part * net.activations() as u64 * 4 * 3 + net.parameters() as u64 * 4 * 8;
    if need > have {
        let (need_mib, have_mib) = (need >> 20, have >> 20);
        return Err(Error::Memory { need_mib, have_mib, micro_batches: settings.micro_batches });
    }
    Ok(())
}

/// Free bytes, as Linux says.
fn available() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("MemAvailable:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? << 10)
}

struct Training<'j> {
    job: &'j Job<'j>,
    net: Net,
    at: Checkpoint,
    written: Instant,
    path: Option<PathBuf>,
}

impl<'j> Training<'j> {
    fn begin(job: &'j Job<'j>) -> Result<Self, Error> {
        let (net, input) = (net(job), input(job.examples));
        let path = job.checkpoint.map(|(path, _)| path.to_owned());
        let found = path.as_deref().map(Checkpoint::read).transpose()?.flatten();
        let at = match found {
            Some(found) => {
                same(path.as_deref().unwrap_or(Path::new("")), &found.state, job, input)?;
                found
            }
            None => fresh(job, &net, input),
        };
        Ok(Self { job, net, at, written: Instant::now(), path })
    }

    fn run(mut self, report: &mut dyn FnMut(Event) -> Flow) -> Result<Trained, Error> {
        let normal = self.at.state.normal.clone();
        let batches = Batches::new(self.job.examples, self.job.settings, &normal);
        let steps = batches.steps();
        let from = (self.at.state.epoch, self.at.state.step);
        let mut flow = report(Event::Begun { parameters: self.net.parameters(), steps, from });
        let mut stopped = None;
        while self.at.state.epoch < self.job.settings.epochs && flow == Flow::Go {
            if self.is_stale() {
                stopped = Some("validation did not get better");
                break;
            }
            let waited = self.pass(&batches, steps, &mut flow, report)?;
            if flow == Flow::Stop {
                break;
            }
            let epoch = self.finish_pass(&batches, waited)?;
            flow = report(Event::Epoch(epoch));
        }
        if flow == Flow::Stop {
            stopped = Some("told to stop");
        }
        self.write()?;
        Ok(Trained { checkpoint: self.at, stopped })
    }

    fn is_stale(&self) -> bool {
        let (patience, state) = (self.job.settings.patience, &self.at.state);
        patience > 0 && state.best.is_some_and(|best| state.epoch - best.epoch >= patience)
    }

    /// The rest of a pass; gives the share of the time that was waited for pictures.
    fn pass(
        &mut self,
        batches: &Batches<'_>,
        steps: u64,
        flow: &mut Flow,
        report: &mut dyn FnMut(Event) -> Flow,
    ) -> Result<f64, Error> {
        let epoch = self.at.state.epoch;
        let (first, parts) = self.parts();
        let order = batches.order(epoch);
        let begun = Instant::now();
        let mut waited = Duration::ZERO;
        thread::scope(|scope| {
            let (ready, parts_ready) = sync_channel::<Batch>(AHEAD);
            let from = self.at.state.step;
            scope.spawn(move || {
                for step in from..steps {
                    for micro in first..first + parts {
                        let batch = batches.drawn(epoch, batches.part(&order, step, micro));
                        if ready.send(batch).is_err() {
                            return; // the loop has ended
                        }
                    }
                }
            });
            while self.at.state.step < steps && *flow == Flow::Go {
                let since = Instant::now();
                let parts: Vec<Batch> = parts_ready.iter().take(parts).collect();
                waited += since.elapsed();
                *flow = report(self.step(parts, steps)?);
                self.write_when_due()?;
            }
            drop(parts_ready);
            Ok(waited.as_secs_f64() / begun.elapsed().as_secs_f64().max(1e-9))
        })
    }

    /// Which parts of a step are this rank's: the first, and how many.
    fn parts(&self) -> (usize, usize) {
        let each = self.job.settings.micro_batches / self.job.ranks.size();
        (self.job.ranks.rank() * each, each)
    }

    fn step(&mut self, parts: Vec<Batch>, steps: u64) -> Result<Event, Error> {
        let settings = self.job.settings;
        let numbers = parts.first().map(|part| part.numbers.clone()).unwrap_or_default();
        let mine = self.lessons(parts);
        let all = self.job.ranks.gather(mine)?;
        let sum = self.sum(&all);
        let parts = settings.micro_batches as f32;
        let loss = sum.loss / parts;
        let State { epoch, step, .. } = self.at.state;
        if !loss.is_finite() || sum.gradient.iter().any(|value| !value.is_finite()) {
            return Err(Error::NotFinite {
                epoch: epoch + 1,
                step: step + 1,
                examples: numbers.into_iter().take(8).collect(),
            });
        }
        let gradient: Vec<f32> = sum.gradient.iter().map(|value| value / parts).collect();
        let done = u64::from(epoch) * steps + step;
        let rate = schedule::rate(settings.rate, settings.warm_up, done, steps * u64::from(settings.epochs));
        let with = Step { optimiser: settings.optimiser, rate, decay: settings.weight_decay, done };
        optimiser::step(&self.net, with, &mut self.at.weights.values, &gradient, &mut self.at.memory);
        let running = self.at.weights.statistics.iter_mut().zip(&sum.statistics);
        running.for_each(|(kept, batch)| *kept += STATISTICS_RATE * (batch / parts - *kept));
        self.average(done);
        self.at.state.step += 1;
        let sums = [f64::from(loss) * settings.batch as f64, f64::from(sum.right), settings.batch as f64];
        self.at.state.sums.iter_mut().zip(sums).for_each(|(sum, more)| *sum += more);
        Ok(Event::Step { epoch: epoch + 1, step: step + 1, loss, rate })
    }

    /// What the parts teach, as ranks exchange it: each on a thread of its own, one behind the other.
    fn lessons(&self, parts: Vec<Batch>) -> Vec<f32> {
        let (net, weights, device, examples) = (&self.net, &self.at.weights, &self.job.device, self.job.examples);
        let lesson = |part: Batch| {
            let Batch { pictures, targets, numbers } = part;
            let lesson = forward::learn(net, weights, pictures, targets, device);
            let right = right(examples, &numbers, &lesson.logits);
            flat(lesson, right)
        };
        let lessons: Vec<Vec<f32>> = parts.into_par_iter().map(lesson).collect();
        lessons.concat()
    }

    /// Adds everybody's parts, in the order of the micro-batches.
    fn sum(&self, all: &[Vec<f32>]) -> Sum {
        let (parameters, statistics) = (self.net.parameters(), self.net.statistics);
        let length = parameters + statistics + 2;
        let mut total = vec![0.0f32; length];
        for part in all.iter().flat_map(|rank| rank.chunks_exact(length)) {
            total.iter_mut().zip(part).for_each(|(sum, value)| *sum += value);
        }
        let (gradient, rest) = total.split_at(parameters);
        let (statistics, rest) = rest.split_at(statistics);
        Sum { gradient: gradient.to_vec(), statistics: statistics.to_vec(), loss: rest[0], right: rest[1] }
    }

    /// The running average learns quickly at first (as in Polyak and Juditsky 1992, with a warm start).
    fn average(&mut self, done: u64) {
        let wanted = self.job.settings.average;
        let decay = wanted.min((1.0 + done as f64) / (10.0 + done as f64)) as f32;
        let decay = if wanted > 0.0 { decay } else { 0.0 };
        let Checkpoint { average, weights, .. } = &mut self.at;
        let pairs = average.values.iter_mut().zip(&weights.values);
        let pairs = pairs.chain(average.statistics.iter_mut().zip(&weights.statistics));
        pairs.for_each(|(kept, now)| *kept = if decay > 0.0 { decay * *kept + (1.0 - decay) * *now } else { *now });
    }

    fn finish_pass(&mut self, batches: &Batches<'_>, waited: f64) -> Result<Epoch, Error> {
        let validation = self.validate(batches)?;
        let state = &mut self.at.state;
        let [loss, right, examples] = std::mem::take(&mut state.sums);
        state.epoch += 1;
        state.step = 0;
        let better = |best: &Best, (loss, accuracy): (f64, f64)| {
            accuracy > best.accuracy || accuracy == best.accuracy && loss < best.loss
        };
        let is_best = validation.is_none_or(|now| state.best.is_none_or(|best| better(&best, now)));
        if is_best {
            let (loss, accuracy) = validation.unwrap_or((loss / examples, right / examples));
            state.best = Some(Best { epoch: state.epoch, accuracy, loss });
            self.at.best = self.at.average.clone();
        }
        let epoch = self.at.state.epoch;
        self.write()?;
        let (loss, accuracy) = (loss / examples, right / examples);
        Ok(Epoch { epoch, loss, accuracy, validation, best: is_best, waited })
    }

    /// Mean loss and share of right answers on the validation examples, each rank its share of them.
    fn validate(&self, batches: &Batches<'_>) -> Result<Option<(f64, f64)>, Error> {
        let numbers = self.job.examples.of(Split::Validation);
        if numbers.is_empty() {
            return Ok(None);
        }
        let (rank, size) = (self.job.ranks.rank(), self.job.ranks.size());
        let mut mine = vec![0.0f32; 2];
        for part in numbers.chunks(VALIDATED).skip(rank).step_by(size) {
            let logits = forward::logits(&self.net, &self.at.average, batches.plain(part), &self.job.device);
            mine[1] += right(self.job.examples, part, &logits);
            for (number, row) in part.iter().zip(logits.chunks_exact(self.net.classes)) {
                let class = usize::from(self.job.examples.labels[*number as usize].class);
                mine[0] += log_sum_exp(row) - row[class];
            }
        }
        let all = self.job.ranks.gather(mine)?;
        let of = |at: usize| all.iter().map(|rank| f64::from(rank[at])).sum::<f64>() / numbers.len() as f64;
        Ok(Some((of(0), of(1))))
    }

    fn write_when_due(&mut self) -> Result<(), Error> {
        let due = self.job.checkpoint.is_some_and(|(_, every)| self.written.elapsed() >= every);
        if due { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> Result<(), Error> {
        if let (0, Some(path)) = (self.job.ranks.rank(), &self.path) {
            self.at.write(path)?;
            self.written = Instant::now();
        }
        Ok(())
    }
}

struct Sum {
    gradient: Vec<f32>,
    statistics: Vec<f32>,
    loss: f32,
    right: f32,
}

/// How many answers are right.
fn right(examples: &Examples, numbers: &[u32], logits: &[f32]) -> f32 {
    let is_right = |(number, row): &(&u32, &[f32])| best(row) == usize::from(examples.labels[**number as usize].class);
    numbers.iter().zip(logits.chunks_exact(examples.classes.len())).filter(is_right).count() as f32
}

/// As ranks exchange it: gradient, statistics, loss, right answers.
fn flat(lesson: Lesson, right: f32) -> Vec<f32> {
    let Lesson { loss, mut gradient, statistics, .. } = lesson;
    gradient.extend(statistics);
    gradient.extend([loss, right]);
    gradient
}

fn fresh(job: &Job<'_>, net: &Net, input: Input) -> Checkpoint {
    let weights = Weights::seeded(net, job.settings.seed);
    let state = State {
        version: 1,
        settings: job.settings.clone(),
        input: [input.width, input.height, input.channels],
        classes: job.examples.classes.clone(),
        normal: job.examples.statistics(),
        examples: job.name.to_owned(),
        epoch: 0,
        step: 0,
        sums: [0.0; 3],
        best: None,
    };
    let memory = Memory::new(job.settings.optimiser, net.parameters());
    Checkpoint { state, average: weights.clone(), best: weights.clone(), weights, memory }
}

/// A checkpoint that is of another training is not gone on from.
fn same(path: &Path, found: &State, job: &Job<'_>, input: Input) -> Result<(), checkpoint::Error> {
    let wanted = (&job.settings, [input.width, input.height, input.channels], &job.examples.classes, job.name);
    let show = |what, found: String, wanted: String| {
        let path = path.to_owned();
        if found == wanted { Ok(()) } else { Err(checkpoint::Error::Other { path, what, found, wanted }) }
    };
    let text = |settings: &Settings| serde_json::to_string(settings).unwrap_or_default();
    let network = |settings: &Settings| format!("{} {}", settings.architecture, settings.size);
    show("the network", network(&found.settings), network(wanted.0))?;
    show("the input", format!("{:?}", found.input), format!("{:?}", wanted.1))?;
    show("the classes", format!("{:?}", found.classes), format!("{:?}", wanted.2))?;
    show("the dataset", found.examples.clone(), wanted.3.to_owned())?;
    show("one of the settings", text(&found.settings), text(wanted.0))
}

fn best(row: &[f32]) -> usize {
    row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(at, _)| at)
}

fn log_sum_exp(row: &[f32]) -> f32 {
    let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    most + row.iter().map(|value| (value - most).exp()).sum::<f32>().ln()
}
