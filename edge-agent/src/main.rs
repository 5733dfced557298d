//! `sightline-edge`, the camera gateway. Everything is in the library, where tests reach it.

use std::process::ExitCode;

fn main() -> ExitCode {
    edge_agent::cli::main()
}
