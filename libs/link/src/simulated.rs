//! A session without a broker, for simulators: what is published comes out at the far end, and what the far end brings is
//! read as from a broker. Outages are the simulator's to make.

use std::sync::{Arc, atomic::Ordering};

use tokio::sync::mpsc;

use crate::{
    Ack, Event, Events, Message, Publication, QoS, Session,
    session::{Accepted, EVENTS_MAX, Shared},
};

/// Publications that may wait to be taken.
const QUEUE_MAX: usize = 64;

/// The far end.
pub struct FarEnd {
    held: mpsc::Receiver<Accepted>,
    live: mpsc::Receiver<Accepted>,
    events: mpsc::Sender<Event>,
    shared: Arc<Shared>,
    connections: u64,
}

/// A session, and its far end.
pub fn simulated() -> (Session, Events, FarEnd) {
    let (held, held_queue) = mpsc::channel(QUEUE_MAX);
    let (live, live_queue) = mpsc::channel(QUEUE_MAX);
    let (send_event, events) = mpsc::channel(EVENTS_MAX);
    let shared = Arc::new(Shared::default());
    let far = FarEnd { held: held_queue, live: live_queue, events: send_event, shared: shared.clone(), connections: 0 };
    (Session { held, live, shared }, Events { events }, far)
}

impl FarEnd {
    /// The next publication, acknowledged, if there is one.
    pub fn take(&mut self) -> Option<Publication> {
        let accepted = self.held.try_recv().or_else(|_| self.live.try_recv()).ok()?;
        self.shared.stats.backlog.fetch_sub(1, Ordering::Relaxed);
        let _ = accepted.done.send(Ok(())); // who published may have gone
        Some(accepted.publication)
    }

    /// A connection stands; `false` when the reader is too far behind to hear it.
    pub fn up(&mut self) -> bool {
        self.connections += 1;
        self.shared.up.store(true, Ordering::Release);
        let session = self.connections;
        self.events.try_send(Event::Up { session_present: true, session, packet_max: u32::MAX }).is_ok()
    }

    /// The connection breaks.
    pub fn down(&mut self) -> bool {
        self.shared.up.store(false, Ordering::Release);
        self.events.try_send(Event::Down { reason: "simulated".into() }).is_ok()
    }

    /// Brings a message; `false` when the reader is too far behind to take it.
    pub fn bring(&mut self, publication: &Publication) -> bool {
        let Publication { topic, payload, content_type, user_properties, .. } = publication.clone();
        let message = Message {
            topic,
            payload,
            qos: QoS::AtLeastOnce,
            retained: false,
            duplicate: false,
            expiry: None,
            content_type,
            user_properties,
            response_topic: None,
            correlation: None,
            ack: Ack(None),
        };
        self.events.try_send(Event::Message(message)).is_ok()
    }
}
