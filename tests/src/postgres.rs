//! A Postgres server of its own: a private cluster on a port of its own, which can be killed and comes back.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{Process, link::steady_port, wait};

/// A Postgres server; gone when dropped.
pub struct Postgres {
    process: Process,
    data: PathBuf,
    port: u16,
}

impl Postgres {
    /// Makes a cluster in `folder` and starts it.
    pub fn start(folder: &Path) -> Result<Self> {
        let (data, port) = (folder.join("pg"), steady_port()?);
        std::fs::create_dir(&data)?;
        if nix::unistd::geteuid().is_root() {
            // Postgres refuses to run as root.
            open_up(folder)?;
            let postgres = nix::unistd::User::from_name("postgres")?.context("user postgres")?;
            std::os::unix::fs::chown(&data, Some(postgres.uid.as_raw()), Some(postgres.gid.as_raw()))?;
        }
        let made = command("initdb")?
            .args(["-A", "trust", "-U", "sightline", "--no-sync", "-E", "UTF8", "--locale=C", "-D"])
            .arg(&data)
            .output()?;
        ensure!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let process = serve(&data, port)?;
        Ok(Self { process, data, port })
    }

    /// How a hub reaches it.
    pub fn url(&self) -> String {
        Self::url_at(&self.address())
    }

    /// The same through another address, such as a link's.
    pub fn url_at(address: &str) -> String {
        format!("postgres://sightline@{address}/postgres")
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The postmaster.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// The processes that serve clients and do the housework, without the postmaster.
    pub fn backends(&self) -> Vec<i32> {
        self.process.descendants()
    }

    /// A signal to the postmaster and all the others: what a power cut or a frozen machine does.
    pub fn signal_all(&self, signal: Signal) -> Result<()> {
        let others = self.backends();
        self.process.signal(signal)?;
        for pid in others {
            let _ = kill(Pid::from_raw(pid), signal); // it may be gone by now
        }
        Ok(())
    }

    /// Starts it again after its end, on the same port, and waits until it takes connections.
    pub fn restart(&mut self) -> Result<()> {
        self.process.wait(Duration::from_secs(10))?;
        // Backends of a postmaster that was killed hold its shared memory until they notice; it refuses to start so long.
        let process = wait::until("Postgres to start again", || Ok(Some(serve(&self.data, self.port)?)))?;
        self.process = process;
        Ok(())
    }
}

/// Neither syncing nor a socket in the file system: kills are survived without the first, and nobody needs the second.
fn serve(data: &Path, port: u16) -> Result<Process> {
    let mut server = command("postgres")?;
    server.arg("-D").arg(data).args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]);
    server.args(["-c", "unix_socket_directories="]);
    let mut process = Process::start("postgres", &mut server)?;
    let ready = process.log().find(wait::PATIENCE, |line| line.contains("ready to accept connections").then_some(()));
    ensure!(ready.is_some() && process.is_running(), "Postgres did not start:\n{}", process.log().text());
    Ok(process)
}

/// A program of the newest installed version, as a user that Postgres accepts.
fn command(program: &str) -> Result<Command> {
    let bin = installed().context("Postgres is not installed: deploy/setup/packages.sh installs it")?;
    let mut command = if nix::unistd::geteuid().is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--pdeathsig=INT"]);
        command.arg(bin.join(program));
        command
    } else {
        Command::new(bin.join(program))
    };
    command.current_dir("/");
    Ok(command)
}

fn installed() -> Option<PathBuf> {
    let mut versions: Vec<_> =
        std::fs::read_dir("/usr/lib/postgresql").ok()?.flatten().map(|e| e.path().join("bin")).collect();
    versions.sort();
    versions.pop().filter(|bin| bin.join("initdb").exists())
}

/// Lets another user pass through the story's folder.
fn open_up(folder: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).context("open the folder")
}
