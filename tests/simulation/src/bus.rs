//! The broker: what is published waits here for each of those who listen, until the simulator delivers, loses or doubles it.

use std::collections::{BTreeMap, VecDeque};

use link::Publication;

/// Messages that wait for one listener; what comes beyond is lost, as brokers do.
const QUEUE_MAX: usize = 200;

/// Who listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Listener {
    /// A hub's session, by its place.
    Hub(usize),
    /// A gateway, by its place.
    Gateway(usize),
}

/// The broker.
#[derive(Default)]
pub struct Bus {
    queues: BTreeMap<Listener, VecDeque<Publication>>,
    retained: BTreeMap<String, Publication>,
}

impl Bus {
    /// A message for one listener.
    pub fn push(&mut self, to: Listener, publication: Publication) {
        let queue = self.queues.entry(to).or_default();
        if queue.len() < QUEUE_MAX {
            queue.push_back(publication);
        }
    }

    /// Keeps it for who listens later.
    pub fn retain(&mut self, publication: &Publication) {
        self.retained.insert(publication.topic.clone(), publication.clone());
    }

    /// What is retained on a topic.
    pub fn retained(&self, topic: &str) -> Option<&Publication> {
        self.retained.get(topic)
    }

    /// Who has messages waiting, among those who can be reached.
    pub fn waiting(&self, reachable: impl Fn(Listener) -> bool) -> Vec<Listener> {
        let some = |(who, queue): (&Listener, &VecDeque<Publication>)| !queue.is_empty() && reachable(*who);
        self.queues.iter().filter(|entry| some(*entry)).map(|(who, _)| *who).collect()
    }

    /// A waiting message: half of the time the oldest.
    pub fn take(&mut self, from: Listener, which: u32, keep: bool) -> Option<Publication> {
        let queue = self.queues.get_mut(&from)?;
        if queue.is_empty() {
            return None;
        }
        let at = if which.is_multiple_of(2) { 0 } else { which as usize / 2 % queue.len() };
        if keep { queue.get(at).cloned() } else { queue.remove(at) }
    }

    /// The oldest waiting message goes back to its place: its listener has no room for it.
    pub fn put_back(&mut self, to: Listener, publication: Publication) {
        self.queues.entry(to).or_default().push_front(publication);
    }

    /// Forgets everything.
    pub fn forget(&mut self) {
        *self = Self::default();
    }
}
