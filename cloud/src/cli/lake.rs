//! The commands that look after the lake: `rebuild`, `verify`, `lake`, `backup`, `restore`.

use std::{
    fmt::Display,
    path::{Path, PathBuf},
    time::SystemTime,
};

use clap::{Args, Subcommand};
use contract::{Kind, Timestamp};
use daemon::{
    cli::Common,
    config::Loaded,
    exit,
    logs::{self, LogOptions},
    telemetry::Telemetry,
};
use serde::Serialize;

use super::{complain, complain_text, in_runtime};
use crate::{
    app::offline::{self, Access, Lake},
    config::HubConfig,
    upkeep::{self, Form, Window},
};

/// What is to be done with the lake.
#[derive(Subcommand, Debug)]
pub enum Task {
    /// Make the tables anew from the objects alone. Stop the hub first.
    Rebuild {
        /// Print the report as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Prove that the lake is whole: every number accounted for, every object and picture as recorded. Exit code 1 if not.
    Verify {
        #[command(flatten)]
        time: Time,
        /// Print the report as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Look into the lake.
    Lake {
        #[command(subcommand)]
        look: Look,
    },
    /// Copy the tables to an SQLite file. The hub may be running.
    Backup {
        /// The file to be made.
        file: PathBuf,
    },
    /// Put a backup in place of the tables. Stop the hub first.
    Restore {
        /// The file that `backup` made.
        file: PathBuf,
        /// Replace tables that hold a lake already.
        #[arg(long)]
        replace: bool,
    },
}

/// What to see of the lake.
#[derive(Subcommand, Debug)]
pub enum Look {
    /// List its objects.
    Ls {
        #[command(flatten)]
        which: Which,
        /// One JSON object a line.
        #[arg(long)]
        json: bool,
    },
    /// Print rows, one JSON object a line.
    Cat {
        #[command(flatten)]
        which: Which,
        /// At most so many.
        #[arg(long, default_value_t = 1000)]
        limit: u64,
    },
    /// Write rows and pictures to a folder.
    Export {
        /// The folder; it is made.
        folder: PathBuf,
        #[command(flatten)]
        which: Which,
        /// How rows are written: parquet, csv or jsonl.
        #[arg(long, default_value = "parquet")]
        form: Form,
    },
}

/// Which rows.
#[derive(Args, Debug, Clone)]
pub struct Which {
    /// Of this kind: prediction, event, sample, health or gap. Default: all.
    #[arg(long)]
    kind: Option<Kind>,
    #[command(flatten)]
    time: Time,
}

/// A span of time, by `corrected_at`.
#[derive(Args, Debug, Clone, Copy)]
pub struct Time {
    /// At or after this moment, as in 2026-11-23T18:00:00Z.
    #[arg(long, value_name = "TIME")]
    from: Option<Timestamp>,
    /// Before this moment.
    #[arg(long, value_name = "TIME")]
    to: Option<Timestamp>,
}

impl Time {
    fn window(self) -> Window {
        Window { from: self.from, to: self.to }
    }
}

impl Which {
    fn kinds(&self) -> Vec<Kind> {
        self.kind.map_or_else(|| Kind::ALL.to_vec(), |kind| vec![kind])
    }
}

/// Does it; gives the exit code.
pub fn run(task: &Task, common: &Common, config: &Loaded<HubConfig>, state: &Path) -> u8 {
    // what such a command says stands on stdout: only what goes wrong is logged
    let level = common.log.clone().or_else(|| Some("warn".to_owned()));
    let options = match common.log_options() {
        Ok(options) => LogOptions { level, ..options },
        Err(error) => return complain_text(&error, exit::USAGE),
    };
    if let Err(error) = logs::init(&options, &Telemetry::default()) {
        return complain(&error, exit::USAGE);
    }
    let access = match task {
        Task::Rebuild { .. } | Task::Restore { .. } => Access::Alone,
        Task::Verify { .. } | Task::Lake { .. } | Task::Backup { .. } => Access::Beside,
    };
    in_runtime(async {
        let lake = match offline::open(config, state, access).await {
            Ok(lake) => lake,
            Err(error) => return complain(&error, error.exit_code()),
        };
        let code = carry_out(task, &lake).await.unwrap_or_else(|error| complain(&error, exit::FAILURE));
        lake.close().await;
        code
    })
}

async fn carry_out(task: &Task, Lake { index, objects, .. }: &Lake) -> Result<u8, upkeep::Error> {
    let now = Timestamp::from_system(SystemTime::now());
    match task {
        Task::Rebuild { json } => {
            let rebuilt = upkeep::rebuild(index, objects, now).await?;
            show(&rebuilt, *json);
            Ok(exit::OK)
        }
        Task::Verify { time, json } => {
            let verified = upkeep::verify(index, objects, time.window()).await?;
            show(&verified, *json);
            Ok(if verified.clean { exit::OK } else { exit::FAILURE })
        }
        Task::Backup { file } => {
            index.backup(file, now).await?;
            line(&format!("{} holds the tables of lake {}", file.display(), index.identity().await?.lake));
            Ok(exit::OK)
        }
        Task::Restore { file, replace } => {
            index.restore(file, *replace, now).await?;
            let said = "the tables are those of the backup, in a new incarnation; run `sightline-hub rebuild` to add what \
                        was archived after it";
            line(said);
            Ok(exit::OK)
        }
        Task::Lake { look: Look::Ls { which, json } } => {
            let found = upkeep::list(index, &which.kinds(), which.time.window()).await?;
            found.iter().for_each(|object| {
                line(&if *json {
                    serde_json::to_string(object).unwrap_or_default()
                } else {
                    let [from, to] = object.corrected;
                    format!("{:>9} rows {:>12} B  {from} {to}  {}", object.rows, object.bytes, object.key)
                });
            });
            Ok(exit::OK)
        }
        Task::Lake { look: Look::Cat { which, limit } } => {
            upkeep::cat(index, objects, &which.kinds(), which.time.window(), *limit, |row| line(&row)).await?;
            Ok(exit::OK)
        }
        Task::Lake { look: Look::Export { folder, which, form } } => {
            let window = which.time.window();
            let exported = upkeep::export(index, objects, &which.kinds(), window, *form, folder).await?;
            line(&format!("{} rows and {} pictures are in {}", exported.rows, exported.pictures, folder.display()));
            Ok(exit::OK)
        }
    }
}

fn show(report: &(impl Display + Serialize), json: bool) {
    line(&if json { serde_json::to_string_pretty(report).unwrap_or_default() } else { report.to_string() });
}

/// One line of the result; a reader that has gone away (`| head`) is no mistake.
fn line(text: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
}
