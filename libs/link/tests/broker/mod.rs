//! A real mosquitto of one test: its own port, configuration and folder; ended with the test.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

pub struct Broker {
    pub port: u16,
    pub folder: tempfile::TempDir,
    config: PathBuf,
    child: Option<Child>,
}

impl Broker {
    /// Anybody may connect.
    pub fn open() -> Self {
        Self::start("allow_anonymous true\n", |_| {})
    }

    /// With these lines in its configuration; `prepare` may put files into its folder. `{folder}` is replaced.
    pub fn start(lines: &str, prepare: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        prepare(folder.path());
        let port = free_port();
        let config = folder.path().join("mosquitto.conf");
        let lines = lines.replace("{folder}", folder.path().to_str().unwrap());
        // as root mosquitto would become another user, who may not read our folder
        let text =
            format!("user root\nlistener {port} 127.0.0.1\nmax_queued_messages 100000\nset_tcp_nodelay true\n{lines}");
        std::fs::write(&config, text).unwrap();
        let mut broker = Self { port, folder, config, child: None };
        broker.run();
        broker
    }

    pub fn run(&mut self) {
        let log = std::fs::File::create(self.folder.path().join("log")).unwrap();
        let child = Command::new(program())
            .arg("-v")
            .arg("-c")
            .arg(&self.config)
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()
            .expect("mosquitto is installed");
        self.child = Some(child);
        let deadline = Instant::now() + Duration::from_secs(10);
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < deadline, "mosquitto does not listen: {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// As by kill -9: nothing is saved.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
    }
}

fn program() -> &'static str {
    let debian = "/usr/sbin/mosquitto"; // not on everybody's path
    if Path::new(debian).exists() { debian } else { "mosquitto" }
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
