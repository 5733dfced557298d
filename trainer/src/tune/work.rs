//! A worker: takes trials of a study one after the other, and holds each while it runs.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use contract::Timestamp;
use store::tables::Error;
use tokio::runtime::Runtime;

use super::{
    Ended, Objective, Verdict,
    study::{Budget, Next, Study, Trial},
};

/// How long a trial is held without a word of its worker.
pub const LEASE: Duration = Duration::from_secs(60);
/// How long a worker waits while others run the last trials.
const WAIT: Duration = Duration::from_millis(500);

/// What happened in a study.
#[derive(Clone, Debug)]
pub enum News<'t> {
    /// A trial begins.
    Begins(&'t Trial),
    /// It ended: its state, and its first value or its reason.
    Ended(&'t Trial, &'static str, String),
    /// Somebody else has taken it over: this worker was silent for too long.
    TakenOver(&'t Trial),
}

/// Works until the budget is spent; gives how many trials were ended here.
///
/// # Errors
/// The tables.
pub fn work(
    runtime: &Runtime,
    study: &mut Study,
    budget: Budget,
    lease: Duration,
    objective: &mut dyn Objective,
    tell: &mut dyn FnMut(News<'_>),
) -> Result<u64, Error> {
    let mut ended = 0;
    loop {
        let token = format!("{:032x}", fastrand::u128(..));
        let now = now();
        match runtime.block_on(study.next(budget, &token, now, later(now, lease)))? {
            Next::Done => return Ok(ended),
            Next::Wait => std::thread::sleep(WAIT.min(lease)),
            Next::Trial(trial) => {
                tell(News::Begins(&trial));
                ended += u64::from(run(runtime, study, &trial, lease, objective, tell)?);
            }
        }
    }
}

/// Runs a trial while a task renews its lease; whether it ended here.
fn run(
    runtime: &Runtime,
    study: &Study,
    trial: &Trial,
    lease: Duration,
    objective: &mut dyn Objective,
    tell: &mut dyn FnMut(News<'_>),
) -> Result<bool, Error> {
    let taken_over = Arc::new(AtomicBool::new(false));
    let (held, of, flag) = (study.clone(), trial.clone(), taken_over.clone());
    let renewing = runtime.spawn(async move {
        loop {
            tokio::time::sleep(lease / 3).await;
            // Tables that are away now may be there at the next turn; the lease is three turns long.
            if let Ok(false) = held.hold(&of, later(now(), lease)).await {
                flag.store(true, Ordering::Release);
                return;
            }
        }
    });
    let mut broken = None;
    let result = objective.run(trial, &mut |epoch, value| {
        if taken_over.load(Ordering::Acquire) {
            return Verdict::Prune;
        }
        match runtime.block_on(study.step(trial, epoch, value)) {
            Ok(Some(all)) => match study.rules.pruner {
                Some(asha) if asha.is_rung(epoch) => asha.judge(value, &all),
                _ => Verdict::Go,
            },
            Ok(None) => {
                taken_over.store(true, Ordering::Release);
                Verdict::Prune
            }
            Err(error) => {
                broken = Some(error);
                Verdict::Prune
            }
        }
    });
    renewing.abort();
    if let Some(error) = broken {
        return Err(error);
    }
    let (state, outcome, why) = match result {
        Ok(Ended::Complete(outcome)) if outcome.values.iter().chain(&outcome.constraints).any(|v| !v.is_finite()) => {
            ("failed", None, Some(format!("its objective is no number: {:?}", outcome.values)))
        }
        Ok(Ended::Complete(outcome)) if outcome.values.len() != study.rules.objectives => {
            let why = format!("it gave {} objectives, {} are right", outcome.values.len(), study.rules.objectives);
            ("failed", None, Some(why))
        }
        Ok(Ended::Complete(outcome)) => ("complete", Some(outcome), None),
        Ok(Ended::Pruned) => ("pruned", None, None),
        Err(why) => ("failed", None, Some(why)),
    };
    let ours = runtime.block_on(study.end(trial, state, outcome.as_ref(), why.as_deref(), now()))?;
    if !ours {
        tell(News::TakenOver(trial));
        return Ok(false);
    }
    let value = outcome.and_then(|outcome| outcome.values.first().map(|value| format!("{value:.5}")));
    tell(News::Ended(trial, state, value.or(why).unwrap_or_default()));
    Ok(true)
}

fn now() -> Timestamp {
    Timestamp::from_system(SystemTime::now())
}

fn later(now: Timestamp, by: Duration) -> Timestamp {
    Timestamp(now.0 + i64::try_from(by.as_micros()).unwrap_or(i64::MAX / 2))
}
