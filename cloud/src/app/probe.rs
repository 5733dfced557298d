//! `check`: tries everything that `run` needs, changes nothing, and says what it found.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use daemon::{
    check::Report,
    config::Loaded,
    listen,
    state::{Found, StateDir},
};
use engine_ort::OrtCpu;
use inference::{Accuracy, Engine, EngineFactory, Package};
use store::{objects::Objects, tables::Tables};

use super::{Error, places};
use crate::{
    broker,
    config::{HubConfig, MqttPlace, ObjectsPlace, Role},
};

/// How long one connection may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Looks at everything. `state` is the folder that `run` would use.
pub async fn check(config: &Loaded<HubConfig>, state: &Path) -> Report {
    let mut report = Report::new();
    report.ok("configuration", "no mistakes");
    let running = check_state(&mut report, state);
    check_addresses(&mut report, config, running);
    check_tls(&mut report, &config.value);
    check_broker(&mut report, &config.value).await;
    check_objects(&mut report, &config.value, state, running).await;
    check_tables(&mut report, &config.value, state).await;
    check_models(&mut report, &config.value).await;
    if let Some(outcome) = daemon::telemetry::probe(&config.value.telemetry).await {
        report.result("telemetry", outcome);
    }
    report
}

/// Whether a hub runs on this folder now.
fn check_state(report: &mut Report, state: &Path) -> bool {
    let shown = state.display();
    match StateDir::probe(state) {
        Ok(Found::Free) => report.ok("state", shown.to_string()),
        Ok(Found::Absent) => report.ok("state", format!("{shown} will be made")),
        Ok(Found::InUse { pid }) => {
            let who = pid.map_or_else(|| "a hub".to_owned(), |pid| format!("a hub (process {pid})"));
            report.ok("state", format!("{shown}: {who} is running on it"));
            return true;
        }
        Err(error) => report.result("state", Err::<String, _>(error)),
    }
    false
}

fn check_addresses(report: &mut Report, config: &Loaded<HubConfig>, running: bool) {
    if running {
        return report.ok("addresses", "not tried: a hub is running and has them");
    }
    let hub = &config.value;
    let mut wanted = vec![("listen", hub.listen)];
    if hub.has(Role::Broker) && hub.mqtt == MqttPlace::Embedded {
        wanted.push(("broker.listen", hub.broker.listen));
        wanted.extend(hub.broker.tls.as_ref().map(|tls| ("broker.tls.listen", tls.listen)));
    }
    if hub.has(Role::Objects) && hub.objects == ObjectsPlace::Embedded {
        wanted.push(("s3.listen", hub.s3.listen));
    }
    for (key, address) in wanted {
        match listen::bind(address, key) {
            Ok(_) => report.ok(key, address.to_string()),
            Err(listen::Error::Taken { .. }) if !config.is_set(key) => {
                report.warning(key, format!("{address} is taken"), "run will take a free port instead");
            }
            Err(error) => report.result(key, Err::<String, _>(error)),
        }
    }
}

fn check_tls(report: &mut Report, config: &HubConfig) {
    if let Some(tls) = &config.tls {
        report.result("tls", daemon::tls::server_config(tls).map(|_| tls.cert.display().to_string()));
    }
    if let Some(tls) = &config.broker.tls {
        report.result("broker.tls", daemon::tls::server_config(&tls.files()).map(|_| tls.cert.display().to_string()));
    }
}

async fn check_broker(report: &mut Report, config: &HubConfig) {
    match &config.mqtt {
        MqttPlace::Embedded if config.has(Role::Broker) => {
            let found = broker::find_program(&config.broker.program);
            report.result("broker", found.map(|path| path.display().to_string()));
        }
        MqttPlace::Embedded => {}
        MqttPlace::Url(url) => match places::bus(config, url, "sightline-hub-check".to_owned(), Vec::new()) {
            Ok(options) => {
                let shown = options.broker.to_string();
                report.result("mqtt", link::probe(&options, PATIENCE).await.map(|_| shown));
            }
            Err(error) => report.result("mqtt", Err::<String, _>(error)),
        },
    }
}

async fn check_objects(report: &mut Report, config: &HubConfig, state: &Path, running: bool) {
    let location = match &config.objects {
        ObjectsPlace::Uri(uri) => places::external(config, uri),
        ObjectsPlace::Embedded if running => store::objects::Location::from_state(state).map_err(Error::from),
        ObjectsPlace::Embedded => return report.ok("objects", "embedded"),
    };
    let tried = match location {
        Ok(location) => try_objects(location).await,
        Err(error) => Err(error),
    };
    report.result("objects", tried);
}

async fn try_objects(location: store::objects::Location) -> Result<String, Error> {
    let shown = location.shown("");
    Objects::connect(location).map_err(Error::Objects)?.check().await.map_err(Error::Objects)?;
    Ok(shown)
}

async fn check_tables(report: &mut Report, config: &HubConfig, state: &Path) {
    let uri = config.tables_uri(state);
    let absent = uri.strip_prefix("sqlite:").filter(|path| !Path::new(path).exists());
    if let Some(path) = absent {
        return report.ok("tables", format!("{path} will be made"));
    }
    let tried = async {
        let tables = Tables::open(&uri).await?;
        let result = tables.check().await.map(|()| tables.shown().to_owned());
        tables.close().await;
        result
    };
    report.result("tables", tried.await);
}

async fn check_models(report: &mut Report, config: &HubConfig) {
    let inference = &config.inference;
    let mut paths: Vec<PathBuf> = inference.model.clone().into_iter().collect();
    match inference.models.as_deref().map(packages).transpose() {
        Ok(more) => paths.extend(more.unwrap_or_default()),
        Err(error) => report.failed("models", error.to_string(), None),
    }
    for model in paths {
        let library = inference.library.clone();
        let shown = model.display().to_string();
        let load = move || load_model(&model, library).map(|(_, _, reason)| reason);
        match tokio::task::spawn_blocking(load).await {
            Ok(result) => report.result("model", result.map(|reason| format!("{shown}: {reason}"))),
            Err(error) => report.failed("model", error.to_string(), None),
        }
    }
}

/// More models than a hub should run beside its other roles: each has a thread and its weights in memory.
const PACKAGES_MAX: usize = 32;

/// The packages of a folder: its folders with a manifest, and its tars.
pub(super) fn packages(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let refuse = |why: String| Error::Model(format!("[inference] models = {}: {why}", folder.display()));
    let entries = std::fs::read_dir(folder).map_err(|error| refuse(error.to_string()))?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| refuse(error.to_string()))?.path();
        if path.join(contract::model::MANIFEST).is_file() || path.extension().is_some_and(|end| end == "tar") {
            found.push(path);
        }
    }
    if found.len() > PACKAGES_MAX {
        return Err(refuse(format!("{} packages are in it; a hub takes {PACKAGES_MAX}", found.len())));
    }
    found.sort();
    Ok(found)
}

/// Opens a package and loads it into the engine that suits it; says why that one.
pub(super) fn load_model(path: &Path, library: Option<PathBuf>) -> Result<(Package, Box<dyn Engine>, String), Error> {
    let model = |error: &(dyn std::error::Error + 'static)| Error::Model(daemon::logs::chain(error));
    let package = Package::open(path).map_err(|error| model(&error))?;
    let ort = OrtCpu::new(library);
    let factories: [&dyn EngineFactory; 1] = [&ort];
    let chosen = inference::choose(&factories, &[], Accuracy::Exact, &package).map_err(|error| model(&error))?;
    tracing::info!(engine = chosen.engine.name(), reason = chosen.reason, "the hub's model is loaded");
    Ok((package, chosen.engine, chosen.reason))
}
