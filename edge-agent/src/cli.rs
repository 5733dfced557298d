//! The command line.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, Parser, Subcommand};
use daemon::{
    cli::{CheckArgs, Common},
    config::{Loaded, Sources, load},
    exit,
    tasks::Stop,
    telemetry::{Service, Telemetry},
};

use crate::{
    app::{App, Options},
    check,
    config::{Config, ENV_PREFIX},
};

/// The state folder where nothing else is said.
const STATE: &str = "sightline-edge-state";

/// Cameras in, predictions out: classifies regions of camera pictures here and sends what it saw to the hub by MQTT.
#[derive(Parser, Debug)]
#[command(name = "sightline-edge", version, max_term_width = 110, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    common: Common,
    /// The file libonnxruntime.so; else ORT_DYLIB_PATH, else it is looked for.
    #[arg(long, value_name = "PATH", global = true)]
    library: Option<PathBuf>,
}

const EXAMPLES: &str = "\
A first configuration, edge.toml:

  site = \"home\"
  gateway = \"gw-1\"
  mqtt.url = \"mqtt://127.0.0.1:1883\"
  models.default = \"/path/to/model-package\"

  [cameras.front]
  uri = \"rtsp://192.168.1.20:554/stream1\"   # or file: folder: v4l2: http: https: test:
  username = \"env:CAMERA_USER\"
  password = \"env:CAMERA_PASSWORD\"

  sightline-edge check --config edge.toml     # is everything there, does the camera answer?
  sightline-edge run   --config edge.toml     # until Ctrl-C; a second one ends at once

Without a camera:  [cameras.demo]  uri = \"test:ball?width=640&height=480&fps=10\"
Every key also comes from the environment: SIGHTLINE_EDGE__MQTT__URL=mqtt://hub:1883
Exit codes: 0 ended as asked, 1 failed, 2 wrong configuration, 3 state folder in use, 4 something is missing
(a model, libonnxruntime, a free port), 5 state folder unusable, 6 a task was lost, 7 not drained in time,
130 ended at once by a second signal.";

#[derive(Subcommand, Debug)]
enum Command {
    /// Run the gateway.
    Run(RunArgs),
    /// Validate the configuration, and try model, library, broker and each camera.
    Check(CheckArgs),
    /// Show which inference engines can be used here, and why each other one cannot.
    #[command(after_help = ENGINES)]
    Engines(EnginesArgs),
    /// Print the configuration in force, with where each value comes from; secrets are left out.
    PrintConfig,
}

const ENGINES: &str = "\
The order is that of preference: a model gets the first engine that is usable, loads it, and gives its golden answers.
`engines.preference` in the configuration says another order; `sightline-edge check` also loads each model.
Exit codes: 0 at least one can be used, 4 none can.";

#[derive(Args, Debug)]
struct EnginesArgs {
    /// Print one JSON document instead of a table.
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
struct RunArgs {
    /// End when every camera's source has come to its end (files and folders played once or fast).
    #[arg(long)]
    until_end: bool,
}

/// Parses the command line and does what it says.
pub fn main() -> ExitCode {
    daemon::memory::large_blocks_from_the_kernel();
    daemon::install_crypto();
    let _ = daemon::process::started();
    let cli = Cli::parse();
    exit::code(cli.dispatch())
}

impl Cli {
    fn dispatch(&self) -> u8 {
        let library = self.library.as_ref().map(|path| path.display().to_string());
        let sources =
            Sources::new(self.common.config.as_deref(), ENV_PREFIX).flag("engines.library", "--library", library);
        let loaded = match load::<Config>(&sources) {
            Ok(loaded) => loaded,
            Err(errors) => return complain(&errors),
        };
        match &self.command {
            Command::PrintConfig => {
                #[expect(clippy::print_stdout, reason = "it is the command's result")]
                {
                    print!("{}", loaded.print());
                }
                exit::OK
            }
            Command::Engines(args) => self.engines(&loaded, args),
            Command::Check(args) => self.check(&loaded, args),
            Command::Run(args) => self.run(&loaded, args),
        }
    }

    fn engines(&self, loaded: &Loaded<Config>, args: &EnginesArgs) -> u8 {
        let survey = engines::survey(&crate::app::factories(&loaded.value, &self.common.state_dir(STATE)));
        #[expect(clippy::print_stdout, reason = "it is the command's result")]
        match args.json.then(|| serde_json::to_string_pretty(&survey)) {
            Some(Ok(json)) => println!("{json}"),
            Some(Err(error)) => return complain(&error),
            None => print!("{}", engines::table(&survey)),
        }
        if survey.iter().any(|one| one.usable) { exit::OK } else { exit::MISSING }
    }

    fn check(&self, loaded: &Loaded<Config>, args: &CheckArgs) -> u8 {
        // What the parts would log is what the report says.
        let quiet = Common { log: self.common.log.clone().or(Some("off".into())), ..self.common.clone() };
        if let Err(code) = logs(&quiet, &Telemetry::none()) {
            return code;
        }
        let state = self.common.state_dir(STATE);
        runtime(|runtime| runtime.block_on(check::run(&loaded.value, &state)).print(args.json))
    }

    fn run(&self, loaded: &Loaded<Config>, args: &RunArgs) -> u8 {
        let config = &loaded.value;
        let service = Service {
            name: crate::build().name,
            version: crate::build().version,
            attributes: vec![
                ("sightline.site".into(), config.site.to_string()),
                ("sightline.gateway".into(), config.gateway.to_string()),
            ],
        };
        let telemetry = match daemon::telemetry::init(&config.telemetry, &service) {
            Ok(telemetry) => telemetry,
            Err(error) => return complain(&error),
        };
        if let Err(code) = logs(&self.common, &telemetry) {
            return code;
        }
        let options =
            Options { state: self.common.state_dir(STATE), base: PathBuf::new(), until_end: args.until_end, telemetry };
        runtime(|runtime| runtime.block_on(run(loaded, options)))
    }
}

async fn run(loaded: &Loaded<Config>, options: Options) -> u8 {
    let stop = Stop::new();
    if let Err(error) = stop.on_signals() {
        return complain(&error);
    }
    match App::build(loaded, options) {
        Ok(app) => app.run(stop).await.exit_code,
        Err(error) => {
            complain(&error);
            error.exit_code()
        }
    }
}

fn logs(common: &Common, telemetry: &Telemetry) -> Result<(), u8> {
    let options = common.log_options().map_err(|error| complain(&std::io::Error::other(error)))?;
    daemon::logs::init(&options, telemetry).map_err(|error| complain(&error))
}

/// Two workers: the network needs little, and cameras and engine have threads of their own.
fn runtime(work: impl FnOnce(&tokio::runtime::Runtime) -> u8) -> u8 {
    let built = tokio::runtime::Builder::new_multi_thread().worker_threads(2).thread_name("net").enable_all().build();
    match built {
        Ok(runtime) => {
            let code = work(&runtime);
            // A thread that hangs in a camera's driver must not keep the process.
            runtime.shutdown_timeout(Duration::from_secs(1));
            code
        }
        Err(error) => complain(&error),
    }
}

/// Says what is wrong on stderr; the exit code for wrong usage.
#[expect(clippy::print_stderr, reason = "an error must be read even where logs are not set up")]
fn complain(error: &(dyn std::error::Error + 'static)) -> u8 {
    eprintln!("error: {}", daemon::logs::chain(error));
    exit::USAGE
}
