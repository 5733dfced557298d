//! The two ends that a program holds: [`Session`] to publish with, [`Events`] to read.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::sync::{Notify, mpsc, oneshot};

use crate::{Message, Options, OptionsError, Publication, QoS, driver};

/// Starts a session: its task connects, and reconnects until [`Session::close`] or until the last handle is dropped.
/// Must be called within a Tokio runtime. A broker that is not there is an outage, not an error; see [`crate::probe`]
/// for a first connection that explains.
pub fn connect(options: Options) -> Result<(Session, Events), OptionsError> {
    options.validate()?;
    let (held, held_queue) = mpsc::channel(options.queue_max);
    let (live, live_queue) = mpsc::channel(options.queue_max);
    let (send_event, events) = mpsc::channel(EVENTS_MAX);
    let shared = Arc::new(Shared::default());
    let session = Session { held, live, shared: shared.clone() };
    tokio::spawn(driver::run(options, Queues { held: held_queue, live: live_queue }, send_event, shared));
    Ok((session, Events { events }))
}

/// Events that wait for the reader before incoming messages are held (QoS 1) or dropped (QoS 0).
pub(crate) const EVENTS_MAX: usize = 256;

/// The queues between handles and driver: QoS 0 has its own, so that what is live never waits behind acknowledgements.
pub(crate) struct Queues {
    pub held: mpsc::Receiver<Accepted>,
    pub live: mpsc::Receiver<Accepted>,
}

/// What handle and driver share.
#[derive(Default)]
pub(crate) struct Shared {
    pub up: AtomicBool,
    pub closing: AtomicBool,
    pub close: Notify,
    pub closed: AtomicBool,
    pub done: Notify,
    pub stats: Counters,
}

/// Numbers of a session since it began.
#[derive(Default)]
pub(crate) struct Counters {
    pub sent: AtomicU64,
    pub sent_bytes: AtomicU64,
    pub acked: AtomicU64,
    pub resent: AtomicU64,
    pub expired: AtomicU64,
    pub given_up: AtomicU64,
    pub refused: AtomicU64,
    pub received: AtomicU64,
    pub received_bytes: AtomicU64,
    pub dropped: AtomicU64,
    pub connections: AtomicU64,
    pub failures: AtomicU64,
    pub backlog: AtomicU64,
}

/// Numbers of a session since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Publications written to a connection, each once.
    pub sent: u64,
    /// Their payload bytes.
    pub sent_bytes: u64,
    /// QoS 1 publications that the broker has taken over.
    pub acked: u64,
    /// Publications written again after a reconnection.
    pub resent: u64,
    /// Publications dropped because their expiry passed before they could be sent.
    pub expired: u64,
    /// Publications that are sent once, and whose connection broke before the broker had acknowledged them.
    pub given_up: u64,
    /// Publications that the broker, or its limits, refused.
    pub refused: u64,
    /// Messages that came.
    pub received: u64,
    /// Their payload bytes.
    pub received_bytes: u64,
    /// QoS 0 messages dropped because the reader was behind.
    pub dropped: u64,
    /// Connections made.
    pub connections: u64,
    /// Attempts that failed and connections that broke.
    pub failures: u64,
    /// Publications that wait in the queue or for their acknowledgement now.
    pub backlog: u64,
}

/// The publishing end; cheap to clone.
#[derive(Clone)]
pub struct Session {
    pub(crate) held: mpsc::Sender<Accepted>,
    pub(crate) live: mpsc::Sender<Accepted>,
    pub(crate) shared: Arc<Shared>,
}

/// A publication on its way through the queue.
pub(crate) struct Accepted {
    pub publication: Publication,
    pub at: Instant,
    pub done: oneshot::Sender<Result<(), Undelivered>>,
}

/// Why a publication was not taken. It comes back, so that nothing is lost by asking.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// The queue is full.
    #[error("publication is refused: the send queue is full")]
    Full(Box<Publication>),
    /// There is no connection now.
    #[error("publication is refused: the broker is not connected")]
    Down(Box<Publication>),
    /// The session is closed.
    #[error("publication is refused: the session is closed")]
    Closed(Box<Publication>),
    /// MQTT does not allow this topic.
    #[error("publication is refused: {:?} is not an MQTT topic", .0.topic)]
    Topic(Box<Publication>),
}

/// Why an accepted publication did not reach the broker.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Undelivered {
    /// Its expiry passed first.
    #[error("publication expired before it could be sent")]
    Expired,
    /// It is longer than the broker or our own limit allows.
    #[error("publication of {bytes} bytes is longer than the {max} bytes that the broker allows")]
    TooLarge {
        /// The packet's length.
        bytes: usize,
        /// The limit.
        max: u32,
    },
    /// The broker refused it.
    #[error("broker refused the publication: {reason}")]
    Refused {
        /// The broker's reason code, in words.
        reason: String,
    },
    /// It is sent once, and the connection broke before the broker had acknowledged it: it may have arrived or not.
    #[error("connection broke before the publication was acknowledged, and it is not sent again")]
    Broken,
    /// The session was closed first.
    #[error("session was closed before the publication was delivered")]
    Closed,
}

/// What becomes of an accepted publication: resolves when the broker has taken it over (QoS 1) or it was written to the
/// connection (QoS 0). Dropping it changes nothing.
#[must_use = "dropping this is fine, but say so with `drop` or `let _ =`"]
pub struct Delivery(oneshot::Receiver<Result<(), Undelivered>>);

impl Future for Delivery {
    type Output = Result<(), Undelivered>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|result| result.unwrap_or(Err(Undelivered::Closed)))
    }
}

impl Session {
    /// Hands a publication over, waiting for room in the queue, through outages too.
    pub async fn publish(&self, publication: Publication) -> Result<Delivery, Refused> {
        let publication = self.check(publication)?;
        match self.queue(publication.qos).reserve().await {
            Ok(permit) if !self.shared.closing.load(Ordering::Acquire) => {
                let (accepted, delivery) = accept(publication);
                self.shared.stats.backlog.fetch_add(1, Ordering::Relaxed);
                permit.send(accepted);
                Ok(delivery)
            }
            _ => Err(Refused::Closed(Box::new(publication))),
        }
    }

    /// Hands a publication over if that is possible now: for the live lane, where late is worthless.
    pub fn try_publish(&self, publication: Publication) -> Result<Delivery, Refused> {
        let publication = self.check(publication)?;
        if !self.is_up() {
            return Err(Refused::Down(Box::new(publication)));
        }
        match self.queue(publication.qos).try_reserve() {
            Ok(permit) => {
                let (accepted, delivery) = accept(publication);
                self.shared.stats.backlog.fetch_add(1, Ordering::Relaxed);
                permit.send(accepted);
                Ok(delivery)
            }
            Err(mpsc::error::TrySendError::Full(())) => Err(Refused::Full(Box::new(publication))),
            Err(mpsc::error::TrySendError::Closed(())) => Err(Refused::Closed(Box::new(publication))),
        }
    }

    fn queue(&self, qos: QoS) -> &mpsc::Sender<Accepted> {
        match qos {
            QoS::AtMostOnce => &self.live,
            QoS::AtLeastOnce => &self.held,
        }
    }

    fn check(&self, publication: Publication) -> Result<Publication, Refused> {
        if self.shared.closing.load(Ordering::Acquire) {
            return Err(Refused::Closed(Box::new(publication)));
        }
        let topic = &publication.topic;
        if topic.is_empty() || topic.len() > usize::from(u16::MAX) || topic.contains(['+', '#', '\0']) {
            return Err(Refused::Topic(Box::new(publication)));
        }
        Ok(publication)
    }

    /// Whether there is a connection now.
    pub fn is_up(&self) -> bool {
        self.shared.up.load(Ordering::Acquire)
    }

    /// Numbers since the session began.
    pub fn stats(&self) -> Stats {
        let n = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let c = &self.shared.stats;
        Stats {
            sent: n(&c.sent),
            sent_bytes: n(&c.sent_bytes),
            acked: n(&c.acked),
            resent: n(&c.resent),
            expired: n(&c.expired),
            given_up: n(&c.given_up),
            refused: n(&c.refused),
            received: n(&c.received),
            received_bytes: n(&c.received_bytes),
            dropped: n(&c.dropped),
            connections: n(&c.connections),
            failures: n(&c.failures),
            backlog: n(&c.backlog),
        }
    }

    /// Takes no more publications, sends and waits for what was accepted, says goodbye (so that no will is published),
    /// and ends; all within `bound`. Returns whether everything was delivered. During an outage it does not wait for the
    /// broker to come back.
    pub async fn close(&self, bound: Duration) -> bool {
        self.shared.closing.store(true, Ordering::Release);
        self.shared.close.notify_one();
        let done = async {
            loop {
                let notified = self.shared.done.notified();
                if self.shared.closed.load(Ordering::Acquire) {
                    return;
                }
                notified.await;
            }
        };
        let ended = tokio::time::timeout(bound, done).await.is_ok();
        ended && self.shared.stats.backlog.load(Ordering::Relaxed) == 0
    }
}

fn accept(publication: Publication) -> (Accepted, Delivery) {
    let (done, delivery) = oneshot::channel();
    (Accepted { publication, at: Instant::now(), done }, Delivery(delivery))
}

/// What happens in a session.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// A connection stands and the broker has confirmed the subscriptions.
    Up {
        /// Whether the broker still had our session.
        session_present: bool,
        /// Counts the connections of this session; see [`crate::Options::session_number`].
        session: u64,
        /// The longest packet that the broker takes, and [`crate::Options::packet_max`] allows, in bytes.
        packet_max: u32,
    },
    /// The connection is gone, or could not be made; said once an outage.
    Down {
        /// Why.
        reason: String,
    },
    /// A message came.
    Message(Message),
}

/// The reading end. When it is dropped, what comes is acknowledged and discarded. The session closes by itself when the
/// last [`Session`] is dropped.
pub struct Events {
    pub(crate) events: mpsc::Receiver<Event>,
}

impl Events {
    /// The next event; `None` once the session is closed.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// The next event where one is there already: a reader that works through what came needs no wait between.
    pub fn try_next(&mut self) -> Option<Event> {
        self.events.try_recv().ok()
    }
}
