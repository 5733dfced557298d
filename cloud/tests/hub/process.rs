//! The program as people run it: the ready line, the endpoints, the order of its end.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    os::unix::fs::PermissionsExt as _,
    time::Duration,
};

use cloud::lake;
use contract::Kind;
use store::{
    lake_index::{LakeIndex, ObjectQuery},
    objects::{Location, Objects},
    tables::Tables,
};

use super::support::*;

pub fn get(address: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_starts_serves_archives_and_ends_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let mut hub = Hub::start(folder.path(), FREE_PORTS);
    let http = hub.address("http").to_owned();
    assert_eq!(get(&http, "/live").0, 200);
    assert_eq!(get(&http, "/ready").0, 200, "{}", get(&http, "/ready").1);
    let (status, metrics) = get(&http, "/metrics");
    assert!(status == 200 && metrics.contains("sightline_hub_ingest_records_total 0"), "{metrics}");
    let (status, version) = get(&http, "/api/v1/version");
    assert!(status == 200 && version.contains("sightline-hub"), "{version}");
    let idle = resident_kib(hub.child.id());
    eprintln!("idle: {idle} KiB resident");
    assert!(idle < 100 << 10, "{idle} KiB resident");

    let endpoints = hub.state.join("endpoints.json");
    assert_eq!(std::fs::metadata(&endpoints).unwrap().permissions().mode() & 0o777, 0o600);
    daemon::install_crypto();
    let objects = Objects::connect(Location::from_state(&hub.state).unwrap()).unwrap();
    let mut gateway = Gateway::connect(&format!("mqtt://{}", hub.address("mqtt")), "gw-1", 41).await;
    let records: Vec<_> = (0..5).map(|_| gateway.prediction()).collect();
    gateway.send_records(Kind::Prediction, &records).await;
    gateway.archived(Kind::Prediction, 5).await;
    let (status, page) = get(&http, "/api/v1/predictions");
    assert!(status == 200 && page.matches("\"open\"").count() >= 5, "{status} {page}");

    // what was sent before the signal is in the lake after it, though nothing was due yet
    let last = gateway.prediction();
    gateway.send_records(Kind::Prediction, &[last]).await;
    let key = {
        let json: serde_json::Value = serde_json::from_slice(&std::fs::read(&endpoints).unwrap()).unwrap();
        json["tables"].as_str().unwrap().to_owned()
    };
    let broker = hub.broker_pid();
    let status = hub.stop();
    assert_eq!(status.code(), Some(0), "{}", hub.log());
    assert!(!is_alive(broker));
    let log = hub.log();
    let steps = ["http", "ingest", "directory", "tables", "objects", "broker"]
        .map(|step| log.find(&format!("step=\"{step}\"")).unwrap_or_else(|| panic!("no step {step} in\n{log}")));
    assert!(steps.is_sorted(), "{log}");
    assert!(log.contains("hub has stopped") && log.contains("rows=6"), "{log}");

    // the same state again: nothing was forgotten
    let mut hub = Hub::start(folder.path(), FREE_PORTS);
    let index = LakeIndex::open(Tables::open(&key).await.unwrap(), now()).await.unwrap();
    let objects_again = Objects::connect(Location::from_state(&hub.state).unwrap()).unwrap();
    assert_eq!(objects.location().credentials, objects_again.location().credentials);
    let mut rows = 0;
    for object in index.objects(&ObjectQuery::rows_of(Kind::Prediction)).await.unwrap() {
        rows += lake::count_rows(objects_again.get(&object.key).await.unwrap()).unwrap();
    }
    assert_eq!(rows, 6);
    assert_eq!(hub.stop().code(), Some(0));
}

#[test]
fn when_it_is_killed_its_broker_ends_too() {
    let folder = tempfile::tempdir().unwrap();
    let mut hub = Hub::start(folder.path(), FREE_PORTS);
    let broker = hub.broker_pid();
    assert!(is_alive(broker));
    hub.signal(9);
    hub.wait();
    let deadline = std::time::Instant::now() + PATIENCE;
    while is_alive(broker) {
        assert!(std::time::Instant::now() < deadline, "the broker outlives the hub");
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut hub = Hub::start(folder.path(), FREE_PORTS);
    assert_eq!(hub.stop().code(), Some(0));
}

#[test]
fn usual_ports_that_are_taken_are_replaced_and_named() {
    // whoever holds them already does as well as we do
    let _held: Vec<_> = [1883, 8080, 9000].map(|port| std::net::TcpListener::bind(("127.0.0.1", port))).into();
    let folder = tempfile::tempdir().unwrap();
    let mut hub = Hub::start(folder.path(), "");
    for (name, usual) in [("http", ":8080"), ("mqtt", ":1883"), ("s3", ":9000")] {
        assert!(!hub.address(name).ends_with(usual), "{}", hub.ready);
    }
    assert_eq!(hub.log().matches("default port is taken").count(), 3, "{}", hub.log());
    assert_eq!(hub.stop().code(), Some(0));
}

#[test]
fn check_and_print_config_tell_without_changing() {
    let folder = tempfile::tempdir().unwrap();
    let config = format!("{FREE_PORTS}[mqtt_client]\nusername = \"hub\"\npassword = \"hunter2\"\n");
    let output = command(folder.path(), &config, &["check"]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && said.contains("mosquitto"), "{said}");
    assert!(!folder.path().join("state").exists());
    let output = command(folder.path(), &config, &["print-config"]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("flush_interval = \"200ms\"") && said.contains("hub.toml:4"), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
    let output = command(folder.path(), "", &["--help"]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    for word in ["run", "check", "print-config", "Exit codes", "SIGHTLINE_HUB__"] {
        assert!(said.contains(word), "{said}");
    }
}
