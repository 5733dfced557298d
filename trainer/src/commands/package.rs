//! Options of the commands that write a model package.

use std::{path::PathBuf, sync::Arc};

use clap::Args;
use contract::{Digest, dataset::Split};
use trainer::{export::Exported, tensors::Index, track::code::Code, train::Examples};

/// What the package is called, and where it goes.
#[derive(Args)]
pub struct Package {
    /// The folder to write; must not exist
    #[arg(long, value_name = "FOLDER")]
    pub out: PathBuf,
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
    pub library: Option<PathBuf>,
}

/// What a package's dataset was, and how it was preprocessed.
#[derive(Clone, Copy)]
pub struct MadeOf(Digest, u16);

impl MadeOf {
    /// Of tensors.
    pub fn of(index: &Index) -> Self {
        Self(index.dataset, index.form.preprocess)
    }
}

impl Package {
    /// As the export takes it.
    pub fn exported(&self, classes: &[Arc<str>], temperature: f32, of: MadeOf, built_from: Option<&str>) -> Exported {
        let threshold = |class: &Arc<str>| self.threshold.map(|score| (class.clone(), score));
        let code = Code::here(built_from);
        Exported {
            id: self.id.clone(),
            version: self.version.clone(),
            classes: classes.to_vec(),
            temperature,
            thresholds: classes.iter().filter_map(threshold).collect(),
            commit: code.commit.or(Some(code.built_from)).filter(|commit| commit != "unknown"),
            dataset: Some(of.0),
            preprocess: of.1,
            licence: self.licence.clone(),
        }
    }

    /// The first of the held-out examples, and their tensors.
    pub fn compared(&self, examples: &Examples) -> (Vec<u32>, Vec<Vec<u8>>) {
        let numbers: Vec<u32> = held_out(examples).into_iter().take(self.inputs.max(1)).collect();
        let inputs = numbers.iter().map(|number| examples.tensor(*number).to_vec()).collect();
        (numbers, inputs)
    }
}

/// Validation examples; where there are none, training ones must do for parity, and nothing is calibrated.
pub fn held_out(examples: &Examples) -> Vec<u32> {
    let validation = examples.of(Split::Validation);
    if validation.is_empty() { examples.of(Split::Train) } else { validation }
}
