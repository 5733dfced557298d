//! A camera for tests and the demo: serves an H.264 MP4 as RTSP, looped at its own frame rate, on a loopback port.
//!
//! The video is not encoded again: its access units are read into memory once and sent with new timestamps, round and
//! round, so that a camera costs next to nothing beside the agent that is measured. Sender reports (RTCP) go out as from
//! any camera; the agent takes capture times from them.

#![allow(clippy::print_stdout)] // the ready line is what stdout is for

mod access_units;
mod feed;
mod server;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::{Context, Result};
use clap::Parser;
use gstreamer::glib;
use nix::sys::signal::{SigSet, Signal};

/// Serves an H.264 MP4 as RTSP, looped. Prints one JSON line with its URL when ready.
///
/// SIGUSR1 switches between the video and the one of --then; SIGUSR2 stops the frames, and starts them again.
#[derive(Parser)]
struct Args {
    /// The video: H.264 in MP4.
    video: PathBuf,
    /// Another video, of another size perhaps, to switch to on SIGUSR1.
    #[arg(long)]
    then: Option<PathBuf>,
    /// Port on loopback; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Path of the stream.
    #[arg(long, default_value = "camera")]
    path: String,
    /// Ask clients for this user name (Basic authentication).
    #[arg(long, requires = "password")]
    user: Option<String>,
    /// The password of --user.
    #[arg(long, requires = "user")]
    password: Option<String>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let signals = blocked_signals()?;
    gstreamer::init().context("initialise GStreamer")?;
    let mut videos = vec![access_units::read(&args.video)?];
    if let Some(then) = &args.then {
        videos.push(access_units::read(then)?);
    }
    let switched = Arc::new(AtomicBool::new(false));
    let frozen = Arc::new(AtomicBool::new(false));
    let feed = feed::Feed::new(videos, Arc::clone(&switched), Arc::clone(&frozen));
    let login = args.user.as_deref().zip(args.password.as_deref());
    let server = server::start(args.port, &args.path, login, feed)?;

    let main_loop = glib::MainLoop::new(None, false);
    println!("{}", serde_json::json!({ "ready": true, "url": server.url }));
    let stop = main_loop.clone();
    std::thread::spawn(move || {
        while let Ok(signal) = signals.wait() {
            match signal {
                Signal::SIGUSR1 => drop(switched.fetch_xor(true, Ordering::Relaxed)),
                Signal::SIGUSR2 => drop(frozen.fetch_xor(true, Ordering::Relaxed)),
                _ => break,
            }
        }
        stop.quit();
    });
    main_loop.run();
    Ok(())
}

/// Keeps the signals that mean something from every thread, so that one can wait for them.
fn blocked_signals() -> Result<SigSet> {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGUSR1, Signal::SIGUSR2, Signal::SIGTERM, Signal::SIGINT] {
        signals.add(signal);
    }
    signals.thread_block().context("block signals")?;
    Ok(signals)
}
