//! How any of our programs lives: configuration, logs, metrics, traces, tasks, signals, admin endpoints, exit codes.
//!
//! A `main` is short: [`install_crypto`], parse the command line ([`cli`]), [`config::load`], [`telemetry::init`],
//! [`logs::init`], open the [`state`] folder, build, run [`tasks`], shut down in steps, return an [`exit`] code.
//! Nothing here knows what a camera or a lake is.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod admin;
pub mod backoff;
pub mod check;
pub mod cli;
pub mod config;
pub mod exit;
pub mod http;
pub mod listen;
pub mod liveness;
pub mod logs;
pub mod memory;
pub mod metrics;
pub mod process;
pub mod ready;
pub mod state;
pub mod tasks;
pub mod telemetry;
pub mod tls;

pub use backoff::Backoff;
pub use tokio_util::sync::CancellationToken;

/// Makes ring the process's cryptography for rustls. First thing in `main` and in every test that does TLS or HTTP;
/// doing it twice is harmless.
pub fn install_crypto() {
    let _ = rustls::crypto::ring::default_provider().install_default(); // an error says that one is installed already
}
