//! What is refused and leaves no trace in the lake is told in the log, once for each gateway's log and reason: its gateway
//! sends it again and again, and who wonders why the watermark stands still must find out why.
//!
//! Bounded: beyond [`TOLD_MAX`] everything may be told once more.

use std::collections::HashSet;

use contract::{Epoch, Principal, frame::Address};

/// Remembered complaints.
const TOLD_MAX: usize = 4096;

/// Why a record is refused.
#[derive(Clone, Copy, Debug)]
pub enum Complaint<'a> {
    /// Its number is beyond what a log can reach.
    ImpossibleNumber,
    /// Its kind is one of a newer version.
    UnknownKind,
    /// Its log belongs to this other gateway.
    ForeignEpoch(&'a Principal),
}

/// What was told.
#[derive(Default)]
pub struct Complaints(HashSet<(Epoch, &'static str)>);

impl Complaints {
    /// Tells of a record, unless that was done.
    pub fn tell(&mut self, from: &Principal, record: &Address, why: Complaint<'_>) {
        if self.0.len() >= TOLD_MAX {
            self.0.clear();
        }
        let name = match why {
            Complaint::ImpossibleNumber => "number",
            Complaint::UnknownKind => "kind",
            Complaint::ForeignEpoch(_) => "epoch",
        };
        if !self.0.insert((record.epoch, name)) {
            return;
        }
        match why {
            Complaint::ImpossibleNumber => tracing::error!(
                gateway = %from, %record,
                "a record has an impossible number and is not taken; the gateway's outbox is damaged, or somebody forges its records"
            ),
            Complaint::UnknownKind => tracing::warn!(
                gateway = %from, %record,
                "a record is of a kind that this hub does not know and stays at its gateway; upgrade the hub"
            ),
            Complaint::ForeignEpoch(owner) => tracing::error!(
                gateway = %from, %record, %owner,
                "two gateways use one epoch; only its first owner's records are taken; a state folder was copied: empty the copy's outbox"
            ),
        }
    }
}
