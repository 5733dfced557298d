//! Telling the world that we are ready: one JSON line on stdout for scripts, `sd_notify` for systemd.

use std::{io::Write, time::Duration};

use sd_notify::NotifyState;
use serde_json::Value;

/// Prints the ready line and tells systemd. The only thing that a daemon of ours writes to stdout.
pub fn print_ready(facts: &Value) {
    let mut stdout = std::io::stdout().lock();
    // a closed stdout is no reason to stop: whoever started us does not want to know
    let _ = writeln!(stdout, "{facts}").and_then(|()| stdout.flush());
    notify(&[NotifyState::Ready]);
}

/// Tells systemd that the process is on its way out.
pub fn stopping() {
    notify(&[NotifyState::Stopping]);
}

fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(error = %error, "systemd could not be told");
    }
}

/// Feeds systemd's watchdog at half its period for as long as `is_alive` says so; returns at once when there is none.
/// It runs as a task, so that a runtime that is stuck is noticed too.
pub async fn watchdog(is_alive: impl Fn() -> bool + Send) {
    let Some(period) = sd_notify::watchdog_enabled() else { return };
    let mut ticks = tokio::time::interval((period / 2).max(Duration::from_millis(10)));
    loop {
        ticks.tick().await;
        if is_alive() {
            notify(&[NotifyState::Watchdog]);
        } else {
            tracing::error!("watchdog is not fed because the process is not alive");
        }
    }
}
