//! What came and waits for the reader: bounded, in order, with the acknowledgements that it will need.

use std::{collections::VecDeque, time::Duration};

use rumqttc::v5::mqttbytes::{QoS as WireQos, v5::Publish};
use tokio::sync::mpsc;

use crate::{Ack, Event, Message, QoS, driver::AckHandle, session::EVENTS_MAX};

/// Events on their way to the reader.
pub(crate) struct Incoming {
    pub waiting: VecDeque<Event>,
    acks: mpsc::UnboundedSender<(u64, u16)>,
    /// Where in `waiting` the current connection began.
    began: usize,
}

impl Incoming {
    pub fn new(acks: mpsc::UnboundedSender<(u64, u16)>) -> Self {
        Self { waiting: VecDeque::new(), acks, began: 0 }
    }

    /// Takes a message that `connection` brought. `Ok(false)`: a QoS 0 message dropped, since the reader is behind.
    /// (QoS 1 is bounded by the receive maximum: what is not handed over is not acknowledged.)
    pub fn take(&mut self, publish: Publish, connection: u64) -> Result<bool, String> {
        let topic = String::from_utf8(publish.topic.to_vec()).map_err(|_| "a topic that is not UTF-8".to_owned())?;
        if topic.is_empty() {
            return Err("a topic alias, which we did not allow".to_owned());
        }
        let (qos, ack) = match publish.qos {
            WireQos::AtMostOnce => (QoS::AtMostOnce, None),
            WireQos::AtLeastOnce => {
                (QoS::AtLeastOnce, Some(AckHandle { acks: self.acks.clone(), connection, number: publish.pkid }))
            }
            WireQos::ExactlyOnce => return Err("a QoS 2 message, which we never ask for".to_owned()),
        };
        if qos == QoS::AtMostOnce && self.waiting.len() >= EVENTS_MAX {
            return Ok(false);
        }
        let p = publish.properties.unwrap_or_default();
        self.waiting.push_back(Event::Message(Message {
            topic,
            payload: publish.payload,
            qos,
            retained: publish.retain,
            duplicate: publish.dup,
            expiry: p.message_expiry_interval.map(|s| Duration::from_secs(u64::from(s))),
            content_type: p.content_type,
            user_properties: p.user_properties,
            response_topic: p.response_topic,
            correlation: p.correlation_data,
            ack: Ack(ack),
        }));
        Ok(true)
    }

    /// A connection begins; nothing is handed over until it is [`Incoming::up`].
    pub fn begin(&mut self) {
        self.began = self.waiting.len();
    }

    /// The connection stands: the reader hears that before the messages that came while it was made (a resumed session
    /// brings them at once).
    pub fn up(&mut self, event: Event) {
        self.waiting.insert(self.began, event);
    }

    /// The broker resumed our session: what it sent and was not acknowledged comes again, so what waits of it goes.
    pub fn resumed(&mut self) {
        self.waiting.retain(|event| !matches!(event, Event::Message(Message { ack: Ack(Some(_)), .. })));
    }

    /// The connection is gone. A connection that the reader has not heard of yet is no longer worth telling.
    pub fn down(&mut self, reason: &str) {
        match self.waiting.iter().rposition(|event| matches!(event, Event::Up { .. })) {
            Some(at) => drop(self.waiting.remove(at)),
            None => self.waiting.push_back(Event::Down { reason: reason.to_owned() }),
        }
    }

    /// The next event for the reader; unless acknowledging is the reader's business, this is the moment it happens.
    pub fn hand_over(&mut self, manual_acks: bool) -> Option<Event> {
        let mut event = self.waiting.pop_front()?;
        if let (Event::Message(message), false) = (&mut event, manual_acks)
            && let Some(handle) = message.ack.0.take()
        {
            handle.send();
        }
        Some(event)
    }
}
