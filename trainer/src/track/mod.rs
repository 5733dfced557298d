//! Tracking: what a run was, step by step, in a folder that needs no server, and on an MLflow server where one is named.
//!
//! `run.json` says what was run (settings, dataset, code, machine), `metrics.jsonl` what happened, a line each, and everything
//! else in the folder is an artifact. Lines behind the checkpoint that a run goes on from are cut off first, so that a run that was
//! killed has the same lines as one that was not.

pub mod code;
pub mod machine;
pub mod mlflow;

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use code::Code;
use machine::Machine;
use mlflow::Mlflow;

/// The file that says what a run was.
pub const RUN: &str = "run.json";
/// The file with a line for each thing that happened.
pub const METRICS: &str = "metrics.jsonl";

/// What a run was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// Its name: the folder's.
    pub name: String,
    /// The command, as in `train`.
    pub command: String,
    /// `running`, `finished`, `failed`.
    pub status: String,
    /// Seconds since 1970.
    pub began: u64,
    /// The same, when it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<u64>,
    /// Everything that it was told, flat, with dots.
    pub parameters: BTreeMap<String, String>,
    /// What it learnt from.
    pub dataset: String,
    /// Everything drawn by chance derives from it.
    pub seed: u64,
    /// Who computed.
    pub code: Code,
    /// On what.
    pub machine: Machine,
    /// Joules, where the machine tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy_joules: Option<f64>,
    /// The last value of each metric.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub last: BTreeMap<String, f64>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Tracking does not work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk does not let us.
    #[error("{what} `{}`", path.display())]
    Io {
        /// `read` or `write`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The server.
    #[error(transparent)]
    Mlflow(#[from] mlflow::Error),
}

/// A run that is under way.
pub struct Run {
    folder: PathBuf,
    about: About,
    lines: File,
    joules: Option<f64>,
    mlflow: Option<Mlflow>,
}

impl Run {
    /// Begins a run in `folder`, or goes on with the one there; `keep` says of each line that is there whether it stays.
    ///
    /// # Errors
    /// The disk does not let us, or the server that is named does not answer.
    pub fn begin(folder: &Path, mut about: About, keep: impl Fn(&Map<String, Value>) -> bool) -> Result<Self, Error> {
        let failed = |what, path: &Path| {
            let path = path.to_owned();
            move |source| Error::Io { what, path, source }
        };
        fs::create_dir_all(folder).map_err(failed("write", folder))?;
        let path = folder.join(METRICS);
        let before = fs::read_to_string(&path).unwrap_or_default();
        let stays = |line: &&str| serde_json::from_str(line).is_ok_and(|line| keep(&line));
        let kept: String = before.lines().filter(stays).flat_map(|line| [line, "\n"]).collect();
        fs::write(&path, kept).map_err(failed("write", &path))?;
        let lines = OpenOptions::new().append(true).open(&path).map_err(failed("write", &path))?;
        about.name = folder.file_name().map_or_else(|| "run".into(), |name| name.to_string_lossy().into_owned());
        about.status = "running".into();
        about.began = now();
        if let Some(diff) = about.code.diff.take() {
            let path = folder.join("diff.patch");
            fs::write(&path, diff).map_err(failed("write", &path))?;
        }
        let mlflow = Mlflow::from_environment(&about)?;
        let run = Self { folder: folder.into(), about, lines, joules: machine::joules(), mlflow };
        run.write()?;
        Ok(run)
    }

    /// Where it is kept.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Something happened: `line` is an object; its numbers are metrics at `step`.
    ///
    /// # Errors
    /// The disk does not let us.
    pub fn happened(&mut self, step: u64, line: &impl Serialize) -> Result<(), Error> {
        let Ok(Value::Object(line)) = serde_json::to_value(line) else { return Ok(()) };
        let path = || self.folder.join(METRICS);
        let text = format!("{}\n", Value::Object(line.clone()));
        self.lines.write_all(text.as_bytes()).map_err(|source| Error::Io { what: "write", path: path(), source })?;
        let numbers = line.into_iter().filter_map(|(name, value)| Some((name, value.as_f64()?)));
        let numbers: Vec<(String, f64)> = numbers.filter(|(name, _)| name != "epoch" && name != "step").collect();
        if let Some(mlflow) = &mut self.mlflow {
            mlflow.metrics(step, &numbers);
        }
        self.about.last.extend(numbers);
        Ok(())
    }

    /// It ended.
    ///
    /// # Errors
    /// The disk does not let us.
    pub fn end(mut self, error: Option<String>, artifacts: &[PathBuf]) -> Result<About, Error> {
        self.about.status = if error.is_some() { "failed" } else { "finished" }.into();
        self.about.error = error;
        self.about.ended = Some(now());
        self.about.energy_joules =
            machine::joules().zip(self.joules).map(|(now, then)| now - then).filter(|j| *j >= 0.0);
        self.write()?;
        if let Some(mlflow) = &mut self.mlflow {
            let own = [RUN, METRICS, "diff.patch"].map(|name| self.folder.join(name));
            mlflow.end(self.about.error.is_none(), own.iter().chain(artifacts).filter(|path| path.exists()));
        }
        Ok(self.about)
    }

    fn write(&self) -> Result<(), Error> {
        let path = self.folder.join(RUN);
        let json = serde_json::to_vec_pretty(&self.about).unwrap_or_default(); // text keys alone
        crate::train::checkpoint::replace(&path, &json).map_err(|source| Error::Io { what: "write", path, source })
    }
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A document as parameters: flat, with dots.
pub fn flat(document: &impl Serialize) -> BTreeMap<String, String> {
    fn walk(prefix: &str, value: &Value, into: &mut BTreeMap<String, String>) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    let name = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                    walk(&name, value, into);
                }
            }
            Value::String(text) => drop(into.insert(prefix.into(), text.clone())),
            other => drop(into.insert(prefix.into(), other.to_string())),
        }
    }
    let mut all = BTreeMap::new();
    walk("", &serde_json::to_value(document).unwrap_or_default(), &mut all);
    all
}
