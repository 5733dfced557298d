//! One thread that starts mosquitto, waits for it, and starts it again with backoff when it dies.
//!
//! A thread of its own, because the parent-death signal belongs to the thread that started the child: a runtime's
//! worker may end long before the process does. This one lives as long as the hub.

use std::{
    io::{self, BufRead as _, BufReader},
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Child, ChildStderr, Command, Stdio},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use daemon::Backoff;
use nix::{
    sys::{
        signal::{Signal, kill},
        wait::{Id, WaitPidFlag, waitid},
    },
    unistd::Pid,
};
use tokio::sync::watch;

use super::leftover;

/// After this long a broker that dies was healthy: the next wait is a short one again.
const HEALTHY: Duration = Duration::from_secs(60);

/// How the broker is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Started, not listening yet.
    Starting,
    /// It listens.
    Running,
    /// It died: its last words.
    Down(String),
    /// Ended as asked.
    Stopped,
}

/// The supervisor's handle.
pub(super) struct Supervisor {
    shared: Arc<Shared>,
    state: watch::Receiver<State>,
}

struct Shared {
    /// The child while it may be signalled: taken away before it is reaped, so that no other process is ever hit.
    pid: Mutex<Option<i32>>,
    stopping: AtomicBool,
    oversize: Arc<AtomicU64>,
    wake: Condvar,
    wake_lock: Mutex<()>,
}

impl Supervisor {
    /// Starts the thread.
    pub fn start(program: PathBuf, conf: PathBuf, pid_file: PathBuf) -> Self {
        let shared = Arc::new(Shared {
            pid: Mutex::new(None),
            stopping: AtomicBool::new(false),
            oversize: Arc::default(),
            wake: Condvar::new(),
            wake_lock: Mutex::new(()),
        });
        let (sender, state) = watch::channel(State::Starting);
        let thread = Thread { program, conf, pid_file, shared: shared.clone(), state: sender };
        let spawned = thread::Builder::new().name("broker".into()).spawn(move || thread.run());
        if let Err(error) = spawned {
            tracing::error!(%error, "the broker's thread cannot be started"); // the state's sender is gone with it
        }
        Self { shared, state }
    }

    /// Waits until it listens; else its last words.
    pub async fn until_running(&self, bound: Duration) -> Result<(), String> {
        let mut state = self.state.clone();
        let decided = state.wait_for(|state| *state != State::Starting);
        match tokio::time::timeout(bound, decided).await {
            Ok(Ok(state)) => match &*state {
                State::Down(words) => Err(words.clone()),
                _ => Ok(()),
            },
            Ok(Err(_)) => Err("its thread ended".to_owned()),
            Err(_) => Err(format!("it does not listen after {} s", bound.as_secs())),
        }
    }

    pub fn state(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    /// Counts the messages that were longer than the broker takes.
    pub fn oversize(&self) -> Arc<AtomicU64> {
        self.shared.oversize.clone()
    }

    pub fn pid(&self) -> Option<i32> {
        *lock(&self.shared.pid)
    }

    /// Ends the child, by force after `bound`, and the thread.
    pub async fn stop(&self, bound: Duration) {
        self.shared.stopping.store(true, Ordering::Release);
        self.shared.wake.notify_all();
        self.shared.signal(Signal::SIGTERM);
        if !self.ended(bound).await {
            tracing::warn!("the broker did not end in time and is killed");
            self.shared.signal(Signal::SIGKILL);
            self.ended(Duration::from_secs(2)).await;
        }
    }

    async fn ended(&self, bound: Duration) -> bool {
        let mut state = self.state.clone();
        let ended = state.wait_for(|state| *state == State::Stopped);
        tokio::time::timeout(bound, ended).await.is_ok() // an error inside says that the thread has ended
    }
}

/// Dropped without [`Supervisor::stop`], as a failing test or start does: nothing must stay behind.
impl Drop for Supervisor {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        self.shared.wake.notify_all();
        self.shared.signal(Signal::SIGTERM);
    }
}

impl Shared {
    fn signal(&self, signal: Signal) {
        if let Some(pid) = *lock(&self.pid) {
            let _ = kill(Pid::from_raw(pid), signal); // it may be about to end by itself
        }
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    fn sleep(&self, time: Duration) {
        let guard = lock(&self.wake_lock);
        // woken early or late, the caller looks again
        drop(self.wake.wait_timeout_while(guard, time, |()| !self.is_stopping()));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Thread {
    program: PathBuf,
    conf: PathBuf,
    pid_file: PathBuf,
    shared: Arc<Shared>,
    state: watch::Sender<State>,
}

impl Thread {
    fn run(self) {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10)).ok();
        while !self.shared.is_stopping() {
            let began = Instant::now();
            let words = match self.spawn() {
                Ok(child) => self.attend(child),
                Err(error) => format!("cannot start {}: {error}", self.program.display()),
            };
            if self.shared.is_stopping() {
                break;
            }
            if began.elapsed() > HEALTHY
                && let Some(backoff) = &mut backoff
            {
                backoff.reset();
            }
            let wait = backoff.as_mut().map_or(Duration::from_secs(1), Backoff::next_wait);
            tracing::error!(
                reason = words,
                again_in_s = wait.as_secs_f32(),
                "the broker has ended and is started again"
            );
            let _ = self.state.send(State::Down(words));
            self.shared.sleep(wait);
        }
        leftover::forget(&self.pid_file);
        let _ = self.state.send(State::Stopped); // nobody may be waiting
    }

    fn spawn(&self) -> io::Result<Child> {
        let mut command = Command::new(&self.program);
        command.arg("-c").arg(&self.conf).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command.process_group(0);
        let parent = std::process::id();
        // SAFETY: between fork and exec only async-signal-safe calls are made: prctl, getppid and, on failure, reading
        // errno. Nothing is allocated: both error values are made from a number.
        unsafe {
            command.pre_exec(move || {
                if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) != 0 {
                    return Err(io::Error::last_os_error());
                }
                // the hub may have died between fork and prctl
                if libc::getppid() as u32 == parent { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::ESRCH)) }
            });
        }
        let mut pid = lock(&self.shared.pid);
        if self.shared.is_stopping() {
            return Err(io::Error::from_raw_os_error(libc::ECANCELED));
        }
        let child = command.spawn()?;
        *pid = i32::try_from(child.id()).ok();
        drop(pid);
        leftover::note(&self.pid_file, child.id() as i32);
        Ok(child)
    }

    /// Reads its log until it ends; gives its last words.
    fn attend(&self, mut child: Child) -> String {
        let words = child.stderr.take().map_or_else(String::new, |log| self.read(log));
        let ended = waitid(Id::Pid(Pid::from_raw(child.id() as i32)), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT);
        lock(&self.shared.pid).take();
        let status = ended.map_err(io::Error::from).and_then(|_| child.wait());
        match status {
            Ok(status) if words.is_empty() => status.to_string(),
            Ok(status) => format!("{words} ({status})"),
            Err(error) => format!("{words} ({error})"),
        }
    }

    fn read(&self, log: ChildStderr) -> String {
        let mut words = String::new();
        for line in BufReader::new(log).lines() {
            let Ok(line) = line else { break };
            let line = line.trim();
            if line.starts_with("mosquitto version") && line.ends_with("running") {
                let _ = self.state.send(State::Running); // nobody may be waiting
            }
            if let Some(error) = line.strip_prefix("Error: ") {
                words = error.to_owned();
                tracing::warn!(line = error, "broker says");
            } else if let Some(client) = line.strip_suffix(" disconnected due to oversize packet.") {
                self.shared.oversize.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(client, "a message longer than broker.message_max was refused, and its sender cut off");
            } else {
                tracing::debug!(line, "broker says");
            }
        }
        words
    }
}
