//! A model on the hub: one request a batch, within a deadline, a budget and a breaker.

use std::{
    hash::{BuildHasher, RandomState},
    time::{Duration, Instant},
};

use contract::Digest;
use inference::{Batch, Engine, EngineError, Health, engine::check_batch};
use oip::{FP32, Parameters, Request, Response, Tensor, UINT8, Wanted, WantedParameters};

use crate::{
    NAME, Options,
    breaker::Breaker,
    budget::{Budget, Rates, Spent},
    client::{Client, Error},
};

/// Inputs that one request carries at most: fewer round trips, and a request that stays small.
pub const BATCH_MAX: usize = 8;

/// What is asked of the hub, and how.
pub struct Session {
    pub(crate) client: Client,
    pub(crate) version: String,
    pub(crate) model: Digest,
    /// The input's name, and its axes behind the batch.
    pub(crate) input: (String, Vec<u64>),
    pub(crate) output: String,
    pub(crate) batch_max: usize,
    pub(crate) classes: usize,
    pub(crate) deadline: Duration,
    pub(crate) breaker: Breaker,
    pub(crate) budget: Budget,
    /// Why the last batch failed.
    pub(crate) failing: Option<String>,
}

impl Session {
    pub(crate) fn budget(options: &Options) -> Budget {
        let rates = Rates { requests: options.requests_per_second, bytes: options.bytes_per_second as f64 };
        Budget::new(rates, Instant::now())
    }

    fn tensor_len(&self) -> usize {
        self.input.1.iter().product::<u64>() as usize
    }

    fn ask(&self, batch: Batch<'_>, out: &mut [f32], within: Duration) -> Result<(), Error> {
        let (name, axes) = &self.input;
        let request = Request {
            id: None,
            inputs: vec![Tensor {
                name: name.clone(),
                shape: [&[batch.n as u64], &axes[..]].concat(),
                datatype: UINT8.into(),
                parameters: Parameters { binary_data_size: Some(batch.input.len() as u64) },
                data: None,
            }],
            outputs: vec![Wanted { name: self.output.clone(), parameters: WantedParameters { binary_data: true } }],
        };
        let strange = |error: oip::Error| {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
            self.client.strange(format!("{error}{cause}"))
        };
        let (message, head_length) = oip::write(&request, &[batch.input]).map_err(strange)?;
        let (answer, head_length) = self.client.infer(self.model, &message, head_length, within)?;
        let (response, tensors) =
            oip::read(&answer, head_length, |response: &Response| &response.outputs).map_err(strange)?;
        let found = response.outputs.iter().zip(tensors).find(|(tensor, _)| tensor.name == self.output);
        let Some((tensor, Some(bytes))) = found else {
            return Err(self.client.strange(format!("no bytes of output `{}`", self.output)));
        };
        let shape = [batch.n as u64, self.classes as u64];
        if tensor.datatype != FP32 || tensor.shape != shape || !oip::to_floats(bytes, out) {
            let (is, of) = (&tensor.datatype, &tensor.shape);
            return Err(self.client.strange(format!("output `{}` is {is} {of:?}, not {FP32} {shape:?}", self.output)));
        }
        Ok(())
    }

    fn failed(&mut self, n: usize, error: Error, within: Duration) -> EngineError {
        let at_least = match &error {
            Error::Refused { retry_after, .. } => *retry_after,
            _ => Duration::ZERO,
        };
        self.breaker.failed(spread(), at_least, Instant::now());
        self.failing = Some(error.to_string());
        match error {
            Error::Late(_) => EngineError::Deadline { n, after: within },
            error => EngineError::Runtime { engine: NAME.into(), n, source: Box::new(error) },
        }
    }
}

impl Engine for Session {
    fn name(&self) -> &str {
        NAME
    }

    fn version(&self) -> &str {
        &self.version
    }

    fn max_batch(&self) -> usize {
        self.batch_max
    }

    fn run(&mut self, batch: Batch<'_>, out: &mut [f32], deadline: Option<Duration>) -> Result<(), EngineError> {
        check_batch(&batch, out, self.tensor_len(), self.classes, self.batch_max)?;
        let (n, now) = (batch.n, Instant::now());
        if let Some(left) = self.breaker.holds(now) {
            let why = self.failing.clone().unwrap_or_default();
            let source = format!("{why}; it is asked again in {:.1} s", left.as_secs_f64()).into();
            return Err(EngineError::Runtime { engine: NAME.into(), n, source });
        }
        // What is asked without a deadline is the check of the golden rows, which no frame waits for.
        if deadline.is_some()
            && let Err(spent) = self.budget.take(batch.input.len() as u64, now)
        {
            let key = match spent {
                Spent::Requests => "requests_per_second",
                Spent::Bytes => "bytes_per_second",
            };
            return Err(EngineError::Skipped { engine: NAME.into(), n, why: format!("engines.hub.{key} is spent") });
        }
        let within = deadline.map_or(self.deadline, |deadline| deadline.min(self.deadline));
        match self.ask(batch, out, within) {
            Ok(()) => {
                self.breaker.answered();
                self.failing = None;
                Ok(())
            }
            Err(error) => Err(self.failed(n, error, within)),
        }
    }

    fn health(&self) -> Health {
        self.failing.clone().map_or(Health::Ready, Health::Failing)
    }
}

/// Anything from 0 to 1: the seed of a hash map, which is random.
fn spread() -> f64 {
    (RandomState::new().hash_one(()) >> 11) as f64 / (1u64 << 53) as f64
}
