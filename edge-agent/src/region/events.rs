//! When a region's label counts as changed: a label must reach its minimum score in N of the last M classifications.
//!
//! The stable label survives a restart (the caller keeps it), so that a restart alone makes no event.

use std::{collections::VecDeque, sync::Arc};

use contract::Timestamp;

/// The rule, `events = { min_score = 0.6, votes = 3, of = 5 }`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    /// Least score of a vote, 0 to 1.
    pub min_score: f32,
    /// Votes that make a label stable.
    pub votes: usize,
    /// Of how many latest classifications.
    pub of: usize,
}

/// The stable label changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The stable label until now.
    pub before: Option<Arc<str>>,
    /// From now on; `None` when none is sure enough any more.
    pub after: Option<Arc<str>>,
    /// Score in the frame that tipped the balance.
    pub score: f32,
    /// The first of the votes that made it stable.
    pub since: Timestamp,
}

/// The machine of one region.
#[derive(Clone, Debug)]
pub struct Hysteresis {
    rule: Rule,
    stable: Option<Arc<str>>,
    since: Option<Timestamp>,
    window: VecDeque<(Option<Arc<str>>, Timestamp)>,
}

impl Hysteresis {
    /// Begins with the label that was stable before, if any.
    pub fn new(rule: Rule, stable: Option<(Arc<str>, Timestamp)>) -> Self {
        let (stable, since) = stable.unzip();
        Self { rule, stable, since, window: VecDeque::with_capacity(rule.of) }
    }

    /// The stable label, and since when.
    pub fn stable(&self) -> (Option<&Arc<str>>, Option<Timestamp>) {
        (self.stable.as_ref(), self.since)
    }

    /// The rule's least score.
    pub fn min_score(&self) -> f32 {
        self.rule.min_score
    }

    /// One classification: the best label, its score and the least score that counts for it.
    pub fn push(&mut self, label: &Arc<str>, score: f32, min_score: f32, at: Timestamp) -> Option<Change> {
        let vote = (score >= min_score).then(|| label.clone());
        if self.window.len() == self.rule.of {
            self.window.pop_front();
        }
        self.window.push_back((vote.clone(), at));
        if vote == self.stable {
            return None;
        }
        let count = |of: &Option<Arc<str>>| self.window.iter().filter(|(v, _)| v == of).count();
        let (challenger, holder) = (count(&vote), count(&self.stable));
        // Strictly more than the holder: with N <= M/2 two labels can have N votes, and must not alternate.
        if challenger < self.rule.votes || challenger <= holder {
            return None;
        }
        let since = self.window.iter().find(|(v, _)| *v == vote).map_or(at, |(_, t)| *t);
        self.since = Some(since);
        let before = std::mem::replace(&mut self.stable, vote);
        Some(Change { before, after: self.stable.clone(), score, since })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: Rule = Rule { min_score: 0.6, votes: 3, of: 5 };

    fn run(machine: &mut Hysteresis, text: &str) -> String {
        let mut out = String::new();
        for (i, c) in text.chars().enumerate() {
            // Upper case: sure; lower case: the same label, unsure.
            let label: Arc<str> = c.to_ascii_uppercase().to_string().into();
            let score = if c.is_ascii_uppercase() { 0.9 } else { 0.3 };
            if let Some(change) = machine.push(&label, score, RULE.min_score, Timestamp(i as i64)) {
                let name = |l: &Option<Arc<str>>| l.as_deref().unwrap_or("-").to_owned();
                out += &format!("{}{}>{}@{} ", i, name(&change.before), name(&change.after), change.since.0);
            }
        }
        out.trim_end().to_owned()
    }

    #[test]
    fn n_of_m_decide() {
        for (votes, events) in [
            ("AAA", "2->A@0"),
            ("AABAB", "3->A@0"),
            ("AAABABAAA", "2->A@0"),
            ("AAABBB", "2->A@0 5A>B@3"),
            ("aaaaa", ""),
            ("AAAaaa", "2->A@0 5A>-@3"),
            ("AABBAABB", "4->A@0 6A>B@2"),
        ] {
            assert_eq!(run(&mut Hysteresis::new(RULE, None), votes), events, "{votes}");
        }
    }

    #[test]
    fn a_restart_alone_makes_no_event() {
        let mut machine = Hysteresis::new(RULE, Some(("A".into(), Timestamp(-5))));
        assert_eq!(run(&mut machine, "AAAAAA"), "");
        assert_eq!(run(&mut machine, "BBBB"), "2A>B@0");
    }

    proptest::proptest! {
        #[test]
        fn changes_chain_and_are_never_to_the_same(votes in "[A-Ca-c]{0,200}", n in 1usize..5, extra in 0usize..5) {
            let rule = Rule { min_score: 0.5, votes: n, of: n + extra };
            let mut machine = Hysteresis::new(rule, None);
            let mut last = None;
            for (i, c) in votes.chars().enumerate() {
                let score = if c.is_ascii_uppercase() { 0.9 } else { 0.1 };
                let label: Arc<str> = c.to_ascii_uppercase().to_string().into();
                if let Some(change) = machine.push(&label, score, 0.5, Timestamp(i as i64)) {
                    assert_eq!(change.before, last);
                    assert_ne!(change.before, change.after);
                    last = change.after;
                }
            }
        }
    }
}
