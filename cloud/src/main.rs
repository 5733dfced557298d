//! `sightline-hub`: the command line of the hub.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    daemon::install_crypto();
    daemon::admin::built_from(option_env!("SIGHTLINE_COMMIT"));
    ExitCode::from(cloud::cli::main(cloud::cli::Cli::parse()))
}
