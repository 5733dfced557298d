//! What TensorRT says while it works: to the log, and its errors also into the error that the caller gets.

use std::sync::{Arc, Mutex, PoisonError};

use trtx::{LogHandler, Logger, Severity};

/// At most so many error lines stand in an error: the first ones tell the cause.
const KEPT: usize = 3;

/// Passes messages on to the log and keeps the first errors.
#[derive(Clone, Debug, Default)]
pub struct Messages {
    errors: Arc<Mutex<Vec<String>>>,
}

impl Messages {
    /// A logger for TensorRT that writes here.
    pub fn logger(&self) -> trtx::Result<Logger> {
        Logger::new(self.clone())
    }

    /// The errors since the last call, on one line.
    pub fn take(&self) -> String {
        let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *errors).join("; ")
    }
}

impl LogHandler for Messages {
    fn log(&self, severity: Severity, message: &str) {
        let message = message.trim();
        match severity {
            Severity::InternalError | Severity::Error => {
                // Without a GPU the builder complains once that it sees no driver, and builds all the same.
                if message.contains("CUDA driver version is insufficient") {
                    return;
                }
                tracing::debug!(target: "tensorrt", "{message}");
                let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
                if errors.len() < KEPT {
                    errors.push(message.lines().next().unwrap_or_default().to_owned());
                }
            }
            Severity::Warning => tracing::debug!(target: "tensorrt", "{message}"),
            Severity::Info | Severity::Verbose => tracing::trace!(target: "tensorrt", "{message}"),
        }
    }
}
