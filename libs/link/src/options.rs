//! What a session needs to know: where the broker is, who we are, what we want to hear, and every bound.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;

use crate::QoS;

/// Where a broker is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// Host name or address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Whether the connection is encrypted.
    pub tls: bool,
}

impl Broker {
    /// Parses `mqtt://host[:1883]` or `mqtts://host[:8883]`.
    pub fn parse(text: &str) -> Result<Self, OptionsError> {
        Ok(Self::parse_with_credentials(text)?.0)
    }

    fn parse_with_credentials(text: &str) -> Result<(Self, Option<Credentials>), OptionsError> {
        let wrong = |why: &str| OptionsError::Url { url: without_password(text), why: why.to_owned() };
        let url = url::Url::parse(text).map_err(|error| wrong(&error.to_string()))?;
        let (tls, default_port) = match url.scheme() {
            "mqtt" | "tcp" => (false, 1883),
            "mqtts" | "ssl" => (true, 8883),
            other => return Err(wrong(&format!("scheme {other} is not mqtt or mqtts"))),
        };
        let host = url.host_str().filter(|h| !h.is_empty()).ok_or_else(|| wrong("it names no host"))?;
        if !matches!(url.path(), "" | "/") || url.query().is_some() {
            return Err(wrong("nothing may follow host and port; the topic prefix is a key of its own"));
        }
        let decode = |text: &str| percent_decode(text).ok_or_else(|| wrong("user name or password is not UTF-8"));
        let credentials = match (url.username(), url.password()) {
            ("", None) => None,
            (user, password) => {
                Some(Credentials { username: decode(user)?, password: password.map(decode).transpose()? })
            }
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok((Self { host, port: url.port().unwrap_or(default_port), tls }, credentials))
    }
}

impl fmt::Display for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "mqtts" } else { "mqtt" };
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{scheme}://{open}{}{close}:{}", self.host, self.port)
    }
}

/// A user name and perhaps a password; the password never prints.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// User name.
    pub username: String,
    /// Password.
    pub password: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

/// What the broker says for us when we vanish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will {
    /// The topic.
    pub topic: String,
    /// The payload.
    pub payload: Bytes,
    /// Its quality of service.
    pub qos: QoS,
    /// Whether it is retained.
    pub retain: bool,
    /// How long the broker waits for us to come back; whole seconds count.
    pub delay: Duration,
    /// MIME type of the payload.
    pub content_type: Option<String>,
}

/// One topic filter that we want to hear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// The filter, with the prefix.
    pub filter: String,
    /// The greatest quality of service wanted.
    pub qos: QoS,
}

impl Subscription {
    /// At least once.
    pub fn at_least_once(filter: impl Into<String>) -> Self {
        Self { filter: filter.into(), qos: QoS::AtLeastOnce }
    }

    /// At most once.
    pub fn at_most_once(filter: impl Into<String>) -> Self {
        Self { filter: filter.into(), qos: QoS::AtMostOnce }
    }
}

/// All that [`crate::connect`] needs. Begin with [`Options::new`] and change what differs.
#[derive(Clone)]
pub struct Options {
    /// The broker.
    pub broker: Broker,
    /// The client identifier; two sessions of one name throw each other out.
    pub client_id: String,
    /// User name and password.
    pub credentials: Option<Credentials>,
    /// How to do TLS; needed for `mqtts`.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// How long the broker keeps the session when we are away. Zero: it ends with the connection.
    pub session_expiry: Duration,
    /// How often we show that we are alive; the connection is given up after half of that again without an answer.
    pub keep_alive: Duration,
    /// How long one attempt to connect may take, from name resolution to the broker's answer.
    pub connect_timeout: Duration,
    /// The will, made anew for each connection from its number (see [`crate::Event::Up`]), so that an old will cannot
    /// hide a newer birth.
    pub will: Option<Arc<dyn Fn(u64) -> Will + Send + Sync>>,
    /// What to subscribe to when there is no session to resume.
    pub subscriptions: Vec<Subscription>,
    /// The longest packet that we accept, in bytes (and refuse to send, where the broker allows more).
    pub packet_max: u32,
    /// Our publications of QoS 1 that may wait for their acknowledgement at one time.
    pub inflight_max: u16,
    /// Publications that may wait in the queue before [`crate::Session::publish`] waits.
    pub queue_max: usize,
    /// Incoming QoS 1 messages that the broker may send before it gets acknowledgements.
    pub receive_max: u16,
    /// After a little came, no more is read for this long, so that what comes meanwhile is read, handed over and
    /// acknowledged together. For one who hears a thousand small senders, and to whom milliseconds do not matter. Zero: off.
    pub gather: Duration,
    /// Whether the reader acknowledges QoS 1 messages itself, through [`crate::Ack`].
    pub manual_acks: bool,
    /// The first wait after a failed connection.
    pub backoff_initial: Duration,
    /// The longest wait after a failed connection.
    pub backoff_max: Duration,
    /// Where [`crate::Event::Up`] begins to count connections; the first has this plus one. A program that restarts
    /// should begin higher than before: seconds since 1970 do.
    pub session_number: u64,
}

impl Options {
    /// Options for the broker at `url`, with bounds fit for a gateway. Credentials in the URL are taken over.
    pub fn new(url: &str, client_id: impl Into<String>) -> Result<Self, OptionsError> {
        let (broker, credentials) = Broker::parse_with_credentials(url)?;
        Ok(Self {
            broker,
            client_id: client_id.into(),
            credentials,
            tls: None,
            session_expiry: Duration::from_secs(24 * 3600),
            keep_alive: Duration::from_secs(15),
            connect_timeout: Duration::from_secs(10),
            will: None,
            subscriptions: Vec::new(),
            packet_max: 2 << 20,
            inflight_max: 32,
            queue_max: 64,
            receive_max: 64,
            gather: Duration::ZERO,
            manual_acks: false,
            backoff_initial: Duration::from_millis(200),
            backoff_max: Duration::from_secs(30),
            session_number: 0,
        })
    }

    pub(crate) fn validate(&self) -> Result<(), OptionsError> {
        if self.broker.tls && self.tls.is_none() {
            return Err(OptionsError::NoTls { broker: self.broker.clone() });
        }
        for Subscription { filter, .. } in &self.subscriptions {
            if !rumqttc::v5::mqttbytes::valid_filter(filter) {
                return Err(OptionsError::Filter { filter: filter.clone() });
            }
        }
        for (name, zero) in [
            ("inflight_max", self.inflight_max == 0),
            ("queue_max", self.queue_max == 0),
            ("receive_max", self.receive_max == 0),
            ("keep_alive", self.keep_alive < Duration::from_secs(1)),
            ("backoff_initial", self.backoff_initial.is_zero()),
        ] {
            if zero {
                return Err(OptionsError::Zero { name });
            }
        }
        Ok(())
    }
}

/// Why options make no session.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OptionsError {
    /// The address cannot be read.
    #[error("broker address {url} cannot be used: {why}; write mqtt://host:1883 or mqtts://host:8883")]
    Url {
        /// The address, without its password.
        url: String,
        /// What is wrong.
        why: String,
    },
    /// `mqtts` without a TLS configuration.
    #[error("{broker} is encrypted but no TLS configuration is given")]
    NoTls {
        /// The broker.
        broker: Broker,
    },
    /// A topic filter that MQTT does not allow.
    #[error("{filter:?} is not an MQTT topic filter")]
    Filter {
        /// The filter.
        filter: String,
    },
    /// A bound of nothing.
    #[error("{name} is too small to work with")]
    Zero {
        /// The option.
        name: &'static str,
    },
}

fn without_password(url: &str) -> String {
    match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if scheme + 3 < at => format!("{}…{}", &url[..scheme + 3], &url[at..]),
        _ => url.to_owned(),
    }
}

fn percent_decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => u8::from_str_radix(std::str::from_utf8(&[bytes.next()?, bytes.next()?]).ok()?, 16).ok()?,
            other => other,
        });
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_with_their_defaults() {
        for (text, host, port, tls) in [
            ("mqtt://localhost", "localhost", 1883, false),
            ("mqtts://broker.example:8884/", "broker.example", 8884, true),
            ("mqtts://[::1]", "::1", 8883, true),
        ] {
            assert_eq!(Broker::parse(text).unwrap(), Broker { host: host.into(), port, tls }, "{text}");
        }
        let options = Options::new("mqtt://gw%2F1:p%40ss@h:1", "c").unwrap();
        let credentials = options.credentials.unwrap();
        assert_eq!((credentials.username.as_str(), credentials.password.as_deref()), ("gw/1", Some("p@ss")));
    }

    #[test]
    fn wrong_addresses_are_explained_without_their_password() {
        for text in ["http://h", "h:1883", "mqtt://", "mqtt://h/prefix", "mqtt://user:hunter2@h:99999"] {
            let message = Broker::parse(text).unwrap_err().to_string();
            assert!(message.contains("mqtt://host:1883") && !message.contains("hunter2"), "{message}");
        }
    }

    #[test]
    fn bounds_of_nothing_are_refused() {
        let mut options = Options::new("mqtt://h", "c").unwrap();
        options.inflight_max = 0;
        assert_eq!(options.validate().unwrap_err().to_string(), "inflight_max is too small to work with");
        let encrypted = Options::new("mqtts://h", "c").unwrap();
        assert!(matches!(encrypted.validate(), Err(OptionsError::NoTls { .. })));
    }
}
