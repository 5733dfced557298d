//! A running test camera: `test-camera` serving a video as RTSP.

use std::{path::Path, process::Command};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use crate::{Process, runtime};

/// A test camera; gone when dropped.
pub struct TestCamera {
    /// The process.
    pub process: Process,
    /// Where it serves.
    pub url: String,
}

impl TestCamera {
    /// Serves `video`, looped, at its own frame rate.
    pub fn start(video: &Path) -> Result<Self> {
        Self::with(video, &[])
    }

    /// Serves `video` with more arguments; see `test-camera --help`.
    pub fn with(video: &Path, args: &[&str]) -> Result<Self> {
        let mut command = Command::new(runtime::program("test-camera")?);
        let mut process = Process::start("test-camera", command.arg(video).args(args))?;
        let ready = process.ready()?;
        let url = ready["url"].as_str().context("ready line of the camera names no url")?.to_owned();
        Ok(Self { process, url })
    }

    /// Switches to the other video in mid-stream (`--then`).
    pub fn switch(&self) -> Result<()> {
        self.process.signal(Signal::SIGUSR1)
    }

    /// Stops or resumes the frames without closing the connection.
    pub fn freeze(&self) -> Result<()> {
        self.process.signal(Signal::SIGUSR2)
    }
}
