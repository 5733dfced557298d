//! What is wrong with a configuration: each mistake with its place, its key and what to do.

use std::fmt;

use super::tree::{Item, Origin};

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where it stands.
    pub origin: Origin,
    /// The dotted key; empty when it concerns the whole file.
    pub key: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::Default => {}
            origin => write!(f, "{origin}: ")?,
        }
        if self.key.is_empty() { f.write_str(&self.message) } else { write!(f, "{}: {}", self.key, self.message) }
    }
}

/// Every mistake of a configuration, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    /// At least one.
    pub mistakes: Vec<Mistake>,
}

impl ConfigErrors {
    pub(crate) fn new(mut mistakes: Vec<Mistake>) -> Self {
        mistakes.sort_by_key(|mistake| match &mistake.origin {
            Origin::File { line, column, .. } => (0, *line, *column),
            Origin::Environment(_) => (1, 0, 0),
            Origin::CommandLine(_) => (2, 0, 0),
            Origin::Default => (3, 0, 0),
        });
        Self { mistakes }
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.mistakes.len();
        write!(f, "configuration has {count} mistake{}", if count == 1 { "" } else { "s" })?;
        self.mistakes.iter().try_for_each(|mistake| write!(f, "\n  {mistake}"))
    }
}

impl std::error::Error for ConfigErrors {}

/// Collects what [`super::Config::check`] finds.
#[derive(Debug, Default)]
pub struct Problems {
    found: Vec<(String, String)>,
}

impl Problems {
    /// Adds a mistake at a dotted key, such as `cameras.front.regions.door.rect`.
    pub fn add(&mut self, key: impl Into<String>, message: impl Into<String>) {
        self.found.push((key.into(), message.into()));
    }

    /// What was found, as `(key, message)`; for tests of checks.
    pub fn found(&self) -> &[(String, String)] {
        &self.found
    }

    /// Each with where it stands. What is found of a table in which a value stood in, or of a key right in it, may come
    /// of the stand-in and is left out; what stands deeper in it counts.
    pub(crate) fn place(self, tree: &Item, stood_in: &[String]) -> impl Iterator<Item = Mistake> {
        let doubtful = |key: &str| {
            stood_in.iter().any(|table| {
                key == table || key.strip_prefix(table.as_str()).is_some_and(|rest| rest.rfind('.') == Some(0))
            })
        };
        let told = self.found.into_iter().filter(move |(key, _)| !doubtful(key));
        told.map(|(key, message)| Mistake { origin: tree.nearest(&key).origin.clone(), key, message })
    }
}

/// The candidate that was probably meant: close in spelling, or nothing.
pub(crate) fn similar<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).clamp(1, 3);
    candidates
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Edits between two words, a swap of neighbours counting once (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.to_lowercase().chars().collect(), b.to_lowercase().chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    (0..=a.len()).for_each(|i| rows[i][0] = i);
    (0..=b.len()).for_each(|j| rows[0][j] = j);
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let substituted = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = substituted.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_that_was_meant_is_found() {
        let keys = ["listen", "insecure", "roles", "mqtt"];
        assert_eq!(similar("lisetn", keys.into_iter()), Some("listen"));
        assert_eq!(similar("mqqt", keys.into_iter()), Some("mqtt"));
        assert_eq!(similar("tables", keys.into_iter()), None);
    }
}
