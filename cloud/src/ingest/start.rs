//! Ingest as the assembly sees it: what it is told, what it works with, its tasks, and its orderly end.

use std::{sync::Arc, time::Duration};

use contract::GatewayId;
use daemon::{
    CancellationToken,
    admin::Component,
    liveness::Pulse,
    tasks::{BoxError, Kind, Tasks},
};
use link::{Events, Session};
use store::{lake_index::LakeIndex, objects::Objects};
use tokio::{sync::mpsc, time::timeout};

use super::{
    Handle, Stats,
    assemble::Limits,
    batch::Rows,
    flush::Flusher,
    handle::Arrivals,
    intake::Intake,
    memory::Freed,
    run::Shell,
    upgrade,
    watermark::{Owed, Publisher},
};

/// Submissions of this process that may wait; each is a picture and what was said of it.
const INBOX_MAX: usize = 64;
/// Arrived records that a slow watcher may be behind.
const ARRIVED_MAX: usize = 1024;

/// What ingest is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// The topics' prefix.
    pub prefix: String,
    /// The hub's own name as a gateway.
    pub gateway: GatewayId,
    /// The longest time that a record waits for its flush.
    pub flush_interval: Duration,
    /// The batch that is flushed at once.
    pub flush_bytes: usize,
    /// Bounds of what waits for fragments.
    pub fragments: Limits,
    /// Bytes of records that cannot be read, kept in all; the oldest go first.
    pub dead_bytes: u64,
}

/// What ingest works with.
pub struct Parts {
    /// The bus, subscribed to the archive lane.
    pub bus: (Session, Events),
    /// Where objects go.
    pub objects: Objects,
    /// The lake's tables.
    pub index: LakeIndex,
    /// Says whether the bus is there.
    pub ready: Component,
    /// Where its tasks run; losing one of them is losing the process.
    pub tasks: Tasks,
    /// Beats with every turn of the loop, at least every five seconds.
    pub pulse: Pulse,
}

/// A running ingest.
pub struct Ingest {
    /// The way in for this process's own records, and to watch what arrives.
    pub handle: Handle,
    /// What is counted.
    pub stats: Arc<Stats>,
    session: Session,
    owed: Owed,
    /// Cancelled when nothing is to wait for its flush any more.
    hurry: CancellationToken,
    stop: CancellationToken,
    give_up: CancellationToken,
    /// Cancelled when the loop has ended.
    ended: CancellationToken,
    published: CancellationToken,
}

/// Starts ingest. Must be called within a Tokio runtime.
pub fn start(options: Options, parts: Parts) -> Ingest {
    let (inbox_sender, inbox) = mpsc::channel(INBOX_MAX);
    let arrivals = Arrivals::new(ARRIVED_MAX);
    let stats = Arc::new(Stats::default());
    let (owed, stop, give_up) = (Owed::default(), CancellationToken::new(), CancellationToken::new());
    let (hurry, ended, published) = (CancellationToken::new(), CancellationToken::new(), CancellationToken::new());
    let (session, events) = parts.bus;
    let publisher = Publisher {
        index: parts.index.clone(),
        session: session.clone(),
        prefix: options.prefix.clone(),
        owed: owed.clone(),
        own: options.gateway.clone(),
        stats: stats.clone(),
    };
    let mut intake =
        Intake::new(options.gateway.clone(), upgrade::READABLE, options.fragments, stats.clone(), arrivals.clone());
    intake.streams.careless = parts.index.tables().careless().of_numbers;
    let (index, objects) = (parts.index.clone(), parts.objects.clone());
    let (own, owing) = (options.gateway.clone(), owed.clone());
    parts.tasks.spawn("kept records", Kind::BestEffort, async move {
        owing.add(upgrade::read_kept(&index, &objects, &own, upgrade::READABLE).await.owners);
        Ok::<(), BoxError>(())
    });
    let flusher = Flusher {
        objects: parts.objects,
        index: parts.index,
        stats: stats.clone(),
        dead_bytes: options.dead_bytes,
        give_up: give_up.clone(),
    };
    let shell = Shell {
        options,
        intake,
        flusher,
        owed: owed.clone(),
        ready: parts.ready,
        pulse: parts.pulse,
        hurry: hurry.clone(),
        in_flight: None,
        flight_weight: 0,
        room: Rows::new(),
        freed: Freed::default(),
        incarnation: None,
        looked_at: None,
        behind_since: None,
        unasked_since: None,
    };
    let (end, until) = (ended.clone().drop_guard(), stop.clone());
    parts.tasks.spawn("ingest", Kind::Critical, async move {
        let _end = end; // whatever the end is
        shell.run(events, inbox, until).await
    });
    let until = published.clone();
    parts.tasks.spawn("watermarks", Kind::Critical, async move {
        until.run_until_cancelled(publisher.run()).await;
        Ok::<(), BoxError>(())
    });
    let handle = Handle::new(inbox_sender, arrivals);
    Ingest { handle, stats, session, owed, hurry, stop, give_up, ended, published }
}

impl Ingest {
    /// The process is about to stop: what comes is committed at once, so that those who wait for it have their answer
    /// before they are cut off.
    pub fn hurry(&self) {
        self.hurry.cancel();
    }

    /// Takes what is under way on the bus, commits it, publishes the watermarks and disconnects, all within `bound`.
    /// What is not committed by then is not lost: its gateway sends it again.
    pub async fn drain(self, bound: Duration) -> Result<(), String> {
        let deadline = tokio::time::Instant::now() + bound;
        self.stop.cancel();
        let committed = tokio::time::timeout_at(deadline, self.ended.cancelled()).await.is_ok();
        if !committed {
            self.give_up.cancel();
            let _ = timeout(Duration::from_millis(200), self.ended.cancelled()).await; // it ends by itself now
        }
        let told = tokio::time::timeout_at(deadline, self.owed.settled()).await.is_ok();
        self.published.cancel();
        self.session.close(Duration::from_secs(2)).await;
        match (committed, told) {
            (true, true) => Ok(()),
            (true, false) => Err("watermarks were not published in time".to_owned()),
            (false, _) => Err("records were not committed in time; their gateways will send them again".to_owned()),
        }
    }
}
