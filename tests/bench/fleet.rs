//! Simulated gateways: each has a connection, topics, a log and a watermark of its own, as real ones do, through the agent's
//! own MQTT session (`link`). What they lack is the disk: records are made when they are sent.
//!
//! A window holds back what is sent and not archived: mosquitto keeps at most 64 MiB for the hub.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result, bail, ensure};
use contract::{Archived, Epoch, Kind, Principal, Timestamp, Topic, frame, topic};
use futures::{StreamExt, future::try_join_all, stream::FuturesUnordered};
use link::{Event, Events, Options, Publication, Session};
use tokio::{
    sync::Semaphore,
    time::{Instant as Moment, sleep, sleep_until, timeout},
};

use crate::made::{Bundles, Maker};

/// Bytes that may be sent and not archived, all gateways together: what the broker holds for the hub and half as much again
/// in the hub.
const WINDOW: usize = 64 << 20;
/// The window is counted in these, so that a semaphore can.
const UNIT: usize = 1 << 10;
/// How often an agent syncs its outbox, and so sends.
const SYNC: Duration = Duration::from_millis(200);
/// Messages that may wait for the broker's acknowledgement, as in the agent.
const UNACKNOWLEDGED: usize = 8;
/// Without any progress for so long something is broken.
const PATIENCE: Duration = Duration::from_secs(60);

/// Some gateways of one broker.
pub struct Fleet {
    runtime: tokio::runtime::Runtime,
    gateways: Vec<Arc<Gateway>>,
    window: Arc<Semaphore>,
}

struct Gateway {
    who: Principal,
    epoch: Epoch,
    prefix: String,
    session: Session,
    maker: Mutex<Maker>,
    /// The next number, of predictions and of samples.
    next: [AtomicU64; 2],
    marks: [AtomicU64; 2],
    messages: AtomicU64,
    /// What is under way: the number after a bundle's last record, and its part of the window.
    under_way: Mutex<VecDeque<(Kind, u64, usize)>>,
}

fn slot(kind: Kind) -> usize {
    usize::from(kind == Kind::Sample)
}

impl Fleet {
    /// Connects so many gateways under a topic prefix; `run` makes their logs new ones.
    pub fn connect(broker: &str, prefix: &str, count: usize, run: u64) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let window = Arc::new(Semaphore::new(WINDOW / UNIT));
        let gateways = runtime.block_on(async {
            let mut gateways = Vec::with_capacity(count);
            for n in 0..count {
                gateways.push(Gateway::connect(broker, prefix, n, run, &window)?);
                if n % 50 == 49 {
                    sleep(Duration::from_millis(20)).await; // the broker's backlog of connections is 100
                }
            }
            for gateway in &gateways {
                until_up(&gateway.session).await?;
            }
            Ok::<_, anyhow::Error>(gateways)
        })?;
        Ok(Self { runtime, gateways, window })
    }

    /// Sends so many records as fast as the window lets, shared out evenly; gives the time until all are archived.
    pub fn burst(&self, kind: Kind, total: u64) -> Result<Duration> {
        let began = Instant::now();
        let each = total / self.gateways.len() as u64;
        self.runtime.block_on(async {
            let sends = self.gateways.iter().map(|gateway| {
                let (gateway, window) = (gateway.clone(), self.window.clone());
                async move { tokio::spawn(async move { gateway.send(kind, each, &window).await }).await? }
            });
            try_join_all(sends).await?;
            self.archived(kind).await
        })?;
        Ok(began.elapsed())
    }

    /// Sends `per_second` records a second, all gateways together, each every 200 ms and not all at one moment; then waits
    /// until all are archived. Gives how many.
    pub fn paced(&self, kind: Kind, per_second: f64, lasting: Duration) -> Result<u64> {
        let count = self.gateways.len();
        let ticks = (lasting.as_secs_f64() / SYNC.as_secs_f64()) as u32;
        let each = per_second * SYNC.as_secs_f64() / count as f64;
        self.runtime.block_on(async {
            let begin = Moment::now();
            let sends = self.gateways.iter().enumerate().map(|(n, gateway)| {
                let (gateway, window) = (gateway.clone(), self.window.clone());
                let first = begin + SYNC.mul_f64(n as f64 / count as f64);
                async move {
                    let task = tokio::spawn(async move {
                        let mut owed = n as f64 / count as f64; // fractions of a record do not fall on one tick
                        let mut sent = 0;
                        for tick in 0..ticks {
                            sleep_until(first + SYNC * tick).await;
                            owed += each;
                            gateway.send(kind, owed as u64, &window).await?;
                            sent += owed as u64;
                            owed = owed.fract();
                        }
                        Ok::<_, anyhow::Error>(sent)
                    });
                    task.await?
                }
            });
            let sent = try_join_all(sends).await?.into_iter().sum();
            self.archived(kind).await?;
            Ok(sent)
        })
    }

    /// How many messages were sent, all gateways together.
    pub fn messages(&self) -> u64 {
        self.gateways.iter().map(|gateway| gateway.messages.load(Ordering::Relaxed)).sum()
    }

    async fn archived(&self, kind: Kind) -> Result<()> {
        let left = || {
            let left = |g: &Arc<Gateway>| {
                g.next[slot(kind)].load(Ordering::Relaxed) - g.marks[slot(kind)].load(Ordering::Relaxed)
            };
            self.gateways.iter().map(left).sum::<u64>()
        };
        let (mut before, mut since) = (left(), Instant::now());
        while before > 0 {
            sleep(Duration::from_millis(5)).await;
            let now = left();
            if now < before {
                (before, since) = (now, Instant::now());
            }
            ensure!(since.elapsed() < PATIENCE, "{now} records were sent and not archived within {PATIENCE:?}");
        }
        Ok(())
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.runtime.block_on(async {
            let goodbyes = self.gateways.iter().map(|gateway| gateway.session.close(Duration::from_secs(2)));
            futures::future::join_all(goodbyes).await;
        });
    }
}

impl Gateway {
    fn connect(broker: &str, prefix: &str, n: usize, run: u64, window: &Arc<Semaphore>) -> Result<Arc<Self>> {
        let who = Principal { site: "plant".parse()?, gateway: format!("gw-{n}").parse()? };
        let epoch = Epoch((u128::from(run) << 64) | ((std::process::id() as u128) << 32) | n as u128);
        let mut options = Options::new(&format!("mqtt://{broker}"), format!("bench-{prefix}-{n}-{run}"))?;
        options.session_expiry = Duration::ZERO;
        options.subscriptions =
            vec![link::Subscription::at_least_once(topic::all_down(prefix, &who.site, &who.gateway))];
        let (session, events) = link::connect(options)?;
        let gateway = Arc::new(Self {
            maker: Mutex::new(Maker::new(&who, epoch)?),
            epoch,
            prefix: prefix.to_owned(),
            session,
            next: Default::default(),
            marks: Default::default(),
            messages: AtomicU64::new(0),
            under_way: Mutex::default(),
            who,
        });
        tokio::spawn(gateway.clone().listen(events, window.clone()));
        Ok(gateway)
    }

    /// Reads watermarks, and gives back of the window what they name.
    async fn listen(self: Arc<Self>, mut events: Events, window: Arc<Semaphore>) {
        while let Some(event) = events.next().await {
            let Event::Message(message) = event else { continue };
            let Ok(document) = serde_json::from_slice::<Archived>(&message.payload) else { continue };
            for kind in [Kind::Prediction, Kind::Sample] {
                if let Some(mark) = document.of(self.epoch, kind) {
                    self.marks[slot(kind)].fetch_max(mark.upto, Ordering::Relaxed);
                }
            }
            let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
            under_way.retain(|(kind, to, units)| {
                let archived = self.marks[slot(*kind)].load(Ordering::Relaxed) >= *to;
                if archived {
                    window.add_permits(*units);
                }
                !archived
            });
        }
    }

    async fn send(&self, kind: Kind, count: u64, window: &Semaphore) -> Result<()> {
        let mut bundles = Bundles::new(self.epoch, kind);
        let mut waiting = FuturesUnordered::new();
        let first = self.next[slot(kind)].load(Ordering::Relaxed);
        for seq in first..first + count {
            let record = self.maker.lock().unwrap_or_else(PoisonError::into_inner).record(kind, seq, now())?;
            if let Some(bundle) = bundles.push(seq, &record) {
                self.publish(kind, bundle, seq, window, &mut waiting).await?;
            }
        }
        if let Some(bundle) = bundles.take() {
            self.publish(kind, bundle, first + count, window, &mut waiting).await?;
        }
        Ok(())
    }

    async fn publish(
        &self,
        kind: Kind,
        bundle: Vec<u8>,
        to: u64,
        window: &Semaphore,
        waiting: &mut FuturesUnordered<link::Delivery>,
    ) -> Result<()> {
        let units = bundle.len().div_ceil(UNIT);
        let room = timeout(PATIENCE, window.acquire_many(units as u32)).await.context("the window stays closed")??;
        room.forget(); // its watermark gives it back
        while waiting.len() >= UNACKNOWLEDGED {
            if let Some(Err(error)) = waiting.next().await {
                bail!("{}: {error}", self.who);
            }
        }
        self.next[slot(kind)].store(to, Ordering::Relaxed);
        self.messages.fetch_add(1, Ordering::Relaxed);
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner).push_back((kind, to, units));
        let publication = Publication::new(Topic::Up(self.who.clone(), kind).under(&self.prefix), bundle)
            .at_least_once()
            .property(frame::SENT_AT, now().to_string());
        waiting.push(self.session.publish(publication).await?);
        Ok(())
    }
}

async fn until_up(session: &Session) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !session.is_up() {
        ensure!(Instant::now() < deadline, "a gateway is not connected after {PATIENCE:?}");
        sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

fn now() -> Timestamp {
    Timestamp::from_system(SystemTime::now())
}
