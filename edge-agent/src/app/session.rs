//! What the broker says: connections come and go, documents and commands arrive.

use std::{convert::Infallible, path::PathBuf, sync::Arc};

use contract::{
    SCHEMA, Timestamp, Topic,
    live::{GatewayStatus, Presence},
};
use daemon::admin::Component;
use link::{Event, Events, Message, Publication, Session};

use super::{Shared, build::engine_text, commands, mark, stable};
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
}

impl Connection {
    /// Runs until the session is closed.
    pub async fn run(mut self, mut events: Events) -> Result<(), Infallible> {
        mark(&self.component, Err("not connected yet".into()));
        self.report();
        let (mut number, mut since) = (self.first, clock::wall());
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                () = self.shared.board.changed() => {
                    self.publish_due().await;
                    continue;
                }
            };
            match event {
                None => return Ok(()),
                Some(Event::Up { session, .. }) => {
                    (number, since) = (session, clock::wall());
                    stable::keep_session_number(&self.state, number);
                    mark(&self.component, Ok(()));
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

    /// Retained documents that are due, as long as there is a connection; what is left waits for the next one.
    async fn publish_due(&self) {
        while self.session.is_up() {
            let Some((topic, document)) = self.shared.board.next_due() else { return };
            let publication = Publication::new(topic, document).at_least_once().retained().content_type(JSON);
            if self.session.publish(publication).await.is_err() {
                return;
            }
        }
    }

    /// The gateway's status; it states what is held.
    fn birth(&self, session: u64, since: Timestamp) {
        let shared = &self.shared;
        let status = GatewayStatus {
            schema: SCHEMA,
            status: Presence::Online,
            session,
            since: Some(since),
            version: Some(crate::BUILD.version.into()),
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
                self.twin.desired(&message.payload);
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
