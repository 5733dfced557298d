//! What `check` tries of the agent's parts, with the same code that `run` uses.

use std::time::Duration;

use daemon::check::Report;
use inference::{EngineFactory, Package, choose};

use super::{build, models};
use crate::{config::Config, identity::Identity};

/// Opens every package, and loads each with the engine that would be chosen.
pub fn check_models(config: &Config, report: &mut Report) {
    let factories = models::factories(config.engines.library.clone());
    let factories: Vec<&dyn EngineFactory> = factories.iter().map(AsRef::as_ref).collect();
    for factory in &factories {
        match factory.probe() {
            Ok(probe) => {
                report.ok(format!("engine {}", factory.name()), format!("{} on {}", probe.version, probe.device))
            }
            Err(refusal) => report.failed(format!("engine {}", factory.name()), refusal.full(), None),
        }
    }
    for (name, path) in &config.models {
        let title = format!("model {name}");
        let package = match Package::open(path) {
            Ok(package) => package,
            Err(error) => {
                report.failed(title, daemon::logs::chain(&error), None);
                continue;
            }
        };
        match choose(&factories, &config.engines.preference, &package) {
            Ok(chosen) => {
                report.ok(title, format!("{} {}: {}", package.manifest().id, package.digest(), chosen.reason))
            }
            Err(error) => report.failed(title, error.to_string(), None),
        }
    }
}

/// Tries the broker as the agent would, without taking its session.
///
/// # Errors
/// Why it would not work.
pub async fn check_link(
    config: &Config,
    identity: &Identity,
    timeout: Duration,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let options = build::link_options(config, identity, 0)?;
    Ok(link::probe(&options, timeout).await?)
}
