//! The supervised broker: killed, left behind, asked for certificates.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use cloud::broker::{Broker, State};
use contract::{Kind, Topic};
use daemon::tls::{ClientTls, ServerTls, client_config};
use link::{Publication, Subscription};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{process::get, support::*};

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_killed_comes_back_and_the_watermark_with_it() {
    let parts = Parts::start().await;
    let mut gateway = parts.gateway("gw-1", 31).await;
    let record = gateway.prediction();
    gateway.send_records(Kind::Prediction, &[record]).await;
    gateway.archived(Kind::Prediction, 1).await;
    let broker = parts.broker.as_ref().unwrap();
    let pid = broker.pid().unwrap();
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    until("another broker", async || broker.pid().filter(|other| *other != pid)).await;
    until("it to listen", async || (*broker.state().borrow() == State::Running).then_some(())).await;
    // nothing was saved: what is retained now was published again
    let stranger = parts.gateway("gw-1", 31).await;
    stranger.archived(Kind::Prediction, 1).await;
    let record = gateway.prediction();
    gateway.send_records(Kind::Prediction, &[record]).await;
    gateway.archived(Kind::Prediction, 2).await;
    parts.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_left_behind_is_ended_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let first = Broker::start(broker_options(folder.path())).await.unwrap();
    let pid = first.pid().unwrap();
    // the hub is gone without a word: its supervisor never ends the child
    std::mem::forget(first);
    let second = Broker::start(broker_options(folder.path())).await.unwrap();
    assert!(!is_alive(pid));
    let own = second.pid().unwrap();
    second.stop(Duration::from_secs(5)).await;
    assert!(!is_alive(own));
}

#[tokio::test(flavor = "multi_thread")]
async fn gateways_show_certificates_and_keep_to_their_own_topics() {
    daemon::install_crypto();
    let folder = tempfile::tempdir().unwrap();
    let pki = Pki::make(folder.path());
    let mut options = broker_options(folder.path());
    let files =
        ServerTls { cert: pki.path("server.pem"), key: pki.path("server.key"), client_ca: Some(pki.path("ca.pem")) };
    options.encrypted = Some((any_port(true), files));
    let broker = Broker::start(options).await.unwrap();
    let url = format!("mqtts://localhost:{}", broker.encrypted().unwrap().port());

    let mut watcher = link::Options::new(&broker.url(), "watcher").unwrap();
    watcher.subscriptions = vec![Subscription::at_least_once("sightline/#")];
    let (_watcher, mut heard) = link::connect(watcher).unwrap();
    assert!(matches!(heard.next().await, Some(link::Event::Up { .. })));

    let tls = client_config(&ClientTls {
        ca: Some(pki.path("ca.pem")),
        cert: Some(pki.path("gateway.pem")),
        key: Some(pki.path("gateway.key")),
    })
    .unwrap();
    let mut gateway = link::Options::new(&url, "gateway").unwrap();
    gateway.tls = Some(tls);
    gateway.subscriptions = vec![Subscription::at_least_once("sightline/down/plant/gw-1/+")];
    let (session, mut events) = link::connect(gateway).unwrap();
    assert!(matches!(events.next().await, Some(link::Event::Up { .. })));

    let own = Topic::parse("sightline", "sightline/up/plant/gw-1/event").unwrap();
    for topic in ["sightline/up/plant/gw-2/event", "sightline/down/plant/gw-1/desired", &own.under("sightline")] {
        let sent = session.publish(Publication::new(topic, "x").at_least_once()).await.unwrap().await;
        assert_eq!(sent.is_ok(), topic == own.under("sightline"), "{topic}: {sent:?}");
    }
    let Some(link::Event::Message(message)) = heard.next().await else { panic!() };
    assert_eq!(message.topic, own.under("sightline"));

    // without a certificate there is no connection
    let mut stranger = link::Options::new(&url, "stranger").unwrap();
    stranger.tls = Some(client_config(&ClientTls { ca: Some(pki.path("ca.pem")), ..ClientTls::default() }).unwrap());
    assert!(link::probe(&stranger, Duration::from_secs(5)).await.is_err());
    broker.stop(Duration::from_secs(5)).await;
}

/// A client of MQTT 3.1.1, since one of MQTT 5 is told the limit and keeps to it.
#[test]
fn a_message_longer_than_the_broker_takes_is_refused_said_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::start(folder.path(), &format!("{FREE_PORTS}broker.message_max = \"256KiB\"\n"));
    let metric = || get(hub.address("http"), "/metrics").1.contains("sightline_hub_broker_oversize_total 1\n");
    assert!(!metric());
    let mut client = TcpStream::connect(hub.address("mqtt")).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(b"\x10\x0f\0\x04MQTT\x04\x02\0\x3c\0\x03big").unwrap();
    let mut answer = [0; 4];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(answer, [0x20, 2, 0, 0], "connected");
    let topic = b"sightline/up/plant/gw-1/event";
    let length: u32 = 2 + topic.len() as u32 + (1 << 20);
    let mut message = vec![0x30];
    message.extend((0..3).map(|n| (length >> (7 * n)) as u8 & 0x7f | if n < 2 { 0x80 } else { 0 }));
    message.extend([0, topic.len() as u8]);
    message.extend(topic);
    message.resize(message.len() + (1 << 20), 7);
    let _ = client.write_all(&message); // it is cut off meanwhile
    assert!(client.read(&mut answer).is_ok_and(|read| read == 0) || client.write_all(b"\xc0\0").is_err(), "cut off");
    let deadline = std::time::Instant::now() + PATIENCE;
    // The log is read by a thread of its own, which may be behind.
    let said = || hub.log().contains("broker.message_max") && hub.log().contains("Client big");
    while !(metric() && said()) {
        assert!(std::time::Instant::now() < deadline, "{}", hub.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    let received = get(hub.address("http"), "/metrics").1;
    assert!(received.contains("sightline_hub_ingest_messages_total 0\n"), "{received}");
}

/// An authority, a server and a gateway.
struct Pki(std::path::PathBuf);

impl Pki {
    fn make(folder: &std::path::Path) -> Self {
        use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
        let this = Self(folder.to_owned());
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "test authority");
        std::fs::write(this.path("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        let issuer = Issuer::new(params, key);
        for (file, name, usage) in [
            ("server", "localhost", ExtendedKeyUsagePurpose::ServerAuth),
            ("gateway", "plant/gw-1", ExtendedKeyUsagePurpose::ClientAuth),
        ] {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
            params.distinguished_name = rcgen::DistinguishedName::new();
            params.distinguished_name.push(DnType::CommonName, name);
            params.extended_key_usages = vec![usage];
            let cert = params.signed_by(&key, &issuer).unwrap();
            std::fs::write(this.path(&format!("{file}.pem")), cert.pem()).unwrap();
            std::fs::write(this.path(&format!("{file}.key")), key.serialize_pem()).unwrap();
        }
        this
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.join(name)
    }
}
