//! Ctrl-C and SIGTERM, taken by the demo alone: hub, agent and camera run in groups of their own and are stopped in order.

use std::{
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use nix::sys::signal::{SigSet, Signal};

/// The signals that end the demo.
pub struct Signals(Receiver<()>);

impl Signals {
    /// Takes them from now on; must be called before any thread is started. The second one ends the demo at once.
    pub fn block() -> Result<Self> {
        let mut set = SigSet::empty();
        set.add(Signal::SIGINT);
        set.add(Signal::SIGTERM);
        set.thread_block().context("block SIGINT and SIGTERM")?;
        let (sender, receiver) = channel();
        thread::spawn(move || {
            let _ = set.wait();
            let _ = sender.send(());
            let _ = set.wait();
            eprintln!("demo: stopped at once; nothing was counted");
            std::process::exit(130);
        });
        Ok(Self(receiver))
    }

    /// Waits; true when a signal came.
    pub fn came_within(&self, time: Duration) -> bool {
        !matches!(self.0.recv_timeout(time), Err(RecvTimeoutError::Timeout))
    }
}
