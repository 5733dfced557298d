//! The way from the outbox to the hub: what is sent next on the archive lane, and what is sent again. A pure machine.
//!
//! The window is counted in bytes that are sent but not archived: a broker's acknowledgement is no back-pressure. After a
//! reconnection, or a time without progress of the watermark, everything that is not archived is sent again; numbers
//! make a second arrival harmless. Policy: *hold*.

pub mod bundle;
pub mod watermark;

use std::{collections::VecDeque, time::Duration};

use contract::{Kind, archived::ArchivedKind, frame};

use crate::{
    clock::Mono,
    outbox::{Index, KINDS},
};

/// The bounds that somebody chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes sent and not archived.
    pub window_bytes: u64,
    /// Longest message on the archive lane.
    pub message_max: usize,
    /// How long a record may wait for others to share its message; events and gaps do not wait.
    pub linger: Duration,
    /// Without progress of the watermark for this long, everything is sent again; doubled each time, up to ten times it.
    pub patience: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            window_bytes: 16 << 20,
            message_max: frame::MESSAGE_MAX,
            linger: Duration::from_millis(250),
            // Three times the hub's flush interval of 10 s.
            patience: Duration::from_secs(30),
        }
    }
}

/// What the shell does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// One message with these records, all of one kind.
    Bundle {
        /// Their kind.
        kind: Kind,
        /// Their numbers, ascending.
        seqs: Vec<u64>,
    },
    /// One record in several messages.
    Fragments {
        /// Its kind.
        kind: Kind,
        /// Its number.
        seq: u64,
    },
    /// Nothing before this moment, unless something is appended, archived or connected.
    Wait(Option<Mono>),
}

/// The machine.
#[derive(Clone, Debug)]
pub struct Uplink {
    limits: Limits,
    connected: bool,
    draining: bool,
    turn: usize,
    lanes: [Lane; KINDS.len()],
    inflight_bytes: u64,
    progress: Mono,
    patience: Duration,
    resends: u64,
}

#[derive(Clone, Debug, Default)]
struct Lane {
    /// The next number to send.
    cursor: u64,
    /// Sent and not archived: number and length, ascending.
    inflight: VecDeque<(u64, u32)>,
}

impl Uplink {
    /// Nothing sent, not connected.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            connected: false,
            draining: false,
            turn: 0,
            lanes: Default::default(),
            inflight_bytes: 0,
            progress: Mono(0),
            patience: limits.patience,
            resends: 0,
        }
    }

    /// A connection is there: what is not archived is sent again.
    pub fn connected(&mut self, now: Mono) {
        self.connected = true;
        self.patience = self.limits.patience;
        self.rewind(now);
    }

    /// The connection is gone.
    pub fn disconnected(&mut self) {
        self.connected = false;
    }

    /// From now on nothing waits for company.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// How often everything was sent again for want of progress.
    pub fn resends(&self) -> u64 {
        self.resends
    }

    /// Bytes sent and not archived.
    pub fn inflight_bytes(&self) -> u64 {
        self.inflight_bytes
    }

    /// A watermark came.
    pub fn archived(&mut self, kind: Kind, mark: &ArchivedKind, now: Mono) {
        let Some(slot) = KINDS.iter().position(|k| *k == kind) else { return };
        let lane = &mut self.lanes[slot];
        let before = lane.inflight.len();
        let freed = &mut self.inflight_bytes;
        lane.inflight.retain(|(seq, len)| {
            let gone = mark.contains(*seq);
            *freed -= if gone { u64::from(*len) } else { 0 };
            !gone
        });
        if lane.inflight.len() != before {
            self.progress = now;
            self.patience = self.limits.patience;
        }
    }

    /// Another lake: it has none of what was sent.
    pub fn forget(&mut self, now: Mono) {
        self.rewind(now);
    }

    fn rewind(&mut self, now: Mono) {
        for lane in &mut self.lanes {
            lane.cursor = 0;
            lane.inflight.clear();
        }
        self.inflight_bytes = 0;
        self.progress = now;
    }

    /// What to do now.
    pub fn poll(&mut self, now: Mono, index: &Index) -> Action {
        if !self.connected {
            return Action::Wait(None);
        }
        if self.inflight_bytes == 0 {
            self.progress = now;
        } else if now >= self.progress.after(self.patience) {
            self.rewind(now);
            self.resends += 1;
            self.patience = (self.patience * 2).min(self.limits.patience * 10);
        }
        let mut wake = (self.inflight_bytes > 0).then(|| self.progress.after(self.patience));
        if self.inflight_bytes >= self.limits.window_bytes {
            return Action::Wait(wake);
        }
        for step in 0..KINDS.len() {
            let slot = (self.turn + step) % KINDS.len();
            match self.offer(slot, now, index) {
                Offer::Now(action) => {
                    self.turn = (slot + 1) % KINDS.len();
                    return action;
                }
                Offer::At(when) => wake = Some(wake.map_or(when, |w| w.min(when))),
                Offer::Nothing => {}
            }
        }
        Action::Wait(wake)
    }

    fn offer(&mut self, slot: usize, now: Mono, index: &Index) -> Offer {
        let kind = KINDS[slot];
        let room = self.limits.message_max.saturating_sub(frame::MAGIC.len());
        let lane = &mut self.lanes[slot];
        let holding = index.holding(kind);
        lane.cursor = lane.cursor.max(holding.first);
        // Records that the bound has dropped while they were in flight will never be archived.
        while let Some((_, len)) = lane.inflight.front().filter(|(seq, _)| *seq < holding.first) {
            self.inflight_bytes -= u64::from(*len);
            lane.inflight.pop_front();
        }
        let (mut seqs, mut used, mut oldest, mut full) = (Vec::new(), 0, None, false);
        for seq in lane.cursor..holding.next {
            let Some(entry) = index.get(kind, seq).filter(|e| !e.archived) else { continue };
            let needs = entry.len as usize + frame::OVERHEAD;
            if used + needs > room {
                full = true;
                break;
            }
            oldest.get_or_insert(entry.appended);
            used += needs;
            seqs.push(seq);
        }
        let Some(oldest) = oldest else {
            let first = (lane.cursor..holding.next).find(|s| index.get(kind, *s).is_some_and(|e| !e.archived));
            return match first {
                Some(seq) => {
                    self.sent(slot, index, &[seq]);
                    Offer::Now(Action::Fragments { kind, seq })
                }
                None => Offer::Nothing,
            };
        };
        let due = oldest.after(self.limits.linger);
        let waits = !full && !self.draining && !matches!(kind, Kind::Event | Kind::Gap) && now < due;
        if waits {
            return Offer::At(due);
        }
        self.sent(slot, index, &seqs);
        Offer::Now(Action::Bundle { kind, seqs })
    }

    fn sent(&mut self, slot: usize, index: &Index, seqs: &[u64]) {
        let lane = &mut self.lanes[slot];
        for seq in seqs {
            let len = index.get(KINDS[slot], *seq).map_or(0, |e| e.len);
            lane.inflight.push_back((*seq, len));
            self.inflight_bytes += u64::from(len);
            lane.cursor = seq + 1;
        }
    }
}

enum Offer {
    Now(Action),
    At(Mono),
    Nothing,
}

#[cfg(test)]
mod tests;
