//! One connection being served: a loop that waits for one thing at a time and never for two in order, so that neither
//! a slow reader nor a full socket stops the other direction.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use rumqttc::v5::mqttbytes::v5::{
    Filter, Packet, PingReq, PubAck, PubAckReason, RetainForwardRule, SubAck, Subscribe, SubscribeReasonCode,
};

use crate::{
    QoS, Undelivered,
    connection::{Connection, Reader, Terms, Writer, name},
    driver::{Driver, End},
    session::Accepted,
};

/// Bytes that may wait to be written before new publications are taken from the queues.
const WRITE_AHEAD: usize = 256 << 10;

/// Less than this is little: it is worth waiting for more.
const LITTLE: u64 = 128 << 10;
/// Packets taken in a row before anything else has its turn.
const PACKETS: usize = 64;

/// A connection and what belongs to it alone.
pub(crate) struct Service {
    reader: Reader,
    writer: Writer,
    terms: Terms,
    /// The number of the subscription that is not confirmed yet.
    subscribing: Option<u16>,
    /// Bytes that waited to be written at the last sign of life, to tell a slow link from a dead one.
    queued_before: usize,
    held_drained: bool,
    live_drained: bool,
    /// Until then nothing is read; see [`crate::Options::gather`].
    gathering: Option<tokio::time::Instant>,
}

/// What happened next.
enum Step {
    Wrote(std::io::Result<()>),
    Came(Result<Packet, crate::connection::Broken>),
    Live(Option<Accepted>),
    Held(Option<Accepted>),
    Ack(u64, u16),
    Room,
    Gathered,
    Tick,
    Close,
}

impl Service {
    pub fn new(connection: Connection) -> Self {
        let Connection { reader, writer, terms } = connection;
        Self {
            reader,
            writer,
            terms,
            subscribing: None,
            queued_before: 0,
            held_drained: false,
            live_drained: false,
            gathering: None,
        }
    }

    /// Serves until the connection breaks or the session is over.
    pub async fn run(&mut self, driver: &mut Driver) -> End {
        if let Err(reason) = self.subscribe(driver) {
            return End::Broken(reason);
        }
        let period = self.terms.keep_alive.mul_f64(0.75);
        let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
        loop {
            let closing = driver.is_closing();
            if closing {
                driver.queues.held.close();
                driver.queues.live.close();
                if self.is_drained(driver) {
                    return End::Closed;
                }
            }
            let step = self.next(driver, closing, &mut ticks).await;
            if let Err(reason) = self.take(driver, step, period) {
                return if closing { End::Closed } else { End::Broken(reason) };
            }
        }
    }

    /// Says goodbye.
    pub async fn goodbye(self) {
        let Self { reader, writer, terms, .. } = self;
        Connection { reader, writer, terms }.goodbye().await;
    }

    fn is_drained(&self, driver: &Driver) -> bool {
        self.held_drained
            && self.live_drained
            && driver.inflight.is_empty()
            && driver.ack_queue.is_empty()
            && !self.writer.is_pending()
    }

    /// Waits for the next thing. Everything here is safe to cancel.
    async fn next(&mut self, driver: &mut Driver, closing: bool, ticks: &mut tokio::time::Interval) -> Step {
        let free = self.subscribing.is_none() && self.writer.buffer.len() < WRITE_AHEAD;
        let limit = usize::from(self.terms.receive_max.min(driver.options.inflight_max));
        let held_room = free && driver.inflight.has_room(limit) && !self.held_drained;
        let live_room = free && !self.live_drained;
        let up = self.subscribing.is_none();
        let Driver { queues, ack_queue, shared, events, incoming, .. } = driver;
        tokio::select! {
            written = self.writer.write(), if self.writer.is_pending() => Step::Wrote(written),
            packet = self.reader.next(), if self.gathering.is_none() => Step::Came(packet),
            () = until(self.gathering), if self.gathering.is_some() => Step::Gathered,
            accepted = queues.live.recv(), if live_room => Step::Live(accepted),
            accepted = queues.held.recv(), if held_room => Step::Held(accepted),
            Some((connection, number)) = ack_queue.recv() => Step::Ack(connection, number),
            _ = events.reserve(), if up && !incoming.waiting.is_empty() => Step::Room,
            _ = ticks.tick() => Step::Tick,
            () = shared.close.notified(), if !closing => Step::Close,
        }
    }

    fn take(&mut self, driver: &mut Driver, step: Step, period: Duration) -> Result<(), String> {
        match step {
            Step::Wrote(written) => written.map_err(|error| error.to_string())?,
            Step::Came(packet) => self.receive_all(driver, packet)?,
            Step::Live(Some(accepted)) | Step::Held(Some(accepted)) => self.send(driver, accepted)?,
            Step::Live(None) => self.live_drained = true,
            Step::Held(None) => self.held_drained = true,
            Step::Ack(connection, number) => self.acknowledge(driver, connection, number)?,
            Step::Close => {}
            Step::Room => driver.hand_over(),
            Step::Gathered => self.gathering = None,
            Step::Tick => self.sign_of_life(period)?,
        }
        if self.subscribing.is_none() { self.send_again(driver) } else { Ok(()) }
    }

    /// The first connection of this process subscribes even to a session that the broker still has: the program may want
    /// other topics than its predecessor, and needs the retained messages that the predecessor got.
    fn subscribe(&mut self, driver: &mut Driver) -> Result<(), String> {
        if driver.subscribed || driver.options.subscriptions.is_empty() {
            driver.up(&self.terms);
            return self.send_again(driver);
        }
        let filters = driver.options.subscriptions.iter().map(|subscription| {
            let mut filter = Filter::new(subscription.filter.as_str(), subscription.qos.into());
            filter.retain_forward_rule = RetainForwardRule::OnEverySubscribe;
            filter
        });
        let mut subscribe = Subscribe::new_many(filters, None);
        subscribe.pkid = driver.inflight.unused_number();
        self.subscribing = Some(subscribe.pkid);
        self.writer.put(&Packet::Subscribe(subscribe))
    }

    fn subscribed(&mut self, driver: &mut Driver, answer: SubAck) -> Result<(), String> {
        if self.subscribing != Some(answer.pkid) {
            return Err("the broker confirmed a subscription that we did not make".to_owned());
        }
        for (subscription, code) in driver.options.subscriptions.iter().zip(&answer.return_codes) {
            if !matches!(code, SubscribeReasonCode::Success(_)) {
                let filter = &subscription.filter;
                return Err(format!(
                    "the broker refused the subscription to {filter} ({code:?}); check its access list"
                ));
            }
        }
        self.subscribing = None;
        driver.subscribed = true;
        driver.up(&self.terms);
        Ok(())
    }

    /// Writes what an earlier connection left unacknowledged, as far as the broker's limits leave room.
    fn send_again(&mut self, driver: &mut Driver) -> Result<(), String> {
        let limit = usize::from(self.terms.receive_max.min(driver.options.inflight_max));
        while self.writer.buffer.len() < WRITE_AHEAD
            && let Some((number, accepted)) = driver.inflight.send_again(limit)
        {
            let Some(mut packet) = accepted.publication.to_packet(accepted.at, Instant::now()) else {
                finish(driver, number, Err(Undelivered::Expired));
                continue;
            };
            packet.pkid = number;
            packet.dup = self.terms.session_present;
            let bytes = packet.size();
            if bytes > self.terms.packet_max as usize {
                finish(driver, number, Err(Undelivered::TooLarge { bytes, max: self.terms.packet_max }));
                continue;
            }
            driver.shared.stats.resent.fetch_add(1, Ordering::Relaxed);
            self.writer.put(&Packet::Publish(packet))?;
        }
        Ok(())
    }

    fn send(&mut self, driver: &mut Driver, accepted: Accepted) -> Result<(), String> {
        let Some(mut packet) = accepted.publication.to_packet(accepted.at, Instant::now()) else {
            driver.finished(accepted, Err(Undelivered::Expired));
            return Ok(());
        };
        let max = self.terms.packet_max;
        let bytes = packet.size() + 2; // its number is not set yet
        if bytes > max as usize {
            driver.finished(accepted, Err(Undelivered::TooLarge { bytes, max }));
            return Ok(());
        }
        driver.shared.stats.sent.fetch_add(1, Ordering::Relaxed);
        driver.shared.stats.sent_bytes.fetch_add(accepted.publication.payload.len() as u64, Ordering::Relaxed);
        match accepted.publication.qos {
            QoS::AtMostOnce => driver.finished(accepted, Ok(())),
            QoS::AtLeastOnce => packet.pkid = driver.inflight.insert(accepted),
        }
        self.writer.put(&Packet::Publish(packet))
    }

    /// This acknowledgement, and those that wait behind it: they go out in one write.
    fn acknowledge(&mut self, driver: &mut Driver, connection: u64, number: u16) -> Result<(), String> {
        let mut next = Some((connection, number));
        while let Some((connection, number)) = next {
            if connection == driver.number {
                self.writer.put(&Packet::PubAck(PubAck::new(number, None)))?;
            }
            next = driver.ack_queue.try_recv().ok();
        }
        Ok(())
    }

    /// This packet, and those that came with it.
    fn receive_all(
        &mut self,
        driver: &mut Driver,
        packet: Result<Packet, crate::connection::Broken>,
    ) -> Result<(), String> {
        let before = driver.shared.stats.received_bytes.load(Ordering::Relaxed);
        self.receive(driver, packet.map_err(|broken| broken.to_string())?)?;
        for _ in 1..PACKETS {
            let Some(packet) = self.reader.buffered() else { break };
            self.receive(driver, packet.map_err(|broken| broken.to_string())?)?;
        }
        let came = driver.shared.stats.received_bytes.load(Ordering::Relaxed) - before;
        let gather = driver.options.gather;
        if came < LITTLE && !gather.is_zero() {
            self.gathering = Some(tokio::time::Instant::now() + gather);
        }
        Ok(())
    }

    fn receive(&mut self, driver: &mut Driver, packet: Packet) -> Result<(), String> {
        match packet {
            Packet::Publish(publish) => {
                let stats = &driver.shared.stats;
                stats.received.fetch_add(1, Ordering::Relaxed);
                stats.received_bytes.fetch_add(publish.payload.len() as u64, Ordering::Relaxed);
                let taken = driver.incoming.take(publish, driver.number);
                if !taken.map_err(|what| format!("the broker sent {what}"))? {
                    driver.shared.stats.dropped.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            }
            Packet::PubAck(ack) => {
                let result = match ack.reason {
                    PubAckReason::Success | PubAckReason::NoMatchingSubscribers => Ok(()),
                    refused => Err(Undelivered::Refused { reason: format!("{refused:?}") }),
                };
                finish(driver, ack.pkid, result);
                Ok(())
            }
            Packet::SubAck(answer) => self.subscribed(driver, answer),
            Packet::PingResp(_) => Ok(()),
            Packet::Disconnect(farewell) => {
                let said = farewell.properties.and_then(|p| p.reason_string).unwrap_or_default();
                Err(format!("the broker ended the connection ({:?}) {said}", farewell.reason_code)
                    .trim_end()
                    .to_owned())
            }
            other => Err(format!("the broker sent {}, which has no place here", name(&other))),
        }
    }

    /// Says that we live, and gives the connection up when the broker has said nothing since the last time, unless
    /// a long queue is still moving out over a slow link.
    fn sign_of_life(&mut self, period: Duration) -> Result<(), String> {
        let moving = self.queued_before > 0 && self.writer.last.elapsed() < period;
        if self.reader.last.elapsed() > period * 2 && !moving {
            return Err(format!("the broker has said nothing for {} s", self.reader.last.elapsed().as_secs()));
        }
        self.queued_before = self.writer.buffer.len();
        self.writer.put(&Packet::PingReq(PingReq))
    }
}

async fn until(moment: Option<tokio::time::Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

fn finish(driver: &mut Driver, number: u16, result: Result<(), Undelivered>) {
    if let Some(accepted) = driver.inflight.remove(number) {
        driver.finished(accepted, result);
    }
}
