//! The task that owns a session: connects, serves the connection, and begins again when it breaks.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use crate::{
    Event, Options, QoS, Undelivered,
    backoff::{Backoff, random},
    connection::{Connection, Purpose, Terms},
    incoming::Incoming,
    inflight::Inflight,
    service::Service,
    session::{Accepted, Queues, Shared},
};

/// The way of one acknowledgement back to the driver.
#[derive(Debug)]
pub(crate) struct AckHandle {
    pub acks: mpsc::UnboundedSender<(u64, u16)>,
    pub connection: u64,
    pub number: u16,
}

impl AckHandle {
    pub fn send(self) {
        let _ = self.acks.send((self.connection, self.number));
    }
}

/// A connection that stood for this long was a good one: the next wait begins at the shortest again.
const GOOD_AFTER: Duration = Duration::from_secs(5);

/// Runs a session to its end.
pub(crate) async fn run(options: Options, queues: Queues, events: mpsc::Sender<Event>, shared: Arc<Shared>) {
    let (acks, ack_queue) = mpsc::unbounded_channel();
    let number = options.session_number;
    let mut driver = Driver {
        options,
        queues,
        events,
        shared,
        ack_queue,
        incoming: Incoming::new(acks),
        inflight: Inflight::new(),
        number,
        subscribed: false,
        outage: None,
        events_gone: false,
    };
    driver.run().await;
    let shared = driver.shared.clone();
    drop(driver); // what still waits resolves as closed
    shared.up.store(false, Ordering::Release);
    shared.closing.store(true, Ordering::Release);
    shared.closed.store(true, Ordering::Release);
    shared.done.notify_waiters();
}

/// The state of a session, which outlives its connections.
pub(crate) struct Driver {
    pub options: Options,
    pub queues: Queues,
    pub events: mpsc::Sender<Event>,
    pub shared: Arc<Shared>,
    pub ack_queue: mpsc::UnboundedReceiver<(u64, u16)>,
    pub incoming: Incoming,
    pub inflight: Inflight<Accepted>,
    /// The number of the current connection.
    pub number: u64,
    /// Whether the broker has our subscriptions, as long as it has our session.
    pub subscribed: bool,
    /// When the current outage began.
    outage: Option<Instant>,
    /// Whether the reader is gone.
    pub events_gone: bool,
}

/// How the service of a connection ended.
pub(crate) enum End {
    /// It broke; the session goes on.
    Broken(String),
    /// The session is over.
    Closed,
}

impl Driver {
    async fn run(&mut self) {
        let mut backoff = Backoff::new(self.options.backoff_initial, self.options.backoff_max);
        loop {
            self.number += 1;
            let opened = tokio::select! {
                opened = Connection::open(&self.options, Purpose::Session(self.number)) => opened,
                () = self.closing() => return,
            };
            match opened {
                Ok(connection) => {
                    let began = Instant::now();
                    match self.serve(connection).await {
                        End::Closed => return,
                        End::Broken(reason) => self.down(&reason),
                    }
                    if began.elapsed() >= GOOD_AFTER {
                        backoff.reset();
                    }
                }
                Err(error) => self.down(&error.to_string()),
            }
            if !self.wait(backoff.next(random())).await {
                return;
            }
        }
    }

    /// Waits between two attempts, still handing over what has come. False: the session is to end.
    async fn wait(&mut self, wait: Duration) -> bool {
        let end = tokio::time::Instant::now() + wait;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(end) => return true,
                () = self.closing() => return false,
                () = self.room_for_event() => self.hand_over(),
            }
        }
    }

    /// Resolves when an event waits and the reader has room for it, or is gone.
    pub async fn room_for_event(&self) {
        if self.incoming.waiting.is_empty() {
            return std::future::pending().await;
        }
        let _ = self.events.reserve().await; // the permit goes back, and nobody else sends
    }

    /// Hands events over as long as there is room; when the reader is gone, discards all of them.
    pub fn hand_over(&mut self) {
        loop {
            let room = match self.events.try_reserve() {
                Ok(room) => Some(room),
                Err(mpsc::error::TrySendError::Full(())) => return,
                Err(mpsc::error::TrySendError::Closed(())) => None,
            };
            self.events_gone |= room.is_none();
            let Some(event) = self.incoming.hand_over(self.options.manual_acks && !self.events_gone) else { return };
            if let Some(room) = room {
                room.send(event);
            }
        }
    }

    /// Resolves when the session is to end: on request, or when the last handle is gone.
    async fn closing(&self) {
        while !self.is_closing() {
            tokio::select! {
                () = self.shared.close.notified() => {}
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
            }
        }
    }

    /// Whether the session is to end.
    pub fn is_closing(&self) -> bool {
        self.shared.closing.load(Ordering::Acquire) || self.queues.held.sender_strong_count() == 0
    }

    fn down(&mut self, reason: &str) {
        self.shared.up.store(false, Ordering::Release);
        self.shared.stats.failures.fetch_add(1, Ordering::Relaxed);
        if self.outage.is_some() {
            tracing::debug!(broker = %self.options.broker, reason, "broker is still not connected");
            return;
        }
        self.outage = Some(Instant::now());
        tracing::warn!(broker = %self.options.broker, reason, "broker connection is down, trying again");
        self.incoming.down(reason);
    }

    /// The connection stands and the subscriptions are confirmed.
    pub fn up(&mut self, terms: &Terms) {
        self.shared.up.store(true, Ordering::Release);
        self.shared.stats.connections.fetch_add(1, Ordering::Relaxed);
        let session_present = terms.session_present;
        match self.outage.take() {
            Some(since) => {
                let outage_s = since.elapsed().as_secs_f32();
                tracing::info!(broker = %self.options.broker, outage_s, session_present, "broker connection is back");
            }
            None => tracing::info!(broker = %self.options.broker, session_present, "broker is connected"),
        }
        let packet_max = terms.packet_max;
        self.incoming.up(Event::Up { session_present, session: self.number, packet_max });
    }

    async fn serve(&mut self, connection: Connection) -> End {
        for given_up in self.inflight.take(|accepted| accepted.publication.once) {
            self.finished(given_up, Err(Undelivered::Broken));
        }
        self.inflight.reconnected();
        self.subscribed &= connection.terms.session_present;
        if connection.terms.session_present {
            self.incoming.resumed();
        }
        self.incoming.begin();
        let mut service = Service::new(connection);
        let end = service.run(self).await;
        if let End::Closed = end {
            service.goodbye().await;
        }
        self.shared.up.store(false, Ordering::Release);
        end
    }

    /// An accepted publication has come to its end.
    pub fn finished(&self, accepted: Accepted, result: Result<(), Undelivered>) {
        let stats = &self.shared.stats;
        match &result {
            Ok(()) if accepted.publication.qos == QoS::AtLeastOnce => stats.acked.fetch_add(1, Ordering::Relaxed),
            Ok(()) => 0,
            Err(Undelivered::Expired) => stats.expired.fetch_add(1, Ordering::Relaxed),
            Err(Undelivered::Broken) => stats.given_up.fetch_add(1, Ordering::Relaxed),
            Err(_) => stats.refused.fetch_add(1, Ordering::Relaxed),
        };
        stats.backlog.fetch_sub(1, Ordering::Relaxed);
        let _ = accepted.done.send(result); // nobody may be waiting
    }
}
