//! The way from the outbox to the hub: what is sent next on the archive lane, and what is sent again. A pure machine.
//!
//! The window is counted in bytes that are sent but not archived: a broker's acknowledgement is no back-pressure. After a
//! reconnection, or a time without progress of the watermark, everything that is not archived is sent again; numbers
//! make a second arrival harmless. Policy: *hold*.
//!
//! A kind with a backlog has two cursors: one goes through the backlog, one through the newest records, and while both have
//! something to send they share the line by a ratio, so that today is not delayed by yesterday. Only records that are
//! durable in the outbox are sent: else a power cut would leave the hub with numbers that this log gives out again.

pub mod flight;
pub mod fragments;
pub mod watermark;

use std::time::Duration;

use contract::{Kind, archived::ArchivedKind, frame};

use self::flight::Flight;
use crate::{
    clock::Mono,
    outbox::{Index, KINDS, Look, Ranges, slot},
};

/// Segments between a cursor and the newest record that make a backlog of what lies between.
const BACKLOG_SEGMENTS: usize = 2;

/// The part of the window that a backlog leaves to the newest records.
const RESERVED: u64 = 8;

/// The bounds that somebody chose.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Bytes sent and not archived.
    pub window_bytes: u64,
    /// Longest message on the archive lane.
    pub message_max: usize,
    /// The newest records' share of the line while there is a backlog, 0 to 1.
    pub newest_share: f64,
    /// Without progress of the watermark for this long, everything is sent again; doubled each time, up to ten times it.
    pub patience: Duration,
    /// After a connection the retained watermark may take this long; what it names need not be sent.
    pub greeting: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            window_bytes: 64 << 20,
            message_max: frame::MESSAGE_MAX,
            newest_share: 0.5,
            // Three times the hub's flush interval of 10 s.
            patience: Duration::from_secs(30),
            greeting: Duration::from_millis(500),
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
    /// Find out where a segment's records lie, then ask again.
    Load {
        /// The segment's kind.
        kind: Kind,
        /// Its first number.
        first: u64,
    },
    /// Nothing before this moment, unless something becomes durable, is archived or connected.
    Wait(Option<Mono>),
}

/// The machine.
#[derive(Clone, Debug)]
pub struct Uplink {
    limits: Limits,
    connected: bool,
    /// The watermark that a connection brings may still come.
    greeting_until: Option<Mono>,
    turn: usize,
    lanes: [Lane; KINDS.len()],
    /// How far the newest records are ahead of their share, in bytes.
    ahead: f64,
    progress: Mono,
    patience: Duration,
    resends: u64,
    removals: u64,
}

#[derive(Clone, Debug, Default)]
struct Lane {
    /// The next number to send; of the backlog, where there is one.
    cursor: u64,
    /// The next of the newest numbers, where there is a backlog.
    newest: Option<u64>,
    /// What was sent ahead of the backlog.
    sent_ahead: Ranges,
    flight: Flight,
}

/// Which of a lane's cursors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Newest,
    Backlog,
}

impl Uplink {
    /// Nothing sent, not connected.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            connected: false,
            greeting_until: None,
            turn: 0,
            lanes: Default::default(),
            ahead: 0.0,
            progress: Mono(0),
            patience: limits.patience,
            resends: 0,
            removals: 0,
        }
    }

    /// A connection is there: what is not archived is sent again.
    pub fn connected(&mut self, now: Mono) {
        self.connected = true;
        self.patience = self.limits.patience;
        self.greeting_until = Some(now.after(self.limits.greeting));
        self.rewind(now);
    }

    /// The connection is gone.
    pub fn disconnected(&mut self) {
        self.connected = false;
    }

    /// A watermark document was read, whatever it said.
    pub fn greeted(&mut self) {
        self.greeting_until = None;
    }

    /// How often everything was sent again for want of progress.
    pub fn resends(&self) -> u64 {
        self.resends
    }

    /// Bytes sent and not archived.
    pub fn inflight_bytes(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.flight.bytes()).sum()
    }

    /// How many runs of numbers are remembered: what memory grows with.
    pub fn remembered(&self) -> usize {
        self.lanes.iter().map(|lane| lane.flight.runs() + lane.sent_ahead.runs().count()).sum()
    }

    /// A watermark came.
    pub fn archived(&mut self, kind: Kind, mark: &ArchivedKind, now: Mono) {
        let lane = &mut self.lanes[slot(kind)];
        let mut moved = lane.flight.settle(0, mark.upto);
        for [from, to] in &mark.ranges {
            moved |= lane.flight.settle(*from, *to);
        }
        if moved {
            self.progress = now;
            self.patience = self.limits.patience;
        }
    }

    /// Another lake or another log: nothing of it was sent.
    pub fn forget(&mut self, now: Mono) {
        self.rewind(now);
    }

    /// What was last said of a kind was not sent.
    pub fn unsent(&mut self, kind: Kind) {
        self.lanes[slot(kind)] = Lane::default();
    }

    fn rewind(&mut self, now: Mono) {
        self.lanes = Default::default();
        self.ahead = 0.0;
        self.progress = now;
    }

    /// What to do now.
    pub fn poll(&mut self, now: Mono, index: &Index) -> Action {
        if !self.connected {
            return Action::Wait(None);
        }
        if let Some(until) = self.greeting_until.filter(|until| now < *until) {
            return Action::Wait(Some(until));
        }
        self.greeting_until = None;
        self.forget_what_went(index);
        if self.inflight_bytes() == 0 {
            self.progress = now;
        } else if now >= self.progress.after(self.patience) {
            self.rewind(now);
            self.resends += 1;
            self.patience = (self.patience * 2).min(self.limits.patience * 10);
        }
        KINDS.iter().for_each(|kind| self.lanes[slot(*kind)].split(*kind, index));
        let newest_first = self.ahead <= 0.0;
        let sides = if newest_first { [Side::Newest, Side::Backlog] } else { [Side::Backlog, Side::Newest] };
        for side in sides {
            if let Some(action) = self.offer_side(side, index) {
                return action;
            }
        }
        Action::Wait((self.inflight_bytes() > 0).then(|| self.progress.after(self.patience)))
    }

    /// Records that the bound has dropped while they were on their way will never be archived.
    fn forget_what_went(&mut self, index: &Index) {
        if std::mem::replace(&mut self.removals, index.removals()) == index.removals() {
            return;
        }
        for (kind, lane) in KINDS.into_iter().zip(&mut self.lanes) {
            lane.flight.settle(0, index.holding(kind).first);
        }
    }

    fn offer_side(&mut self, side: Side, index: &Index) -> Option<Action> {
        let window = self.limits.window_bytes;
        let room = if side == Side::Newest { window } else { window - window / RESERVED };
        if self.inflight_bytes() >= room {
            return None;
        }
        for step in 0..KINDS.len() {
            let at = (self.turn + step) % KINDS.len();
            let Some((action, bytes)) = self.lanes[at].offer(KINDS[at], side, self.limits.message_max, index) else {
                continue;
            };
            if bytes > 0 {
                self.turn = (at + 1) % KINDS.len();
                self.account(side, bytes);
            }
            return Some(action);
        }
        if side == Side::Backlog {
            self.ahead = 0.0; // nobody to share with
        }
        None
    }

    /// Keeps the books of the shared line, within one window: a side that had nothing to send saves nothing up.
    fn account(&mut self, side: Side, bytes: u64) {
        let share = self.limits.newest_share.clamp(0.0, 1.0);
        if self.lanes.iter().all(|lane| lane.newest.is_none()) {
            self.ahead = 0.0;
            return;
        }
        self.ahead += match side {
            Side::Newest => bytes as f64 * (1.0 - share),
            Side::Backlog => -(bytes as f64 * share),
        };
        let most = 2.0 * self.limits.message_max as f64;
        self.ahead = self.ahead.clamp(-most, most);
    }
}

impl Lane {
    /// Begins, moves on or ends the cursor of the newest records.
    fn split(&mut self, kind: Kind, index: &Index) {
        if let Some(newest) = self.newest {
            if index.segments_after(kind, newest) >= BACKLOG_SEGMENTS {
                self.newest = Some(index.durable(kind)); // the newest have become a backlog themselves
            } else if self.next_of_backlog(kind, self.cursor, index).is_none() {
                self.cursor = newest;
                self.newest = None;
                self.sent_ahead = Ranges::default();
            }
            return;
        }
        let Some(next) = index.wanted(kind, self.cursor) else { return };
        self.cursor = next;
        if index.segments_after(kind, next) >= BACKLOG_SEGMENTS {
            self.newest = Some(index.durable(kind));
        }
    }

    /// The next number of the backlog from `at` on: not sent ahead, and before the newest.
    fn next_of_backlog(&self, kind: Kind, mut at: u64, index: &Index) -> Option<u64> {
        let end = self.newest?;
        loop {
            at = index.wanted(kind, self.sent_ahead.next_missing(at))?;
            if at >= end {
                return None;
            }
            if !self.sent_ahead.contains(at) {
                return Some(at);
            }
        }
    }

    /// What this side sends next, and how many bytes that is.
    fn offer(&mut self, kind: Kind, side: Side, message_max: usize, index: &Index) -> Option<(Action, u64)> {
        if side == Side::Backlog {
            self.newest?;
        }
        let room = message_max.saturating_sub(frame::MAGIC.len());
        let (mut found, mut used, mut at): (Vec<(u64, u32)>, _, _) = (Vec::new(), 0, self.start(side));
        while let Some(seq) = self.next_number(kind, side, at, index) {
            let span = match index.look(kind, seq) {
                Look::Absent => {
                    at = seq + 1;
                    continue;
                }
                Look::Unloaded(first) if found.is_empty() => return Some((Action::Load { kind, first }, 0)),
                Look::Unloaded(_) => break,
                Look::Here(span) => span,
            };
            let fits = used + span.len as usize <= room;
            if fits || found.is_empty() {
                used += span.len as usize;
                found.push((seq, span.len));
                at = seq + 1;
            }
            if !fits {
                break;
            }
        }
        if found.is_empty() {
            self.skip(side, at);
            return None;
        }
        self.sent(side, &found);
        let action = match found[..] {
            [(seq, _)] if used > room => Action::Fragments { kind, seq },
            _ => Action::Bundle { kind, seqs: found.into_iter().map(|(seq, _)| seq).collect() },
        };
        Some((action, used as u64))
    }

    fn start(&self, side: Side) -> u64 {
        match (side, self.newest) {
            (Side::Newest, Some(newest)) => newest,
            _ => self.cursor,
        }
    }

    fn next_number(&self, kind: Kind, side: Side, at: u64, index: &Index) -> Option<u64> {
        match side {
            Side::Newest => index.wanted(kind, at),
            Side::Backlog => self.next_of_backlog(kind, at, index),
        }
    }

    /// Numbers up to here have nothing to send.
    fn skip(&mut self, side: Side, to: u64) {
        match (side, &mut self.newest) {
            (Side::Newest, Some(newest)) => *newest = to.max(*newest),
            _ => self.cursor = to.max(self.cursor),
        }
    }

    fn sent(&mut self, side: Side, records: &[(u64, u32)]) {
        let (Some((from, _)), Some((last, _))) = (records.first(), records.last()) else { return };
        for run in records.chunk_by(|a, b| a.0 + 1 == b.0) {
            let bytes = run.iter().map(|(_, len)| u64::from(*len)).sum();
            self.flight.add(run[0].0, run[0].0 + run.len() as u64, bytes);
        }
        if let (Side::Newest, Some(newest)) = (side, self.newest) {
            self.sent_ahead.insert(newest.min(*from), last + 1);
        }
        self.skip(side, last + 1);
    }
}

#[cfg(test)]
mod tests;
