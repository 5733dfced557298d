//! `sightline-train transfer`: another model's features with a last layer of one's own.

use std::{
    io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use clap::Args;
use contract::Digest;
use serde::Serialize;
use trainer::{
    export::Parity,
    tensors::{INDEX, Store},
    transfer::{Backbone, Features, Head, HeadSettings, package},
};

use super::{
    bar,
    package::{MadeOf, Package},
};

/// Train the last layer alone, on the features of a model that has learnt from many pictures.
///
/// The quickest way to a good classifier of few pictures. The backbone is a model package with a last linear layer, as
/// efficientnet-lite0 of the set-up: everything before that layer stays as it is, each picture passes it once, and what comes out
/// is kept beside the tensors. The new layer is trained on that, once for each decay; the best in validation becomes a package with
/// the backbone, which ONNX Runtime must run as it was trained, within 1e-4.
#[derive(Args)]
#[command(after_help = "\
Examples:
  sightline-train preprocess datasets/<hash> --size 224x224 --color rgb --out tensors/224
  sightline-train transfer tensors/224 --backbone .sightline/models/efficientnet-lite0 --out models/doors-1 --id doors

Exit codes: 0 written, 1 it cannot be made (the reason stands on stderr), 2 the command line is wrong.")]
pub struct Options {
    /// The folder with tensors, of the size and colour that the backbone takes
    tensors: PathBuf,
    /// The model package whose features are used
    #[arg(long, value_name = "PACKAGE")]
    backbone: PathBuf,
    #[command(flatten)]
    package: Package,
    /// Passes over the training examples
    #[arg(long, default_value_t = 60)]
    epochs: u32,
    /// Learning rate at its peak
    #[arg(long, default_value_t = 0.02)]
    rate: f64,
    /// Weights' decays that are tried, with commas
    #[arg(long, value_name = "DECAYS", value_delimiter = ',', default_value = "0.01,0.1,0.3,1.0")]
    decays: Vec<f64>,
    /// Everything drawn by chance derives from it
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print one JSON document instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Made<'o> {
    out: &'o Path,
    digest: Digest,
    backbone: Digest,
    features: usize,
    decay: f64,
    validation_accuracy: f64,
    temperature: f32,
    parity: Parity,
}

/// Trains and writes, and says how good it is in validation.
pub fn run(options: &Options, built_from: Option<&str>, out: &mut impl io::Write) -> Result<()> {
    trainer::train::memory::keep();
    let backbone = Backbone::open(&options.backbone)?;
    let store = Store::open(&options.tensors)?;
    let made_of = MadeOf::of(&store.index);
    let index = std::fs::read_to_string(options.tensors.join(INDEX)).context("read the tensors' index")?;
    let examples = store.examples();
    let progress = bar(examples.labels.len() as u64, "pictures");
    let (cache, library) = (Some(options.tensors.as_path()), options.package.library.clone());
    let features = Features::of(&backbone, &examples, &index, cache, library, &|n| progress.inc(n));
    progress.finish_and_clear();
    let features = features?;
    let settings = HeadSettings {
        epochs: options.epochs,
        rate: options.rate,
        decays: options.decays.clone(),
        seed: options.seed,
        ..HeadSettings::default()
    };
    let head = Head::train(&features, &examples.labels, examples.classes.len(), &settings, &|decay, accuracy| {
        eprintln!("sightline-train: decay {decay}: {:.2} % right", accuracy * 100.0);
    })?;
    let exported = options.package.exported(&examples.classes, head.temperature, made_of, built_from);
    let (numbers, inputs) = options.package.compared(&examples);
    let of = (&features, numbers.as_slice(), inputs.as_slice());
    let (digest, parity) =
        package::write(&backbone, &head, &exported, of, &options.package.out, options.package.library.clone())?;
    let made = Made {
        out: &options.package.out,
        digest,
        backbone: backbone.package.digest(),
        features: features.width,
        decay: head.decay,
        validation_accuracy: head.accuracy,
        temperature: head.temperature,
        parity,
    };
    if options.json {
        return Ok(writeln!(out, "{}", serde_json::to_string(&made)?)?);
    }
    writeln!(out, "package     {} {digest}", options.package.out.display())?;
    writeln!(out, "backbone    {} with {} features", backbone.package.manifest().id, features.width)?;
    writeln!(out, "validation  {:.2} % right, decay {}", head.accuracy * 100.0, head.decay)?;
    writeln!(out, "calibrated  temperature {:.3}", head.temperature)?;
    writeln!(out, "parity      {:.1e} of a log-probability at most, on {} inputs", parity.difference, parity.inputs)?;
    Ok(())
}
