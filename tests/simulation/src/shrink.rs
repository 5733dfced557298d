//! Makes a failing plan shorter: what fails in the same way without an event did not need it.

use crate::{Outcome, Plan, run};

/// The shortest plan found that still fails, and how. `tries` bounds the work.
pub fn shrink(plan: &Plan, mut tries: usize) -> (Plan, Outcome) {
    let mut best = plan.clone();
    let mut outcome = attempt(&best);
    let fault = outcome.fault().to_owned();
    let mut piece = best.events.len() / 2;
    while piece > 0 && tries > 0 {
        let mut from = 0;
        let mut shorter = false;
        while from < best.events.len() && tries > 0 {
            let mut candidate = best.clone();
            candidate.events.drain(from..(from + piece).min(best.events.len()));
            tries -= 1;
            let found = attempt(&candidate);
            if found.fault() == fault {
                (best, outcome, shorter) = (candidate, found, true);
            } else {
                from += piece;
            }
        }
        if !shorter {
            piece /= 2;
        }
    }
    (best, outcome)
}

fn attempt(plan: &Plan) -> Outcome {
    run(plan).unwrap_or_else(|error| Outcome { violations: vec![format!("{error:#}")], ..Outcome::default() })
}
