//! The live lane: what people and programs subscribe to, sent once while fresh. Policy: *drop*, counted by reason.
//!
//! Retained documents (status, state, reported) are different: of them the newest must arrive in the end. They wait on the
//! [`Board`], one place a topic, and are all sent again with each connection.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use contract::frame::RecordParts;
use link::{Publication, Refused, Session};
use tokio::sync::Notify;

/// After this a live message is worth nothing; the broker drops it.
const FRESH: Duration = Duration::from_secs(10);
/// Events are rarer and worth more.
const FRESH_EVENT: Duration = Duration::from_secs(60);

/// The lane. Publishing never waits.
#[derive(Default)]
pub struct Live {
    session: OnceLock<Session>,
    /// What became of messages.
    pub counts: LiveCounts,
}

/// What became of messages.
#[derive(Default)]
pub struct LiveCounts {
    /// Handed over.
    pub sent: AtomicU64,
    /// Dropped: there was no connection.
    pub dropped_offline: AtomicU64,
    /// Dropped: the queue was full.
    pub dropped_full: AtomicU64,
}

impl Live {
    /// From now on there is something to publish with.
    pub fn attach(&self, session: Session) {
        // A second session would be a mistake of the assembly; the first stays.
        let _ = self.session.set(session);
    }

    /// Whether a message would go out now; making one otherwise is work for nothing.
    pub fn is_up(&self) -> bool {
        self.session.get().is_some_and(Session::is_up)
    }

    /// A prediction or health: sent once at most.
    pub fn record(&self, topic: &str, json: Vec<u8>) {
        self.publish(Publication::new(topic, json).expiring(FRESH).content_type(JSON));
    }

    /// An event: with an acknowledgement, so that the broker keeps it for subscribers that are away for a moment; sent once
    /// all the same.
    pub fn event(&self, topic: &str, json: Vec<u8>) {
        let publication = Publication::new(topic, json).expiring(FRESH_EVENT).content_type(JSON);
        self.publish(publication.at_least_once_but_never_again());
    }

    /// A JPEG.
    pub fn picture(&self, topic: &str, jpeg: Vec<u8>) {
        self.publish(Publication::new(topic, jpeg).expiring(FRESH).content_type("image/jpeg"));
    }

    /// Counts a message that was not even made.
    pub fn skip(&self) {
        self.counts.dropped_offline.fetch_add(1, Ordering::Relaxed);
    }

    fn publish(&self, publication: Publication) {
        let outcome = match self.session.get() {
            Some(session) => session.try_publish(publication).map(drop),
            None => return self.skip(),
        };
        let counter = match outcome {
            Ok(()) => &self.counts.sent,
            Err(Refused::Full(_)) => &self.counts.dropped_full,
            Err(_) => &self.counts.dropped_offline,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// The MIME type of documents and records.
pub const JSON: &str = "application/json";

/// A record as the live lane shows it: header and body in one flat object, `contract::live::Live`. Spliced from the
/// record's own JSON, which is cheaper than writing it a second time.
pub fn flat(record: &[u8]) -> Option<Vec<u8>> {
    let parts = RecordParts::split(record).ok()?;
    let header = parts.header.strip_suffix(b"}")?;
    let body = parts.body.strip_prefix(b"{")?;
    let comma: &[u8] = if body == b"}" { b"" } else { b"," };
    Some([header, comma, body].concat())
}

/// Retained documents, by topic.
#[derive(Default)]
pub struct Board {
    places: Mutex<BTreeMap<String, Place>>,
    changed: Notify,
}

struct Place {
    document: Bytes,
    due: bool,
}

impl Board {
    /// Puts a document in its place; it is due when it differs from what stood there.
    pub fn put(&self, topic: String, document: Vec<u8>) {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let document = Bytes::from(document);
        if places.get(&topic).is_some_and(|place| place.document == document) {
            return;
        }
        places.insert(topic, Place { document, due: true });
        drop(places);
        self.changed.notify_one();
    }

    /// Everything is due again: there is a new connection.
    pub fn all_due(&self) {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.values_mut().for_each(|place| place.due = true);
        drop(places);
        self.changed.notify_one();
    }

    /// Takes one document that is due.
    pub fn next_due(&self) -> Option<(String, Bytes)> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let (topic, place) = places.iter_mut().find(|(_, place)| place.due)?;
        place.due = false;
        Some((topic.clone(), place.document.clone()))
    }

    /// The document of a topic could not be handed over.
    pub fn still_due(&self, topic: &str) {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = places.get_mut(topic) {
            place.due = true;
        }
    }

    /// Waits until something may be due.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::Mono, identity::Identity};
    use contract::{Epoch, Kind, Timestamp, frame};

    #[test]
    fn a_flat_record_is_the_contracts_live_form() {
        let identity = Identity::new("s".parse().unwrap(), "g".parse().unwrap());
        let address = frame::Address { epoch: Epoch(1), kind: Kind::Event.number(), seq: 4 };
        let header = identity.header(Kind::Event, address, Timestamp(5), Mono(6));
        let body = contract::Event {
            id: "1-4".into(),
            before: None,
            after: Some("open".into()),
            score: 0.75,
            since: Timestamp(1),
        };
        let record = frame::encode_record(&header, &body, &[]).unwrap();
        let live: contract::live::Live<contract::Event> = serde_json::from_slice(&flat(&record).unwrap()).unwrap();
        assert_eq!((live.header, live.body), (header, body));
    }

    #[test]
    fn the_newest_document_of_a_topic_is_due_once() {
        let board = Board::default();
        for text in ["1", "2", "2"] {
            board.put("a".into(), text.into());
        }
        assert_eq!(board.next_due(), Some(("a".into(), "2".into())));
        board.put("a".into(), "2".into());
        assert_eq!(board.next_due(), None);
        board.all_due();
        assert_eq!(board.next_due().unwrap().0, "a");
        board.still_due("a");
        assert_eq!((board.next_due().unwrap().0.as_str(), board.next_due()), ("a", None));
    }
}
