//! `sightline-train export`: a run's best network as the package that gateways run.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use burn::tensor::Device;
use clap::Args;
use contract::{Digest, dataset::Split};
use serde::Serialize;
use trainer::{
    export::{Exported, Parity, export},
    tensors::Store,
    track::code::Code,
    train::{Checkpoint, Examples, Settings, batches::Batches, calibrate::temperature},
};

use super::train::CHECKPOINT;

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
    /// The folder to write; must not exist
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// The model's name
    #[arg(long, default_value = "classifier")]
    id: String,
    /// Its version
    #[arg(long, default_value = "1")]
    version: String,
    /// Least score for an event of any class, 0 to 1
    #[arg(long, value_name = "SCORE")]
    threshold: Option<f32>,
    /// SPDX licence expression of the model
    #[arg(long)]
    licence: Option<String>,
    /// Inputs of the validation split that are compared
    #[arg(long, default_value_t = 256, value_name = "N")]
    inputs: usize,
    /// The file of libonnxruntime; else ORT_DYLIB_PATH names it, or it is looked for in the usual places
    #[arg(long, value_name = "FILE")]
    library: Option<PathBuf>,
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
    let (dataset, preprocess) = (store.index.dataset, store.index.form.preprocess);
    let examples = store.examples();
    let held = held_out(&examples);
    let temperature = heat(&checkpoint, &examples, &held);
    let threshold = |class: &std::sync::Arc<str>| options.threshold.map(|score| (class.clone(), score));
    let code = Code::here(built_from);
    let exported = Exported {
        id: options.id.clone(),
        version: options.version.clone(),
        classes: examples.classes.clone(),
        temperature,
        thresholds: examples.classes.iter().filter_map(threshold).collect::<BTreeMap<_, _>>(),
        commit: code.commit.or(Some(code.built_from)).filter(|commit| commit != "unknown"),
        dataset: Some(dataset),
        preprocess,
        licence: options.licence.clone(),
    };
    let some = held.iter().take(options.inputs.max(1));
    let inputs: Vec<Vec<u8>> = some.map(|number| examples.tensor(*number).to_vec()).collect();
    let (digest, parity) = export(&checkpoint, &exported, &inputs, &options.out, options.library.clone())?;
    let made = Made { out: &options.out, digest, temperature, parity };
    if options.json {
        serde_json::to_writer_pretty(&mut *out, &made).map_err(io::Error::from)?;
        return Ok(writeln!(out)?);
    }
    writeln!(out, "package     {} {digest}", options.out.display())?;
    writeln!(out, "calibrated  temperature {temperature:.3}, on {} held-out pictures", held.len())?;
    writeln!(out, "parity      {:.1e} of a log-probability at most, on {} inputs", parity.difference, parity.inputs)?;
    Ok(())
}

/// Validation examples; where there are none, training ones must do for parity, and nothing is calibrated.
fn held_out(examples: &Examples) -> Vec<u32> {
    let validation = examples.of(Split::Validation);
    if validation.is_empty() { examples.of(Split::Train) } else { validation }
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
