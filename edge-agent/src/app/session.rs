//! What the broker says: connections come and go, documents and commands arrive.

use std::{convert::Infallible, path::PathBuf, sync::Arc, time::Duration};

use contract::{
    SCHEMA, Timestamp, Topic,
    live::{GatewayStatus, Presence},
};
use daemon::{
    admin::Component,
    liveness::{IDLE_TURN, Pulse},
};
use link::{Event, Events, Message, Publication, Refused, Session};

use super::{Shared, build::engine_text, commands, desired, mark, probes::message_fits, stable};
use crate::{clock, live::JSON, twin::Twin};

/// The task that reads the session's events.
pub struct Connection {
    pub shared: Arc<Shared>,
    pub session: Session,
    pub component: Component,
    pub twin: Twin,
    pub state: PathBuf,
    /// The number of the first connection.
    pub first: u64,
    /// Shows that this task lives.
    pub pulse: Pulse,
}

/// How long documents wait when the session's queue is full: the archive lane shares it, and leaves room soon.
const CROWDED: Duration = Duration::from_millis(50);

impl Connection {
    /// Runs until the session is closed.
    pub async fn run(mut self, mut events: Events) -> Result<(), Infallible> {
        mark(&self.component, Err("not connected yet".into()));
        self.report();
        let (mut number, mut since) = (self.first, clock::wall());
        let mut crowded = false;
        loop {
            self.pulse.turn();
            let pause = if crowded { CROWDED } else { IDLE_TURN };
            let event = tokio::select! {
                event = events.next() => event,
                () = self.shared.board.changed() => {
                    crowded = !self.publish_due();
                    continue;
                }
                () = self.shared.engine.changed.notified() => {
                    self.birth(number, since);
                    continue;
                }
                () = tokio::time::sleep(pause) => {
                    crowded = crowded && !self.publish_due();
                    continue;
                }
            };
            match event {
                None => return Ok(()),
                Some(Event::Up { session, packet_max, .. }) => {
                    (number, since) = (session, clock::wall());
                    stable::keep_session_number(&self.state, number);
                    let fits = message_fits(&self.shared.config, packet_max).map_err(|error| error.to_string());
                    if let Err(error) = &fits {
                        tracing::error!(
                            error,
                            "long archive messages will not be taken, and nothing behind them archived"
                        );
                    }
                    mark(&self.component, fits);
                    self.birth(number, since);
                    self.shared.board.all_due();
                    self.shared.archive.connected();
                }
                Some(Event::Down { reason }) => {
                    mark(&self.component, Err(reason));
                    self.shared.archive.disconnected();
                }
                Some(Event::Message(message)) => {
                    if self.message(message) {
                        self.birth(number, since);
                    }
                }
                Some(_) => {}
            }
        }
    }

    /// Publishes the retained documents that are due, as long as there is a connection (with the next one all are due
    /// again); `false` when there was no room for all of them. It never waits: events of the session must be read.
    fn publish_due(&self) -> bool {
        while let Some((topic, document)) = self.shared.board.next_due() {
            let publication = Publication::new(topic, document).at_least_once().retained().content_type(JSON);
            match self.session.try_publish(publication) {
                Ok(_) => {}
                Err(Refused::Full(refused)) => {
                    self.shared.board.still_due(&refused.topic);
                    return false;
                }
                Err(_) => return true,
            }
        }
        true
    }

    /// The gateway's status; it states what is held.
    fn birth(&self, session: u64, since: Timestamp) {
        let shared = &self.shared;
        let status = GatewayStatus {
            schema: SCHEMA,
            status: Presence::Online,
            session,
            since: Some(since),
            version: Some(crate::build().version.into()),
            engine: Some(engine_text(&shared.engines)),
            epoch: Some(shared.outbox.epoch()),
            holds: shared.outbox.holds(),
            archived: shared.outbox.seen_watermark(),
        };
        self.put(Topic::Status(shared.identity.principal()), &status);
    }

    fn report(&self) {
        self.put(Topic::Reported(self.shared.identity.principal()), &self.twin.reported());
    }

    fn put(&self, topic: Topic, document: &impl serde::Serialize) {
        let prefix = &self.shared.config.mqtt.prefix;
        match serde_json::to_vec(document) {
            Ok(json) => self.shared.board.put(topic.under(prefix), json),
            Err(error) => tracing::error!(%error, %topic, "document cannot be written"),
        }
    }

    /// One message for this gateway; whether the birth must be said again.
    fn message(&mut self, message: Message) -> bool {
        let Some(topic) = Topic::parse(&self.shared.config.mqtt.prefix, &message.topic) else { return false };
        match topic {
            Topic::Archived(_) => return self.shared.archive.watermark(&message.payload),
            Topic::Desired(_) => {
                if self.twin.desired(&message.payload)
                    && let Some(accepted) = self.twin.accepted()
                {
                    desired::write(&self.state, accepted);
                }
                self.report();
            }
            Topic::Command(_) => {
                let answer = commands::answer(&self.shared, &message);
                if let Some(answer) = answer
                    && self.session.try_publish(answer).is_err()
                {
                    tracing::warn!("answer to a command is not sent: the queue is full");
                }
            }
            _ => {}
        }
        false
    }
}
