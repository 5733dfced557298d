//! The hub as an engine: the preprocessed input goes to its inference server, and what it answers counts as any other
//! engine's answer. The last choice: it costs the line, and the hub.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod breaker;
mod budget;
mod client;
mod session;

use std::{path::PathBuf, time::Duration};

use contract::model::Layout;
use inference::{Engine, EngineFactory, Package, Probe, Refusal};
use oip::{FP32, UINT8};

use crate::{
    breaker::Breaker,
    client::{Client, Error},
    session::Session,
};

pub use session::BATCH_MAX;

/// Bytes of inputs in one request: below what the hub takes, and what a line carries within a deadline.
const REQUEST_BYTES: usize = 4 << 20;

/// The engine's name. Predictions of an engine with this name are marked as served by the hub.
pub const NAME: &str = "hub";

/// How the hub is asked.
#[derive(Clone, Debug)]
pub struct Options {
    /// `http://` or `https://`, host and port.
    pub url: String,
    /// A request is given up after this time.
    pub deadline: Duration,
    /// Requests a second at most; what comes beyond is skipped.
    pub requests_per_second: f64,
    /// Bytes a second at most.
    pub bytes_per_second: u64,
    /// Certificates, PEM, that the hub's must be signed by; those that the system trusts otherwise.
    pub ca: Option<PathBuf>,
    /// The gateway's certificate, PEM, where the hub asks for one.
    pub cert: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
}

/// Makes the engine.
pub struct Hub(Options);

impl Hub {
    /// Asks no one yet.
    pub fn new(options: Options) -> Self {
        Self(options)
    }

    fn client(&self) -> Result<Client, Refusal> {
        Client::new(&self.0).map_err(|why| Refusal::new(format!("{why}; see `engines.hub`")))
    }
}

impl EngineFactory for Hub {
    fn name(&self) -> &str {
        NAME
    }

    fn probe(&self) -> Result<Probe, Refusal> {
        let why = "is it running, with a model in [inference], and `engines.hub.url` its address?";
        let version = self.client()?.ready(self.0.deadline).map_err(|error| Refusal::new(format!("{error}; {why}")))?;
        Ok(Probe { version, device: self.0.url.clone(), library: None })
    }

    fn may_come(&self) -> bool {
        true
    }

    fn load(&self, package: &Package) -> Result<Box<dyn Engine>, Refusal> {
        let (client, model, manifest) = (self.client()?, package.digest(), package.manifest());
        let version = client.version(self.0.deadline).map_err(|error| Refusal::new(error.to_string()))?;
        let metadata = client.metadata(model, self.0.deadline).map_err(|error| match error {
            Error::Refused { status: 404, why, .. } => Refusal::new(why),
            error => Refusal::new(error.to_string()),
        })?;
        let input = &manifest.input;
        let channels = input.color.channels() as u64;
        let (height, width) = (u64::from(input.height), u64::from(input.width));
        let axes = match input.layout {
            Layout::Nhwc => vec![height, width, channels],
            Layout::Nchw => vec![channels, height, width],
        };
        let classes = package.classes().len();
        let (given, wanted) = (metadata.inputs.first(), metadata.outputs.first());
        let fits = given.is_some_and(|given| {
            given.datatype == UINT8 && given.shape.iter().skip(1).copied().eq(axes.iter().map(|axis| *axis as i64))
        }) && wanted.is_some_and(|out| out.datatype == FP32 && out.shape.last() == Some(&(classes as i64)));
        let (Some(given), Some(wanted), true) = (given, wanted, fits) else {
            return Err(Refusal::new(format!("hub has other shapes for model {model}: {metadata:?}")));
        };
        Ok(Box::new(Session {
            version,
            model,
            input: (given.name.clone(), axes),
            output: wanted.name.clone(),
            batch_max: (REQUEST_BYTES / package.tensor_len().max(1)).clamp(1, BATCH_MAX),
            classes,
            deadline: self.0.deadline,
            breaker: Breaker::default(),
            budget: Session::budget(&self.0),
            failing: None,
            client,
        }))
    }
}
