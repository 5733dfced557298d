//! `sightline-train dataset create`: from archived samples and their labels to a dataset.

use std::{io, path::PathBuf, sync::Arc};

use anyhow::{Context, Result, ensure};
use clap::Args;
use contract::{Timestamp, dataset::Source};
use store::labels::LabelQuery;
use trainer::{
    dataset::{Order, make, split::Shares},
    lake::{Copies, found, found::Teacher, samples::samples},
};

use super::{
    bar,
    dataset::{shares, told_of},
    select::{Select, open, runtime},
};

/// Select archived samples and their labels from a hub's lake.
///
/// Pictures are copied: the dataset stays what it is when the lake's objects are merged or removed. Frames of one camera within one
/// block of time stay together in one split, so that a test never holds the neighbour of a picture that was learnt from.
#[derive(Args)]
#[command(after_help = "\
Examples:
  sightline-train dataset create --state ~/sightline-hub --name doors --camera front --out datasets
  sightline-train dataset create --state ~/sightline-hub --name pseudo --labels model:90 --block 1h --out datasets

Exit codes: 0 made, 1 it cannot be made (the reason stands on stderr), 2 the command line is wrong.")]
pub struct Create {
    #[command(flatten)]
    select: Select,
    /// The folder below which the dataset's folder is made
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// The dataset's name, for people
    #[arg(long)]
    name: String,
    /// Who says what a picture shows: people, or model:PERCENT for the model's own best class from that score on
    #[arg(long, default_value = "people", value_parser = teacher)]
    labels: Teacher,
    /// Labels of this author alone
    #[arg(long)]
    author: Option<String>,
    /// Labels said before this time alone: with it the same command gives the same dataset later
    #[arg(long, value_name = "TIME")]
    labelled_before: Option<Timestamp>,
    /// The block of one camera's time that no split tears
    #[arg(long, default_value = "10m", value_name = "SPAN")]
    block: daemon::config::Span,
    /// Class names in their order, with commas; else those that are found, sorted
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    class_names: Option<Vec<String>>,
    /// Near-identical pictures are dropped: bits of 64 in which their hashes may differ; `none` keeps all
    #[arg(long, value_name = "BITS", default_value = "2", value_parser = bits)]
    dedupe: Bits,
    /// Shares of train, validation and test
    #[arg(long, value_name = "A,B,C", default_value = "0.7,0.15,0.15", value_parser = shares)]
    shares: Shares,
    /// Everything drawn by chance derives from it
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A picture that cannot be used is an error
    #[arg(long)]
    strict: bool,
    /// SPDX licence expression of the pictures
    #[arg(long)]
    licence: Option<String>,
    /// Print one JSON document instead of text
    #[arg(long)]
    json: bool,
}

/// `None`: all are kept.
#[derive(Clone, Copy)]
struct Bits(Option<u32>);

fn bits(text: &str) -> Result<Bits, String> {
    let number = || text.parse().ok().filter(|bits| *bits <= 32u32).map(Some);
    if text == "none" { Some(None) } else { number() }.map(Bits).ok_or_else(|| "write 0 to 32, or none".into())
}

fn teacher(text: &str) -> Result<Teacher, String> {
    let model = || text.strip_prefix("model:")?.parse().ok().filter(|percent| *percent <= 100u8);
    match (text, model()) {
        ("people", _) => Ok(Teacher::People),
        (_, Some(percent)) => Ok(Teacher::Model { percent }),
        _ => Err("write people, or model:PERCENT as in model:90".into()),
    }
}

/// Makes it, and says what it holds.
pub fn run(options: &Create, out: &mut impl io::Write) -> Result<()> {
    let runtime = runtime()?;
    let hub = open(&runtime, &options.select.state)?;
    let block = i64::try_from(options.block.get().as_micros()).unwrap_or(0);
    ensure!(block > 0, "--block: use a span above zero, as in 10m");
    let selection = options.select.selection();
    let chosen = runtime.block_on(samples(&hub, &selection))?;
    ensure!(!chosen.is_empty(), "no sample in the lake is as the options say: widen the time, or leave some out");
    let query = LabelQuery { author: options.author.clone(), source: None, until: options.labelled_before };
    let labels = runtime.block_on(hub.labels.latest(&query))?;
    let scratch = tempfile::tempdir().context("make a folder for copies")?;
    let mut copies = Copies::new(&hub.objects, scratch.path());
    let pictures = runtime.block_on(found(&chosen, &labels, options.labels, block, &mut copies))?;
    let mut said = selection.options();
    let who = match options.labels {
        Teacher::People => "people".to_owned(),
        Teacher::Model { percent } => format!("model:{percent}"),
    };
    said.insert("labels".into(), who);
    said.extend(options.author.clone().map(|author| ("author".into(), author)));
    said.extend(options.labelled_before.map(|time| ("labelled_before".into(), time.to_string())));
    let lake = runtime.block_on(hub.index.identity())?.lake;
    let names = options.class_names.as_ref();
    let order = Order {
        name: options.name.clone(),
        source: Source::Lake { lake, selection: said },
        classes: names.map(|names| names.iter().map(|name| Arc::from(name.trim())).collect()),
        threshold: options.dedupe.0,
        shares: options.shares,
        validation: 0.0,
        grouped_by: format!("camera,{}", options.block),
        seed: options.seed,
        strict: options.strict,
        licence: options.licence.clone(),
    };
    let bar = bar(2 * pictures.len() as u64, "pictures");
    let made = make(pictures, &order, &options.out, &|n| bar.inc(n));
    bar.finish_and_clear();
    told_of(&made?, options.json, out)
}
