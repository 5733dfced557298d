//! A server for one test: in a temporary folder, on a free port, inside this process or as a child that can be killed.

use std::{
    io::{BufRead, BufReader},
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
};

use aws_sdk_s3::config::{BehaviorVersion, Region, RequestChecksumCalculation, retry::RetryConfig};
use cloud::objects::{Credentials, Server};
use store::objects::{Location, Objects};
use tokio_util::sync::CancellationToken;

pub const BUCKET: &str = "sightline";

pub fn credentials() -> Credentials {
    Credentials { access_key: "TESTKEY".into(), secret_key: "test-secret/with+signs".into(), session_token: None }
}

pub fn location(port: u16) -> Location {
    Location {
        endpoint: Some(format!("http://127.0.0.1:{port}")),
        region: "anywhere-1".into(),
        bucket: BUCKET.into(),
        prefix: String::new(),
        credentials: credentials(),
        path_style: true,
        ca: None,
    }
}

/// A server inside this process.
pub struct Running {
    pub port: u16,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Running {
    pub async fn start(folder: &Path) -> Self {
        let server = Server::open(folder, credentials()).await.unwrap();
        server.create_bucket(BUCKET).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let stop = CancellationToken::new();
        let task = tokio::spawn(server.serve(listener, stop.clone()));
        Self { port, stop, task }
    }

    pub fn objects(&self) -> Objects {
        Objects::connect(location(self.port)).unwrap()
    }

    /// The SDK as others use it, with its own defaults for checksums.
    pub fn sdk(&self) -> aws_sdk_s3::Client {
        sdk(self.port, RequestChecksumCalculation::WhenSupported)
    }

    pub async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }
}

pub fn sdk(port: u16, checksums: RequestChecksumCalculation) -> aws_sdk_s3::Client {
    let keys = credentials();
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .credentials_provider(aws_credential_types::Credentials::new(
            keys.access_key,
            keys.secret_key,
            None,
            None,
            "test",
        ))
        .region(Region::new("us-east-1"))
        .endpoint_url(format!("http://127.0.0.1:{port}"))
        .force_path_style(true)
        .retry_config(RetryConfig::disabled())
        .request_checksum_calculation(checksums);
    aws_sdk_s3::Client::from_conf(config.build())
}

/// A server as a child process: this test binary, run once more with [`serve_as_child`] as its only test.
pub struct ChildServer {
    pub port: u16,
    /// Of the server, which may run under another program.
    pid: i32,
    child: Child,
}

const FOLDER: &str = "SIGHTLINE_TEST_OBJECTS_FOLDER";
/// What the child says when it serves, before port and process.
pub const SERVING: &str = "serving on ";

impl ChildServer {
    pub fn start(folder: &Path) -> Self {
        Self::start_by(Command::new(std::env::current_exe().unwrap()), folder)
    }

    /// `command` is this test binary, or something that ends in running it.
    pub fn start_by(mut command: Command, folder: &Path) -> Self {
        command.args(["--ignored", "--exact", "child_server", "--nocapture", "--test-threads=1"]);
        command.env(FOLDER, folder).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (port, pid) = loop {
            let line = lines.next().expect("the child serves").unwrap();
            if let Some((port, pid)) = line.split_once(SERVING).and_then(|(_, rest)| rest.split_once(" as ")) {
                break (port.parse().unwrap(), pid.parse().unwrap());
            }
        };
        // Keep reading, so that the child never waits for its output.
        std::thread::spawn(move || lines.for_each(drop));
        Self { port, pid, child }
    }

    pub fn objects(&self) -> Objects {
        Objects::connect(location(self.port)).unwrap()
    }

    /// kill -9.
    pub fn kill(mut self) {
        // SAFETY: kill takes two integers and touches no memory; the process is our child's, and not yet waited for.
        assert_eq!(unsafe { libc::kill(self.pid, libc::SIGKILL) }, 0);
        self.child.wait().unwrap();
    }

    /// As the hub does it: requests in progress end, the database is closed.
    #[allow(dead_code, reason = "not every test that includes this stops a child")]
    pub fn stop(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success());
    }
}

/// The body of the test `child_server`.
#[allow(clippy::print_stdout)]
pub fn serve_as_child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    // The parent may be killed itself.
    set_death_signal();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let running = Running::start(Path::new(&folder)).await;
        println!("{SERVING}{} as {}", running.port, std::process::id());
        // The parent closes our input when we are to stop.
        let closed = tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
        closed.await.unwrap().unwrap();
        running.stop().await;
    });
}

/// Body files on the disk.
pub fn body_files(folder: &Path) -> usize {
    let shelves = std::fs::read_dir(folder.join("bodies")).unwrap().map(|shelf| shelf.unwrap().path());
    shelves.map(|shelf| std::fs::read_dir(shelf).unwrap().count()).sum()
}

fn set_death_signal() {
    // SAFETY: prctl with PR_SET_PDEATHSIG takes one integer and touches no memory.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
}
