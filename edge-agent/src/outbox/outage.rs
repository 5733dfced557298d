//! A disk that refuses something: it is left alone for a while, people are told once, and health says so until it is calm.

use std::{io, time::Duration};

use super::{
    disk::is_full,
    log::{Log, Now},
};
use crate::clock::Mono;

/// After an error of the disk other than being full, it is left alone for this long; doubled each time, up to the second.
const REST: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// An outage is over after so long without a refusal.
const CALM: Duration = Duration::from_secs(5);

/// A disk that fails and works by turns is told of this often.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// The disk does not do what it should.
pub(super) struct Outage {
    pub text: String,
    pub until: Mono,
    pub rest: Duration,
    /// It is full; other errors are worse.
    pub full: bool,
    /// When it last refused something.
    pub failed_at: Mono,
}

impl Log {
    /// The disk has refused something.
    pub(super) fn failed(&mut self, error: &io::Error, now: Now) {
        // A full disk is asked again for each record: it answers at once, and a small record may still fit.
        let full = is_full(error);
        let (least, most) = if full { (Duration::ZERO, Duration::ZERO) } else { REST };
        let rest = match &mut self.fault {
            Some(outage) if now.mono < outage.until => {
                outage.failed_at = now.mono;
                return;
            }
            Some(outage) => (outage.rest * 2).clamp(least, most),
            None => least,
        };
        let text = error.to_string();
        if self.fault.is_none() && self.told.is_none_or(|told| now.mono - told >= TELL_EVERY) {
            self.told = Some(now.mono);
            tracing::error!(
                error = text,
                "outbox cannot keep records: what its disk does not take is lost and counted"
            );
        }
        self.fault = Some(Outage { text, until: now.mono.after(rest), rest, full, failed_at: now.mono });
    }

    pub(super) fn mended(&mut self, now: Now) {
        let calm = self.fault.as_ref().is_some_and(|outage| now.mono - outage.failed_at >= CALM);
        if calm && self.owed.is_empty() && !self.writers.iter().flatten().any(|w| w.suspect) {
            self.fault = None;
            tracing::info!("outbox keeps records again");
        }
    }
}
