//! What stands in for an engine while none works.

use std::time::Duration;

use crate::{Batch, Engine, EngineError, Health, Refused};

/// Answers nothing, and says why.
pub(super) struct Absent(String);

impl Absent {
    /// With the reason of each engine that was tried.
    pub fn new(refused: &[Refused]) -> Self {
        let each = refused.iter().map(|refused| format!("`{}` refused: {}", refused.engine, refused.why));
        Self(format!("no engine works yet: {}", each.collect::<Vec<_>>().join("; ")))
    }
}

impl Engine for Absent {
    fn name(&self) -> &str {
        "none"
    }

    fn version(&self) -> &str {
        "-"
    }

    fn max_batch(&self) -> usize {
        1
    }

    fn run(&mut self, batch: Batch<'_>, _: &mut [f32], _: Option<Duration>) -> Result<(), EngineError> {
        Err(EngineError::Runtime { engine: "none".into(), n: batch.n, source: self.0.clone().into() })
    }

    fn health(&self) -> Health {
        Health::Failing(self.0.clone())
    }
}
