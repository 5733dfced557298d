//! A gateway: the agent's outbox and archive lane on a simulated disk, with clocks of its own.

use std::{sync::Arc, time::Duration};

use contract::{
    Digest, Epoch, Event, FrameId, Header, Health, Kind, ModelRef, Prediction, Principal, SCHEMA, Sample, Timestamp,
    frame::{self, Address},
    live::{GatewayStatus, Presence},
    record::{Latency, Picture, Reason, ServedBy},
};
use edge_agent::{
    archive::Archive,
    clock::{Mono, Simulated as Clocks},
    identity::Identity,
    outbox::{
        Bound, GapWriter, KINDS, Now, OpenError, Opener, Outbox, Settings,
        disk::{Disk, Operation, Simulated as SimulatedDisk},
    },
    uplink::Limits,
};
use link::{FarEnd, Session};
use sha2::{Digest as _, Sha256};
use tokio::task::JoinHandle;

use crate::truth::Number;

/// When the simulation begins.
pub const BEGIN: Timestamp = Timestamp(1_795_458_240_000_000);

/// Small, so that little data makes many messages, segments and fragments.
pub const LIMITS: Limits = Limits {
    window_bytes: 24 << 10,
    message_max: 2 << 10,
    newest_share: 0.5,
    patience: Duration::from_secs(30),
    greeting: Duration::from_millis(500),
};

/// A gateway and what surrounds it.
pub struct Gateway {
    pub who: Principal,
    pub disk: SimulatedDisk,
    /// What makes the disk as the last power cut left it.
    base: Vec<Operation>,
    clocks: Arc<Clocks>,
    /// How far its wall clock is off.
    pub off_by_us: i64,
    pub connected: bool,
    /// A copy of its disk that somebody kept.
    pub copy: Option<SimulatedDisk>,
    pub agent: Option<Agent>,
    /// What its log was when its agent ended.
    pub before: Option<Before>,
    pub limits: Limits,
    sessions: u64,
    settings: Settings,
}

/// What of each kind is durable, and the next number, by log.
pub type Extent = (Epoch, [(u64, u64); KINDS.len()]);

/// A log when its agent ended.
#[derive(Clone, Copy, Debug)]
pub struct Before {
    pub extent: Extent,
    pub power_was_cut: bool,
}

/// The agent's process.
pub struct Agent {
    pub outbox: Arc<Outbox>,
    pub archive: Arc<Archive>,
    pub far: FarEnd,
    identity: Identity,
    uplink: JoinHandle<()>,
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.uplink.abort();
    }
}

impl Gateway {
    /// One with an empty disk; new logs have epochs from `epochs` on.
    pub fn new(name: &str, epochs: u64, tight: bool) -> Self {
        let max_bytes = if tight { 9_000 } else { 4 << 20 };
        let max_age = Duration::from_secs(30 * 86_400);
        Self {
            who: Principal { site: "plant".parse().unwrap_or_else(|_| unreachable!()), gateway: id(name) },
            disk: SimulatedDisk::default(),
            base: Vec::new(),
            clocks: Clocks::new(epochs),
            off_by_us: 0,
            connected: true,
            copy: None,
            agent: None,
            before: None,
            limits: LIMITS,
            sessions: 0,
            settings: Settings { bound: Bound { max_bytes, max_age }, segment_bytes: 3000 },
        }
    }

    /// Its clocks, so long after the beginning.
    pub fn set_time(&self, since_begin: Duration) {
        let us = u64::try_from(since_begin.as_micros()).unwrap_or(u64::MAX);
        let wall = Timestamp(BEGIN.0 + us as i64 + self.off_by_us);
        self.clocks.set(Mono(us + 60_000_000), wall);
        self.disk.set_time(wall);
    }

    pub fn now(&self) -> Now {
        self.clocks.during(Now::read)
    }

    /// Starts the agent on its disk.
    ///
    /// # Errors
    /// The disk does not allow it.
    pub fn start(&mut self) -> Result<(), OpenError> {
        let identity = Identity::new(self.who.site.clone(), self.who.gateway.clone());
        let clocks = self.clocks.clone();
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let log = self.clocks.during(|| {
            Opener {
                disk,
                settings: self.settings,
                owner: &self.who,
                fresh: Epoch(clocks.epoch().into()),
                gap_writer: gap_writer(identity.clone()),
                now: Now::read(),
            }
            .open()
        })?;
        let outbox = Arc::new(Outbox::new(log, Duration::from_millis(200)));
        let archive = self
            .clocks
            .during(|| Arc::new(Archive::new(&identity, "sightline", outbox.clone(), self.limits, Vec::new())));
        let (session, _, far) = link::simulated();
        let running = archive.clone();
        let uplink = tokio::spawn(self.clocks.within(async move { running_uplink(running, session).await }));
        self.agent = Some(Agent { outbox, archive, far, identity, uplink });
        Ok(())
    }

    /// The connection stands; gives the birth.
    pub fn connect(&mut self) -> Option<GatewayStatus> {
        self.connected = true;
        self.sessions += 1;
        let agent = self.agent.as_mut()?;
        agent.far.up();
        self.clocks.during(|| agent.archive.connected());
        self.birth()
    }

    /// The connection breaks.
    pub fn disconnect(&mut self) {
        self.connected = false;
        if let Some(agent) = &mut self.agent {
            agent.far.down();
            self.clocks.during(|| agent.archive.disconnected());
        }
    }

    /// A watermark comes; gives the birth where it must be said again.
    pub fn hear(&mut self, watermark: &[u8]) -> Option<GatewayStatus> {
        let agent = self.agent.as_ref()?;
        let again = self.clocks.during(|| agent.archive.watermark(watermark));
        again.then(|| self.birth()).flatten()
    }

    fn birth(&self) -> Option<GatewayStatus> {
        let agent = self.agent.as_ref()?;
        Some(GatewayStatus {
            schema: SCHEMA,
            status: Presence::Online,
            session: self.sessions,
            since: Some(self.now().wall),
            version: None,
            engine: None,
            epoch: Some(agent.outbox.epoch()),
            holds: agent.outbox.holds(),
            archived: agent.outbox.seen_watermark(),
        })
    }

    /// Makes a record that says `content`; gives its number.
    pub fn append(&self, kind: Kind, content: u64) -> Option<(Epoch, u64)> {
        let agent = self.agent.as_ref()?;
        let now = self.now();
        let seq = agent.outbox.log(|log| {
            log.append(kind, now.wall, now, |address| record(&agent.identity, kind, address, now.wall, content))
        });
        Some((agent.outbox.epoch(), seq.ok()?))
    }

    /// The syncer runs; `honest` says whether it syncs or only says so.
    pub fn sync(&self, urgent_only: bool, honest: bool) {
        let Some(agent) = &self.agent else { return };
        let now = self.now();
        for job in agent.outbox.log(|log| log.unsynced(urgent_only)) {
            let outcome = if honest { job.sync() } else { Ok(()) };
            agent.outbox.log(|log| log.synced(&job, outcome, now));
        }
        agent.outbox.became_durable();
    }

    /// The log is looked after.
    pub fn maintain(&self) {
        let Some(agent) = &self.agent else { return };
        let now = self.now();
        agent.outbox.log(|log| log.maintain(now));
        agent.outbox.became_durable();
    }

    /// What of each kind is durable, and the next number.
    pub fn extent(&self) -> Option<Extent> {
        let agent = self.agent.as_ref()?;
        let extent = agent.outbox.index(|index| KINDS.map(|kind| (index.durable(kind), index.next(kind))));
        Some((agent.outbox.epoch(), extent))
    }

    /// Whether it still holds a record.
    pub fn held(&self) -> impl Fn(Number) -> bool + use<> {
        let held = self.agent.as_ref().map(|agent| (agent.outbox.epoch(), agent.outbox.holds()));
        move |(epoch, kind, seq)| {
            held.as_ref().is_some_and(|(log, holds)| {
                *log == epoch && holds.get(&kind).is_some_and(|held| (held.first..held.next).contains(&seq))
            })
        }
    }

    /// What it has not archived, in words.
    pub fn backlog(&self) -> String {
        let Some(agent) = &self.agent else { return format!("{}: not running", self.who) };
        let backlog = agent.outbox.index(|index| {
            let open = KINDS.into_iter().filter_map(|kind| {
                let wanted = index.wanted(kind, 0)?;
                let (look, durable, next) = (index.look(kind, wanted), index.durable(kind), index.next(kind));
                let segments: Vec<_> = index.segments(kind).map(|s| (s.first, s.next, s.sealed)).collect();
                Some(format!("{kind} {wanted} is {look:?}, durable {durable} of {next}, in {segments:?}"))
            });
            open.collect::<Vec<_>>()
        });
        format!("{}: {backlog:?} {:?}", self.who, agent.outbox.trouble())
    }

    /// Power goes: what was not synced may be gone, in part. `keep` decides.
    pub fn lose_power(&mut self, mut keep: impl FnMut() -> bool) {
        self.agent = None;
        let mut journal = std::mem::take(&mut self.base);
        journal.extend(self.disk.journal());
        let open = SimulatedDisk::unsynced(&journal);
        let missing: Vec<usize> = open.into_iter().filter(|_| !keep()).collect();
        let kept = journal.iter().enumerate().filter(|(at, _)| missing.binary_search(at).is_err()).map(|(_, op)| op);
        self.put_in(SimulatedDisk::after_power_cut(kept));
    }

    /// Another disk is put in.
    pub fn put_in(&mut self, disk: SimulatedDisk) {
        self.agent = None;
        self.base = disk.journal_of_everything();
        self.disk = disk.snapshot();
    }
}

async fn running_uplink(archive: Arc<Archive>, session: Session) {
    archive.run(&session).await;
}

fn id(name: &str) -> contract::GatewayId {
    name.parse().unwrap_or_else(|_| unreachable!("names here are ids"))
}

fn gap_writer(identity: Identity) -> GapWriter {
    Box::new(move |address, gap| {
        let header = identity.header(Kind::Gap, address, gap.captured_to.unwrap_or(BEGIN), Mono(0));
        frame::encode_record(&header, gap, &[])
    })
}

/// A record whose monotonic time says which it is.
fn record(
    identity: &Identity,
    kind: Kind,
    address: Address,
    wall: Timestamp,
    content: u64,
) -> Result<Vec<u8>, frame::Error> {
    let header = header(identity, kind, address, wall, content);
    match kind {
        Kind::Event => frame::encode_record(&header, &event(address), &[]),
        Kind::Health => frame::encode_record(&header, &Health::default(), &[]),
        Kind::Sample => {
            let picture = content.to_le_bytes().repeat(40 + content as usize % 7 * 60);
            frame::encode_record(&header, &sample(&picture), &[&picture])
        }
        _ => frame::encode_record(&header, &prediction(), &[]),
    }
}

fn header(identity: &Identity, kind: Kind, address: Address, wall: Timestamp, content: u64) -> Header {
    let mut header = identity.header(kind, address, wall, Mono(content));
    if kind != Kind::Health {
        let camera: contract::CameraId = "door".parse().unwrap_or_else(|_| unreachable!());
        header.camera = Some(camera.clone());
        header.region = "full".parse().ok();
        header.model = Some(ModelRef { digest: Digest([7; 32]), version: None });
        header.frame_id = Some(FrameId { epoch: address.epoch, camera, counter: content });
    }
    header
}

fn prediction() -> Prediction {
    Prediction {
        labels: vec!["open".into(), "shut".into()],
        scores: vec![0.75, 0.25],
        latency: Latency::default(),
        engine: "ort-cpu".into(),
        served_by: ServedBy::Gateway,
    }
}

fn event(address: Address) -> Event {
    let id = format!("{}-{}", address.epoch, address.seq);
    Event { id, before: None, after: Some("open".into()), score: 0.9, since: BEGIN }
}

fn sample(picture: &[u8]) -> Sample {
    Sample {
        reason: Reason::Periodic,
        labels: vec!["open".into()],
        scores: vec![0.75],
        picture: Picture {
            media_type: "image/jpeg".into(),
            bytes: picture.len() as u64,
            sha256: Digest(Sha256::digest(picture).into()),
            width: 64,
            height: 48,
            region: [0, 0, 64, 48],
        },
        input: None,
    }
}
