//! The same path with Postgres for the tables: a private cluster, on a socket and port of its own.

use std::{path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use contract::Kind;
use world::{Config, Edge, Hub, Process, lake, story, wait};

use crate::common::{free_port, tiny};

/// A Postgres server of its own; gone when dropped.
pub struct Postgres {
    _process: Process,
    port: u16,
}

impl Postgres {
    pub fn start(folder: &Path) -> Result<Self> {
        let bin = installed().context("Postgres is not installed: deploy/setup/packages.sh installs it")?;
        let (data, port) = (folder.join("pg"), free_port()?);
        std::fs::create_dir(&data)?;
        let root = nix::unistd::geteuid().is_root();
        if root {
            // Postgres refuses to run as root.
            open_up(folder)?;
            let postgres = nix::unistd::User::from_name("postgres")?.context("user postgres")?;
            std::os::unix::fs::chown(&data, Some(postgres.uid.as_raw()), Some(postgres.gid.as_raw()))?;
        }
        let command = |program: &str| {
            let mut command = Command::new(if root { "setpriv".into() } else { bin.join(program) });
            if root {
                command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(bin.join(program));
            }
            command.current_dir("/");
            command
        };
        let made = command("initdb")
            .args(["-A", "trust", "-U", "sightline", "--no-sync", "-E", "UTF8", "--locale=C", "-D"])
            .arg(&data)
            .output()?;
        ensure!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let mut server = command("postgres");
        server.arg("-D").arg(&data).args([
            "-p",
            &port.to_string(),
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            "fsync=off",
        ]);
        server.args(["-c", "unix_socket_directories="]);
        let process = Process::start("postgres", &mut server)?;
        process
            .log()
            .find(wait::PATIENCE, |line| line.contains("ready to accept connections").then_some(()))
            .with_context(|| format!("Postgres did not start:\n{}", process.log().text()))?;
        Ok(Self { _process: process, port })
    }

    pub fn url(&self) -> String {
        format!("postgres://sightline@127.0.0.1:{}/postgres", self.port)
    }
}

fn installed() -> Option<std::path::PathBuf> {
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

#[test]
fn the_tables_may_be_in_postgres() {
    story(|folder| {
        let postgres = Postgres::start(folder)?;
        let hub = Hub::start(folder, Config::new().set("tables", postgres.url()))?;
        let config = tiny()?.set("cameras.cam.uri", "test:ball?fps=25").set("cameras.cam.regions.full.fps", "every");
        let mut edge = Edge::start(folder, &hub, config)?;
        hub.lake()?.wait_rows(Kind::Prediction, 20)?;
        let summary = edge.stop()?;
        let rows = hub.lake()?.rows(Kind::Prediction)?;
        assert_eq!(lake::holes_and_doubles(&rows), (vec![], vec![]));
        assert_eq!(rows.len() as u64, summary.classified);
        let page = hub.rest()?.json("/api/v1/predictions?camera=cam&limit=5")?;
        assert!(page.to_string().contains("\"seq\""), "{page}");
        Ok(())
    });
}
