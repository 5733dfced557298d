//! A program running as a process: in a group of its own, with its output captured, gone when the handle is dropped.

use std::{
    cell::RefCell,
    ffi::OsStr,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};
use serde_json::Value;

use crate::{lines::Lines, wait};

/// How long a program may take from its start to its ready line: SQLite migrations and a model load on two busy cores.
const READY: Duration = Duration::from_secs(60);

thread_local! {
    /// What this thread has started, for showing after a failure.
    static STARTED: RefCell<Vec<(String, Lines)>> = const { RefCell::new(Vec::new()) };
}

/// Prints the last lines of everything that this thread has started.
pub fn show_logs() {
    STARTED.with_borrow(|started| started.iter().for_each(|(name, lines)| show_tail(name, lines)));
}

fn show_tail(name: &str, lines: &Lines) {
    let text = lines.text();
    let from = text.lines().count().saturating_sub(120);
    let tail: Vec<_> = text.lines().skip(from).collect();
    eprintln!("--- last lines of {name} ---\n{}\n--- end of {name} ---", tail.join("\n"));
}

/// A running or ended process.
pub struct Process {
    name: String,
    child: Child,
    status: Option<ExitStatus>,
    stdout: Lines,
    stderr: Lines,
}

impl Process {
    /// Starts `program`. It gets no terminal, no signal meant for us, and dies with the thread that starts it.
    pub fn start(name: &str, command: &mut Command) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let parent = std::process::id();
        // SAFETY: between fork and exec only async-signal-safe calls are made (prctl, getppid, sigprocmask), with no
        // allocation; the arguments are plain integers and a signal set on the stack.
        unsafe {
            command.pre_exec(move || {
                if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) != 0 || libc::getppid() as u32 != parent {
                    return Err(std::io::Error::last_os_error());
                }
                // Signals that we have blocked for ourselves would stay blocked for the child.
                let mut none = std::mem::zeroed();
                libc::sigemptyset(&mut none);
                libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
                Ok(())
            });
        }
        let mut child = command.spawn().with_context(|| format!("start {name} ({:?})", command.get_program()))?;
        let stdout = Lines::of(child.stdout.take().context("stdout was asked for")?);
        let stderr = Lines::of(child.stderr.take().context("stderr was asked for")?);
        STARTED.with_borrow_mut(|started| started.push((name.to_owned(), stderr.clone())));
        Ok(Self { name: name.to_owned(), child, status: None, stdout, stderr })
    }

    /// A command for one of our programs, without the settings that this process's environment may carry.
    pub fn command(program: &str) -> Result<Command> {
        let mut command = Command::new(crate::runtime::program(program)?);
        for (key, _) in std::env::vars_os() {
            if key.to_str().is_some_and(|key| key.starts_with("SIGHTLINE_") || key.starts_with("OTEL_")) {
                command.env_remove(key);
            }
        }
        if let Ok(library) = crate::runtime::onnxruntime() {
            command.env("ORT_DYLIB_PATH", library);
        }
        Ok(command)
    }

    /// Runs one of our programs to its end: for `check`, `print-config`, `inspect` and starts that must fail.
    pub fn run<A: AsRef<OsStr>>(program: &str, args: &[A]) -> Result<Ended> {
        Self::start(program, Self::command(program)?.args(args))?.ended(wait::PATIENCE)
    }

    /// Starts a program and kills it so long afterwards, wherever it is then.
    pub fn cut_short(name: &str, command: &mut Command, after: Duration) -> Result<()> {
        let mut process = Self::start(name, command)?;
        std::thread::sleep(after);
        if process.is_running() { process.kill() } else { bail!("{name} ended by itself:\n{}", process.stderr.text()) }
    }

    /// The JSON line by which a program says on stdout that it is ready.
    pub fn ready(&mut self) -> Result<Value> {
        let line = self.stdout.find(READY, |line| {
            serde_json::from_str::<Value>(line).ok().filter(|json| json["ready"] == Value::Bool(true))
        });
        match line {
            Some(line) => Ok(line),
            None => {
                let status = self.child.try_wait()?;
                self.stderr.wait_for_end(Duration::from_millis(200));
                bail!("{} gave no ready line ({status:?}); its log:\n{}", self.name, self.stderr.text())
            }
        }
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote to stdout.
    pub fn stdout(&self) -> &Lines {
        &self.stdout
    }

    /// Its log.
    pub fn log(&self) -> &Lines {
        &self.stderr
    }

    /// Sends a signal to the process alone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(Pid::from_raw(self.child.id() as i32), signal).with_context(|| format!("send {signal} to {}", self.name))
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.exit().is_none()
    }

    fn exit(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().ok().flatten();
        }
        self.status
    }

    /// Waits for its end.
    pub fn wait(&mut self, patience: Duration) -> Result<ExitStatus> {
        let name = self.name.clone();
        wait::until_within(patience, &format!("{name} to end"), || Ok(self.exit()))
            .with_context(|| format!("its log:\n{}", self.stderr.text()))
    }

    /// Waits for its end, and gives all it wrote.
    pub fn ended(mut self, patience: Duration) -> Result<Ended> {
        let status = self.wait(patience)?;
        self.stdout.wait_for_end(Duration::from_secs(5));
        self.stderr.wait_for_end(Duration::from_secs(5));
        Ok(Ended { code: status.code(), stdout: self.stdout.text(), stderr: self.stderr.text() })
    }

    /// SIGTERM, then waits for its orderly end.
    pub fn terminate(&mut self, patience: Duration) -> Result<ExitStatus> {
        if self.exit().is_none() {
            self.signal(Signal::SIGTERM)?;
        }
        self.wait(patience)
    }

    /// SIGKILL to the process alone, as a power cut would end it; what it started is left to fend for itself.
    pub fn kill(&mut self) -> Result<()> {
        self.signal(Signal::SIGKILL)?;
        self.wait(Duration::from_secs(10)).map(drop)
    }

    /// This process's children, theirs, and so on; the nearest first. A system that is being changed gives what was there.
    pub fn descendants(&self) -> Vec<i32> {
        let mut found = vec![self.child.id() as i32];
        let mut looked = 0;
        let children = children();
        while let Some(parent) = found.get(looked).copied() {
            found.extend(children.iter().filter(|(_, of)| *of == parent).map(|(child, _)| *child));
            looked += 1;
        }
        found.split_off(1)
    }

    /// Resident memory in bytes.
    pub fn resident_bytes(&self) -> Result<u64> {
        let path = format!("/proc/{}/status", self.id());
        let text = std::fs::read_to_string(Path::new(&path)).with_context(|| format!("read {path}"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS line")?;
        let kib: u64 = line.trim().trim_end_matches(" kB").trim().parse()?;
        Ok(kib << 10)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.exit().is_none() {
            let _ = self.signal(Signal::SIGTERM);
            if self.wait(Duration::from_secs(if std::thread::panicking() { 1 } else { 10 })).is_err() {
                let _ = killpg(Pid::from_raw(self.child.id() as i32), Signal::SIGKILL);
                let _ = self.child.wait();
            }
        }
    }
}

/// Every process of the machine with its parent.
fn children() -> Vec<(i32, i32)> {
    let parent = |pid: i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name stands in brackets and may hold anything; state and parent follow the last one.
        stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()
    };
    let numbered = |entry: std::fs::DirEntry| entry.file_name().to_str()?.parse().ok();
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(numbered);
    all.filter_map(|pid| Some((pid, parent(pid)?))).collect()
}

/// A program that ran to its end.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
}

impl Ended {
    /// All it wrote, for looking for a word.
    pub fn text(&self) -> String {
        format!("{}\n{}", self.stdout, self.stderr)
    }
}
