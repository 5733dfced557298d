//! What `check` tries of the agent's parts, with the same code that `run` uses.

use std::{path::Path, time::Duration};

use daemon::check::Report;
use inference::{EngineFactory, Package, choose};

use super::{build, models};
use crate::{config::Config, identity::Identity};

/// Opens every package, and loads each with the engine that would be chosen.
pub fn check_models(config: &Config, state: &Path, report: &mut Report) {
    let factories = models::factories(config, state);
    let factories: Vec<&dyn EngineFactory> = factories.iter().map(AsRef::as_ref).collect();
    let probes: Vec<_> = factories.iter().map(|factory| (factory.name(), factory.probe())).collect();
    let one_works = probes.iter().any(|(_, probe)| probe.is_ok());
    for (name, probe) in probes {
        let title = format!("engine {name}");
        match probe {
            Ok(probe) => report.ok(title, format!("{} on {}", probe.version, probe.device)),
            // A machine without an accelerator is a whole machine: only one on which nothing runs is not.
            Err(refusal) if one_works => {
                report.ok(title, format!("cannot be used here, another can: {}", refusal.full()))
            }
            Err(refusal) => report.failed(title, refusal.full(), None),
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
        match choose(&factories, &config.engines.preference, config.engines.accuracy(), &package) {
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
    let packet_max = link::probe(&options, timeout).await?;
    Ok(message_fits(config, packet_max)?)
}

/// The broker takes no messages as long as the archive lane's.
#[derive(Debug, thiserror::Error)]
#[error(
    "broker takes packets of at most {packet_max} bytes, mqtt.archive_message_max is {wanted} bytes: set it to \"{fits}B\" at \
     most, or raise the broker's limit (mosquitto: max_packet_size)"
)]
pub struct TooLong {
    packet_max: u32,
    wanted: u64,
    fits: u64,
}

/// What a message needs besides its payload: topic (at most 280 bytes), properties, lengths.
const ENVELOPE: u64 = 512;

/// Whether the archive lane's longest message fits into the broker's longest packet.
///
/// # Errors
/// It does not; the error names the key and the right value.
pub fn message_fits(config: &Config, packet_max: u32) -> Result<(), TooLong> {
    let (wanted, fits) = (config.mqtt.archive_message_max.get(), u64::from(packet_max).saturating_sub(ENVELOPE));
    if wanted <= fits { Ok(()) } else { Err(TooLong { packet_max, wanted, fits }) }
}

/// The longest packet that the session must allow for these messages.
pub fn packet_max(config: &Config) -> u32 {
    u32::try_from(config.mqtt.archive_message_max.get() + ENVELOPE).unwrap_or(u32::MAX).max(2 << 20)
}
