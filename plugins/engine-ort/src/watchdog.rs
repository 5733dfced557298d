//! Ends a run that takes too long: a thread that sets the runtime's terminate flag when the deadline passes.
//!
//! ONNX Runtime looks at the flag between two operators, so a run ends soon after its deadline, not at it. The thread
//! exists only once a deadline was asked for, and wakes only when one is near: a run that ends in time costs it
//! nothing, since disarming does not wake it.

use std::{
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use ort::session::RunOptions;

/// Watches the runs of one session.
pub struct Watchdog {
    shared: Arc<Shared>,
    thread: Option<thread::JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    options: Arc<RunOptions>,
}

#[derive(Default)]
struct State {
    deadline: Option<Instant>,
    sleeping_until: Option<Instant>,
    fired: bool,
    closing: bool,
}

impl Watchdog {
    /// Starts the thread.
    pub fn start(options: Arc<RunOptions>) -> io::Result<Self> {
        let shared = Arc::new(Shared { state: Mutex::default(), wake: Condvar::new(), options });
        let watched = Arc::clone(&shared);
        let thread = thread::Builder::new().name("ort-deadline".into()).spawn(move || watched.watch())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// A run begins that may take this long.
    pub fn arm(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        let mut state = self.shared.lock();
        state.deadline = Some(deadline);
        state.fired = false;
        if state.sleeping_until.is_none_or(|until| until > deadline) {
            self.shared.wake.notify_one();
        }
    }

    /// The run has ended; says whether the deadline ended it. The terminate flag is taken back.
    pub fn disarm(&self) -> bool {
        let mut state = self.shared.lock();
        state.deadline = None;
        if state.fired {
            // Fails only for a null pointer, which `RunOptions` cannot hold.
            let _ = self.shared.options.unterminate();
        }
        state.fired
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watch(&self) {
        let mut state = self.lock();
        while !state.closing {
            let now = Instant::now();
            if state.deadline.is_some_and(|deadline| deadline <= now) {
                state.deadline = None;
                state.fired = true;
                let _ = self.options.terminate();
            }
            state.sleeping_until = state.deadline;
            state = match state.deadline {
                None => self.wake.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let wait = self.wake.wait_timeout(state, deadline.saturating_duration_since(now));
                    wait.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.shared.lock().closing = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
