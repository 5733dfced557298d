//! A private Postgres cluster: made in a temporary folder, on a free loopback port, ended with the test.

use std::{
    net::TcpListener,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use store::tables::Tables;

const PASSWORD: &str = "correct-horse";

pub struct Cluster {
    folder: tempfile::TempDir,
    server: Child,
    port: u16,
}

impl Cluster {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let password = folder.path().join("password");
        std::fs::write(&password, PASSWORD).unwrap();
        if nix::unistd::geteuid().is_root() {
            // Postgres refuses to run as root, so its own user gets the folder.
            let user =
                nix::unistd::User::from_name("postgres").unwrap().expect("the package postgresql makes its user");
            for path in [folder.path(), &password] {
                chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw())).unwrap();
            }
        }
        std::fs::set_permissions(&password, std::fs::Permissions::from_mode(0o600)).unwrap();
        let data = folder.path().join("data");
        let made = as_postgres("initdb")
            .arg("-D")
            .arg(&data)
            .args(["-U", "postgres", "--auth-local=trust", "--auth-host=scram-sha-256", "--no-sync"])
            // A locale whose order is not that of the bytes, where there is one: texts must sort by bytes all the same.
            .args(["--encoding=UTF8", "--locale=C.UTF-8", "--pwfile"])
            .arg(&password)
            .output()
            .unwrap();
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = as_postgres("postgres")
            .arg("-D")
            .arg(&data)
            .arg("-k")
            .arg(folder.path())
            .args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"])
            .args(["-c", "max_connections=40", "-c", "shared_buffers=16MB"])
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self { folder, server, port }
    }

    pub fn uri(&self, database: &str) -> String {
        format!("postgres://postgres:{PASSWORD}@127.0.0.1:{}/{database}", self.port)
    }

    pub fn uri_with_password(&self, password: &str) -> String {
        format!("postgres://postgres:{password}@127.0.0.1:{}/postgres", self.port)
    }

    /// By the socket in the cluster's folder, as a local service would.
    pub fn socket_uri(&self) -> String {
        format!("postgres:///postgres?host={}&port={}&user=postgres", self.folder.path().display(), self.port)
    }

    pub async fn create_database(&self, name: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let made = as_postgres("createdb")
                .arg("-h")
                .arg(self.folder.path())
                .args(["-p", &self.port.to_string(), "-U", "postgres", name])
                .output()
                .unwrap();
            if made.status.success() {
                return self.uri(name);
            }
            let why = String::from_utf8_lossy(&made.stderr).into_owned();
            assert!(Instant::now() < deadline, "the cluster does not answer: {why}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Ends all connections, as a fail-over does.
    pub async fn disconnect_all(&self) {
        let admin = Tables::open(&self.uri("postgres")).await.unwrap();
        let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname IS NOT NULL";
        admin.write(|tx| async move { tx.sql(sql).fetch_all().await }).await.unwrap();
        admin.close().await;
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // SIGQUIT is Postgres's immediate shutdown; its children follow.
        let pid = nix::unistd::Pid::from_raw(self.server.id() as i32);
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGQUIT);
        let _ = self.server.wait();
    }
}

/// A program of the newest installed Postgres, run as its user and ended with this thread.
fn as_postgres(program: &str) -> Command {
    let program = newest().join(program);
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "QUIT"]).current_dir("/");
    if nix::unistd::geteuid().is_root() {
        command.args(["--reuid", "postgres", "--regid", "postgres", "--clear-groups"]);
    }
    command.arg(program);
    command
}

fn newest() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let version = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    let newest =
        versions.map(|entry| entry.path()).filter(|p| p.join("bin/initdb").exists()).max_by_key(|p| version(p));
    newest
        .expect("no Postgres under /usr/lib/postgresql: run `make setup`, or install the package postgresql")
        .join("bin")
}
