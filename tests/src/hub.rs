//! A running hub, and the addresses it said.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use contract::Kind;
use serde_json::Value;

use crate::{Config, Lake, Observer, Process, Rest, Row, SmallDisk};

/// How long an orderly end may take: a last flush and the broker's.
pub const DRAIN: Duration = Duration::from_secs(30);

/// A hub process with its state folder.
pub struct Hub {
    /// The process.
    pub process: Process,
    /// Its state folder.
    pub state: PathBuf,
    /// Its ready line.
    pub ready: Value,
    config: PathBuf,
}

impl Hub {
    /// Starts a hub on free loopback ports with `<folder>/hub` as its state. Flushes come fast unless `config` says when.
    pub fn start(folder: &Path, config: Config) -> Result<Self> {
        Self::start_on_usual_ports(folder, on_free_ports(config))
    }

    /// Starts a hub where `config` says; where it says nothing, on the usual ports, or on free ones when those are taken.
    pub fn start_on_usual_ports(folder: &Path, config: Config) -> Result<Self> {
        let config = config.write(folder, "hub.toml")?;
        Self::start_with(&folder.join("hub"), &config, &[])
    }

    /// Starts a hub on a state folder that may have been used before.
    pub fn start_with(state: &Path, config: &Path, args: &[&str]) -> Result<Self> {
        let (process, ready) = Self::run(state, config, args, |command| command)?;
        Ok(Self { process, state: state.to_owned(), ready, config: config.to_owned() })
    }

    /// Starts a hub whose state is on a small disk of its own.
    pub fn start_on(disk: &SmallDisk, folder: &Path, config: Config) -> Result<Self> {
        let config = on_free_ports(config).write(folder, "hub.toml")?;
        let (process, ready) = Self::run(&disk.folder().join("hub"), &config, &[], |command| disk.run(&command))?;
        Ok(Self { state: disk.seen_by(process.id()).join("hub"), process, ready, config })
    }

    fn run(
        state: &Path,
        config: &Path,
        args: &[&str],
        wrap: impl FnOnce(Command) -> Command,
    ) -> Result<(Process, Value)> {
        let mut process = Process::start("sightline-hub", &mut wrap(run_command(state, config, args)?))?;
        let ready = process.ready()?;
        Ok((process, ready))
    }

    /// Kills the process as a power cut would, and starts it again on the same state.
    pub fn kill_and_restart(mut self) -> Result<Self> {
        self.process.kill()?;
        self.restart()?;
        Ok(self)
    }

    /// Starts a hub that has ended again, on the same state.
    pub fn restart(&mut self) -> Result<()> {
        *self = Self::start_with(&self.state, &self.config, &[])?;
        Ok(())
    }

    /// Starts a hub that has ended again, and kills it so long afterwards.
    pub fn false_start(&self, moment: Duration) -> Result<()> {
        Process::cut_short("sightline-hub", &mut run_command(&self.state, &self.config, &[])?, moment)
    }

    /// Runs one of the hub's own commands beside it, such as `verify --json`: what it printed, and its exit code.
    pub fn command(&self, args: &[&str]) -> Result<(String, Option<i32>)> {
        let mut command = Process::command("sightline-hub")?;
        command.args(args).arg("--config").arg(&self.config).arg("--state").arg(&self.state);
        let output = command.output().with_context(|| format!("run sightline-hub {args:?}"))?;
        if output.stdout.is_empty() && !output.status.success() {
            bail!("sightline-hub {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok((String::from_utf8(output.stdout)?, output.status.code()))
    }

    /// Every row of a kind that is committed: of the objects that the manifest names. A hub that was killed between storing
    /// and committing leaves others in the bucket for a while.
    pub fn committed_rows(&self, kind: Kind) -> Result<Vec<Row>> {
        let (listed, _) = self.command(&["lake", "ls", "--json"])?;
        let (lake, mut rows) = (self.lake()?, Vec::new());
        for line in listed.lines() {
            let object: Value = serde_json::from_str(line).context("a line of `lake ls` is not JSON")?;
            let key = object["key"].as_str().context("an object without a key")?;
            if key.starts_with(&format!("lake/kind={kind}/")) {
                rows.extend(lake.rows_of(key)?);
            }
        }
        Ok(rows)
    }

    /// Stops it in order; gives its state folder.
    pub fn stop(mut self) -> Result<PathBuf> {
        self.process.terminate(DRAIN)?;
        Ok(self.state.clone())
    }

    /// What the hub wrote for its own commands and for us: addresses, tables, S3 credentials.
    pub fn endpoints(&self) -> Result<Value> {
        endpoints(&self.state)
    }

    /// `host:port` of the MQTT broker.
    pub fn mqtt(&self) -> Result<&str> {
        self.ready["mqtt"].as_str().context("ready line of the hub names no mqtt address")
    }

    /// `host:port` of the HTTP API.
    pub fn http(&self) -> Result<&str> {
        self.ready["http"].as_str().context("ready line of the hub names no http address")
    }

    /// The REST client.
    pub fn rest(&self) -> Result<Rest> {
        Rest::plain(self.http()?)
    }

    /// Watches the live lane and what goes to gateways, from now on. All lanes are held against the document at the
    /// story's end; the archive lane is only for that, so that nobody takes a bundle for a message to people.
    pub fn observe(&self) -> Result<Observer> {
        let url = format!("mqtt://{}", self.mqtt()?);
        Observer::start(&url, &["sightline/live/#", "sightline/down/#"])?.beside(&url, &["sightline/up/#"])
    }

    /// The lake, read from S3.
    pub fn lake(&self) -> Result<Lake> {
        Lake::open(&self.state)
    }
}

fn run_command(state: &Path, config: &Path, args: &[&str]) -> Result<Command> {
    let mut command = Process::command("sightline-hub")?;
    command.arg("run").arg("--config").arg(config).arg("--state").arg(state).args(args);
    Ok(command)
}

fn on_free_ports(config: Config) -> Config {
    config
        .or("listen", "127.0.0.1:0")
        .or("broker.listen", "127.0.0.1:0")
        .or("s3.listen", "127.0.0.1:0")
        .or("ingest.flush_interval", "500ms")
}

/// Reads `<state>/endpoints.json`.
pub fn endpoints(state: &Path) -> Result<Value> {
    let path = state.join("endpoints.json");
    let text = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("parse {}", path.display()))
}
