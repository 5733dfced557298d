//! Asks a model package: every picture of a split, as a gateway would.

use std::{collections::HashMap, path::PathBuf, sync::Arc};

use contract::dataset::Split;
use engine_ort::OrtCpu;
use inference::{Batch, EngineError, EngineFactory, Package, Refusal};
use rayon::prelude::*;
use vision::Preprocessor;

use super::{Answers, Row};
use crate::{
    dataset::{self, Dataset, Item},
    picture::Decoded,
    tensors::{Form, Loaded, Pictures as _},
};

/// Pictures that are decoded together.
const TOGETHER: usize = 64;

/// A model cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its classes are others.
    #[error("the model's classes are not the dataset's: {}", .0.join("; "))]
    Classes(Vec<String>),
    /// The runtime refuses it.
    #[error("load the model: {}", .0.full())]
    Load(Refusal),
    /// It fails.
    #[error("run the model")]
    Run(#[from] EngineError),
    /// A picture cannot be read.
    #[error("picture `{id}`: {why}")]
    Picture {
        /// The item.
        id: String,
        /// Why.
        why: String,
    },
    /// The dataset.
    #[error(transparent)]
    Dataset(#[from] dataset::Error),
}

/// Asks; probabilities come in the order of the dataset's classes.
///
/// # Errors
/// The model cannot be loaded or fails, its classes are others, or a picture cannot be read.
pub fn answer(
    package: &Package,
    dataset: &Dataset,
    split: Split,
    library: Option<PathBuf>,
    progress: &dyn Fn(u64),
) -> Result<Answers, Error> {
    let order = order(package.classes(), &dataset.manifest.classes)?;
    let mut engine = OrtCpu::new(library).with_max_batch(1).load(package).map_err(Error::Load)?;
    let numbers: Vec<usize> = (0..dataset.items.len()).filter(|at| dataset.items[*at].split == split).collect();
    let mut rows = Vec::with_capacity(numbers.len());
    for some in numbers.chunks(TOGETHER) {
        let tensors: Vec<Vec<u8>> = some
            .par_iter()
            .map_init(|| Preprocessor::new(package.spec()), |preprocessor, at| tensor(dataset, *at, preprocessor))
            .collect::<Result<_, _>>()?;
        for (at, input) in some.iter().zip(&tensors) {
            let mut out = vec![0.0; order.len()];
            engine.run(Batch { input, n: 1 }, &mut out, None)?;
            rows.push(row(&dataset.items[*at], order.iter().map(|from| out[*from]).collect()));
        }
        progress(some.len() as u64);
    }
    Ok(Answers { classes: dataset.manifest.classes.clone(), rows })
}

fn row(item: &Item, probabilities: Vec<f32>) -> Row {
    Row {
        id: item.id.clone(),
        truth: item.class,
        probabilities,
        camera: item.camera.clone(),
        captured_at: item.captured_at,
        group: item.group.clone(),
    }
}

/// Where each of the dataset's classes stands in the model's.
fn order(model: &[Arc<str>], dataset: &[Arc<str>]) -> Result<Vec<usize>, Error> {
    let of: HashMap<&str, usize> = model.iter().enumerate().map(|(at, class)| (&**class, at)).collect();
    let missing = dataset.iter().filter(|class| !of.contains_key(&***class)).map(|class| format!("it lacks `{class}`"));
    let more = model.iter().filter(|class| !dataset.contains(class)).map(|class| format!("it has `{class}` besides"));
    let mut wrong: Vec<String> = missing.chain(more).collect();
    if wrong.is_empty() {
        return Ok(dataset.iter().map(|class| of[&**class]).collect());
    }
    let all = wrong.len();
    wrong.truncate(10);
    if all > wrong.len() {
        wrong.push(format!("and {} more", all - wrong.len()));
    }
    Err(Error::Classes(wrong))
}

fn tensor(dataset: &Dataset, at: usize, preprocessor: &mut Preprocessor) -> Result<Vec<u8>, Error> {
    let failed = |why: String| Error::Picture { id: dataset.items[at].id.clone(), why };
    let spec = preprocessor.spec();
    let form =
        Form { width: spec.width, height: spec.height, color: spec.color, preprocess: vision::PREPROCESS_VERSION };
    match dataset.load(at, form).map_err(&failed)? {
        Loaded::Input(bytes) if bytes.len() == spec.len() && spec == form.spec() => Ok(bytes),
        Loaded::Input(_) => Err(failed("its archived input is of another form".into())),
        Loaded::Picture(bytes, region) => {
            let picture = Decoded::read(&bytes).map_err(&failed)?;
            let (view, region) = picture.part(region).map_err(&failed)?;
            let mut tensor = vec![0; spec.len()];
            preprocessor.run(&view, region, &mut tensor).map_err(|error| failed(error.to_string()))?;
            Ok(tensor)
        }
    }
}
