//! Carries a plan out: two gateways, a broker, up to two hubs and one lake, on one thread, in virtual time.
//!
//! Time moves and effects happen only when an event says so, so that the same plan does the same. After the plan all faults
//! stop, and what was written must arrive within a bound.

mod calm;
mod faults;
mod invariants;

use std::{hash::Hasher as _, time::Duration};

use anyhow::Context as _;
use cloud::clock;
use contract::{Archived, Kind, Timestamp, Topic, archived::ArchivedKind, live::GatewayStatus};
use edge_agent::outbox::{KINDS, disk::Fault};
use link::Publication;
use store::simulation::{Careless, Effect, Seeded, Verdict};

use crate::{
    bus::{Bus, Listener},
    check,
    gate::Gates,
    gateway::{BEGIN, Gateway},
    hub::{Hub, Turn},
    lake::Lake,
    plan::{Event, Mutation, Plan, What},
    truth::Truth,
};

/// Hubs that may run at a time.
const HUBS: usize = 2;
/// Turns of the event loop after which nothing more happens by itself.
const QUIET_TURNS: usize = 12;
/// Steps of a second within which everything must have arrived once faults have stopped.
const CALM_STEPS: usize = 600;

/// What came of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Records that were written and are neither in the lake nor dropped by a stated policy.
    pub lost: u64,
    /// Records that are in the lake more than once.
    pub doubled: u64,
    /// What else must never happen, and did.
    pub violations: Vec<String>,
    /// Records written.
    pub written: u64,
    /// Rows in the lake at the end.
    pub rows: u64,
    /// What happened, in one number: two runs of a plan give the same.
    pub trace: u64,
}

impl Outcome {
    /// Whether nothing went wrong.
    pub fn is_clean(&self) -> bool {
        self.lost == 0 && self.doubled == 0 && self.violations.is_empty()
    }

    /// What went wrong, roughly; empty when nothing did.
    pub fn fault(&self) -> &str {
        match (self.lost, self.doubled) {
            (0, 0) => self.violations.first().map_or("", |text| text.split(' ').next().unwrap_or_default()),
            (0, _) => "doubled",
            _ => "lost",
        }
    }
}

/// Carries out a plan.
///
/// # Errors
/// The simulator itself cannot work: no folder for the tables, and the like.
pub fn run(plan: &Plan) -> anyhow::Result<Outcome> {
    let _seeded = Seeded::with(plan.seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()?;
    let (release, hold) = std::sync::mpsc::channel::<()>();
    let outcome = runtime.block_on(async {
        // While a thread is blocked, Tokio's stopped clock does not run ahead by itself when nothing is ready.
        let held = tokio::task::spawn_blocking(move || hold.recv());
        let outcome = World::new(plan).await?.live().await;
        drop(release);
        let _ = held.await;
        outcome
    });
    clock::stop_at(None);
    runtime.shutdown_timeout(Duration::from_millis(100));
    outcome
}

/// What has befallen a gateway that excuses something.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fate {
    /// Its disk has failed or rotted: what it lost is named by gaps.
    pub disk_failed: bool,
    /// It was rolled back to a snapshot: until it learns of that, its numbers mean two things, and what it then writes again
    /// under a new epoch may be in the lake under the old one too.
    pub rolled_back: bool,
}

/// Everything there is.
struct World<'p> {
    plan: &'p Plan,
    begun: tokio::time::Instant,
    gates: Gates,
    bus: Bus,
    lake: Lake,
    gateways: Vec<Gateway>,
    hubs: [Option<Hub>; HUBS],
    truth: Truth,
    processes: u64,
    /// What has befallen each gateway.
    fates: Vec<Fate>,
    /// Watermarks published since they were last compared with the tables, and by which process.
    published: Vec<(u64, Archived)>,
    grown: invariants::Grown,
    outcome: Outcome,
    trace: std::hash::DefaultHasher,
}

impl<'p> World<'p> {
    async fn new(plan: &'p Plan) -> anyhow::Result<Self> {
        clock::stop_at(Some(BEGIN));
        let gates = Gates::default();
        let lake = Lake::new(&gates).await?;
        let second = if plan.twins { "gw-1" } else { "gw-2" };
        let mut gateways = vec![Gateway::new("gw-1", 1000, plan.tight), Gateway::new(second, 2000, plan.tight)];
        if plan.mutation == Some(Mutation::NoWindow) {
            gateways.iter_mut().for_each(|gateway| gateway.limits.window_bytes = u64::MAX);
        }
        Ok(Self {
            plan,
            begun: tokio::time::Instant::now(),
            gates,
            bus: Bus::default(),
            lake,
            fates: vec![Fate::default(); gateways.len()],
            gateways,
            hubs: [None, None],
            truth: Truth::default(),
            processes: 0,
            published: Vec::new(),
            grown: invariants::Grown::default(),
            outcome: Outcome::default(),
            trace: Default::default(),
        })
    }

    async fn live(mut self) -> anyhow::Result<Outcome> {
        self.tick(Duration::ZERO).await;
        for at in 0..self.gateways.len() {
            self.start_gateway(at);
        }
        self.start_hub(0).await?;
        for event in &self.plan.events {
            self.happen(*event).await.with_context(|| format!("{event:?}"))?;
            self.settle().await;
            self.look().await?;
        }
        self.calm().await?;
        check::everything(&self.lake, &self.truth, &self.gateways, &self.fates, &mut self.outcome).await?;
        self.outcome.written = self.truth.written.len() as u64;
        self.outcome.trace = self.trace.finish();
        Ok(self.outcome)
    }

    fn note(&mut self, what: &str, numbers: &[u64]) {
        self.trace.write(what.as_bytes());
        numbers.iter().for_each(|n| self.trace.write_u64(*n));
        if tracing::enabled!(tracing::Level::DEBUG) {
            tracing::debug!(at = ?self.begun.elapsed(), ?numbers, "{what}");
        }
    }

    fn violation(&mut self, what: String) {
        tracing::debug!(what, "VIOLATION");
        if self.outcome.violations.len() < 8 {
            self.outcome.violations.push(what);
        }
    }

    /// Lets everything happen that happens by itself.
    async fn settle(&mut self) {
        let mut quiet = 0;
        while quiet < QUIET_TURNS {
            tokio::task::yield_now().await;
            if !self.lake.busy.is_idle() {
                self.lake.busy.changed().await;
                quiet = 0;
            } else if self.collect() {
                quiet = 0;
            } else {
                quiet += 1;
            }
        }
    }

    /// Takes what gateways and hubs have published; whether there was anything.
    fn collect(&mut self) -> bool {
        let mut any = false;
        for at in 0..self.gateways.len() {
            let gateway = &mut self.gateways[at];
            let (true, Some(agent)) = (gateway.connected, &mut gateway.agent) else { continue };
            while let Some(publication) = agent.far.take() {
                any = true;
                for hub in 0..HUBS {
                    self.bus.push(Listener::Hub(hub), publication.clone());
                }
            }
        }
        for at in 0..HUBS {
            while let Some(publication) = self.hubs[at].as_mut().filter(|h| h.connected).and_then(|h| h.far.take()) {
                any = true;
                self.published(at, publication);
            }
        }
        any
    }

    /// A hub publishes a watermark.
    fn published(&mut self, hub: usize, mut publication: Publication) {
        let process = self.hubs[hub].as_ref().map_or(0, |hub| hub.life.process());
        if let Ok(mut document) = serde_json::from_slice::<Archived>(&publication.payload) {
            match self.plan.mutation {
                Some(Mutation::NoIncarnation) => {
                    (document.lake, document.incarnation) = ("lake".into(), "always".into());
                }
                Some(Mutation::EarlyWatermark) => marks(&mut document).for_each(|mark| mark.upto += 1),
                Some(Mutation::StaleWatermark) if self.grown.has_said(process) => {
                    marks(&mut document).for_each(|mark| mark.upto /= 2);
                }
                _ => {}
            }
            publication.payload = serde_json::to_vec(&document).unwrap_or_default().into();
            self.published.push((process, document));
        }
        self.bus.retain(&publication);
        for at in 0..self.gateways.len() {
            if self.gateways[at].connected && publication.topic == topic(&self.gateways[at]) {
                self.bus.push(Listener::Gateway(at), publication.clone());
            }
        }
    }

    /// Time passes, for everybody.
    async fn tick(&mut self, by: Duration) {
        if !by.is_zero() {
            tokio::time::advance(by).await;
        }
        let since = self.begun.elapsed();
        let wall = Timestamp(BEGIN.0 + since.as_micros() as i64);
        clock::stop_at(Some(wall));
        self.lake.bucket.set_time(wall);
        self.gateways.iter().for_each(|gateway| gateway.set_time(since));
    }

    async fn happen(&mut self, event: Event) -> anyhow::Result<()> {
        let Event { what, a, b } = event;
        self.note(&format!("{what:?}"), &[u64::from(a), u64::from(b)]);
        let gateway = a as usize % self.gateways.len();
        let hub = a as usize % HUBS;
        match what {
            What::Append => self.append(gateway, b),
            What::Sync => {
                let honest = self.plan.mutation != Some(Mutation::NoSync);
                self.gateways[gateway].sync(b % 4 == 0, honest);
                self.note_durable(gateway);
            }
            What::Maintain => {
                self.gateways[gateway].maintain();
                self.note_durable(gateway);
            }
            What::Wait => {
                const WAITS_MS: [u64; 10] = [1, 10, 50, 200, 500, 1000, 3000, 5000, 11_000, 31_000];
                self.tick(Duration::from_millis(WAITS_MS[b as usize % WAITS_MS.len()])).await;
            }
            What::Days => self.tick(Duration::from_secs(3600 * u64::from(1 + b % 60))).await,
            What::Deliver | What::Double | What::Lose => self.deliver(what, a, b),
            What::Pass | What::Refuse | What::Answerless => {
                let verdict = match what {
                    What::Pass => Verdict::Do,
                    What::Refuse => Verdict::Fail,
                    _ => Verdict::Lose,
                };
                let times = if what == What::Pass { 1 + b / 3 % 4 } else { 1 };
                for _ in 0..times {
                    self.let_through(if b % 3 == 0 { 0 } else { a as usize }, verdict);
                    self.settle().await;
                }
            }
            What::Amnesia => self.restart_broker(),
            What::Link if self.gateways[gateway].connected => self.gateways[gateway].disconnect(),
            What::Link => self.connect_gateway(gateway),
            What::HubLink => self.turn_hub_link(hub),
            What::KillGateway => self.kill_gateway(gateway),
            What::PowerCut => self.cut_power(gateway, b),
            What::BreakDisk => {
                const FAULTS: [Fault; 5] =
                    [Fault::ReadOnly, Fault::Broken, Fault::SyncFails, Fault::Unreadable, Fault::Full(0)];
                let fault = match FAULTS[b as usize % FAULTS.len()] {
                    Fault::Full(_) => Fault::Full(self.gateways[gateway].disk.bytes() + u64::from(b) % 2000),
                    fault => fault,
                };
                self.fates[gateway].disk_failed = true;
                self.gateways[gateway].disk.fail(Some(fault));
            }
            What::MendDisk => self.gateways[gateway].disk.fail(None),
            What::Rot => self.rot(gateway, b),
            What::Snapshot => {
                let copy = self.gateways[gateway].disk.snapshot();
                self.gateways[gateway].copy = Some(copy);
            }
            What::RollBackGateway => self.roll_back_gateway(gateway),
            What::ReplaceDisk => {
                self.truth.excuse("the gateway's disk was replaced", |w| w.gateway == gateway);
                self.gateways[gateway].before = None;
                self.gateways[gateway].put_in(Default::default());
                self.gateways[gateway].copy = None;
                self.start_gateway(gateway);
            }
            What::ClockJump => self.gateways[gateway].off_by_us += (i64::from(b) - i64::from(u32::MAX / 2)) * 2,
            What::KillHub => self.kill_hub(hub),
            What::StartHub => self.start_hub(hub).await?,
            What::Upkeep => {
                let turn = [Turn::Orphans, Turn::Sweep, Turn::Orphans, Turn::Compact][b as usize % 4];
                let has_grace = self.plan.mutation != Some(Mutation::NoGrace);
                if let Some(hub) = &self.hubs[hub] {
                    hub.keep_up(turn, has_grace);
                }
            }
            What::Backup => self.lake.back_up().await?,
            What::Restore | What::RollBackTables | What::LoseTables | What::Wipe | What::Rebuild => {
                self.by_hand(what).await?;
            }
        }
        Ok(())
    }

    fn let_through(&mut self, which: usize, verdict: Verdict) {
        let Some(effect) = self.gates.let_through(which, verdict) else { return };
        match effect {
            Effect::Object(method, key) => self.note(&format!("{verdict:?} {method} {key}"), &[]),
            Effect::Read => self.note(&format!("{verdict:?} read"), &[]),
            Effect::Write => self.note(&format!("{verdict:?} write"), &[]),
        }
    }

    fn append(&mut self, gateway: usize, b: u32) {
        const OFTEN: [Kind; 8] = [
            Kind::Prediction,
            Kind::Event,
            Kind::Prediction,
            Kind::Sample,
            Kind::Prediction,
            Kind::Health,
            Kind::Prediction,
            Kind::Event,
        ];
        for n in 0..1 + b / 8 % 4 {
            let kind = OFTEN[(b + n) as usize % OFTEN.len()];
            let content = self.truth.next_content();
            let Some((epoch, seq)) = self.gateways[gateway].append(kind, content) else { return };
            self.note("appended", &[content, seq]);
            if let Err(why) = self.truth.wrote(gateway, (epoch, kind, seq), content) {
                self.violation(why);
            }
        }
        self.note_durable(gateway);
    }

    fn note_durable(&mut self, gateway: usize) {
        let Some((epoch, extent)) = self.gateways[gateway].extent() else { return };
        for (kind, (durable, _)) in KINDS.into_iter().zip(extent) {
            self.truth.durable(epoch, kind, durable);
        }
    }

    fn deliver(&mut self, what: What, a: u32, b: u32) {
        let reachable = |listener| match listener {
            Listener::Hub(at) => self.hubs[at].as_ref().is_some_and(|hub| hub.connected),
            Listener::Gateway(at) => self.gateways[at].connected && self.gateways[at].agent.is_some(),
        };
        let waiting = self.bus.waiting(reachable);
        if waiting.is_empty() {
            return;
        }
        let listener = waiting[a as usize % waiting.len()];
        let Some(publication) = self.bus.take(listener, b, what == What::Double) else { return };
        if what != What::Lose {
            self.hand_over(listener, publication);
        }
    }

    fn hand_over(&mut self, listener: Listener, publication: Publication) {
        match listener {
            Listener::Hub(at) => {
                let Some(hub) = &mut self.hubs[at] else { return };
                if let Some(Topic::Status(who)) = Topic::parse("sightline", &publication.topic) {
                    if let Ok(status) = serde_json::from_slice::<GatewayStatus>(&publication.payload) {
                        hub.hear(who, status);
                    }
                } else if !hub.far.bring(&publication) {
                    self.bus.put_back(listener, publication);
                }
            }
            Listener::Gateway(at) => {
                let birth = self.gateways[at].hear(&publication.payload);
                self.born(at, birth);
            }
        }
    }

    fn born(&mut self, gateway: usize, birth: Option<GatewayStatus>) {
        let Some(birth) = birth else { return };
        let topic = Topic::Status(self.gateways[gateway].who.clone()).under("sightline");
        let publication = Publication::new(topic, serde_json::to_vec(&birth).unwrap_or_default());
        for hub in 0..HUBS {
            self.bus.push(Listener::Hub(hub), publication.clone());
        }
    }

    fn start_gateway(&mut self, at: usize) {
        if self.gateways[at].start().is_err() {
            return; // its disk does not allow it now
        }
        self.compare_with_before(at);
        if self.gateways[at].connected {
            self.connect_gateway(at);
        }
    }

    fn connect_gateway(&mut self, at: usize) {
        let birth = self.gateways[at].connect();
        self.born(at, birth);
        if let Some(retained) = self.bus.retained(&topic(&self.gateways[at])).cloned() {
            self.bus.push(Listener::Gateway(at), retained);
        }
    }

    async fn start_hub(&mut self, at: usize) -> anyhow::Result<()> {
        if self.hubs[at].is_some() {
            return Ok(());
        }
        self.processes += 1;
        let careless = Careless {
            of_versions: self.plan.mutation == Some(Mutation::NoVersions),
            of_numbers: self.plan.mutation == Some(Mutation::NoDedup),
            of_grace: self.plan.mutation == Some(Mutation::NoGrace),
        };
        let life = self.gates.process(self.processes);
        match Hub::start(life.clone(), &self.lake, careless).await? {
            Some(mut hub) => {
                hub.connected = hub.far.up();
                life.close();
                self.hubs[at] = Some(hub);
            }
            None => {
                self.note("rebuild first", &[]);
                self.stop_hubs();
                self.settle().await;
                self.lake.rebuild().await?;
            }
        }
        Ok(())
    }

    fn kill_hub(&mut self, at: usize) {
        if let Some(hub) = self.hubs[at].take() {
            hub.kill();
        }
    }

    fn stop_hubs(&mut self) {
        (0..HUBS).for_each(|at| self.kill_hub(at));
    }

    /// The broker starts again and knows nothing; whoever was connected comes back.
    fn restart_broker(&mut self) {
        self.bus.forget();
        for at in 0..HUBS {
            if self.hubs[at].as_ref().is_some_and(|hub| hub.connected) {
                self.turn_hub_link(at);
                self.turn_hub_link(at);
            }
        }
        for at in 0..self.gateways.len() {
            if self.gateways[at].connected {
                self.gateways[at].disconnect();
                self.connect_gateway(at);
            }
        }
    }

    fn turn_hub_link(&mut self, at: usize) {
        let Some(hub) = &mut self.hubs[at] else { return };
        hub.connected = if hub.connected {
            hub.far.down();
            false
        } else {
            hub.far.up()
        };
    }
}

/// What a watermark says of each kind.
fn marks(document: &mut Archived) -> impl Iterator<Item = &mut ArchivedKind> {
    document.epochs.iter_mut().flat_map(|epoch| epoch.kinds.values_mut())
}

fn topic(gateway: &Gateway) -> String {
    Topic::Archived(gateway.who.clone()).under("sightline")
}
