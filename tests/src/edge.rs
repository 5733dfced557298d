//! A running agent.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{Config, Hub, Process, Rest};

/// How long an orderly end may take: what is in the outbox goes to the hub, which says what it has committed.
pub const DRAIN: Duration = Duration::from_secs(60);

/// An agent process with its state folder.
pub struct Edge {
    /// The process.
    pub process: Process,
    /// Its state folder.
    pub state: PathBuf,
    /// Its ready line.
    pub ready: Value,
    config: PathBuf,
}

impl Edge {
    /// Starts an agent beside `hub` with `<folder>/edge` as its state, as gateway `plant/gw-1` unless `config` says who.
    pub fn start(folder: &Path, hub: &Hub, config: Config) -> Result<Self> {
        let config = config.or("mqtt.url", format!("mqtt://{}", hub.mqtt()?));
        Self::start_alone(folder, config)
    }

    /// Starts an agent whose configuration names its broker.
    pub fn start_alone(folder: &Path, config: Config) -> Result<Self> {
        let config = with_defaults(config)?.write(folder, "edge.toml")?;
        Self::start_with(&folder.join("edge"), &config)
    }

    /// Starts an agent on a state folder that may have been used before.
    pub fn start_with(state: &Path, config: &Path) -> Result<Self> {
        let mut process = Process::start("sightline-edge", &mut command(state, config)?)?;
        let ready = process.ready()?;
        Ok(Self { process, state: state.to_owned(), ready, config: config.to_owned() })
    }

    /// Kills the process with SIGKILL, and starts it again on the same state.
    pub fn kill_and_restart(mut self) -> Result<Self> {
        self.process.kill()?;
        self.restart()?;
        Ok(self)
    }

    /// Starts an agent that has ended again, on the same state.
    pub fn restart(&mut self) -> Result<()> {
        *self = Self::start_with(&self.state, &self.config)?;
        Ok(())
    }

    /// Starts an agent that has ended again, and kills it so long afterwards.
    pub fn false_start(&self, moment: Duration) -> Result<()> {
        Process::cut_short("sightline-edge", &mut command(&self.state, &self.config)?, moment)
    }

    /// The client of its admin address.
    pub fn admin(&self) -> Result<Rest> {
        Rest::plain(self.ready["admin"].as_str().context("ready line of the agent names no admin address")?)
    }

    /// Stops it in order and reads what it says it did.
    pub fn stop(&mut self) -> Result<Summary> {
        self.process.terminate(DRAIN)?;
        Summary::read(&self.state)
    }
}

fn command(state: &Path, config: &Path) -> Result<Command> {
    let mut command = Process::command("sightline-edge")?;
    command.arg("run").arg("--config").arg(config).arg("--state").arg(state);
    Ok(command)
}

/// The agent's settings that every story shares.
pub fn with_defaults(config: Config) -> Result<Config> {
    let model = crate::runtime::model()?;
    Ok(config
        .or("site", "plant")
        .or("gateway", "gw-1")
        .or("models.default", model.display().to_string())
        .or("admin.listen", "127.0.0.1:0"))
}

/// How many predictions an agent made and sent: its `<state>/summary.json`, written at its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Made.
    pub classified: u64,
    /// Sent on the archive lane, each counted once.
    pub published: u64,
}

impl Summary {
    /// Reads it, all cameras together.
    pub fn read(state: &Path) -> Result<Self> {
        let path = state.join("summary.json");
        let text = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        let json: Value = serde_json::from_slice(&text).with_context(|| format!("parse {}", path.display()))?;
        let cameras = json["cameras"].as_object().with_context(|| format!("no cameras in {}", path.display()))?;
        let sum = |key: &str| cameras.values().map(|camera| camera[key].as_u64().unwrap_or_default()).sum();
        Ok(Self { classified: sum("classified"), published: sum("published") })
    }
}
