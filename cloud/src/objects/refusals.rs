//! Requests that are refused for who sent them, told to the operator: a line for the first, then at most one a minute that
//! says how many there were. It is the client's mistake, and it may make it a thousand times a second.
//!
//! `s3s` says each refusal twice, as an error, and is silent in our logs (`daemon::logs`) for that.

use std::{
    net::SocketAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// The pause between two lines.
const PAUSE: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(super) struct Refusals(Mutex<State>);

#[derive(Default)]
struct State {
    said: Option<Instant>,
    /// Since the last line.
    unsaid: u64,
}

impl Refusals {
    pub fn note(&self, peer: Option<SocketAddr>, method: &hyper::Method, path: &str) {
        let Some(before) = self.say(Instant::now()) else { return };
        tracing::warn!(
            peer = peer.map(tracing::field::display),
            %method,
            path,
            refused_before = before,
            "object store refused a request: access key, signature, clock or an expired URL is wrong at the client"
        );
    }

    /// How many were not said, when it is time for a line.
    fn say(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.said.is_some_and(|said| now < said + PAUSE) {
            state.unsaid += 1;
            return None;
        }
        state.said = Some(now);
        Some(std::mem::take(&mut state.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_a_minute() {
        let (refusals, begun) = (Refusals::default(), Instant::now());
        let said: Vec<_> = [0, 1, 59, 60, 61, 300].map(|s| refusals.say(begun + Duration::from_secs(s))).into();
        assert_eq!(said, [Some(0), None, None, Some(2), None, Some(1)]);
    }
}
