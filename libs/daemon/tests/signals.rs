//! The life of a process from outside: the ready line, a watchdog fed while it is alive, a drain at the first signal,
//! an end at the second.

#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    io::{BufRead, BufReader},
    os::unix::net::UnixDatagram,
    process::{Child, Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use daemon::{
    exit,
    liveness::Liveness,
    logs::{self, LogOptions},
    ready,
    tasks::{BoxError, Shutdown, Stop},
    telemetry::Telemetry,
};

const ROLE: &str = "SIGHTLINE_TEST_DAEMON_DRAIN_MS";
/// How long the daemon's loop turns.
const BEATS_MS: &str = "SIGHTLINE_TEST_DAEMON_BEATS_MS";

/// This binary is its own daemon: without the test harness, `main` decides.
fn main() -> ExitCode {
    match std::env::var(ROLE) {
        Ok(drain) => run(Duration::from_millis(drain.parse().unwrap())),
        Err(_) => {
            // nextest asks for the list of tests first
            if std::env::args().any(|a| a == "--list") {
                if !std::env::args().any(|a| a == "--ignored") {
                    list();
                }
            } else {
                the_first_signal_drains();
                the_second_signal_ends_at_once_even_when_the_runtime_is_stuck();
                the_watchdog_is_fed_while_the_loop_turns();
            }
            ExitCode::SUCCESS
        }
    }
}

#[expect(clippy::print_stdout, reason = "the protocol of test runners")]
fn list() {
    println!("signals: test");
}

/// A daemon whose shutdown takes `drain`, blocking its only thread.
fn run(drain: Duration) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async move {
        logs::init(&LogOptions::default(), &Telemetry::none()).unwrap();
        let stop = Stop::new();
        stop.on_signals().unwrap();
        if let Ok(beats) = std::env::var(BEATS_MS) {
            live(Duration::from_millis(beats.parse().unwrap()));
        }
        ready::print_ready(&serde_json::json!({ "ready": true, "http": "127.0.0.1:1" }));
        let reason = stop.requested().await;
        let step = async move {
            std::thread::sleep(drain);
            Ok::<(), BoxError>(())
        };
        let report = Shutdown::new(Duration::from_secs(60)).step("drain", Duration::from_secs(60), step).run().await;
        exit::code(report.exit_code(&reason))
    })
}

/// A loop that gets stuck after a while, and the watchdog that looks at it.
fn live(beats: Duration) {
    let liveness = Liveness::new(Duration::from_millis(200));
    let pulse = liveness.pulse("loop");
    tokio::spawn(ready::watchdog(move || liveness.is_alive()));
    tokio::spawn(async move {
        let end = Instant::now() + beats;
        while Instant::now() < end {
            pulse.turn();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        std::future::pending::<()>().await; // stuck: a pulse that is dropped has ended in order
        drop(pulse);
    });
}

fn start(drain_ms: u64) -> Child {
    start_with(drain_ms, |command| command)
}

fn start_with(drain_ms: u64, more: impl FnOnce(&mut Command) -> &mut Command) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let mut child = more(&mut command)
        .env(ROLE, drain_ms.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "{\"ready\":true,\"http\":\"127.0.0.1:1\"}\n");
    child
}

fn signal(child: &Child, number: libc::c_int) {
    // SAFETY: kill has no memory preconditions, and the child is ours and not yet waited for.
    assert_eq!(unsafe { libc::kill(child.id() as libc::pid_t, number) }, 0);
}

fn the_first_signal_drains() {
    let mut child = start(100);
    signal(&child, libc::SIGTERM);
    assert_eq!(child.wait().unwrap().code(), Some(i32::from(exit::OK)));
    let log: Vec<String> = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap).collect();
    let last: serde_json::Value =
        serde_json::from_str(log.last().unwrap()).expect("logs are JSON when not on a terminal");
    assert_eq!((&last["message"], &last["step"]), (&"shutdown step is done".into(), &"drain".into()), "{last}");
}

fn the_second_signal_ends_at_once_even_when_the_runtime_is_stuck() {
    let mut child = start(30_000);
    let began = Instant::now();
    // the handler of the second signal is set by the task that got the first: try until it is there
    while child.try_wait().unwrap().is_none() {
        signal(&child, libc::SIGINT);
        std::thread::sleep(Duration::from_millis(50));
        assert!(began.elapsed() < Duration::from_secs(10), "the process does not end");
    }
    assert_eq!(child.wait().unwrap().code(), Some(i32::from(exit::FORCED)));
}

fn the_watchdog_is_fed_while_the_loop_turns() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    let mut child = start_with(0, |command| {
        command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "100000").env(BEATS_MS, "1000")
    });
    let began = Instant::now();
    let mut fed = Vec::new();
    // silence for many periods is the end of the feeding
    socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let mut buffer = [0; 256];
    while let Ok(length) = socket.recv(&mut buffer) {
        if buffer[..length].trim_ascii_end() == b"WATCHDOG=1" {
            fed.push(began.elapsed());
        }
        assert!(began.elapsed() < Duration::from_secs(10), "it is fed though nothing beats");
    }
    assert!(fed.len() >= 10, "{fed:?}");
    signal(&child, libc::SIGTERM);
    child.wait().unwrap();
}
