//! Carries a plan out: two gateways, a broker, up to two hubs and one lake, on one thread, in virtual time.
//!
//! Time moves and effects happen only when an event says so, so that the same plan does the same. After the plan all faults
//! stop, and what was written must arrive within a bound.

use std::{hash::Hasher as _, time::Duration};

use anyhow::Context as _;
use cloud::clock;
use contract::{Archived, Kind, Timestamp, Topic, live::GatewayStatus};
use edge_agent::outbox::{KINDS, disk::Fault};
use link::Publication;
use store::simulation::{Careless, Effect, Seeded, Verdict};

use crate::{
    bus::{Bus, Listener},
    check,
    gate::Gates,
    gateway::{BEGIN, Before, Gateway},
    hub::{FLUSH, Hub, Turn},
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
/// Bytes that ingest may hold: a batch that is filled, one that is flushed, fragments.
const INGEST_BYTES_MAX: u64 = 256 << 10;

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
    /// Watermarks published since they were last compared with the tables.
    published: Vec<Archived>,
    outcome: Outcome,
    trace: std::hash::DefaultHasher,
}

impl<'p> World<'p> {
    async fn new(plan: &'p Plan) -> anyhow::Result<Self> {
        clock::stop_at(Some(BEGIN));
        let gates = Gates::default();
        let lake = Lake::new(&gates).await?;
        let second = if plan.twins { "gw-1" } else { "gw-2" };
        let gateways = vec![Gateway::new("gw-1", 1000, plan.tight), Gateway::new(second, 2000, plan.tight)];
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
                self.published(publication);
            }
        }
        any
    }

    /// A hub publishes a watermark.
    fn published(&mut self, mut publication: Publication) {
        if self.plan.mutation == Some(Mutation::NoIncarnation)
            && let Ok(mut document) = serde_json::from_slice::<Archived>(&publication.payload)
        {
            (document.lake, document.incarnation) = ("lake".into(), "always".into());
            publication.payload = serde_json::to_vec(&document).unwrap_or_default().into();
        }
        if let Ok(document) = serde_json::from_slice(&publication.payload) {
            self.published.push(document);
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
            What::Amnesia => self.bus.forget(),
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
                let turn = [Turn::Sweep, Turn::Orphans, Turn::Compact][b as usize % 3];
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

    /// The process is gone and starts again; what it had written, synced or not, is still there.
    fn kill_gateway(&mut self, at: usize) {
        let gateway = &mut self.gateways[at];
        if let Some(extent) = gateway.extent() {
            gateway.before = Some(Before { extent, power_was_cut: false });
        }
        gateway.agent = None;
        self.start_gateway(at);
    }

    fn cut_power(&mut self, at: usize, b: u32) {
        self.note_durable(at);
        self.truth.power_goes(at);
        let percent = [0, 10, 50, 90, 100][b as usize % 5];
        let mut dice = fastrand::Rng::with_seed(u64::from(b) ^ self.plan.seed);
        let gateway = &mut self.gateways[at];
        match (gateway.extent(), &mut gateway.before) {
            (Some(extent), _) => gateway.before = Some(Before { extent, power_was_cut: true }),
            (None, Some(before)) => before.power_was_cut = true,
            (None, None) => {}
        }
        gateway.lose_power(|| dice.u32(0..100) < percent);
        self.start_gateway(at);
    }

    /// The agent runs again: what it had before must be there, as far as nothing took it.
    fn compare_with_before(&mut self, at: usize) {
        let Some(Before { extent: (epoch, before), power_was_cut }) = self.gateways[at].before.take() else { return };
        let Some((now, after)) = self.gateways[at].extent() else { return };
        let failed = self.fates[at].disk_failed;
        if now != epoch {
            // Possible only before the first superblock was durable: nothing was then.
            let durable = self.truth.written.values().any(|w| w.number.0 == epoch && w.durable && w.excused.is_none());
            if durable && !failed {
                self.violation(format!("gateway {at} has forgotten its log {epoch}"));
            }
            self.truth.excuse("its log was lost unsynced", |w| w.number.0 == epoch);
            return;
        }
        for ((kind, (_, next)), (_, after)) in KINDS.into_iter().zip(before).zip(after) {
            if after < next && !power_was_cut && !failed {
                self.violation(format!("killed, gateway {at} goes on at {kind} {after} instead of {next}"));
            }
            for content in self.truth.ends_at(epoch, kind, after, failed.then_some("its disk failed")) {
                self.violation(format!("{kind} record {content} of gateway {at} was synced and is gone"));
                self.outcome.lost += 1;
            }
        }
    }

    fn rot(&mut self, at: usize, b: u32) {
        use edge_agent::outbox::disk::Disk as _;
        let Ok(found) = self.gateways[at].disk.list() else { return };
        if found.is_empty() {
            return;
        }
        self.fates[at].disk_failed = true;
        let file = &found[b as usize % found.len()];
        let bit = b as usize / 7;
        self.gateways[at].disk.corrupt(&file.name, |bytes| {
            if !bytes.is_empty() {
                let at = bit % bytes.len();
                bytes[at] ^= 1 << (bit % 8);
            }
        });
    }

    fn roll_back_gateway(&mut self, at: usize) {
        let Some(copy) = self.gateways[at].copy.take() else { return };
        self.fates[at].rolled_back = true;
        self.truth.excuse("its gateway was rolled back", |w| w.gateway == at);
        self.gateways[at].before = None;
        self.gateways[at].put_in(copy);
        self.start_gateway(at);
    }

    async fn start_hub(&mut self, at: usize) -> anyhow::Result<()> {
        if self.hubs[at].is_some() {
            return Ok(());
        }
        self.processes += 1;
        let careless = Careless {
            of_versions: self.plan.mutation == Some(Mutation::NoVersions),
            of_numbers: self.plan.mutation == Some(Mutation::NoDedup),
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

    fn turn_hub_link(&mut self, at: usize) {
        let Some(hub) = &mut self.hubs[at] else { return };
        hub.connected = if hub.connected {
            hub.far.down();
            false
        } else {
            hub.far.up()
        };
    }

    /// What somebody does to the lake while no hub runs.
    async fn by_hand(&mut self, what: What) -> anyhow::Result<()> {
        let none = self.lake.backup.is_none();
        if matches!(what, What::Restore | What::RollBackTables) && none {
            return Ok(());
        }
        self.stop_hubs();
        self.settle().await;
        match what {
            What::Restore => self.lake.restore().await?,
            What::RollBackTables => self.lake.roll_back().await?,
            What::LoseTables => self.lake.lose_tables().await?,
            What::Rebuild => self.lake.rebuild().await?,
            _ => {
                self.excuse_what_the_lake_had().await?;
                self.lake.wipe().await?;
            }
        }
        self.start_hub(0).await
    }

    /// Gateways delete what the lake had, and may do so after it is gone: a watermark may still be under way.
    async fn excuse_what_the_lake_had(&mut self) -> anyhow::Result<()> {
        let (index, _) = self.lake.open().await?;
        let streams = index.manifest().await?.streams;
        let had = |(epoch, kind, seq)| {
            streams.iter().any(|s| (s.id.epoch, s.id.kind) == (epoch, kind) && s.committed.contains(seq))
        };
        for at in 0..self.gateways.len() {
            let held = self.gateways[at].held();
            self.truth.excuse("the lake was wiped", |w| w.gateway == at && (had(w.number) || !held(w.number)));
        }
        Ok(())
    }

    /// What must be true at any time.
    async fn look(&mut self) -> anyhow::Result<()> {
        for at in 0..HUBS {
            let Some(hub) = &self.hubs[at] else { continue };
            let held = hub.ingest.stats.backlog_bytes();
            if held > INGEST_BYTES_MAX {
                self.violation(format!("ingest holds {held} bytes"));
            }
        }
        let published = std::mem::take(&mut self.published);
        if published.is_empty() {
            return Ok(());
        }
        let (index, _) = self.lake.open().await?;
        let lake = index.identity().await?;
        for document in published {
            if (&document.lake, &document.incarnation) != (&lake.lake, &lake.incarnation) {
                continue;
            }
            for epoch in document.epochs {
                let streams = index.streams(epoch.epoch).await?;
                for (kind, mark) in epoch.kinds {
                    let known = streams.iter().find(|s| s.id.kind == kind).map_or(0, |s| s.committed.upto());
                    if mark.upto > known {
                        let epoch = epoch.epoch;
                        self.violation(format!(
                            "{kind} of {epoch} is said to be archived up to {}, committed is {known}",
                            mark.upto
                        ));
                    }
                }
            }
        }
        Ok(())
    }

    /// Faults stop; everything must arrive.
    async fn calm(&mut self) -> anyhow::Result<()> {
        self.note("calm", &[]);
        for at in 0..self.gateways.len() {
            self.gateways[at].disk.fail(None);
            if self.gateways[at].agent.is_none() {
                self.start_gateway(at);
            }
            if !self.gateways[at].connected {
                self.connect_gateway(at);
            }
        }
        for step in 0..CALM_STEPS {
            self.tend().await?;
            self.tick(Duration::from_millis(if step % 4 == 3 { 11_000 } else { 400 })).await;
            for at in 0..self.gateways.len() {
                self.gateways[at].sync(false, true);
                self.gateways[at].maintain();
                self.note_durable(at);
            }
            self.settle().await;
            self.deliver_everything().await;
            if self.is_done().await? {
                self.note("done", &[step as u64]);
                self.flush_the_rest().await;
                return self.compare_retained().await;
            }
        }
        let left: Vec<_> = self.gateways.iter().map(Gateway::backlog).collect();
        self.violation(format!("no end within {CALM_STEPS} steps: left {left:?}"));
        Ok(())
    }

    /// What accounts for no number may still be on its way: second arrivals, dead letters.
    async fn flush_the_rest(&mut self) {
        for _ in 0..3 {
            self.tick(2 * FLUSH).await;
            self.settle().await;
            self.deliver_everything().await;
        }
    }

    /// The watermark that the broker keeps is what the tables say.
    async fn compare_retained(&mut self) -> anyhow::Result<()> {
        let (index, _) = self.lake.open().await?;
        for at in 0..self.gateways.len() {
            let now = index.watermark(&self.gateways[at].who).await?;
            let retained = self.bus.retained(&topic(&self.gateways[at]));
            let retained = retained.and_then(|kept| serde_json::from_slice::<Archived>(&kept.payload).ok());
            if self.plan.mutation.is_none()
                && now.epochs.iter().any(|epoch| !epoch.kinds.is_empty())
                && retained.as_ref() != Some(&now)
            {
                self.violation(format!("an old watermark stays: {retained:?} instead of {now:?}"));
            }
        }
        Ok(())
    }

    /// What an operator does: a hub runs, and is connected; a rebuild that is due is made.
    async fn tend(&mut self) -> anyhow::Result<()> {
        let (index, _) = self.lake.open().await?;
        if index.rebuild_due().await?.is_some() {
            self.note("rebuild is due", &[]);
            self.stop_hubs();
            self.settle().await;
            self.lake.rebuild().await?;
        }
        self.start_hub(0).await?;
        for hub in self.hubs.iter_mut().flatten() {
            hub.life.open();
            if !hub.connected {
                hub.connected = hub.far.up();
            }
        }
        Ok(())
    }

    async fn deliver_everything(&mut self) {
        for _ in 0..2000 {
            let before = self.bus.waiting(|listener| match listener {
                Listener::Hub(at) => self.hubs[at].is_some(),
                Listener::Gateway(_) => true,
            });
            let Some(listener) = before.first().copied() else { return };
            if let Some(publication) = self.bus.take(listener, 0, false) {
                self.hand_over(listener, publication);
            }
            self.settle().await;
        }
    }

    async fn is_done(&mut self) -> anyhow::Result<bool> {
        let archived = self.gateways.iter().all(|g| g.agent.as_ref().is_some_and(|agent| agent.archive.is_archived()));
        if !archived {
            return Ok(false);
        }
        let (index, _) = self.lake.open().await?;
        Ok(index.rebuild_due().await?.is_none() && check::unaccounted(&index, &self.gateways).await?.is_empty())
    }
}

fn topic(gateway: &Gateway) -> String {
    Topic::Archived(gateway.who.clone()).under("sightline")
}
