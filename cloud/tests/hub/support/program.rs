//! The program as a child, as people run it.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use super::PATIENCE;

/// The program, as a child; killed when dropped.
pub struct Hub {
    pub child: Child,
    pub ready: serde_json::Value,
    pub state: PathBuf,
    log: Arc<Mutex<String>>,
}

pub const FREE_PORTS: &str = "listen = \"127.0.0.1:0\"\nbroker.listen = \"127.0.0.1:0\"\ns3.listen = \"127.0.0.1:0\"\n\
                              ingest.flush_interval = \"200ms\"\n";

pub fn command(folder: &Path, config: &str, args: &[&str]) -> Command {
    let file = folder.join("hub.toml");
    std::fs::write(&file, config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_sightline-hub"));
    command.args(args).arg("--config").arg(file);
    if !args.contains(&"--state") {
        command.arg("--state").arg(folder.join("state"));
    }
    command.env_remove("STATE_DIRECTORY").env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

/// Runs the program to its end: exit code and what it said on stderr.
pub fn fails(folder: &Path, config: &str, args: &[&str]) -> (i32, String) {
    ends(command(folder, config, args))
}

/// Runs a command to its end, which is to come by itself: exit code and what it said on stderr.
pub fn ends(mut command: Command) -> (i32, String) {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("the hub did not end by itself");
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    (status.code().unwrap_or(-1), said)
}

impl Hub {
    pub fn start(folder: &Path, config: &str) -> Self {
        Self::start_by(command(folder, config, &["run", "--log-format", "human"]), folder)
    }

    /// Starts it by a command that may have got more than [`command`] gave it.
    pub fn start_by(mut command: Command, folder: &Path) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let log: Arc<Mutex<String>> = Arc::default();
        let (stderr, lines) = (child.stderr.take().unwrap(), log.clone());
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut log = lines.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        });
        let mut first = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
        let ready = serde_json::from_str(&first)
            .unwrap_or_else(|_| panic!("no ready line but {first:?}; log:\n{}", log.lock().unwrap()));
        Self { child, ready, state: folder.join("state"), log }
    }

    pub fn address(&self, name: &str) -> &str {
        self.ready[name].as_str().unwrap()
    }

    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub fn signal(&self, signal: i32) {
        // the child is ours and not reaped yet
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(self.child.id() as i32),
            nix::sys::signal::Signal::try_from(signal).unwrap(),
        )
        .unwrap();
    }

    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the hub does not end; log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn stop(&mut self) -> ExitStatus {
        self.signal(15);
        self.wait()
    }

    pub fn broker_pid(&self) -> i32 {
        let note = std::fs::read(self.state.join("broker/mosquitto.pid.json")).unwrap();
        serde_json::from_slice::<serde_json::Value>(&note).unwrap()["pid"].as_i64().unwrap() as i32
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn is_alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}
