//! What a backbone makes of every example, computed once and kept.

use std::{
    fs,
    path::{Path, PathBuf},
};

use contract::model::Color;
use engine_ort::OrtCpu;
use inference::{Batch, EngineFactory, Package};
use sha2::{Digest as _, Sha256};

use super::{Backbone, Error};
use crate::train::{Examples, checkpoint::replace};

/// Examples that pass the backbone together.
const TOGETHER: usize = 8;

/// Features of examples, `[N, width]`.
pub struct Features {
    /// How many a picture has.
    pub width: usize,
    values: Vec<f32>,
}

impl Features {
    /// Of the examples, in their order. `name` names the examples, and with the backbone's digest the file in `cache` that
    /// the features are kept in, if they are to be kept.
    ///
    /// # Errors
    /// The examples are not what the backbone takes, or it cannot be run.
    pub fn of(
        backbone: &Backbone,
        examples: &Examples,
        name: &str,
        cache: Option<&Path>,
        library: Option<PathBuf>,
        progress: &dyn Fn(u64),
    ) -> Result<Self, Error> {
        check(backbone, examples)?;
        let (width, n) = (backbone.width, examples.labels.len());
        let path = cache.map(|folder| {
            let key = Sha256::digest(format!("{} {name}", backbone.package.digest()));
            folder.join(format!("features-{}.f32", &hex::encode(key)[..32]))
        });
        if let Some(kept) =
            path.as_ref().and_then(|path| fs::read(path).ok()).filter(|kept| kept.len() == n * width * 4)
        {
            progress(n as u64);
            let values = kept.chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]]));
            return Ok(Self { width, values: values.collect() });
        }
        let folder =
            tempfile::tempdir().map_err(|source| Error::Io { what: "write", path: "a folder".into(), source })?;
        backbone.write(folder.path())?;
        let package = Package::open(folder.path())?;
        let mut engine = OrtCpu::new(library).with_max_batch(TOGETHER).load(&package).map_err(Error::Load)?;
        let mut values = vec![0.0; n * width];
        let mut input = Vec::with_capacity(TOGETHER * package.tensor_len());
        for (at, out) in values.chunks_mut(TOGETHER * width).enumerate() {
            input.clear();
            let some = at * TOGETHER..at * TOGETHER + out.len() / width;
            some.clone().for_each(|number| input.extend_from_slice(examples.tensor(number as u32)));
            if engine.max_batch() >= some.len() {
                engine.run(Batch { input: &input, n: some.len() }, out, None)?;
            } else {
                let each = input.chunks_exact(package.tensor_len()).zip(out.chunks_exact_mut(width));
                for (input, out) in each {
                    engine.run(Batch { input, n: 1 }, out, None)?;
                }
            }
            progress(some.len() as u64);
        }
        if let Some(path) = path {
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            replace(&path, &bytes).map_err(|source| Error::Io { what: "write", path, source })?;
        }
        Ok(Self { width, values })
    }

    /// Of one example.
    pub fn row(&self, number: usize) -> &[f32] {
        &self.values[number * self.width..(number + 1) * self.width]
    }
}

fn check(backbone: &Backbone, examples: &Examples) -> Result<(), Error> {
    let (wanted, found) = (backbone.package.spec(), examples.spec);
    if wanted == found {
        return Ok(());
    }
    let name = |color: Color| if color == Color::Gray { "gray" } else { "rgb" };
    let shown = |spec: vision::Spec| format!("{}x{} {}", spec.width, spec.height, name(spec.color));
    let options = format!("--size {}x{} --color {}", wanted.width, wanted.height, name(wanted.color));
    Err(Error::Form { wanted: shown(wanted), found: shown(found), options })
}
