//! An MQTT client that only looks: what a subscriber with any client would see, with the properties of MQTT 5.

use std::{
    cell::RefCell,
    collections::HashSet,
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use rumqttc::{
    TlsConfiguration, Transport,
    v5::{
        Client, Event, Incoming, MqttOptions,
        mqttbytes::{
            QoS,
            v5::{ConnectProperties, Filter, Publish, PublishProperties},
        },
    },
};
use serde_json::Value;

use crate::wait::PATIENCE;

/// One message as it was seen.
#[derive(Clone, Debug)]
pub struct Message {
    /// The whole topic.
    pub topic: String,
    /// The payload.
    pub payload: Bytes,
    /// Quality of service of its delivery.
    pub qos: u8,
    /// Whether it was published as retained.
    pub retain: bool,
    /// Message expiry, seconds left.
    pub expiry: Option<u32>,
    /// Content type.
    pub content_type: Option<String>,
    /// User properties.
    pub properties: Vec<(String, String)>,
    /// Correlation data, in answers to commands.
    pub correlation: Option<Bytes>,
}

impl Message {
    /// The payload as JSON; `null` when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.payload).unwrap_or(Value::Null)
    }

    fn of(publish: Publish) -> Self {
        let p = publish.properties.unwrap_or_default();
        Self {
            topic: String::from_utf8_lossy(&publish.topic).into_owned(),
            payload: publish.payload,
            qos: publish.qos as u8,
            retain: publish.retain,
            expiry: p.message_expiry_interval,
            content_type: p.content_type,
            properties: p.user_properties,
            correlation: p.correlation_data,
        }
    }
}

/// How to reach a broker.
#[derive(Clone, Default)]
pub struct Login {
    /// User name and password.
    pub user: Option<(String, String)>,
    /// TLS, where the broker wants it.
    pub tls: Option<Tls>,
}

/// PEM files of a TLS client.
#[derive(Clone, Default)]
pub struct Tls {
    /// The authority that the server's certificate must come from.
    pub ca: Vec<u8>,
    /// The client's certificate and key.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

/// What one observer has seen, and the word that there is more.
type Watched = Arc<(Mutex<Seen>, Condvar)>;

thread_local! {
    /// What the observers of this thread see, for holding it against the document at the story's end.
    static OBSERVED: RefCell<Vec<Watched>> = const { RefCell::new(Vec::new()) };
    /// Payloads that this thread sent although they are wrong.
    static WRONG: RefCell<HashSet<Vec<u8>>> = RefCell::default();
}

/// All that the observers of this thread have seen, less what a story sent wrong on purpose.
pub fn observed() -> Vec<Message> {
    let seen =
        OBSERVED.with_borrow(|all| all.iter().flat_map(|seen| lock(&seen.0).messages.clone()).collect::<Vec<_>>());
    WRONG.with_borrow(|wrong| seen.into_iter().filter(|message| !wrong.contains(&message.payload[..])).collect())
}

fn lock(seen: &Mutex<Seen>) -> std::sync::MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Default)]
struct Seen {
    messages: Vec<Message>,
    subscribed: bool,
    trouble: Option<String>,
}

/// A subscriber that keeps what it sees.
pub struct Observer {
    client: Client,
    seen: Watched,
    _beside: Option<Box<Observer>>,
}

impl Observer {
    /// Subscribes at `mqtt://host:port`; returns when the broker has acknowledged.
    pub fn start(url: &str, filters: &[&str]) -> Result<Self> {
        Self::with(url, filters, &Login::default(), |_| true)
    }

    /// Watches more topics for the document's sake alone: no wait and no count sees them.
    pub fn beside(mut self, url: &str, filters: &[&str]) -> Result<Self> {
        self._beside = Some(Box::new(Self::start(url, filters)?));
        Ok(self)
    }

    /// The same with a login, and a look at each message that says whether to keep it.
    pub fn with(
        url: &str,
        filters: &[&str],
        login: &Login,
        mut keep: impl FnMut(&Message) -> bool + Send + 'static,
    ) -> Result<Self> {
        let (client, mut connection) = Client::new(options(url, login)?, 32);
        let seen = Arc::new((Mutex::new(Seen::default()), Condvar::new()));
        client.subscribe_many(filters.iter().map(|filter| Filter {
            path: (*filter).to_owned(),
            qos: QoS::AtLeastOnce,
            preserve_retain: true,
            ..Filter::default()
        }))?;
        OBSERVED.with_borrow_mut(|all| all.push(Arc::clone(&seen)));
        let writer = Arc::clone(&seen);
        thread::spawn(move || {
            for event in connection.iter() {
                let (seen, changed) = &*writer;
                let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                match event {
                    Ok(Event::Incoming(Incoming::Publish(publish))) => {
                        let message = Message::of(publish);
                        if keep(&message) {
                            seen.messages.push(message);
                        }
                    }
                    Ok(Event::Incoming(Incoming::SubAck(_))) => seen.subscribed = true,
                    Ok(Event::Incoming(Incoming::Disconnect(_)) | Event::Outgoing(rumqttc::Outgoing::Disconnect)) => {
                        break;
                    }
                    Ok(_) => continue,
                    Err(error) => {
                        seen.trouble = Some(error.to_string());
                        changed.notify_all();
                        break;
                    }
                }
                changed.notify_all();
            }
        });
        let observer = Self { client, seen, _beside: None };
        observer.look("the subscription's acknowledgement", |seen| seen.subscribed.then_some(()))?;
        Ok(observer)
    }

    /// The first message, past or to come, for which `wanted` gives something.
    pub fn wait<T>(&self, what: &str, mut wanted: impl FnMut(&Message) -> Option<T>) -> Result<T> {
        let mut from = 0;
        self.look(what, |seen| {
            let found = seen.messages[from..].iter().find_map(&mut wanted);
            from = seen.messages.len();
            found
        })
    }

    /// Waits until `count` messages are there that `wanted` takes.
    pub fn wait_count(&self, what: &str, count: usize, mut wanted: impl FnMut(&Message) -> bool) -> Result<()> {
        self.look(what, |seen| (seen.messages.iter().filter(|m| wanted(m)).count() >= count).then_some(()))
    }

    /// All messages so far whose topic ends so.
    pub fn ending(&self, end: &str) -> Vec<Message> {
        self.messages().into_iter().filter(|m| m.topic.ends_with(end)).collect()
    }

    /// Why nothing more will come, once the broker is lost.
    pub fn trouble(&self) -> Option<String> {
        lock(&self.seen.0).trouble.clone()
    }

    /// All messages so far.
    pub fn messages(&self) -> Vec<Message> {
        lock(&self.seen.0).messages.clone()
    }

    /// The last message of a topic, as a retained document is read.
    pub fn last(&self, topic: &str) -> Option<Message> {
        self.messages().into_iter().rfind(|m| m.topic == topic)
    }

    /// Publishes at least once.
    pub fn publish(&self, topic: &str, retain: bool, payload: impl Into<Vec<u8>>) -> Result<()> {
        Ok(self.client.publish(topic, QoS::AtLeastOnce, retain, payload.into())?)
    }

    /// Publishes what is wrong on purpose: the story's end does not hold it against the document.
    pub fn publish_wrong(&self, topic: &str, payload: impl Into<Vec<u8>>) -> Result<()> {
        let payload = payload.into();
        Self::is_wrong(&payload);
        self.publish(topic, false, payload)
    }

    /// From now on this payload is one that is wrong on purpose.
    pub fn is_wrong(payload: &[u8]) {
        WRONG.with_borrow_mut(|wrong| wrong.insert(payload.to_vec()));
    }

    /// Publishes with properties.
    pub fn publish_with(&self, topic: &str, payload: impl Into<Vec<u8>>, properties: PublishProperties) -> Result<()> {
        Ok(self.client.publish_with_properties(topic, QoS::AtLeastOnce, false, payload.into(), properties)?)
    }

    fn look<T>(&self, what: &str, mut find: impl FnMut(&Seen) -> Option<T>) -> Result<T> {
        let deadline = Instant::now() + PATIENCE;
        let (seen, changed) = &*self.seen;
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(found) = find(&seen) {
                return Ok(found);
            }
            if let Some(trouble) = &seen.trouble {
                bail!("MQTT observer lost its broker while waiting for {what}: {trouble}");
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let topics: std::collections::BTreeSet<_> = seen.messages.iter().map(|m| &m.topic).collect();
                bail!("waited {PATIENCE:?} for {what}; {} messages on {topics:?}", seen.messages.len());
            }
            seen = changed.wait_timeout(seen, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        let _ = self.client.try_disconnect();
    }
}

fn options(url: &str, login: &Login) -> Result<MqttOptions> {
    static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let address = url.split_once("://").map_or(url, |(_, address)| address);
    let (host, port) = address.rsplit_once(':').with_context(|| format!("MQTT address {url} names no port"))?;
    let id = format!("observer-{}-{number}", std::process::id());
    let mut options = MqttOptions::new(id, host, port.parse().context("MQTT port is not a number")?);
    let properties = ConnectProperties { max_packet_size: Some(16 << 20), ..ConnectProperties::new() };
    options.set_connect_properties(properties).set_keep_alive(Duration::from_secs(30)).set_clean_start(true);
    if let Some((user, password)) = &login.user {
        options.set_credentials(user, password);
    }
    if let Some(Tls { ca, identity }) = login.tls.clone() {
        crate::rest::install_crypto();
        let tls = TlsConfiguration::Simple { ca, alpn: None, client_auth: identity };
        options.set_transport(Transport::tls_with_config(tls));
    }
    Ok(options)
}
