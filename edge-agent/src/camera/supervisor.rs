//! The thread that keeps one camera going: plays its source, and after a failure tries again with jittered backoff,
//! without touching the others. The seam for a deeper supervisor.

use std::{
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};

use daemon::backoff::Backoff;
use tokio::runtime::Handle;

use super::{CameraUri, Failure, Plan, Stop, folder, gst_source, http};
use crate::{clock::Mono, intake::Intake};

/// How an attempt ended.
#[derive(Debug)]
pub enum Outcome {
    /// The agent stops.
    Stopped,
    /// The source has come to its end.
    Ended,
    /// Something is wrong; trying again may help.
    Failed(Failure),
}

/// An attempt that lasted this long was a good one: the next failure begins with a short wait again.
const GOOD: Duration = Duration::from_secs(30);

/// Keeps the camera going until the word to stop or its source's end; blocks its thread.
///
/// # Errors
/// The waits between attempts are impossible, which would be a mistake of this file.
pub fn run(plan: Plan, intake: Intake, runtime: Handle, stop: Stop) -> Result<(), daemon::backoff::Invalid> {
    let backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30))?;
    Supervisor { plan, intake: Arc::new(Mutex::new(intake)), runtime, stop }.run(backoff);
    Ok(())
}

/// One attempt, for `check`.
pub fn once(plan: Plan, intake: Intake, runtime: Handle, stop: Stop) -> Outcome {
    let hardware = plan.hardware;
    Supervisor { plan, intake: Arc::new(Mutex::new(intake)), runtime, stop }.attempt(hardware)
}

struct Supervisor {
    plan: Plan,
    intake: Arc<Mutex<Intake>>,
    runtime: Handle,
    stop: Stop,
}

impl Supervisor {
    fn run(self, mut backoff: Backoff) {
        let camera = self.intake.lock().unwrap_or_else(PoisonError::into_inner).camera().clone();
        let (mut hardware, mut outage) = (self.plan.hardware, false);
        loop {
            self.intake.lock().unwrap_or_else(PoisonError::into_inner).begin();
            let (began, frames) = (Mono::now(), camera.counts.frames.load(Ordering::Relaxed));
            let outcome = self.attempt(hardware);
            let came = camera.counts.frames.load(Ordering::Relaxed) > frames;
            match outcome {
                Outcome::Stopped => return camera.offline("agent stops"),
                Outcome::Ended => {
                    tracing::info!(camera = %self.plan.id, "camera has ended");
                    return camera.ended("its source has come to its end");
                }
                Outcome::Failed(failure) => {
                    // A hardware decoder that fails is not asked again; other failures are none of its business.
                    hardware &= !matches!(failure, Failure::Hardware { .. });
                    camera.counts.failures.fetch_add(1, Ordering::Relaxed);
                    if came || !outage {
                        tracing::warn!(camera = %self.plan.id, reason = %failure, "camera is offline; it is tried again");
                    }
                    outage = true;
                    camera.offline(failure.to_string());
                }
            }
            if Mono::now() - began > GOOD && came {
                backoff.reset();
            }
            if self.stop.sleep(backoff.next_wait()) {
                return camera.offline("agent stops");
            }
        }
    }

    fn attempt(&self, hardware: bool) -> Outcome {
        match &self.plan.uri {
            CameraUri::Folder(path) => folder::run(&self.plan, path, &self.intake, &self.stop),
            CameraUri::Http(remote) => http::run(&self.plan, remote, &self.runtime, &self.intake, &self.stop),
            _ => gst_source::run(&self.plan, hardware, &self.intake, &self.stop),
        }
    }
}
