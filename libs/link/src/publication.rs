//! What is sent and what is received.

use std::time::{Duration, Instant};

use bytes::Bytes;
use rumqttc::v5::mqttbytes::{self, v5 as wire};

use crate::driver::AckHandle;

/// How surely a message arrives. QoS 2 is not offered: what matters here is numbered, and may come twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum QoS {
    /// Sent once, never repeated.
    #[default]
    AtMostOnce,
    /// Repeated until acknowledged.
    AtLeastOnce,
}

impl From<QoS> for mqttbytes::QoS {
    fn from(qos: QoS) -> Self {
        match qos {
            QoS::AtMostOnce => Self::AtMostOnce,
            QoS::AtLeastOnce => Self::AtLeastOnce,
        }
    }
}

/// A message to send.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Publication {
    /// The topic, with the prefix.
    pub topic: String,
    /// The payload.
    pub payload: Bytes,
    /// How surely it should arrive.
    pub qos: QoS,
    /// Whether the broker keeps it for later subscribers.
    pub retain: bool,
    /// How long it is worth delivering, from the moment it is handed over; whole seconds count, at least one.
    pub expiry: Option<Duration>,
    /// MIME type of the payload.
    pub content_type: Option<String>,
    /// User properties, in order.
    pub user_properties: Vec<(String, String)>,
    /// Where an answer is wanted.
    pub response_topic: Option<String>,
    /// What an answer should carry back.
    pub correlation: Option<Bytes>,
    /// Given up when the connection that it was written to breaks before the acknowledgement.
    pub once: bool,
}

impl Publication {
    /// At most once, not retained.
    pub fn new(topic: impl Into<String>, payload: impl Into<Bytes>) -> Self {
        Self { topic: topic.into(), payload: payload.into(), ..Self::default() }
    }

    /// At least once.
    pub fn at_least_once(mut self) -> Self {
        self.qos = QoS::AtLeastOnce;
        self
    }

    /// At least once as far as the broker is concerned, which so keeps it for subscribers that are away for a moment; but
    /// never written to a second connection. For what is worth something now and nothing later.
    pub fn at_least_once_but_never_again(mut self) -> Self {
        self.qos = QoS::AtLeastOnce;
        self.once = true;
        self
    }

    /// Kept by the broker for later subscribers.
    pub fn retained(mut self) -> Self {
        self.retain = true;
        self
    }

    /// Worth delivering for this long.
    pub fn expiring(mut self, after: Duration) -> Self {
        self.expiry = Some(after);
        self
    }

    /// With a MIME type.
    pub fn content_type(mut self, mime: impl Into<String>) -> Self {
        self.content_type = Some(mime.into());
        self
    }

    /// With one more user property.
    pub fn property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.user_properties.push((name.into(), value.into()));
        self
    }

    /// The packet without its number, and with what is left of its expiry; `None` when that has passed.
    pub(crate) fn to_packet(&self, accepted: Instant, now: Instant) -> Option<wire::Publish> {
        let left = match self.expiry {
            Some(expiry) => Some(expiry.checked_sub(now.duration_since(accepted)).filter(|left| !left.is_zero())?),
            None => None,
        };
        let mut properties = wire::PublishProperties {
            message_expiry_interval: left.map(|left| left.as_secs_f64().ceil().min(f64::from(u32::MAX)) as u32),
            content_type: self.content_type.clone(),
            user_properties: self.user_properties.clone(),
            response_topic: self.response_topic.clone(),
            correlation_data: self.correlation.clone(),
            ..Default::default()
        };
        properties.payload_format_indicator = None;
        let empty = properties == wire::PublishProperties::default();
        let mut packet = wire::Publish::new(
            self.topic.as_str(),
            self.qos.into(),
            self.payload.clone(),
            (!empty).then_some(properties),
        );
        packet.retain = self.retain;
        Some(packet)
    }
}

/// A message that came.
#[derive(Debug)]
pub struct Message {
    /// The topic, with the prefix.
    pub topic: String,
    /// The payload.
    pub payload: Bytes,
    /// How it was delivered.
    pub qos: QoS,
    /// Whether it was kept by the broker from before our subscription.
    pub retained: bool,
    /// Whether the broker says that it may have been delivered before.
    pub duplicate: bool,
    /// What is left of its expiry.
    pub expiry: Option<Duration>,
    /// MIME type of the payload.
    pub content_type: Option<String>,
    /// User properties, in order.
    pub user_properties: Vec<(String, String)>,
    /// Where an answer is wanted.
    pub response_topic: Option<String>,
    /// What an answer should carry back.
    pub correlation: Option<Bytes>,
    /// The acknowledgement. With [`crate::Options::manual_acks`] it is the reader's to give; otherwise it is given
    /// already when the message is read, and doing it again is harmless.
    pub ack: Ack,
}

impl Message {
    /// The first user property of that name.
    pub fn property(&self, name: &str) -> Option<&str> {
        self.user_properties.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// An answer to this message as MQTT 5 has it: to its response topic, with its correlation. `None` when it asks for none.
    pub fn answer(&self, payload: impl Into<Bytes>) -> Option<Publication> {
        let mut answer = Publication::new(self.response_topic.clone()?, payload).at_least_once();
        answer.correlation = self.correlation.clone();
        Some(answer)
    }
}

/// The right to acknowledge one message. Dropped without [`Ack::send`], the message stays unacknowledged: it counts
/// against [`crate::Options::receive_max`], and the broker sends it again in the next connection.
#[derive(Debug)]
#[must_use = "a message that is not acknowledged is sent again"]
pub struct Ack(pub(crate) Option<AckHandle>);

impl Ack {
    /// Acknowledges the message. When the connection that brought it is gone, this does nothing: it will come again.
    pub fn send(mut self) {
        if let Some(handle) = self.0.take() {
            handle.send();
        }
    }
}
