//! The lines that a process writes, kept with a bound while they pass, for waiting on one and for showing after a failure.

use std::{
    collections::VecDeque,
    io::{BufRead, BufReader, Read},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// Lines kept of one stream: enough for a story; older ones go.
const KEPT: usize = 20_000;

#[derive(Default)]
struct Seen {
    lines: VecDeque<String>,
    /// Lines that have gone.
    gone: usize,
    ended: bool,
}

/// The lines of one stream, shared with the thread that reads it.
#[derive(Clone, Default)]
pub struct Lines(Arc<(Mutex<Seen>, Condvar)>);

impl Lines {
    /// Reads `stream` to its end on a thread of its own.
    pub fn of(stream: impl Read + Send + 'static) -> Self {
        let lines = Self::default();
        let writer = lines.clone();
        thread::spawn(move || {
            let mut reader = BufReader::new(stream);
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                writer.add(String::from_utf8_lossy(&line).trim_end().to_owned());
                line.clear();
            }
            writer.end();
        });
        lines
    }

    fn add(&self, line: String) {
        let (seen, changed) = &*self.0;
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.lines.len() == KEPT {
            seen.lines.pop_front();
            seen.gone += 1;
        }
        seen.lines.push_back(line);
        changed.notify_all();
    }

    fn end(&self) {
        let (seen, changed) = &*self.0;
        seen.lock().unwrap_or_else(PoisonError::into_inner).ended = true;
        changed.notify_all();
    }

    /// Everything kept so far.
    pub fn text(&self) -> String {
        let seen = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.lines.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }

    /// The first line, past or to come, that `wanted` takes; `None` when the stream ends or the time passes first.
    pub fn find<T>(&self, patience: Duration, mut wanted: impl FnMut(&str) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + patience;
        let (seen, changed) = &*self.0;
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut looked = 0;
        loop {
            let from = looked.max(seen.gone) - seen.gone;
            if let Some(found) = seen.lines.iter().skip(from).find_map(|line| wanted(line)) {
                return Some(found);
            }
            looked = seen.gone + seen.lines.len();
            let left = deadline.saturating_duration_since(Instant::now());
            if seen.ended || left.is_zero() {
                return None;
            }
            seen = changed.wait_timeout(seen, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for the stream's end, so that [`Self::text`] is whole.
    pub fn wait_for_end(&self, patience: Duration) {
        let (seen, changed) = &*self.0;
        let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        drop(changed.wait_timeout_while(seen, patience, |seen| !seen.ended));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_and_an_end_is_noticed() {
        let lines = Lines::of(&b"one\ntwo\nthree"[..]);
        let two = lines.find(Duration::from_secs(5), |line| (line == "two").then(|| line.to_owned()));
        assert_eq!(two.as_deref(), Some("two"));
        assert_eq!(lines.find(Duration::from_secs(5), |line| (line == "four").then_some(())), None);
        assert_eq!(lines.text(), "one\ntwo\nthree");
    }
}
