//! Compilations under way: a gateway goes on with another engine while this one's plan is made.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Instant,
};

use crate::Key;

/// What became of a compilation.
#[derive(Clone, Debug)]
pub enum State {
    /// Since when it runs.
    Running(Instant),
    /// Why it failed. Told once: who asks again starts it again.
    Failed(String),
}

/// The compilations of a factory, by the name of their key.
#[derive(Clone, Debug, Default)]
pub struct Builds {
    states: Arc<Mutex<HashMap<String, State>>>,
}

impl Builds {
    /// Starts the work in a thread of its own unless it runs already; tells how it stands.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(
        &self,
        key: &Key,
        work: impl FnOnce() -> Result<(), String> + Send + 'static,
    ) -> std::io::Result<State> {
        let name = key.name();
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        match states.get(&name) {
            Some(State::Failed(_)) => return Ok(states.remove(&name).unwrap_or(State::Running(Instant::now()))),
            Some(running) => return Ok(running.clone()),
            None => {}
        }
        let all = Arc::clone(&self.states);
        let begun = State::Running(Instant::now());
        states.insert(name.clone(), begun.clone());
        let run = move || {
            let result = work();
            let mut states = all.lock().unwrap_or_else(PoisonError::into_inner);
            match result {
                Ok(()) => states.remove(&name),
                Err(why) => states.insert(name, State::Failed(why)),
            };
        };
        thread::Builder::new().name("tensorrt-compile".into()).spawn(run)?;
        Ok(begun)
    }
}
