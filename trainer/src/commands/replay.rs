//! `sightline-train replay`: archived inputs through the model again.

use std::{io, path::PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;
use inference::Package;
use trainer::lake::{Copies, replay::replay, samples::samples};

use super::{
    bar,
    select::{Select, open, runtime},
};

/// Run archived inputs through a model again: the scores must be those that are archived, bit for bit.
///
/// Only samples of this very model are tried, and only where the gateway kept the exact input. Scores of another engine than
/// ONNX Runtime on the CPU may differ in their last bits: the greatest difference is told.
#[derive(Args)]
#[command(after_help = "\
Examples:
  sightline-train replay models/efficientnet-lite0 --state ~/sightline-hub
  sightline-train replay models/doors --state ~/sightline-hub --from 2026-11-01T00:00:00Z --camera front --json

Exit codes: 0 every score is the same, 1 one differs or nothing could be tried, 2 the command line is wrong.")]
pub struct Options {
    /// The model package
    model: PathBuf,
    #[command(flatten)]
    select: Select,
    /// The file of libonnxruntime; else ORT_DYLIB_PATH names it, or it is looked for in the usual places
    #[arg(long, value_name = "FILE")]
    library: Option<PathBuf>,
    /// Print one JSON document instead of text
    #[arg(long)]
    json: bool,
}

/// Replays, and says what differs.
pub fn run(options: &Options, out: &mut impl io::Write) -> Result<()> {
    let package = Package::open(&options.model)?;
    let runtime = runtime()?;
    let hub = open(&runtime, &options.select.state)?;
    let chosen = runtime.block_on(samples(&hub, &options.select.selection()))?;
    let scratch = tempfile::tempdir().context("make a folder for copies")?;
    let mut copies = Copies::new(&hub.objects, scratch.path());
    let bar = bar(chosen.len() as u64, "samples");
    let done = runtime.block_on(replay(&chosen, &package, options.library.clone(), &mut copies, &|n| bar.inc(n)));
    bar.finish_and_clear();
    let done = done?;
    if options.json {
        writeln!(out, "{}", serde_json::to_string(&done)?)?;
    } else {
        writeln!(out, "model     {} {}", package.manifest().id, package.digest())?;
        writeln!(out, "same      {}", done.same)?;
        writeln!(out, "different {}, by {} at most", done.different, done.greatest)?;
        for (why, count) in &done.skipped {
            writeln!(out, "skipped   {count}: {why}")?;
        }
        for line in &done.told {
            writeln!(out, "          {line}")?;
        }
    }
    ensure!(done.different == 0, "{} of {} samples give other scores", done.different, done.same + done.different);
    ensure!(done.same > 0, "no sample of this model with its input was found: widen the selection");
    Ok(())
}
