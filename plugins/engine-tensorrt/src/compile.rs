//! Makes a plan of an ONNX model: parses it, sets the batch sizes, and lets TensorRT optimise. Needs no GPU and no
//! driver when the target is [`Target::Portable`].

use trtx::{Builder, ComputeCapability, OnnxParser, OptProfileSelector, builder::BuilderConfig, trtx_sys::Dims64};

use crate::{
    key::{Profile, Target},
    library::{Library, PRODUCT},
    messages::Messages,
};

/// A model as the compiler wants it.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The ONNX file's bytes, after [`crate::prepare`].
    pub onnx: &'a [u8],
    /// The name of its one input.
    pub input: &'a str,
    /// The input's axes after the batch axis.
    pub shape: [usize; 3],
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// TensorRT does not understand the model.
    #[error(
        "{PRODUCT} cannot read the model: {said}; use another engine for it, or export it with operators that \
             {PRODUCT} has"
    )]
    Parse {
        /// What it said.
        said: String,
    },
    /// The model takes another number of inputs, or of another shape.
    #[error(
        "the model's input `{input}` is {found:?} to {PRODUCT}, which no batch size makes {wanted:?}; export it \
             with fixed axes after the batch axis"
    )]
    Shape {
        /// The input's name.
        input: String,
        /// Its axes, -1 where any.
        found: Vec<i64>,
        /// The axes that the package tells.
        wanted: Vec<i64>,
    },
    /// TensorRT understood the model and made nothing of it.
    #[error("{PRODUCT} cannot compile the model for {target}: {said}")]
    Build {
        /// For which GPUs.
        target: Target,
        /// What it said.
        said: String,
    },
    /// A call that only fails when memory is short.
    #[error("{PRODUCT} failed before it looked at the model")]
    Library(#[from] trtx::Error),
}

/// Compiles the model. Blocks for seconds to minutes, on one thread.
///
/// # Errors
/// What TensorRT said against the model.
pub fn compile(_library: &Library, source: Source<'_>, profile: Profile, target: Target) -> Result<Vec<u8>, Error> {
    let messages = Messages::default();
    let logger = messages.logger()?;
    let mut builder = Builder::new(&logger)?;
    let network = builder.create_network(0)?;
    let mut parser = OnnxParser::new(network, &logger)?;
    if let Err(error) = parser.parse(source.onnx) {
        let said = messages.take();
        return Err(Error::Parse { said: if said.is_empty() { error.to_string() } else { said } });
    }
    let mut config = builder.create_config()?;
    aim(&mut config, target)?;
    set_batches(&mut builder, &mut config, &parser, source, profile)?;
    match builder.build_serialized_network(parser.network_mut(), &mut config) {
        Ok(plan) => Ok(plan.to_vec()),
        Err(error) => {
            let said = messages.take();
            Err(Error::Build { target, said: if said.is_empty() { error.to_string() } else { said } })
        }
    }
}

fn aim(config: &mut BuilderConfig<'_>, target: Target) -> trtx::Result<()> {
    match target {
        Target::Portable => Ok(()),
        Target::Sm(_) => {
            config.set_nb_compute_capabilities(1)?;
            config.set_compute_capability(ComputeCapability::kCURRENT, 0)
        }
    }
}

/// A profile for models that take any batch. Its memory belongs to the builder.
fn set_batches<'b>(
    builder: &mut Builder<'b>,
    config: &mut BuilderConfig<'b>,
    parser: &OnnxParser<'b>,
    source: Source<'_>,
    profile: Profile,
) -> Result<(), Error> {
    let axes = |batch: usize| [batch, source.shape[0], source.shape[1], source.shape[2]].map(|n| n as i64);
    let input = parser.network().input(0)?;
    let found = input.dimensions(parser.network())?;
    let wanted = axes(profile.max);
    let fits = found.len() == 4 && found[1..] == wanted[1..] && (found[0] == -1 || found[0] == wanted[0]);
    if !fits || parser.network().nb_inputs() != 1 {
        return Err(Error::Shape { input: source.input.into(), found, wanted: wanted.to_vec() });
    }
    if found[0] != -1 {
        return Ok(());
    }
    let mut batches = builder.creata_optimization_profile()?;
    let sizes = [
        (OptProfileSelector::kMIN, profile.min),
        (OptProfileSelector::kOPT, profile.opt),
        (OptProfileSelector::kMAX, profile.max),
    ];
    for (which, batch) in sizes {
        batches.set_dimensions(source.input, which, &Dims64::from_slice(&axes(batch)))?;
    }
    config.add_optimization_profile(&mut batches)?;
    Ok(())
}
