//! `sightline-train export`: a run's best network as the package that gateways run.

use std::{
    io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use burn::tensor::Device;
use clap::Args;
use contract::{Digest, dataset::Split};
use serde::Serialize;
use trainer::{
    export::{Parity, export},
    tensors::Store,
    train::{Checkpoint, Examples, Settings, batches::Batches, calibrate::temperature},
};

use super::{
    package::{MadeOf, Package, held_out},
    train::CHECKPOINT,
};

/// Write a run's best network as a model package.
///
/// The package takes uint8 pictures, as a gateway's preprocessing makes them; normalisation is inside, batch normalisation is
/// folded into the convolutions, and logits are divided by a temperature that was found on the validation split, so that scores
/// can be taken at their word. ONNX Runtime must answer as the trained network did, within 1e-4 of a log-probability, or nothing
/// is written.
#[derive(Args)]
#[command(after_help = "\
Examples:
  sightline-train export runs/first --tensors tensors/28x28-gray --out models/clothes-1 --id clothes --version 1
  sightline-train inspect models/clothes-1 --check

Exit codes: 0 written, 1 it cannot be written (the reason stands on stderr), 2 the command line is wrong.")]
pub struct Options {
    /// The run folder
    run: PathBuf,
    /// The tensors that it learnt from: validation gives the temperature and the golden rows
    #[arg(long, value_name = "FOLDER")]
    tensors: PathBuf,
    #[command(flatten)]
    package: Package,
    /// Print one JSON document instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Made<'o> {
    out: &'o Path,
    digest: Digest,
    temperature: f32,
    parity: Parity,
}

/// Exports, and says how well it agrees.
pub fn run(options: &Options, built_from: Option<&str>, out: &mut impl io::Write) -> Result<()> {
    let path = options.run.join(CHECKPOINT);
    let checkpoint =
        Checkpoint::read(&path)?.with_context(|| format!("`{}` is not there: train first", path.display()))?;
    let store = Store::open(&options.tensors)?;
    let name = format!("{} {}", store.index.dataset, store.index.form.name());
    ensure!(
        name == checkpoint.state.examples,
        "`{}` holds {name}, the run learnt from {}: name the tensors of the run",
        options.tensors.display(),
        checkpoint.state.examples
    );
    let made_of = MadeOf::of(&store.index);
    let examples = store.examples();
    let held = held_out(&examples);
    let temperature = heat(&checkpoint, &examples, &held);
    let exported = options.package.exported(&examples.classes, temperature, made_of, built_from);
    let (_, inputs) = options.package.compared(&examples);
    let (digest, parity) =
        export(&checkpoint, &exported, &inputs, &options.package.out, options.package.library.clone())?;
    let made = Made { out: &options.package.out, digest, temperature, parity };
    if options.json {
        serde_json::to_writer_pretty(&mut *out, &made).map_err(io::Error::from)?;
        return Ok(writeln!(out)?);
    }
    writeln!(out, "package     {} {digest}", options.package.out.display())?;
    writeln!(out, "calibrated  temperature {temperature:.3}, on {} held-out pictures", held.len())?;
    writeln!(out, "parity      {:.1e} of a log-probability at most, on {} inputs", parity.difference, parity.inputs)?;
    Ok(())
}

fn heat(checkpoint: &Checkpoint, examples: &Examples, held: &[u32]) -> f32 {
    if examples.of(Split::Validation).is_empty() {
        return 1.0;
    }
    let settings = Settings { augment: Default::default(), ..checkpoint.state.settings.clone() };
    let batches = Batches::new(examples, &settings, &checkpoint.state.normal);
    let net = checkpoint.net();
    let logits = held
        .chunks(256)
        .flat_map(|some| trainer::net::forward::logits(&net, &checkpoint.best, batches.plain(some), &Device::flex()));
    let truth: Vec<u16> = held.iter().map(|number| examples.labels[*number as usize].class).collect();
    temperature(&logits.collect::<Vec<f32>>(), &truth)
}
