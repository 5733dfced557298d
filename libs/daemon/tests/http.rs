//! HTTP as a client meets it: admin endpoints, mutual TLS, limits, and a graceful end.

#![allow(clippy::unwrap_used, missing_docs)]

use std::{io::Write, net::SocketAddr, path::Path, process::Stdio, sync::Arc, time::Duration};

use axum::{Extension, Router, routing::get};
use daemon::{
    CancellationToken,
    admin::{Admin, BuildInfo, Readiness},
    http::{self, Limits, Peer},
    listen, metrics,
    tls::{self, ServerTls},
};

daemon::metric_names! {
    /// What the test measures.
    enum Metric {
        Frames = counter("sightline_frames_received_total", "Frames that came", ["camera"]),
        Backlog = gauge("sightline_outbox_bytes", "Bytes that wait"),
        Latency = histogram("sightline_latency_seconds", "Capture to result", ["camera"]; daemon::metrics::SECONDS),
    }
}

const BUILD: BuildInfo = BuildInfo { name: "test", version: "1.2.3", commit: "abc" };

struct Server {
    address: SocketAddr,
    stop: CancellationToken,
    done: tokio::task::JoinHandle<std::io::Result<()>>,
}

fn start(router: Router, tls: Option<&ServerTls>, limits: Limits) -> Server {
    daemon::install_crypto();
    let listener = listen::bind("127.0.0.1:0".parse().unwrap(), "listen").unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let tls = tls.map(|tls| tls::server_config(tls).unwrap());
    let done = tokio::spawn(http::serve(listener, router, tls, limits, stop.clone()));
    Server { address, stop, done }
}

#[tokio::test]
async fn the_admin_endpoints_answer_and_promtool_likes_the_metrics() {
    let metrics = metrics::Metrics::<Metric>::new();
    assert_eq!(metrics::lint::<Metric>(), Vec::<String>::new());
    metrics.counter(Metric::Frames, &["a \"quoted\"\\ camera\n"]).add(3);
    metrics.gauge(Metric::Backlog, &[]).set(1.5e9);
    let latency = metrics.histogram(Metric::Latency, &["front"]);
    [0.001, 0.0011, 0.3, 60.0].iter().for_each(|s| latency.observe(*s));
    let readiness = Readiness::new();
    let broker = readiness.component("broker");
    let admin = Admin { readiness, metrics: Arc::new(metrics.clone()), build: BUILD };
    let server = start(daemon::admin::router(admin, "/version"), None, Limits::default());
    let fetch = |path: &str| {
        let url = format!("http://{}{path}", server.address);
        async move {
            let response = reqwest::get(url).await.unwrap();
            (response.status().as_u16(), response.text().await.unwrap())
        }
    };
    assert_eq!(fetch("/live").await.0, 200);
    let (status, body) = fetch("/ready").await;
    assert_eq!((status, body.contains(r#""reason":"starting""#)), (503, true), "{body}");
    broker.ready();
    assert_eq!(fetch("/ready").await, (200, r#"{"ready":true,"components":{"broker":{"ready":true}}}"#.to_owned()));
    let version = fetch("/version").await.1;
    assert_eq!(version, r#"{"name":"test","version":"1.2.3","commit":"abc"}"#);
    let text = fetch("/metrics").await.1;
    for line in [
        r#"sightline_frames_received_total{camera="a \"quoted\"\\ camera\n"} 3"#,
        "sightline_outbox_bytes 1500000000",
        r#"sightline_latency_seconds_bucket{camera="front",le="0.001"} 1"#,
        r#"sightline_latency_seconds_bucket{camera="front",le="+Inf"} 4"#,
        r#"sightline_build_info{program="test",version="1.2.3",commit="abc"} 1"#,
        "# TYPE process_cpu_seconds_total counter",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    promtool(&text);
}

fn promtool(text: &str) {
    let mut child = std::process::Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool comes with Debian's package prometheus");
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.trim().is_empty(), "promtool: {said}\n{text}");
}

/// An authority and what it signed, as PEM files.
fn certificates(folder: &Path) -> ServerTls {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
    let (ca_key, server_key, client_key) =
        (KeyPair::generate().unwrap(), KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_cert = ca.self_signed(&ca_key).unwrap();
    let issuer = Issuer::new(ca, ca_key);
    let server = CertificateParams::new(vec!["localhost".into()]).unwrap().signed_by(&server_key, &issuer).unwrap();
    let mut client = CertificateParams::new(Vec::new()).unwrap();
    client.distinguished_name.push(DnType::CommonName, "home/gw-1");
    let client = client.signed_by(&client_key, &issuer).unwrap();
    let write = |name: &str, text: String| {
        std::fs::write(folder.join(name), text).unwrap();
        folder.join(name)
    };
    write("client.pem", client.pem() + &client_key.serialize_pem());
    ServerTls {
        cert: write("cert.pem", server.pem()),
        key: write("key.pem", server_key.serialize_pem()),
        client_ca: Some(write("ca.pem", ca_cert.pem())),
    }
}

fn client(ca: &Path, identity: Option<&Path>) -> reqwest::Client {
    let ca = reqwest::Certificate::from_pem(&std::fs::read(ca).unwrap()).unwrap();
    let mut builder = reqwest::Client::builder().tls_certs_only([ca]);
    if let Some(path) = identity {
        builder = builder.identity(reqwest::Identity::from_pem(&std::fs::read(path).unwrap()).unwrap());
    }
    builder.build().unwrap()
}

#[tokio::test]
async fn handlers_learn_who_is_asking_and_strangers_do_not_get_in() {
    daemon::install_crypto();
    let folder = tempfile::tempdir().unwrap();
    let tls = certificates(folder.path());
    let who = async |Extension(peer): Extension<Peer>| peer.common_name.as_deref().unwrap_or("nobody").to_owned();
    let server = start(Router::new().route("/", get(who)), Some(&tls), Limits::default());
    let url = format!("https://localhost:{}/", server.address.port());
    let ca = folder.path().join("ca.pem");
    let known = client(&ca, Some(&folder.path().join("client.pem")));
    let answer = known.get(&url).send().await.unwrap();
    assert_eq!((answer.version(), answer.text().await.unwrap().as_str()), (reqwest::Version::HTTP_2, "home/gw-1"));
    client(&ca, None).get(&url).send().await.unwrap_err();
}

#[tokio::test]
async fn a_running_request_is_finished_and_a_stuck_one_is_cut() {
    let entered = Arc::new(tokio::sync::Semaphore::new(0));
    let (one, two) = (entered.clone(), entered.clone());
    let slow = async move || {
        one.add_permits(1);
        tokio::time::sleep(Duration::from_millis(300)).await;
        "done"
    };
    let stuck = async move || {
        two.add_permits(1);
        std::future::pending::<()>().await;
    };
    let router = Router::new().route("/slow", get(slow)).route("/stuck", get(stuck));
    let limits = Limits { drain: Duration::from_secs(1), ..Limits::default() };
    let server = start(router, None, limits);
    let url = |path: &str| format!("http://{}{path}", server.address);
    let finished = tokio::spawn(reqwest::get(url("/slow")));
    let stuck = tokio::spawn(reqwest::get(url("/stuck")));
    let _both = entered.acquire_many(2).await.unwrap();
    server.stop.cancel();
    assert_eq!(finished.await.unwrap().unwrap().text().await.unwrap(), "done");
    assert!(stuck.await.unwrap().is_err());
    server.done.await.unwrap().unwrap();
    assert!(reqwest::get(url("/slow")).await.is_err());
}

#[tokio::test]
async fn heads_and_connections_are_bounded() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let limits = Limits {
        connections_max: 2,
        head_bytes_max: 8192,
        head_timeout: Duration::from_millis(400),
        drain: Duration::from_secs(1),
    };
    let server = start(Router::new().route("/", get(async || "ok")), None, limits);
    let url = format!("http://{}/", server.address);
    let long = reqwest::Client::new().get(&url).header("x-long", "a".repeat(20_000)).send().await.unwrap();
    assert_eq!(long.status().as_u16(), 431);
    // two who say nothing take both places, and lose them after the time that a head may take
    let mut silent = Vec::new();
    for _ in 0..2 {
        let mut stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        silent.push(stream);
    }
    let answer = tokio::time::timeout(Duration::from_secs(10), reqwest::get(&url)).await.unwrap().unwrap();
    assert_eq!(answer.text().await.unwrap(), "ok");
    let mut rest = Vec::new();
    silent[0].read_to_end(&mut rest).await.unwrap();
}
