//! The MQTT broker of one machine: Debian's mosquitto as a supervised child.
//!
//! Its configuration is generated into the state folder at each start. The child has a process group of its own, so
//! that a Ctrl-C reaches the hub first; it gets SIGTERM when the hub dies (parent-death signal); and when even that fails,
//! the next start recognises the left-over by pid, boot and start time, and ends it. Nothing relies on the broker's
//! durability: it persists by time, and the hub publishes again whatever it retained.

mod conf;
mod leftover;
mod program;
mod supervisor;

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use daemon::{listen, tls::ServerTls};
use tokio::sync::watch;

pub use supervisor::State;
use supervisor::Supervisor;

/// How often a free port is tried: another process may take it between our choice and mosquitto's start.
const PORT_ATTEMPTS: u32 = 5;
/// The longest that mosquitto may take to listen; it reads its database first.
const START_MAX: Duration = Duration::from_secs(20);

/// What the broker is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// The state folder's part for the broker; made when absent.
    pub folder: PathBuf,
    /// The program: a name looked for in `PATH` and the system's `sbin` folders, or a path.
    pub program: String,
    /// Where programs of this machine connect, without access control.
    pub listen: Listen,
    /// Where gateways connect with certificates.
    pub encrypted: Option<(Listen, ServerTls)>,
    /// The longest message.
    pub message_max: u64,
    /// The topics' prefix, for the access list.
    pub prefix: String,
    /// Common names of those who may read the live lane at `encrypted`.
    pub viewers: Vec<String>,
    /// Allows `listen` to be reached by others.
    pub insecure: bool,
}

/// An address, and whether somebody asked for exactly this one.
#[derive(Clone, Copy, Debug)]
pub struct Listen {
    /// Port 0 takes a free one.
    pub address: SocketAddr,
    /// Not a default: when it is taken, that is an error.
    pub explicit: bool,
}

/// Why there is no broker.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// mosquitto is not installed.
    #[error(
        "cannot find the broker `{program}` (looked in {looked}); install it with `apt-get install mosquitto`, or name \
         another broker with mqtt = \"mqtt://host:1883\""
    )]
    Missing {
        /// What was looked for.
        program: String,
        /// Where.
        looked: String,
    },
    /// The address cannot be listened at.
    #[error(transparent)]
    Listen(#[from] listen::Error),
    /// Its part of the state folder cannot be used.
    #[error("prepare the broker in {}: {source}; is the folder writable, and the disk not full?", .folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It did not come up.
    #[error("broker `{program}` did not start: {reason}; its configuration is {}", .conf.display())]
    Start {
        /// The program.
        program: String,
        /// Its last words, or that it had none.
        reason: String,
        /// The generated configuration.
        conf: PathBuf,
    },
}

/// A running broker.
pub struct Broker {
    address: SocketAddr,
    encrypted: Option<SocketAddr>,
    supervisor: Supervisor,
}

impl Broker {
    /// Ends a left-over broker of this folder, starts a new one and waits until it listens.
    pub async fn start(options: Options) -> Result<Self, Error> {
        let program = program::find(&options.program)?;
        let folder_error = |source| Error::Folder { folder: options.folder.clone(), source };
        fs::create_dir_all(&options.folder).map_err(folder_error)?;
        let pid_file = options.folder.join("mosquitto.pid.json");
        let ended = tokio::task::spawn_blocking({
            let pid_file = pid_file.clone();
            move || leftover::end(&pid_file)
        });
        if let Ok(Some(pid)) = ended.await {
            tracing::warn!(pid, "a broker that an earlier hub left behind was ended");
        }
        listen::guard(options.listen.address, "broker.listen", Some("broker.tls"), None, options.insecure)?;
        for attempt in 1.. {
            let address = choose(options.listen, "broker.listen")?;
            let encrypted = match &options.encrypted {
                Some((listen, _)) => Some(choose(*listen, "broker.tls.listen")?),
                None => None,
            };
            let conf = conf::write(&options, address, encrypted).map_err(folder_error)?;
            let supervisor = Supervisor::start(program.clone(), conf.clone(), pid_file.clone());
            match supervisor.until_running(START_MAX).await {
                Ok(()) => return Ok(Self { address, encrypted, supervisor }),
                Err(reason) => {
                    supervisor.stop(Duration::from_secs(2)).await;
                    let taken = reason.contains("Address already in use");
                    if !taken || attempt == PORT_ATTEMPTS {
                        return Err(Error::Start { program: options.program, reason, conf });
                    }
                }
            }
        }
        unreachable!("the loop returns at its last attempt")
    }

    /// Where programs of this machine connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where gateways connect with certificates.
    pub fn encrypted(&self) -> Option<SocketAddr> {
        self.encrypted
    }

    /// The address as the hub's own clients use it.
    pub fn url(&self) -> String {
        let ip = match self.address.ip() {
            ip if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            ip => ip,
        };
        format!("mqtt://{}", SocketAddr::new(ip, self.address.port()))
    }

    /// Whether it runs, as it changes.
    pub fn state(&self) -> watch::Receiver<State> {
        self.supervisor.state()
    }

    /// Counts the messages that were longer than the broker takes.
    pub fn oversize(&self) -> Arc<AtomicU64> {
        self.supervisor.oversize()
    }

    /// Its process, while it runs; for tests and metrics.
    pub fn pid(&self) -> Option<i32> {
        self.supervisor.pid()
    }

    /// Ends it in order: it writes its database. After `bound` it is killed.
    pub async fn stop(self, bound: Duration) {
        self.supervisor.stop(bound).await;
    }
}

/// Whether the broker's program is there, for `check`: its path.
pub fn find_program(program: &str) -> Result<PathBuf, Error> {
    program::find(program)
}

/// A port that is free now; mosquitto opens it itself, a moment later.
fn choose(listen: Listen, key: &str) -> Result<SocketAddr, listen::Error> {
    let bound = listen::bind_or_free(listen.address, listen.explicit, key)?;
    bound.local_addr().map_err(|source| listen::Error::Io { key: key.to_owned(), address: listen.address, source })
}
