//! `sightline-edge`, the camera gateway. Everything is in the library, where tests reach it.

use std::process::ExitCode;

fn main() -> ExitCode {
    daemon::admin::built_from(option_env!("SIGHTLINE_COMMIT"));
    edge_agent::cli::main()
}
