//! `sightline-train preprocess`: from a dataset to tensors.

use std::{
    io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use clap::Args;
use contract::{Digest, model::Color};
use tokio::runtime::Runtime;
use trainer::{
    dataset::Dataset,
    lake::{Hub, derived},
    tensors::{Form, INDEX, Job, Store, preprocess},
};

use super::{
    bar,
    select::{open, runtime},
};

/// Resize, convert to gray or colour and reshape a dataset's pictures into tensors that training reads.
///
/// The bytes are those that a gateway computes of the same picture: the same code makes them. Where the archive holds the
/// model's exact input in the form that is asked for, that is taken. The result does not depend on the number of workers; a job
/// that was killed goes on; with --from only new pictures are decoded. A bad picture is noted and stops nothing.
#[derive(Args)]
#[command(after_help = "\
Examples:
  sightline-train preprocess datasets/3f0c... --size 28x28 --color gray --out tensors/clothes
  sightline-train preprocess datasets/3f0c... --size 96x96 --color rgb --out tensors/doors --shard 0/4
  sightline-train preprocess datasets/77ab... --size 96x96 --color rgb --out tensors/doors-2 --from tensors/doors

With --shard i/n each of n machines makes its part in the same folder; whoever ends last writes the index.

Exit codes: 0 made, 1 it cannot be made (the reason stands on stderr), 2 the command line is wrong.")]
pub struct Options {
    /// The dataset's folder
    dataset: PathBuf,
    /// Width and height in pixels
    #[arg(long, value_name = "WxH", value_parser = size)]
    size: (u32, u32),
    /// gray or rgb
    #[arg(long, default_value = "gray", value_parser = ["gray", "rgb"])]
    color: String,
    /// The folder to make, or to go on with
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// Threads; 0 is one for each processor
    #[arg(long, default_value_t = 0, value_name = "N")]
    workers: usize,
    /// Make only part i of n, counted from 0
    #[arg(long, value_name = "I/N", default_value = "0/1", value_parser = part)]
    shard: (usize, usize),
    /// Share of pictures that may be bad, 0 to 1
    #[arg(long, default_value_t = 0.01, value_name = "SHARE")]
    max_bad: f64,
    /// The state folder of a hub on this machine: complete tensors are kept in its lake, and taken from there
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Tensors of an earlier dataset; repeat for more
    #[arg(long, value_name = "FOLDER")]
    from: Vec<PathBuf>,
    /// Print one JSON document instead of text
    #[arg(long)]
    json: bool,
}

/// Makes them, and says how many.
pub fn run(options: &Options, out: &mut impl io::Write) -> Result<()> {
    ensure!((0.0..=1.0).contains(&options.max_bad), "--max-bad {}: use 0 to 1", options.max_bad);
    let dataset = Dataset::open(&options.dataset)?;
    let earlier: Vec<Store> = options.from.iter().map(|folder| Store::open(folder)).collect::<Result<_, _>>()?;
    let (width, height) = options.size;
    let color = if options.color == "gray" { Color::Gray } else { Color::Rgb };
    let form = Form { width, height, color, preprocess: vision::PREPROCESS_VERSION };
    let lake = options.state.as_deref().map(|state| Lake::open(state, dataset.digest, form)).transpose()?;
    if let Some(lake) = lake.as_ref().filter(|_| !options.out.join(INDEX).exists()) {
        lake.bring(&options.out)?;
    }
    let job = Job {
        dataset: dataset.digest,
        classes: &dataset.manifest.classes,
        pictures: &dataset,
        form,
        out: &options.out,
        part: options.shard,
        max_bad: options.max_bad,
        earlier: &earlier,
    };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(options.workers).build().context("start the workers")?;
    let bar = bar(dataset.items.len() as u64 / options.shard.1 as u64, "pictures");
    let done = pool.install(|| preprocess(&job, &|n| bar.inc(n as u64)));
    bar.finish_and_clear();
    let done = done?;
    let kept = match lake.filter(|_| done.complete) {
        Some(lake) => Some((lake.keep(&options.out)?, lake.prefix)),
        None => None,
    };
    if options.json {
        return Ok(writeln!(out, "{}", serde_json::to_string(&done)?)?);
    }
    writeln!(
        out,
        "tensors   {} ({} made now, {} of them taken from earlier ones)",
        done.items, done.made, done.reused
    )?;
    writeln!(out, "bad       {}", done.failed)?;
    let state = if done.complete { "complete" } else { "other parts are missing" };
    writeln!(out, "folder    {} ({state})", options.out.display())?;
    if let Some((put, prefix)) = kept {
        writeln!(out, "lake      {prefix} ({put} objects put now)")?;
    }
    Ok(())
}

/// The place of these tensors in a hub's lake.
struct Lake {
    runtime: Runtime,
    hub: Hub,
    prefix: String,
}

impl Lake {
    fn open(state: &Path, dataset: Digest, form: Form) -> Result<Self> {
        let runtime = runtime()?;
        let hub = open(&runtime, state)?;
        Ok(Self { runtime, hub, prefix: derived::prefix(dataset, form) })
    }

    fn bring(&self, folder: &Path) -> Result<bool> {
        Ok(self.runtime.block_on(derived::bring(&self.hub, &self.prefix, folder))?)
    }

    fn keep(&self, folder: &Path) -> Result<usize> {
        Ok(self.runtime.block_on(derived::keep(&self.hub, &self.prefix, folder))?)
    }
}

fn size(text: &str) -> Result<(u32, u32), String> {
    let parse = |part: &str| part.trim().parse::<u32>().ok().filter(|side| (8..=4096).contains(side));
    let parts = text.split_once('x').and_then(|(width, height)| Some((parse(width)?, parse(height)?)));
    parts.ok_or_else(|| "write width and height as in 96x96, each 8 to 4096".into())
}

fn part(text: &str) -> Result<(usize, usize), String> {
    let parts = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
    parts.filter(|(i, n)| i < n).ok_or_else(|| "write part and parts as in 0/4, counted from 0".into())
}
