//! The soak's world: two gateways, a hub, and behind it SQLite, or Postgres and an S3 server of their own; a disk for each
//! part, and a link wherever bytes leave one. It lives through all rounds; only processes come and go.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use world::{Config, Edge, Hub, Link, Postgres, edge, link::steady_port, process::Process, runtime};

use crate::{
    disks::Disk,
    plan::{Cable, Part, Tables},
};

/// Gateways.
pub const GATEWAYS: usize = 2;
/// Their site.
pub const SITE: &str = "soak";

const AGENT_DISK: u64 = 96 << 20;
const HUB_DISK: u64 = 2 << 30;

/// Everything that runs.
pub struct World {
    /// Where the tables are.
    pub tables: Tables,
    /// The gateways.
    pub gateways: Vec<Gateway>,
    /// The hub.
    pub hub: Hub,
    /// The S3 server, where it is a process of its own.
    pub store: Option<Store>,
    /// Postgres, where it is.
    pub database: Option<Database>,
    /// The broker's address, without a link.
    pub broker: String,
    /// Kills so far.
    pub kills: u64,
    pub(crate) frozen: Vec<i32>,
    pub(crate) killed: Vec<Part>,
    hub_disk: Disk,
    folder: PathBuf,
}

/// One gateway.
pub struct Gateway {
    /// Its agent.
    pub edge: Edge,
    /// Its way to the broker.
    pub link: Link,
    /// What its state is on.
    pub disk: Disk,
    /// Its disk has been full before.
    pub was_full: bool,
}

/// The S3 server.
pub struct Store {
    /// A hub with that role alone.
    pub hub: Hub,
    /// The hub's way to it.
    pub link: Link,
    /// What the objects are on.
    pub disk: Disk,
}

/// Postgres.
pub struct Database {
    /// The server.
    pub server: Postgres,
    /// The hub's way to it.
    pub link: Link,
}

impl World {
    /// Starts everything below `folder`.
    pub fn start(folder: &Path, tables: Tables) -> Result<Self> {
        let database = (tables == Tables::Postgres).then(|| Database::start(folder)).transpose()?;
        let store = (tables == Tables::Postgres).then(|| Store::start(folder)).transpose()?;
        let hub_disk = Disk::new(&folder.join("disk-hub"), HUB_DISK)?;
        let broker = format!("127.0.0.1:{}", steady_port()?);
        let config = hub_config(&broker, database.as_ref(), store.as_ref())?;
        let file = config.write(folder, "hub.toml")?;
        let hub = Hub::start_with(&hub_disk.folder().join("hub"), &file, &[])?;
        let gateways = (0..GATEWAYS).map(|n| Gateway::start(folder, n, &broker)).collect::<Result<_>>()?;
        let folder = folder.to_owned();
        let (frozen, killed) = (Vec::new(), Vec::new());
        Ok(Self { tables, gateways, hub, store, database, broker, kills: 0, frozen, killed, hub_disk, folder })
    }

    /// The process of a part that is one of ours; `None` for the broker's and the database's.
    pub fn process(&mut self, part: Part) -> Option<&mut Process> {
        match part {
            Part::Agent(n) => Some(&mut self.gateways[n].edge.process),
            Part::Hub => Some(&mut self.hub.process),
            Part::Store => self.store.as_mut().map(|store| &mut store.hub.process),
            Part::Broker | Part::Database | Part::Postmaster | Part::Backend => None,
        }
    }

    /// The hub's mosquitto, while there is one.
    pub fn mosquitto(&self) -> Option<i32> {
        let is_it = |pid: &i32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|n| n.trim() == "mosquitto");
        self.hub.process.descendants().into_iter().find(is_it)
    }

    /// A link, where this world has it.
    pub fn link(&self, cable: Cable) -> Option<&Link> {
        match cable {
            Cable::Agent(n) => Some(&self.gateways[n].link),
            Cable::Store => self.store.as_ref().map(|store| &store.link),
            Cable::Database => self.database.as_ref().map(|database| &database.link),
        }
    }

    /// A part's disk, where it has one.
    pub fn disk(&self, part: Part) -> Option<&Disk> {
        match part {
            Part::Agent(n) => Some(&self.gateways[n].disk),
            Part::Hub => Some(&self.hub_disk),
            Part::Store => self.store.as_ref().map(|store| &store.disk),
            Part::Broker | Part::Database | Part::Postmaster | Part::Backend => None,
        }
    }

    /// Each process's resident memory in MiB, for people.
    pub fn memory(&self) -> Result<String> {
        let mut sizes = Vec::new();
        for gateway in &self.gateways {
            sizes.push((gateway.edge.process.resident_bytes()? >> 20).to_string());
        }
        Ok(format!("agents {} MiB, hub {} MiB", sizes.join(" "), self.hub.process.resident_bytes()? >> 20))
    }

    /// Keeps what lies on the disks, which go with this program, and the ends of the logs: for looking into a failure.
    pub fn keep(&mut self) -> Result<PathBuf> {
        let kept = self.folder.join("kept");
        fs::create_dir_all(&kept)?;
        let mut disks: BTreeSet<&Path> = self.gateways.iter().map(|gateway| gateway.disk.folder()).collect();
        disks.insert(self.hub_disk.folder());
        disks.extend(self.store.as_ref().map(|store| store.disk.folder()));
        let copied = std::process::Command::new("cp").arg("-a").args(disks).arg(&kept).status()?;
        ensure!(copied.success(), "cp into {} failed", kept.display());
        fs::write(kept.join("hub.log"), self.hub.process.log().text())?;
        if let Some(store) = &self.store {
            fs::write(kept.join("store.log"), store.hub.process.log().text())?;
        }
        if let Some(database) = &mut self.database {
            fs::write(kept.join("postgres.log"), database.server.process().log().text())?;
        }
        for (n, gateway) in self.gateways.iter().enumerate() {
            fs::write(kept.join(format!("agent-{}.log", n + 1)), gateway.edge.process.log().text())?;
        }
        Ok(kept)
    }
}

/// What was frozen goes on, so that it can end.
impl Drop for World {
    fn drop(&mut self) {
        for pid in self.frozen.drain(..) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGCONT);
        }
    }
}

impl Database {
    fn start(folder: &Path) -> Result<Self> {
        let server = Postgres::start(folder)?;
        let link = Link::to(&server.address())?;
        Ok(Self { server, link })
    }
}

impl Store {
    fn start(folder: &Path) -> Result<Self> {
        let disk = Disk::new(&folder.join("disk-store"), HUB_DISK)?;
        let address = format!("127.0.0.1:{}", steady_port()?);
        let config = Config::new()
            .set("roles", vec!["objects"])
            .set("listen", format!("127.0.0.1:{}", steady_port()?))
            .set("s3.listen", address.clone());
        let file = config.write(folder, "store.toml")?;
        let hub = Hub::start_with(&disk.folder().join("store"), &file, &[])?;
        Ok(Self { hub, link: Link::to(&address)?, disk })
    }
}

impl Gateway {
    fn start(folder: &Path, n: usize, broker: &str) -> Result<Self> {
        let disk = Disk::new(&folder.join(format!("disk-agent-{}", n + 1)), AGENT_DISK)?;
        let link = Link::to(broker)?;
        let config = edge::with_defaults(agent_config(n, &link)?)?.write(folder, &format!("edge-{}.toml", n + 1))?;
        let edge = Edge::start_with(&disk.folder().join("edge"), &config)?;
        Ok(Self { edge, link, disk, was_full: false })
    }
}

fn hub_config(broker: &str, database: Option<&Database>, store: Option<&Store>) -> Result<Config> {
    let mut config = Config::new()
        .set("listen", format!("127.0.0.1:{}", steady_port()?))
        .set("broker.listen", broker)
        .set("ingest.flush_interval", "500ms")
        // Compaction goes on meanwhile, whenever an hour ends.
        .set("lake.upkeep_interval", "5s")
        .set("lake.compact_after", "10s")
        .set("lake.reader_grace", "30s");
    if let Some(database) = database {
        config = config.set("tables", Postgres::url_at(&database.link.address().to_string()));
    }
    let Some(store) = store else { return Ok(config.set("s3.listen", format!("127.0.0.1:{}", steady_port()?))) };
    let endpoints = store.hub.endpoints()?;
    let said = |key: &str| endpoints["s3"][key].as_str().map(str::to_owned).with_context(|| format!("no s3.{key}"));
    Ok(config
        .set("roles", vec!["broker", "ingest", "api"])
        .set("objects", format!("s3://{}", said("bucket")?))
        .set("s3.endpoint", format!("http://{}", store.link.address()))
        .set("s3.access_key", said("access_key")?)
        .set("s3.secret_key", said("secret_key")?))
}

/// Two cheap cameras: one whose pictures change with every frame, which makes events, and one that moves.
fn agent_config(n: usize, link: &Link) -> Result<Config> {
    Ok(Config::new()
        .set("site", SITE)
        .set("gateway", format!("gw-{}", n + 1))
        .set("mqtt.url", format!("mqtt://{}", link.address()))
        .set("models.default", runtime::tiny_model()?.display().to_string())
        .set("health.interval", "1s")
        .set("outbox.max_bytes", "64MiB")
        .set("outbox.segment", "128KiB")
        .set("cameras.ball.uri", "test:ball?width=160&height=120&fps=20")
        .set("cameras.ball.regions.full.fps", "every")
        .set("cameras.ball.regions.full.samples.periodic", "500ms")
        .set("cameras.blink.uri", "test:blink?width=160&height=120&fps=10")
        .set("cameras.blink.regions.full.fps", "every")
        .set("cameras.blink.regions.full.events.min_score", 0.0)
        .set("cameras.blink.regions.full.events.votes", 1)
        .set("cameras.blink.regions.full.events.of", 1)
        .set("cameras.blink.regions.full.samples.changed", false))
}
