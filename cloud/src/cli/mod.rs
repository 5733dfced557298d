//! The command line: `run`, `check`, `print-config`, and the commands that look after the lake.

mod lake;

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use daemon::{
    cli::{CheckArgs, Common},
    config::{self, Loaded, Sources},
    exit, logs, ready,
    state::{Lock, StateDir},
    tasks::{Reason, Stop},
    telemetry::{self, Service},
};

use crate::{
    app,
    config::{ENV_PREFIX, HubConfig, Role, STATE_DEFAULT},
};

/// The hub of Sightline: takes what camera gateways send, keeps it in a lake, and answers questions about it.
///
/// Without a configuration file everything runs in this one process on loopback addresses: an MQTT broker (Debian's
/// mosquitto, port 1883), an S3 server (port 9000), and REST with its documentation at http://127.0.0.1:8080/docs.
/// A default port that is taken is replaced by a free one; the JSON line on stdout says which.
#[derive(Parser, Debug)]
#[command(name = "sightline-hub", version, about, long_about, after_long_help = AFTER_HELP)]
pub struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Every key of the file can be set by the environment: SIGHTLINE_HUB__BROKER__LISTEN sets broker.listen.
The first SIGTERM or SIGINT stops in order (requests, records, broker); the second ends at once.

Exit codes: 0 ended as asked; 1 failed; 2 command line or configuration; 3 state folder in use; 4 something is missing
(a program, a port, a server); 5 state folder or database unusable; 6 a task was lost; 7 shutdown took too long;
130 second signal.

Examples:
  sightline-hub run
  sightline-hub run --state /var/lib/sightline --listen 127.0.0.1:8080
  SIGHTLINE_HUB__OBJECTS=s3://bucket/prefix sightline-hub check
  sightline-hub run --config hub.toml --roles ingest,api
  sightline-hub verify --from 2026-11-23T00:00:00Z
  sightline-hub backup /backup/sightline.db";

#[derive(Subcommand, Debug)]
enum Command {
    /// Run the hub until it is told to stop.
    Run {
        #[command(flatten)]
        overrides: Overrides,
    },
    /// Check the configuration and try every connection; change nothing.
    Check {
        #[command(flatten)]
        overrides: Overrides,
        #[command(flatten)]
        check: CheckArgs,
    },
    #[command(flatten)]
    Lake(lake::Task),
    /// Print the configuration that run would use, with where each value comes from; secrets are not shown.
    PrintConfig {
        #[command(flatten)]
        overrides: Overrides,
    },
}

/// Keys that are often set for one run.
#[derive(clap::Args, Debug, Default)]
struct Overrides {
    /// Address of REST; port 0 takes a free one.
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<String>,
    /// The parts to run: broker, objects, ingest, api.
    #[arg(long, value_name = "ROLE,ROLE", value_delimiter = ',')]
    roles: Vec<String>,
}

/// Runs the command line; gives the exit code.
pub fn main(cli: Cli) -> u8 {
    let none = Overrides::default();
    let (overrides, which) = match &cli.command {
        Command::Lake(task) => (&none, Which::Lake(task)),
        Command::Run { overrides } => (overrides, Which::Run),
        Command::Check { overrides, check } => (overrides, Which::Check(check.json)),
        Command::PrintConfig { overrides } => (overrides, Which::Print),
    };
    let loaded = match config::load::<HubConfig>(&sources(&cli.common, overrides)) {
        Ok(loaded) => loaded,
        Err(error) => return complain(&error, exit::USAGE),
    };
    let state = cli.common.state_dir(STATE_DEFAULT);
    match which {
        Which::Print => print(&loaded),
        Which::Lake(task) => lake::run(task, &cli.common, &loaded, &state),
        Which::Check(json) => in_runtime(async { app::check(&loaded, &state).await.print(json) }),
        Which::Run => run(&cli.common, &loaded, state),
    }
}

enum Which<'c> {
    Lake(&'c lake::Task),
    Run,
    Check(bool),
    Print,
}

fn sources(common: &Common, overrides: &Overrides) -> Sources {
    let quoted: Vec<_> = overrides.roles.iter().map(|role| format!("{:?}", role.trim())).collect();
    let roles = (!quoted.is_empty()).then(|| format!("[{}]", quoted.join(", ")));
    Sources::new(common.config.as_deref(), ENV_PREFIX)
        .flag("listen", "--listen", overrides.listen.as_ref())
        .flag("roles", "--roles", roles)
}

#[expect(clippy::print_stdout, reason = "the result of print-config")]
fn print(loaded: &Loaded<HubConfig>) -> u8 {
    print!("{}", loaded.print());
    exit::OK
}

fn run(common: &Common, loaded: &Loaded<HubConfig>, state: PathBuf) -> u8 {
    let options = match common.log_options() {
        Ok(options) => options,
        Err(error) => return complain_text(&error, exit::USAGE),
    };
    let service = Service { name: "sightline-hub", version: env!("CARGO_PKG_VERSION"), attributes: Vec::new() };
    let telemetry = match telemetry::init(&loaded.value.telemetry, &service) {
        Ok(telemetry) => telemetry,
        Err(error) => return complain(&error, exit::USAGE),
    };
    if let Err(error) = logs::init(&options, &telemetry) {
        return complain(&error, exit::USAGE);
    }
    let state = match StateDir::open(state, Lock::Exclusive) {
        Ok(state) => state,
        Err(error) => return complain(&error, error.exit_code()),
    };
    in_runtime(async {
        let stop = Stop::new();
        if let Err(error) = stop.on_signals() {
            return complain(&error, exit::FAILURE);
        }
        let started = tokio::select! {
            started = app::start(loaded, state, stop.clone()) => started,
            reason = stop.requested() => return match reason {
                Reason::TaskLost { .. } => exit::TASK_LOST,
                Reason::Signal(_) | Reason::Asked => exit::OK,
            },
        };
        match started {
            Ok(app) => {
                app.export(&telemetry);
                let roles: Vec<_> = loaded.value.roles.iter().map(|role| Role::name(*role)).collect();
                tracing::info!(?roles, state = %app.state().display(), "hub is ready");
                ready::print_ready(&app.ready_line());
                let _watchdog = tokio::spawn(ready::watchdog(app.heart()));
                app.run(telemetry).await
            }
            Err(error) => {
                let code = error.exit_code();
                complain(&error, code)
            }
        }
    })
}

/// The runtime is given up at the end instead of waited for: a blocking read of a dead disk must not keep the process.
fn in_runtime(work: impl Future<Output = u8>) -> u8 {
    match tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("hub").build() {
        Ok(runtime) => {
            let code = runtime.block_on(work);
            runtime.shutdown_timeout(std::time::Duration::from_millis(500));
            code
        }
        Err(error) => complain(&error, exit::FAILURE),
    }
}

fn complain(error: &(dyn std::error::Error + 'static), code: u8) -> u8 {
    complain_text(&logs::chain(error), code)
}

fn complain_text(text: &str, code: u8) -> u8 {
    eprintln!("sightline-hub: {text}");
    code
}
