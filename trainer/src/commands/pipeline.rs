//! `sightline-train run`: every step from pictures to an evaluated package, from one file.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::train::CHECKPOINT;

/// Do every step that a file names: dataset, preprocess, tune, train, export, evaluate.
///
/// What a step makes is named by the hash of what it was made of, so that a step whose result is there is passed over, and a step
/// that was killed goes on. Each table's keys are the options of that command, as `sightline-train COMMAND --help` tells them.
#[derive(Args)]
#[command(after_help = "\
Examples:
  sightline-train run pipeline.toml

A pipeline:
  name = \"doors\"
  out = \"doors\"                       # the folder for everything; default: the name
  [dataset.import]                    # or [dataset.create] with state = \"/var/lib/sightline-hub\"
  format = \"folder\"
  path = \"pictures\"
  dedupe = 4
  [preprocess]
  size = \"32x32\"
  color = \"gray\"
  [tune]                              # may be left out
  trials = 30
  asha = true
  [tune.space.rate]
  float = [0.01, 0.3]
  log = true
  [train]                             # settings, as train --print-settings shows them
  epochs = 20
  [export]
  id = \"doors\"
  [evaluate]
  split = \"test\"

Exit codes: 0 done, 1 a step failed (the reason stands on stderr), 2 the command line is wrong.")]
pub struct Options {
    /// The file
    pipeline: PathBuf,
    /// Print one JSON document instead of text
    #[arg(long)]
    json: bool,
}

/// The file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pipeline {
    name: String,
    out: Option<PathBuf>,
    dataset: From,
    preprocess: toml::Table,
    tune: Option<toml::Table>,
    #[serde(default)]
    train: toml::Table,
    #[serde(default)]
    export: toml::Table,
    #[serde(default)]
    evaluate: toml::Table,
}

/// Where pictures come from.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum From {
    Import(toml::Table),
    Create(toml::Table),
}

/// Does what the file says, and names what it made.
pub fn run(options: &Options, out: &mut impl io::Write) -> Result<()> {
    let shown = options.pipeline.display();
    let text = fs::read_to_string(&options.pipeline).with_context(|| format!("read {shown}"))?;
    let pipeline: Pipeline = toml::from_str(&text).with_context(|| format!("read {shown}"))?;
    let base = options.pipeline.parent().unwrap_or(Path::new("")).to_path_buf();
    let folder = base.join(pipeline.out.clone().unwrap_or_else(|| PathBuf::from(&pipeline.name)));
    let steps = Steps { folder, base, quiet: options.json };
    let done = steps.all(pipeline)?;
    if options.json {
        return Ok(writeln!(out, "{done}")?);
    }
    for step in ["dataset", "tensors", "best", "run", "model", "report"] {
        if let Some(made) = done[step].as_str() {
            writeln!(out, "{step:<9} {made}")?;
        }
    }
    Ok(())
}

struct Steps {
    folder: PathBuf,
    /// Paths in the file count from here.
    base: PathBuf,
    quiet: bool,
}

impl Steps {
    fn all(&self, pipeline: Pipeline) -> Result<Value> {
        for part in ["datasets", "tensors", "runs", "models", "reports"] {
            let path = self.folder.join(part);
            fs::create_dir_all(&path).with_context(|| format!("write {}", path.display()))?;
        }
        let dataset = self.dataset(&pipeline)?;
        let short =
            |path: &Path| path.file_name().map(|name| name.to_string_lossy()[..12].to_owned()).unwrap_or_default();
        let form = key(&[&toml::to_string(&pipeline.preprocess)?]);
        let tensors = self.folder.join("tensors").join(format!("{}-{form}", short(&dataset)));
        let mut arguments = vec!["preprocess".into(), text(&dataset), "--out".into(), text(&tensors)];
        arguments.extend(flags(&pipeline.preprocess)?);
        self.step("preprocess", &arguments)?;

        let made_of = format!("{}-{form}", short(&dataset));
        let (settings, best) = match pipeline.tune {
            Some(tune) => {
                let best = self.tune(tune, &pipeline.train, &tensors, &made_of)?;
                (fs::read_to_string(&best)?, Some(best))
            }
            None => (toml::to_string(&pipeline.train)?, None),
        };
        let run_key = key(&[&made_of, &settings]);
        let run = self.folder.join("runs").join(&run_key);
        self.train(&run, &settings, &tensors)?;

        let options = toml::to_string(&pipeline.export)?;
        let model = self.folder.join("models").join(key(&[&run_key, &options]));
        let mut arguments =
            vec!["export".into(), text(&run), "--tensors".into(), text(&tensors), "--out".into(), text(&model)];
        arguments.extend(flags(&pipeline.export)?);
        self.unless(&model, "export", &arguments)?;

        let options = toml::to_string(&pipeline.evaluate)?;
        let report = self.folder.join("reports").join(key(&[&text(&model), &options]));
        let mut arguments = vec!["evaluate".into(), text(&model), "--dataset".into(), text(&dataset)];
        arguments.extend(["--out".into(), text(&report)]);
        arguments.extend(flags(&pipeline.evaluate)?);
        self.unless(&report, "evaluate", &arguments)?;
        Ok(json!({
            "dataset": dataset, "tensors": tensors, "best": best, "run": run, "model": model, "report": report,
        }))
    }

    fn dataset(&self, pipeline: &Pipeline) -> Result<PathBuf> {
        let mut arguments = vec!["dataset".to_owned()];
        match &pipeline.dataset {
            From::Import(table) => {
                let mut table = table.clone();
                let mut take = |name: &str| match table.remove(name) {
                    Some(toml::Value::String(text)) => Ok(text),
                    _ => bail!("[dataset.import] needs `{name}`, as text"),
                };
                let (format, path) = (take("format")?, take("path")?);
                arguments.extend(["import".into(), format, text(&self.base.join(path))]);
                arguments.extend(flags(&table)?);
            }
            From::Create(table) => {
                arguments.push("create".into());
                arguments.extend(flags(table)?);
            }
        }
        let below = self.folder.join("datasets");
        arguments.extend(["--name".into(), pipeline.name.clone(), "--out".into(), text(&below), "--json".into()]);
        let said = self.step("dataset", &arguments)?;
        let said: Value = serde_json::from_str(&said).context("read what `dataset` said")?;
        let folder = said["folder"].as_str().context("`dataset` did not say its folder")?;
        Ok(PathBuf::from(folder))
    }

    /// A study whose budget is spent ends at once, so that it is asked each time.
    fn tune(&self, mut tune: toml::Table, train: &toml::Table, tensors: &Path, made_of: &str) -> Result<PathBuf> {
        let space = tune.remove("space").and_then(|space| space.as_table().cloned());
        let space = toml::to_string(&space.context("[tune] needs a space: write [tune.space.<setting>] tables")?)?;
        let settings = toml::to_string(train)?;
        let key = key(&[made_of, &space, &settings, &toml::to_string(&tune)?]);
        let name = |end: &str| self.folder.join("runs").join(format!("tune-{key}-{end}.toml"));
        let (space_file, settings_file, best) = (name("space"), name("settings"), name("best"));
        fs::write(&space_file, space).with_context(|| format!("write {}", space_file.display()))?;
        fs::write(&settings_file, settings).with_context(|| format!("write {}", settings_file.display()))?;
        let mut arguments = vec!["tune".into(), text(tensors), "--study".into(), key.clone()];
        if !tune.contains_key("tables") {
            arguments.extend(["--tables".into(), format!("sqlite:{}", text(&self.folder.join("studies.db")))]);
        }
        arguments.extend(["--space".into(), text(&space_file), "--settings".into(), text(&settings_file)]);
        arguments.extend(["--best".into(), text(&best)]);
        arguments.extend(flags(&tune)?);
        self.step("tune", &arguments)?;
        ensure!(best.is_file(), "no trial of the study is complete and within its constraints: widen the space");
        Ok(best)
    }

    fn train(&self, run: &Path, settings: &str, tensors: &Path) -> Result<()> {
        let finished = || -> Option<bool> {
            let about: Value = serde_json::from_slice(&fs::read(run.join("run.json")).ok()?).ok()?;
            Some(about["status"] == "finished" && run.join(CHECKPOINT).is_file())
        };
        if finished() == Some(true) {
            self.tell("train", "is done already");
            return Ok(());
        }
        let file = run.with_extension("toml");
        fs::write(&file, settings).with_context(|| format!("write {}", file.display()))?;
        let arguments = ["train", &text(tensors), "--run", &text(run), "--settings", &text(&file)].map(str::to_owned);
        self.step("train", &arguments).map(drop)
    }

    fn unless(&self, there: &Path, step: &str, arguments: &[String]) -> Result<()> {
        if there.exists() {
            self.tell(step, "is done already");
            return Ok(());
        }
        self.step(step, arguments).map(drop)
    }

    fn tell(&self, step: &str, what: &str) {
        eprintln!("sightline-train: {step} {what}");
    }

    /// Runs a command of this program; gives what it printed, which people see as well.
    fn step(&self, step: &str, arguments: &[String]) -> Result<String> {
        self.tell(step, "begins");
        let program = std::env::current_exe().context("find this program")?;
        let ended = Command::new(program).args(arguments).stdout(Stdio::piped()).stderr(Stdio::inherit()).output();
        let ended = ended.with_context(|| format!("start {step}"))?;
        let said = String::from_utf8_lossy(&ended.stdout).into_owned();
        if !self.quiet && !arguments.contains(&"--json".to_owned()) {
            io::stderr().write_all(said.as_bytes())?;
        }
        let command = || arguments.join(" ");
        ensure!(ended.status.success(), "step {step} failed: sightline-train {}", command());
        Ok(said)
    }
}

/// The first 16 hex digits of a hash.
fn key(parts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part.len().to_le_bytes());
        hasher.update(part);
    }
    hex::encode(&hasher.finalize()[..8])
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// A table's keys as options: `asha = true` is `--asha`, a list is the option several times.
fn flags(table: &toml::Table) -> Result<Vec<String>> {
    let mut flags = Vec::new();
    for (key, value) in table {
        let name = format!("--{}", key.replace('_', "-"));
        let values = match value {
            toml::Value::Boolean(true) => {
                flags.push(name);
                continue;
            }
            toml::Value::Boolean(false) => continue,
            toml::Value::Array(values) => values.clone(),
            toml::Value::Table(_) => bail!("`{key}` is a table, and no option: write its value"),
            value => vec![value.clone()],
        };
        for value in values {
            let value = match value {
                toml::Value::String(text) => text,
                value => value.to_string(),
            };
            flags.extend([name.clone(), value]);
        }
    }
    Ok(flags)
}
