//! An MLflow server, by its REST API 2.0, where `MLFLOW_TRACKING_URI` names one.
//!
//! Policy: a server that does not answer at the start is an error, since whoever named it wants it. Later a run is worth more than
//! its record: what cannot be sent is dropped, counted, and told once; the run's folder has it all the same.

use std::{env, fs, path::PathBuf, time::Duration};

use serde_json::{Value, json};
use ureq::Agent;

use super::{About, now};

/// Metrics that wait at most until they are sent together.
const TOGETHER: usize = 500;
/// The longest that a request may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// The server does not do what it is asked.
#[derive(Debug, thiserror::Error)]
#[error("MLflow at `{server}`: {what}: {why}; unset MLFLOW_TRACKING_URI to run without it")]
pub struct Error {
    server: String,
    what: &'static str,
    why: String,
}

/// A run on a server.
pub struct Mlflow {
    agent: Agent,
    server: String,
    credentials: Option<String>,
    run: String,
    artifacts: String,
    waiting: Vec<Value>,
    dropped: u64,
}

impl Mlflow {
    /// Creates the run, in the experiment that `MLFLOW_EXPERIMENT_NAME` names (else `sightline`); `None` where no server is
    /// named.
    ///
    /// # Errors
    /// The server does not answer, or refuses.
    pub fn from_environment(about: &About) -> Result<Option<Self>, Error> {
        let Some(server) = env::var("MLFLOW_TRACKING_URI").ok().filter(|uri| !uri.is_empty()) else { return Ok(None) };
        let server = server.trim_end_matches('/').to_owned();
        if !server.starts_with("http://") && !server.starts_with("https://") {
            let why = "use http:// or https://".into();
            return Err(Error { server, what: "the address is not one of a server", why });
        }
        let agent = Agent::config_builder().timeout_global(Some(PATIENCE)).http_status_as_error(false).build().into();
        let mut mlflow = Self {
            agent,
            server,
            credentials: credentials(),
            run: String::new(),
            artifacts: String::new(),
            waiting: Vec::new(),
            dropped: 0,
        };
        mlflow.begin(about)?;
        Ok(Some(mlflow))
    }

    fn begin(&mut self, about: &About) -> Result<(), Error> {
        let name = env::var("MLFLOW_EXPERIMENT_NAME").unwrap_or("sightline".into());
        let made = self.post("experiments/create", &json!({ "name": name }));
        let experiment = match made {
            Ok(made) => made["experiment_id"].clone(),
            Err(_) => {
                let query =
                    url::form_urlencoded::Serializer::new(String::new()).append_pair("experiment_name", &name).finish();
                self.get(&format!("experiments/get-by-name?{query}"))?["experiment"]["experiment_id"].clone()
            }
        };
        let tag = |key: &str, value: &str| json!({ "key": key, "value": value });
        let commit = about.code.commit.as_deref().unwrap_or(&about.code.built_from);
        let tags = [
            tag("mlflow.source.git.commit", commit),
            tag("mlflow.source.name", &format!("sightline-train {}", about.command)),
            tag("mlflow.source.type", "JOB"),
            tag("dataset", &about.dataset),
            tag("dirty", &about.code.dirty.to_string()),
        ];
        let asked =
            json!({ "experiment_id": experiment, "run_name": about.name, "start_time": now() * 1000, "tags": tags });
        let run = self.post("runs/create", &asked)?;
        self.run = run["run"]["info"]["run_id"].as_str().unwrap_or_default().into();
        self.artifacts = run["run"]["info"]["artifact_uri"].as_str().unwrap_or_default().into();
        let parameters: Vec<_> = about.parameters.iter().map(|(key, value)| tag(key, value)).collect();
        for some in parameters.chunks(100) {
            self.post("runs/log-batch", &json!({ "run_id": self.run, "params": some }))?;
        }
        Ok(())
    }

    /// Numbers at a step; sent together with others.
    pub fn metrics(&mut self, step: u64, numbers: &[(String, f64)]) {
        let timestamp = now() * 1000;
        let entry =
            |(key, value): &(String, f64)| json!({ "key": key, "value": value, "timestamp": timestamp, "step": step });
        self.waiting.extend(numbers.iter().map(entry));
        if self.waiting.len() >= TOGETHER {
            self.flush();
        }
    }

    fn flush(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        for some in waiting.chunks(TOGETHER) {
            let sent = self.post("runs/log-batch", &json!({ "run_id": self.run, "metrics": some }));
            self.note(sent.map(drop), some.len());
        }
    }

    /// The run ended; its files go along.
    pub fn end<'p>(&mut self, well: bool, files: impl Iterator<Item = &'p PathBuf>) {
        self.flush();
        for file in files {
            let sent = self.upload(file);
            self.note(sent, 1);
        }
        let status = if well { "FINISHED" } else { "FAILED" };
        let ended =
            self.post("runs/update", &json!({ "run_id": self.run, "status": status, "end_time": now() * 1000 }));
        self.note(ended.map(drop), 1);
    }

    fn note(&mut self, sent: Result<(), Error>, count: usize) {
        let Err(error) = sent else { return };
        if self.dropped == 0 {
            eprintln!("sightline-train: not recorded: {error}; the run goes on, its folder has everything");
        }
        self.dropped += count as u64;
    }

    fn upload(&self, file: &PathBuf) -> Result<(), Error> {
        let Some(path) = self.artifacts.strip_prefix("mlflow-artifacts:/") else {
            return Ok(()); // artifacts lie where the server's clients, not the server, would write
        };
        let failed = |why: String| Error { server: self.server.clone(), what: "upload an artifact", why };
        let bytes = fs::read(file).map_err(|error| failed(error.to_string()))?;
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let url = format!("{}/api/2.0/mlflow-artifacts/artifacts/{path}/{name}", self.server);
        let mut request = self.agent.put(&url);
        if let Some(credentials) = &self.credentials {
            request = request.header("authorization", credentials);
        }
        let answer = request.send(&bytes[..]).map_err(|error| failed(error.to_string()))?;
        if answer.status().is_success() { Ok(()) } else { Err(failed(answer.status().to_string())) }
    }

    fn post(&self, what: &'static str, body: &Value) -> Result<Value, Error> {
        let mut request = self.agent.post(format!("{}/api/2.0/mlflow/{what}", self.server));
        if let Some(credentials) = &self.credentials {
            request = request.header("authorization", credentials);
        }
        let request = request.header("content-type", "application/json");
        self.answer(what, request.send(body.to_string()))
    }

    fn get(&self, what: &str) -> Result<Value, Error> {
        let mut request = self.agent.get(format!("{}/api/2.0/mlflow/{what}", self.server));
        if let Some(credentials) = &self.credentials {
            request = request.header("authorization", credentials);
        }
        self.answer("experiments/get-by-name", request.call())
    }

    fn answer(
        &self,
        what: &'static str,
        answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<Value, Error> {
        let failed = |why: String| Error { server: self.server.clone(), what, why };
        let mut answer = answer.map_err(|error| failed(error.to_string()))?;
        let status = answer.status();
        let text = answer.body_mut().read_to_string().map_err(|error| failed(error.to_string()))?;
        if !status.is_success() {
            let short: String = text.chars().take(300).collect();
            return Err(failed(format!("{status} {short}")));
        }
        serde_json::from_str(&text).map_err(|error| failed(error.to_string()))
    }
}

/// As MLflow's own clients find them.
fn credentials() -> Option<String> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let of = |name| env::var(name).ok().filter(|value| !value.is_empty());
    let basic = || {
        let (user, password) = (of("MLFLOW_TRACKING_USERNAME")?, of("MLFLOW_TRACKING_PASSWORD")?);
        Some(format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
    };
    of("MLFLOW_TRACKING_TOKEN").map(|token| format!("Bearer {token}")).or_else(basic)
}
