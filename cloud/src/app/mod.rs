//! The assembly: builds the roles from the configuration, hands each the handles it needs, and takes them down again.
//!
//! Roles never import each other; they meet here. Starting goes from what others need to those who need it, stopping
//! from upstream to downstream: requests, records, the bus, objects, the broker last.

mod adapt;
mod build;
mod credentials;
mod error;
mod foundation;
mod metrics;
pub mod offline;
mod places;
mod presence;
mod probe;
mod served;

use std::{path::PathBuf, time::Duration};

use daemon::{
    config::Loaded,
    state::StateDir,
    tasks::{BoxError, Reason, Shutdown, ShutdownReport, Stop, Tasks},
    telemetry::Telemetry,
};

pub use build::App;
pub use error::Error;
pub use probe::check;

use crate::{config::HubConfig, ingest::Fact};

/// Longest shutdown, all steps together: below systemd's 90 s.
const SHUTDOWN_MAX: Duration = Duration::from_secs(45);
/// A loop that has not turned for so long is stuck. One turn waits for the tables at most: they give up after 15 s for
/// a lock and 10 s for a connection.
const STUCK: Duration = Duration::from_secs(60);

/// Starts the hub; the state folder is locked by the caller.
pub async fn start(config: &Loaded<HubConfig>, state: StateDir, stop: Stop) -> Result<App, Error> {
    let started = build::build(config, state, stop.clone()).await;
    if started.is_err() {
        stop.request(Reason::Asked); // what had been started ends with it, and is not missed
    }
    started
}

impl App {
    /// The ready line.
    pub fn ready_line(&self) -> serde_json::Value {
        let text = |address: Option<std::net::SocketAddr>| address.map(|a| a.to_string());
        let mut line = serde_json::json!({ "ready": true, "http": self.http.address.to_string() });
        let parts = [
            ("mqtt", self.mqtt_shown.clone()),
            ("mqtts", self.broker.as_ref().and_then(|b| text(b.encrypted()))),
            ("s3", self.s3.as_ref().map(|s3| s3.address.to_string())),
            ("state", Some(self.state.path().display().to_string())),
        ];
        for (name, value) in parts {
            if let Some(value) = value {
                line[name] = value.into();
            }
        }
        line
    }

    /// The tasks that run.
    pub fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// Whether the hub does its work, for systemd's watchdog. A hub that is stopping has a bound of its own.
    pub fn heart(&self) -> impl Fn() -> bool + Send + use<> {
        let (liveness, stop) = (self.liveness.clone(), self.tasks.stop().clone());
        move || stop.is_requested() || liveness.is_alive()
    }

    /// The state folder.
    pub fn state(&self) -> PathBuf {
        self.state.path().to_owned()
    }

    /// Runs until somebody asks to stop, then takes everything down in order; gives the exit code.
    pub async fn run(self, telemetry: Telemetry) -> u8 {
        let reason = self.tasks.stop().requested().await;
        tracing::info!(%reason, "hub is stopping");
        self.shutdown(&reason, telemetry).await
    }

    /// Takes everything down; gives the exit code.
    pub async fn shutdown(self, reason: &Reason, telemetry: Telemetry) -> u8 {
        let s = Duration::from_secs;
        if let Some(ingest) = &self.ingest {
            ingest.hurry();
        }
        let stats = self.ingest.as_ref().map(|ingest| ingest.stats.clone());
        let (http, ingest, presence, upkeep) = (self.http, self.ingest, self.presence, self.upkeep);
        let (s3, broker, tables) = (self.s3, self.broker, self.tables);
        let mut steps = Shutdown::new(SHUTDOWN_MAX).step("http", s(12), async move { http.end().await });
        if let Some(upkeep) = upkeep {
            steps = steps.step("upkeep", s(5), done(upkeep.end()));
        }
        if let Some(ingest) = ingest {
            steps = steps.step("ingest", s(20), ingest.drain(s(18)));
        }
        if let Some(presence) = presence {
            steps = steps.step("directory", s(3), done(presence.end()));
        }
        if let Some(tables) = tables {
            steps = steps.step("tables", s(5), done(async move { tables.close().await }));
        }
        if let Some(s3) = s3 {
            steps = steps.step("objects", s(12), async move { s3.end().await });
        }
        if let Some(broker) = broker {
            steps = steps.step("broker", s(8), done(broker.stop(s(6))));
        }
        steps = steps.step("telemetry", s(5), done(async move { telemetry.shutdown(s(4)).await }));
        let report: ShutdownReport = steps.run().await;
        if let Some(stats) = stats {
            tracing::info!(
                records = stats.get(Fact::Records),
                rows = stats.get(Fact::Rows),
                duplicates = stats.get(Fact::Duplicates),
                rejected = stats.get(Fact::Rejected),
                newer = stats.get(Fact::Newer),
                objects = stats.get(Fact::Objects),
                object_bytes = stats.get(Fact::ObjectBytes),
                not_committed_bytes = stats.backlog_bytes(),
                "hub has stopped"
            );
        }
        report.exit_code(reason)
    }
}

/// A step that cannot fail.
async fn done(work: impl Future<Output = ()>) -> Result<(), BoxError> {
    work.await;
    Ok(())
}
