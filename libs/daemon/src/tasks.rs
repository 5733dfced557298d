//! Named tasks, the reason to stop, and shutdown in steps.
//!
//! A critical task that ends stops the process; a best-effort one leaves a warning. Shutdown walks from upstream to
//! downstream: stop intake, drain, flush, close; each step named, timed and bounded. The first SIGTERM or SIGINT begins
//! it, the second ends the process at once with [`exit::FORCED`], even when the runtime is stuck.

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{sync::Notify, task::AbortHandle};
use tokio_util::sync::CancellationToken;

use crate::exit;

/// What tasks end with when they fail.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why the process is to stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Asked from outside.
    Signal(&'static str),
    /// A critical task has ended.
    TaskLost {
        /// The task.
        task: String,
        /// Why.
        error: String,
    },
    /// Asked from inside: the work is done, or a test is over.
    Asked,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal(name) => f.write_str(name),
            Self::TaskLost { task, error } => write!(f, "task {task} ended: {error}"),
            Self::Asked => f.write_str("done"),
        }
    }
}

/// The request to stop; cheap to clone, kept by all who must notice.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    token: CancellationToken,
    reason: Arc<OnceLock<Reason>>,
}

impl Stop {
    /// Nobody has asked yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks; the first reason counts.
    pub fn request(&self, reason: Reason) {
        let _ = self.reason.set(reason); // a later reason changes nothing
        self.token.cancel();
    }

    /// Whether somebody has asked.
    pub fn is_requested(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Waits until somebody asks.
    pub async fn requested(&self) -> Reason {
        self.token.cancelled().await;
        self.reason.get().cloned().unwrap_or(Reason::Asked)
    }

    /// A token that is cancelled when somebody asks.
    pub fn token(&self) -> CancellationToken {
        self.token.child_token()
    }

    /// SIGTERM and SIGINT ask; a second one ends the process at once. Must be called within a Tokio runtime.
    pub fn on_signals(&self) -> std::io::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut term = signal(SignalKind::terminate())?;
        let mut int = signal(SignalKind::interrupt())?;
        let stop = self.clone();
        tokio::spawn(async move {
            let name = tokio::select! {
                _ = term.recv() => "SIGTERM",
                _ = int.recv() => "SIGINT",
            };
            end_at_next_signal();
            stop.request(Reason::Signal(name));
        });
        Ok(())
    }
}

/// From now on a signal ends the process in the handler itself.
fn end_at_next_signal() {
    extern "C" fn end(_: libc::c_int) {
        const MESSAGE: &[u8] = b"second signal, ending at once\n";
        // SAFETY: write and _exit are async-signal-safe, and the message lives as long as the program.
        unsafe {
            libc::write(libc::STDERR_FILENO, MESSAGE.as_ptr().cast(), MESSAGE.len());
            libc::_exit(libc::c_int::from(exit::FORCED));
        }
    }
    let handler = end as extern "C" fn(libc::c_int) as libc::sighandler_t;
    for number in [libc::SIGTERM, libc::SIGINT] {
        // SAFETY: the handler has the signature that signal expects and calls async-signal-safe functions only.
        unsafe { libc::signal(number, handler) };
    }
}

/// How much a task matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The process cannot do its work without it: when it ends before shutdown, the process stops.
    Critical,
    /// When it ends, that is a warning.
    BestEffort,
}

/// The running tasks of a process; cheap to clone.
#[derive(Clone)]
pub struct Tasks {
    stop: Stop,
    running: Arc<Running>,
}

/// A task's name, and what ends it where it is no thread.
struct Place {
    name: Arc<str>,
    task: Option<AbortHandle>,
}

#[derive(Default)]
struct Running {
    places: Mutex<BTreeMap<u64, Place>>,
    next: AtomicU64,
    changed: Notify,
}

impl Tasks {
    /// No tasks yet; a critical one that ends asks `stop`.
    pub fn new(stop: Stop) -> Self {
        Self { stop, running: Arc::default() }
    }

    /// The request to stop that these tasks share.
    pub fn stop(&self) -> &Stop {
        &self.stop
    }

    /// Starts a task. Ending, failing and panicking are all the end of it.
    pub fn spawn<F, E>(&self, name: impl Into<Arc<str>>, kind: Kind, task: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxError> + Send + 'static,
    {
        let name = name.into();
        let inner = tokio::spawn(async move { task.await.map_err(Into::into) });
        let place = self.enter(name.clone(), Some(inner.abort_handle()));
        let this = self.clone();
        tokio::spawn(async move {
            let outcome: Result<(), BoxError> = match inner.await {
                Ok(outcome) => outcome,
                Err(error) => Err(panic_message(error).into()),
            };
            this.ended(&name, kind, outcome);
            this.leave(place);
        });
    }

    /// Starts a thread of its own: for work that blocks all the time, such as an engine. It must watch the stop request.
    pub fn spawn_thread<F, E>(&self, name: impl Into<Arc<str>>, kind: Kind, work: F) -> std::io::Result<()>
    where
        F: FnOnce() -> Result<(), E> + Send + 'static,
        E: Into<BoxError>,
    {
        let name = name.into();
        let this = self.clone();
        let label: String = name.chars().take(15).collect(); // the kernel keeps 15 bytes
        let place = self.enter(name.clone(), None);
        let spawned = std::thread::Builder::new().name(label).spawn(move || {
            let outcome = match std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)) {
                Ok(outcome) => outcome.map_err(Into::into),
                Err(panic) => Err(panic_text(panic.as_ref()).into()),
            };
            this.ended(&name, kind, outcome);
            this.leave(place);
        });
        if spawned.is_err() {
            self.leave(place);
        }
        spawned.map(drop)
    }

    /// Ends a task in the middle of its work, as a mistake in it would: a seam for tests. Whether there is such a task.
    pub fn abort(&self, name: &str) -> bool {
        let places = self.places();
        let task = places.values().find(|place| &*place.name == name).and_then(|place| place.task.as_ref());
        task.inspect(|task| task.abort()).is_some()
    }

    fn enter(&self, name: Arc<str>, task: Option<AbortHandle>) -> u64 {
        let number = self.running.next.fetch_add(1, Ordering::Relaxed);
        self.places().insert(number, Place { name, task });
        number
    }

    fn leave(&self, number: u64) {
        self.places().remove(&number);
        self.running.changed.notify_waiters();
    }

    fn places(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Place>> {
        self.running.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ended(&self, name: &str, kind: Kind, outcome: Result<(), BoxError>) {
        let stopping = self.stop.is_requested();
        let error = outcome.err().map(|error| crate::logs::chain(error.as_ref()));
        match (kind, error) {
            (_, None) if stopping => tracing::debug!(task = name, "task is done"),
            (_, Some(error)) if stopping => tracing::warn!(task = name, error, "task failed during shutdown"),
            (Kind::BestEffort, None) => tracing::debug!(task = name, "task is done"),
            (Kind::BestEffort, Some(error)) => tracing::warn!(task = name, error, "task failed, going on without it"),
            (Kind::Critical, error) => {
                let error = error.unwrap_or_else(|| "it returned".to_owned());
                tracing::error!(task = name, error, "critical task ended, stopping");
                self.stop.request(Reason::TaskLost { task: name.to_owned(), error });
            }
        }
    }

    /// The names of the tasks that run.
    pub fn running(&self) -> Vec<Arc<str>> {
        self.places().values().map(|place| place.name.clone()).collect()
    }

    /// Waits until all tasks are done, at most `bound`; returns the names of those that are not.
    pub async fn join(&self, bound: Duration) -> Vec<Arc<str>> {
        let all_done = async {
            loop {
                let changed = self.running.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable(); // before looking, so that no end goes unseen
                if self.places().is_empty() {
                    return;
                }
                changed.await;
            }
        };
        let _ = tokio::time::timeout(bound, all_done).await; // who is left is in the answer
        self.running()
    }
}

fn panic_message(error: tokio::task::JoinError) -> String {
    match error.try_into_panic() {
        Ok(panic) => panic_text(panic.as_ref()),
        Err(error) => error.to_string(),
    }
}

/// What a panic says.
pub fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panicked: {}", text.unwrap_or("without a message"))
}

type StepFuture = Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send>>;

/// The steps of a shutdown, from upstream to downstream.
pub struct Shutdown {
    bound: Duration,
    steps: Vec<(&'static str, Duration, StepFuture)>,
}

/// How a shutdown went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShutdownReport {
    /// Each step and what became of it.
    pub steps: Vec<(&'static str, StepOutcome)>,
}

/// What became of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepOutcome {
    /// It did what it should.
    Done,
    /// It failed.
    Failed(String),
    /// It was not finished within its bound, or nothing was left of the whole one.
    TimedOut,
}

impl Shutdown {
    /// A shutdown that is over after `bound`, whatever its steps are allowed.
    pub fn new(bound: Duration) -> Self {
        Self { bound, steps: Vec::new() }
    }

    /// Adds a step; steps run one after the other, in this order.
    pub fn step<F, E>(mut self, name: &'static str, bound: Duration, work: F) -> Self
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxError>,
    {
        self.steps.push((name, bound, Box::pin(async move { work.await.map_err(Into::into) })));
        self
    }

    /// Takes the steps.
    pub async fn run(self) -> ShutdownReport {
        crate::ready::stopping();
        let end = tokio::time::Instant::now() + self.bound;
        let mut steps = Vec::new();
        for (name, bound, work) in self.steps {
            let began = Instant::now();
            let deadline = end.min(tokio::time::Instant::now() + bound);
            let outcome = match tokio::time::timeout_at(deadline, work).await {
                Ok(Ok(())) => StepOutcome::Done,
                Ok(Err(error)) => StepOutcome::Failed(crate::logs::chain(error.as_ref())),
                Err(_) => StepOutcome::TimedOut,
            };
            let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            match &outcome {
                StepOutcome::Done => tracing::info!(step = name, took_ms, "shutdown step is done"),
                StepOutcome::Failed(error) => tracing::error!(step = name, took_ms, error, "shutdown step failed"),
                StepOutcome::TimedOut => {
                    tracing::error!(step = name, took_ms, "shutdown step was not finished in time")
                }
            }
            steps.push((name, outcome));
        }
        ShutdownReport { steps }
    }
}

impl ShutdownReport {
    /// The exit code, given why the process stopped.
    pub fn exit_code(&self, reason: &Reason) -> u8 {
        if let Reason::TaskLost { .. } = reason {
            return exit::TASK_LOST;
        }
        let has = |wanted: fn(&StepOutcome) -> bool| self.steps.iter().any(|(_, outcome)| wanted(outcome));
        if has(|o| matches!(o, StepOutcome::TimedOut)) {
            exit::SHUTDOWN_TIMEOUT
        } else if has(|o| matches!(o, StepOutcome::Failed(_))) {
            exit::FAILURE
        } else {
            exit::OK
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    #[tokio::test]
    async fn a_critical_task_that_ends_stops_the_process_and_a_best_effort_one_does_not() {
        let tasks = Tasks::new(Stop::new());
        tasks.spawn("spare", Kind::BestEffort, async { Err("no luck") });
        assert!(tasks.join(Duration::from_secs(5)).await.is_empty());
        assert!(!tasks.stop().is_requested());
        tasks.spawn("engine", Kind::Critical, async {
            std::panic::panic_any("engine is gone");
            #[expect(unreachable_code, reason = "says what the task would have returned")]
            Ok::<(), Infallible>(())
        });
        let reason = tasks.stop().requested().await;
        assert_eq!(reason, Reason::TaskLost { task: "engine".into(), error: "panicked: engine is gone".into() });
    }

    #[tokio::test]
    async fn those_who_do_not_end_are_named() {
        let tasks = Tasks::new(Stop::new());
        let token = tasks.stop().token();
        tasks.spawn("good", Kind::Critical, async move {
            token.cancelled().await;
            Ok::<(), Infallible>(())
        });
        tasks.spawn("stuck", Kind::Critical, std::future::pending::<Result<(), Infallible>>());
        tasks.spawn_thread("thread", Kind::BestEffort, || Ok::<(), Infallible>(())).unwrap();
        tasks.stop().request(Reason::Asked);
        let left = tasks.join(Duration::from_millis(200)).await;
        assert_eq!(left.iter().map(|n| &**n).collect::<Vec<_>>(), ["stuck"]);
    }

    #[tokio::test]
    async fn shutdown_walks_its_steps_within_its_bounds() {
        let order = Arc::new(Mutex::new(Vec::new()));
        let mark = |name: &'static str| {
            let order = order.clone();
            async move {
                order.lock().unwrap().push(name);
                Ok::<(), BoxError>(())
            }
        };
        let s = |tenths: u64| Duration::from_millis(tenths * 100);
        let late = |wait| async move {
            tokio::time::sleep(wait).await;
            Ok::<(), BoxError>(())
        };
        let report = Shutdown::new(s(10))
            .step("cameras", s(5), mark("cameras"))
            .step("outbox", s(2), late(s(3)))
            .step("lake", s(5), async { Err("disk full") })
            .step("broker", s(5), mark("broker"))
            .step("late", s(60), late(s(30)))
            .run()
            .await;
        let outcomes: Vec<_> = report.steps.iter().map(|(_, outcome)| outcome.clone()).collect();
        use StepOutcome::*;
        assert_eq!(outcomes, [Done, TimedOut, Failed("disk full".into()), Done, TimedOut]);
        assert_eq!(*order.lock().unwrap(), ["cameras", "broker"]);
        assert_eq!(report.exit_code(&Reason::Asked), exit::SHUTDOWN_TIMEOUT);
    }
}
