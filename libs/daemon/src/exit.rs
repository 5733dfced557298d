//! The exit codes of our programs; `docs/exit-codes.md` says the same to people.

use std::process::ExitCode;

/// Ended as asked.
pub const OK: u8 = 0;
/// Failed: the last line of the log says why.
pub const FAILURE: u8 = 1;
/// The command line or the configuration is wrong; nothing was started.
pub const USAGE: u8 = 2;
/// The state folder is in use by another process.
pub const STATE_LOCKED: u8 = 3;
/// Something that must be there is missing: a program, a library, a model, a port that is free.
pub const MISSING: u8 = 4;
/// The state folder cannot be read or written, or its contents are of a newer version.
pub const STATE_UNUSABLE: u8 = 5;
/// A task that the process cannot live without has ended.
pub const TASK_LOST: u8 = 6;
/// Shutdown was not finished within its bound: what was not drained may be repeated or lost.
pub const SHUTDOWN_TIMEOUT: u8 = 7;
/// A second signal ended the process at once: 128 + SIGINT, as shells have it.
pub const FORCED: u8 = 130;

/// For `main`'s return value.
pub fn code(code: u8) -> ExitCode {
    ExitCode::from(code)
}
