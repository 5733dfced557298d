//! A broker that an earlier hub of this state folder left behind: recognised beyond doubt, then ended.
//!
//! A pid alone may by now belong to somebody else's process; pid, start time and boot together do not.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde::{Deserialize, Serialize};

/// How long a broker may take to write its database.
const PATIENCE: Duration = Duration::from_secs(5);

/// One process, beyond doubt.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Process {
    pid: i32,
    /// Clock ticks since boot: field 22 of `/proc/<pid>/stat`.
    start: u64,
    boot: String,
}

impl Process {
    fn of(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // the second field is a name in parentheses that may hold anything: count from its end
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let state = fields.next()?;
        let start = fields.nth(18)?.parse().ok()?;
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        (state != "Z").then(|| Self { pid, start, boot: boot.trim().to_owned() })
    }

    fn is_there(&self) -> bool {
        Self::of(self.pid).as_ref() == Some(self)
    }
}

/// Writes down the broker that was started.
pub(super) fn note(file: &Path, pid: i32) {
    let Some(process) = Process::of(pid) else { return };
    let json = serde_json::to_vec(&process).unwrap_or_default();
    if let Err(error) = daemon::state::atomic_write(file, &json, 0o600) {
        tracing::warn!(%error, "the broker's process is not written down; a left-over would not be recognised");
    }
}

/// The broker has ended.
pub(super) fn forget(file: &Path) {
    let _ = fs::remove_file(file); // what is written there is checked before it is believed
}

/// Ends the broker that is written down, if it still runs; gives its pid.
pub(super) fn end(file: &Path) -> Option<i32> {
    let process: Process = serde_json::from_slice(&fs::read(file).ok()?).ok()?;
    if process.pid <= 1 || !process.is_there() {
        forget(file);
        return None;
    }
    for (signal, patience) in [(Signal::SIGTERM, PATIENCE), (Signal::SIGKILL, Duration::from_secs(1))] {
        let _ = kill(Pid::from_raw(process.pid), signal); // it may have ended by itself
        let deadline = Instant::now() + patience;
        while process.is_there() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(20));
        }
    }
    forget(file);
    Some(process.pid)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn only_the_very_process_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid.json");
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let pid = child.id() as i32;
        note(&file, pid);
        let written: Process = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        let other = Process { start: written.start + 1, ..written };
        fs::write(&file, serde_json::to_vec(&other).unwrap()).unwrap();
        assert_eq!(end(&file), None);
        assert!(child.try_wait().unwrap().is_none(), "another process with that pid is left alone");
        note(&file, pid);
        assert_eq!(end(&file), Some(pid));
        assert!(!child.wait().unwrap().success());
        assert_eq!(end(&file), None);
    }
}
