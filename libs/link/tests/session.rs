//! The session against a real mosquitto: outages, lost sessions, limits, properties, wills, TLS.

#![allow(clippy::unwrap_used, missing_docs)]

mod broker;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use broker::Broker;
use bytes::Bytes;
use link::{
    ConnectError, Credentials, Event, Events, Message, Options, Publication, QoS, Refused, Session, Subscription,
    Undelivered, Will, connect, probe,
};

const SOON: Duration = Duration::from_secs(10);

fn options(broker: &Broker, id: &str, filters: &[&str]) -> Options {
    let mut options = Options::new(&broker.url(), id).unwrap();
    options.subscriptions = filters.iter().map(|filter| Subscription::at_least_once(*filter)).collect();
    options.backoff_initial = Duration::from_millis(20);
    options.backoff_max = Duration::from_millis(100);
    options
}

async fn next(events: &mut Events) -> Event {
    tokio::time::timeout(SOON, events.next()).await.expect("an event comes in time").expect("the session goes on")
}

async fn up(events: &mut Events) -> bool {
    loop {
        if let Event::Up { session_present, .. } = next(events).await {
            return session_present;
        }
    }
}

async fn message(events: &mut Events) -> Message {
    loop {
        if let Event::Message(message) = next(events).await {
            return message;
        }
    }
}

async fn connected(options: Options) -> (Session, Events) {
    let (session, mut events) = connect(options).unwrap();
    up(&mut events).await;
    (session, events)
}

async fn delivered(session: &Session, publication: Publication) -> Result<(), Undelivered> {
    let delivery = session.publish(publication).await.unwrap();
    tokio::time::timeout(SOON, delivery).await.expect("delivered in time")
}

#[tokio::test]
async fn properties_travel_and_an_answer_finds_its_way() {
    let broker = Broker::open();
    let (asker, mut answers) = connected(options(&broker, "asker", &["reply"])).await;
    let (server, mut requests) = connected(options(&broker, "server", &["command"])).await;
    let mut request = Publication::new("command", "now").at_least_once().expiring(Duration::from_secs(60));
    request = request.content_type("text/plain").property("traceparent", "00-1").property("a", "b");
    request.response_topic = Some("reply".into());
    request.correlation = Some(Bytes::from_static(b"\x01\x02"));
    delivered(&asker, request).await.unwrap();
    let request = message(&mut requests).await;
    assert_eq!((request.topic.as_str(), &request.payload[..]), ("command", &b"now"[..]));
    assert_eq!((request.content_type.as_deref(), request.property("traceparent")), (Some("text/plain"), Some("00-1")));
    assert!((59..=60).contains(&request.expiry.unwrap().as_secs()) && request.qos == QoS::AtLeastOnce);
    delivered(&server, request.answer("yes").unwrap()).await.unwrap();
    let answer = message(&mut answers).await;
    assert_eq!((&answer.payload[..], answer.correlation.as_deref()), (&b"yes"[..], Some(&b"\x01\x02"[..])));
}

#[tokio::test]
async fn a_message_of_a_mebibyte_passes_both_ways() {
    let broker = Broker::open();
    let (session, mut events) = connected(options(&broker, "large", &["large"])).await;
    let payload: Vec<u8> = (0..1 << 20).map(|i: u32| i.wrapping_mul(2_654_435_761) as u8).collect();
    delivered(&session, Publication::new("large", payload.clone()).at_least_once()).await.unwrap();
    assert_eq!(message(&mut events).await.payload, payload);
}

/// Small messages that are read together are all there, in their order, and large ones among them.
#[tokio::test]
async fn what_gathers_arrives_whole_and_in_order() {
    let broker = Broker::open();
    let (sender, _) = connected(options(&broker, "many", &[])).await;
    let gathering = Options { gather: Duration::from_millis(5), ..options(&broker, "gathers", &["few/#"]) };
    let (reader, mut events) = connected(gathering).await;
    let payload = |n: u32| vec![n as u8; if n.is_multiple_of(100) { 300_000 } else { 10 }];
    for n in 0..500 {
        drop(sender.publish(Publication::new(format!("few/{n}"), payload(n)).at_least_once()).await.unwrap());
    }
    for n in 0..500 {
        let message = message(&mut events).await;
        assert_eq!((message.topic, &message.payload[..]), (format!("few/{n}"), &payload(n)[..]));
    }
    assert_eq!(reader.stats().received, 500);
}

#[tokio::test]
async fn what_the_broker_does_not_take_is_refused_alone() {
    let broker = Broker::start("allow_anonymous true\nmax_packet_size 100000\n", |_| {});
    let (session, mut events) = connected(options(&broker, "limits", &["small"])).await;
    let refused = delivered(&session, Publication::new("large", vec![0; 200_000]).at_least_once()).await;
    assert!(matches!(refused, Err(Undelivered::TooLarge { max: 100_000, .. })), "{refused:?}");
    delivered(&session, Publication::new("small", "ok").at_least_once()).await.unwrap();
    assert_eq!(&message(&mut events).await.payload[..], b"ok");
    assert_eq!((session.stats().connections, session.stats().refused), (1, 1));
    assert!(matches!(session.publish(Publication::new("a/+", "")).await, Err(Refused::Topic(_))));
}

/// Everything accepted arrives although the broker is killed, loses all sessions, and comes back, twice.
#[tokio::test]
async fn nothing_accepted_is_lost_when_the_broker_is_killed() {
    let mut broker = Broker::open();
    let (sender, mut sender_events) = connected(options(&broker, "sender", &[])).await;
    let (_receiver, mut received) = connected(options(&broker, "receiver", &["stream/#"])).await;
    const COUNT: u32 = 20_000;
    let seen = tokio::spawn(async move {
        let mut seen = BTreeSet::new();
        loop {
            match u32::from_be_bytes(message(&mut received).await.payload[..4].try_into().unwrap()) {
                COUNT => return seen,
                i => seen.insert(i),
            };
        }
    });
    let publisher = sender.clone();
    let published = tokio::spawn(async move {
        let mut lost = Vec::new();
        let mut waiting = std::collections::VecDeque::new();
        for i in 0..COUNT {
            let payload = Bytes::copy_from_slice(&i.to_be_bytes());
            waiting.push_back((
                i,
                publisher.publish(Publication::new("stream/1", payload).at_least_once()).await.unwrap(),
            ));
            if waiting.len() > 64 {
                let (i, delivery) = waiting.pop_front().unwrap();
                lost.extend(delivery.await.err().map(|_| i));
            }
        }
        for (i, delivery) in waiting {
            lost.extend(delivery.await.err().map(|_| i));
        }
        lost
    });
    for sent in [3_000, 9_000] {
        while sender.stats().acked < sent {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        broker.kill();
        tokio::time::sleep(Duration::from_millis(100)).await;
        broker.run();
        assert!(!up(&mut sender_events).await, "a broker that was killed has no session");
    }
    assert_eq!(published.await.unwrap(), Vec::<u32>::new());
    let end = Bytes::copy_from_slice(&COUNT.to_be_bytes());
    delivered(&sender, Publication::new("stream/1", end).at_least_once()).await.unwrap();
    let stats = sender.stats();
    assert!(stats.connections == 3 && stats.resent > 0 && stats.backlog == 0, "{stats:?}");
    // what was acknowledged and then lost with the broker's memory, or before the receiver was back, is the watermark's
    // business, not the session's; but most must be there
    let seen = seen.await.unwrap();
    assert!(seen.len() as u32 > COUNT / 2, "{} of {COUNT}", seen.len());
}

#[tokio::test]
async fn a_session_that_the_broker_kept_is_resumed_with_what_came_meanwhile() {
    let broker = Broker::open();
    let (first, mut events) = connected(options(&broker, "gw", &["down/#"])).await;
    assert!(first.close(SOON).await);
    assert!(tokio::time::timeout(SOON, async { while events.next().await.is_some() {} }).await.is_ok());
    let (other, _events) = connected(options(&broker, "hub", &[])).await;
    delivered(&other, Publication::new("down/x", "while away").at_least_once()).await.unwrap();
    let (_second, mut events) = connect(options(&broker, "gw", &["down/#"])).unwrap();
    assert!(up(&mut events).await, "the session is present");
    assert_eq!(&message(&mut events).await.payload[..], b"while away");
}

#[tokio::test]
async fn a_new_process_gets_retained_messages_although_its_session_is_resumed() {
    let broker = Broker::open();
    let (hub, _events) = connected(options(&broker, "hub", &[])).await;
    delivered(&hub, Publication::new("down/desired", "v1").at_least_once().retained()).await.unwrap();
    for _ in 0..2 {
        let (session, mut events) = connect(options(&broker, "gw", &["down/#"])).unwrap();
        let message = message(&mut events).await;
        assert!(message.retained && &message.payload[..] == b"v1");
        session.close(SOON).await;
    }
}

#[tokio::test]
async fn unacknowledged_messages_come_again_and_acknowledged_ones_do_not() {
    let broker = Broker::open();
    let manual = |id: &str| {
        let mut options = options(&broker, id, &["up"]);
        options.manual_acks = true;
        options
    };
    let (session, mut events) = connected(manual("hub")).await;
    for text in ["one", "two"] {
        delivered(&session, Publication::new("up", text).at_least_once()).await.unwrap();
    }
    message(&mut events).await.ack.send();
    let held = message(&mut events).await;
    assert_eq!(&held.payload[..], b"two");
    session.close(SOON).await;
    let (_session, mut events) = connected(manual("hub")).await;
    let again = message(&mut events).await;
    assert_eq!((&again.payload[..], again.duplicate), (&b"two"[..], true));
    held.ack.send(); // of a connection that is gone: no harm
    again.ack.send();
}

#[tokio::test]
async fn a_reader_that_does_not_read_stops_nothing_else() {
    let broker = Broker::open();
    let (session, mut events) = connected(options(&broker, "slow", &["flood/#"])).await;
    for i in 0..2_000u32 {
        let topic = format!("flood/{}", i % 10);
        delivered(&session, Publication::new(topic, vec![0; 100]).at_least_once()).await.unwrap();
        drop(session.publish(Publication::new("flood/live", "x")).await.unwrap());
    }
    assert_eq!(session.stats().connections, 1);
    let mut qos1 = 0;
    while qos1 < 2_000 {
        qos1 += u32::from(message(&mut events).await.qos == QoS::AtLeastOnce);
    }
    assert!(session.stats().dropped > 0, "{:?}", session.stats());
}

#[tokio::test]
async fn the_live_lane_refuses_instead_of_waiting() {
    let port = broker::free_port();
    let options = Options::new(&format!("mqtt://127.0.0.1:{port}"), "alone").unwrap();
    let (session, mut events) = connect(options).unwrap();
    assert!(matches!(session.try_publish(Publication::new("a", "b")), Err(Refused::Down(_))));
    let Event::Down { reason } = next(&mut events).await else { panic!("an outage is told first") };
    assert!(reason.contains("connection refused") && reason.contains(&port.to_string()), "{reason}");
    let held = session.publish(Publication::new("a", "b").at_least_once()).await.unwrap();
    let began = std::time::Instant::now();
    assert!(!session.close(SOON).await, "nothing could be delivered");
    assert!(began.elapsed() < Duration::from_secs(2), "an outage does not hold the end up");
    assert_eq!(held.await, Err(Undelivered::Closed));
    assert!(matches!(session.publish(Publication::new("a", "b")).await, Err(Refused::Closed(_))));
}

#[tokio::test]
async fn what_expired_in_an_outage_is_not_sent() {
    let mut broker = Broker::open();
    let (session, mut events) = connected(options(&broker, "late", &["t"])).await;
    broker.kill();
    while !matches!(next(&mut events).await, Event::Down { .. }) {}
    let stale = Publication::new("t", "stale").at_least_once().expiring(Duration::from_millis(50));
    let stale = session.publish(stale).await.unwrap();
    let fresh = session.publish(Publication::new("t", "fresh").at_least_once()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    broker.run();
    assert_eq!((stale.await, fresh.await), (Err(Undelivered::Expired), Ok(())));
    assert_eq!(&message(&mut events).await.payload[..], b"fresh");
}

/// A broker that acknowledges nothing in the first connection, and everything in the second.
#[tokio::test]
async fn what_is_sent_once_is_not_sent_again() {
    use rumqttc::v5::mqttbytes::v5::{ConnAck, ConnectReturnCode, Packet, PubAck};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let broker = tokio::spawn(async move {
        let mut seen: Vec<Vec<String>> = Vec::new();
        for wanted in [2, 1] {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (mut buffer, mut payloads) = (bytes::BytesMut::new(), Vec::new());
            while payloads.len() < wanted {
                let packet = match Packet::read(&mut buffer, None) {
                    Ok(packet) => packet,
                    Err(_) => {
                        assert!(stream.read_buf(&mut buffer).await.unwrap() > 0);
                        continue;
                    }
                };
                let answer = match packet {
                    Packet::Connect(..) => Some(Packet::ConnAck(ConnAck {
                        session_present: true,
                        code: ConnectReturnCode::Success,
                        properties: None,
                    })),
                    Packet::Publish(publish) => {
                        payloads.push(String::from_utf8(publish.payload.to_vec()).unwrap());
                        (wanted == 1).then(|| Packet::PubAck(PubAck::new(publish.pkid, None)))
                    }
                    _ => None,
                };
                if let Some(answer) = answer {
                    let mut out = bytes::BytesMut::new();
                    answer.write(&mut out, None).unwrap();
                    stream.write_all(&out).await.unwrap();
                }
            }
            seen.push(payloads);
        }
        seen
    });
    let mut options = Options::new(&format!("mqtt://{address}"), "once").unwrap();
    options.backoff_initial = Duration::from_millis(20);
    let (session, _events) = connected(options).await;
    let event = Publication::new("event", "once").at_least_once_but_never_again();
    let event = session.publish(event).await.unwrap();
    let kept = session.publish(Publication::new("status", "kept").at_least_once()).await.unwrap();
    let outcomes = tokio::time::timeout(SOON, async { (event.await, kept.await) }).await.unwrap();
    assert_eq!(outcomes, (Err(Undelivered::Broken), Ok(())));
    assert_eq!(broker.await.unwrap(), [vec!["once", "kept"], vec!["kept"]]);
    assert_eq!((session.stats().given_up, session.stats().resent), (1, 1));
}

#[tokio::test]
async fn the_will_speaks_for_the_dead_and_not_for_those_who_left() {
    let broker = Broker::open();
    let (_watcher, mut seen) = connected(options(&broker, "watcher", &["status"])).await;
    let with_will = |id: &str| {
        let mut options = options(&broker, id, &[]);
        options.session_number = 41;
        options.will = Some(Arc::new(|number| Will {
            topic: "status".into(),
            payload: format!("offline {number}").into(),
            qos: QoS::AtLeastOnce,
            retain: false,
            delay: Duration::ZERO,
            content_type: None,
        }));
        options
    };
    let (polite, _events) = connected(with_will("polite")).await;
    polite.close(SOON).await;
    // dies with its runtime, as a process does: the socket is closed and nothing is said
    let dying = with_will("dying");
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { drop(connected(dying).await) });
    })
    .join()
    .unwrap();
    assert_eq!(&message(&mut seen).await.payload[..], b"offline 42");
}

#[tokio::test]
async fn two_of_one_name_are_told_so() {
    let broker = Broker::open();
    let (_first, mut first) = connected(options(&broker, "twin", &[])).await;
    let (_second, _events) = connected(options(&broker, "twin", &[])).await;
    let Event::Down { reason } = next(&mut first).await else { panic!("thrown out") };
    assert!(reason.contains("SessionTakenOver") || reason.contains("same client id"), "{reason}");
}

#[tokio::test]
async fn a_probe_explains_what_is_wrong() {
    let broker =
        Broker::start("allow_anonymous false\npassword_file {folder}/passwords\nacl_file {folder}/acl\n", |folder| {
            std::fs::write(folder.join("passwords"), "").unwrap();
            let made = std::process::Command::new("mosquitto_passwd")
                .args(["-b", folder.join("passwords").to_str().unwrap(), "gw", "right"])
                .output()
                .unwrap();
            assert!(made.status.success());
            std::fs::write(folder.join("acl"), "user gw\ntopic readwrite live/#\n").unwrap();
        });
    let ask = async |password: &str| {
        let mut options = options(&broker, "gw", &[]);
        options.credentials = Some(Credentials { username: "gw".into(), password: Some(password.into()) });
        probe(&options, SOON).await
    };
    ask("right").await.unwrap();
    let error = ask("wrong").await.unwrap_err();
    assert!(matches!(error, ConnectError::NotAuthorised { .. }), "{error}");
    assert!(error.to_string().contains("username and password"), "{error}");
    let refused = Options::new(&format!("mqtt://127.0.0.1:{}", broker::free_port()), "x").unwrap();
    assert!(matches!(probe(&refused, SOON).await, Err(ConnectError::Refused { .. })));
    let nowhere = Options::new("mqtt://no-such-host.invalid", "x").unwrap();
    assert!(matches!(probe(&nowhere, SOON).await, Err(ConnectError::Name { .. })));
    // somebody who listens and never answers
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let options = Options::new(&format!("mqtt://{}", silent.local_addr().unwrap()), "x").unwrap();
    let error = probe(&options, Duration::from_millis(200)).await.unwrap_err();
    assert!(matches!(error, ConnectError::Timeout { .. }) && error.to_string().contains("0.2 s"), "{error}");
}

#[tokio::test]
async fn a_broker_of_another_protocol_is_recognised() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    // an HTTP server, and a broker that only knows MQTT 3.1.1 (its CONNACK says: unacceptable protocol version)
    for answer in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], &[0x20, 2, 0, 1], b""] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let options = Options::new(&format!("mqtt://{}", listener.local_addr().unwrap()), "x").unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            assert!(stream.read(&mut [0; 256]).await.unwrap() > 0);
            stream.write_all(answer).await.unwrap();
        });
        let error = probe(&options, SOON).await.unwrap_err();
        assert!(matches!(error, ConnectError::Protocol { .. }), "{error}");
    }
}

mod tls {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
    use rustls::RootCertStore;
    use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

    use super::*;

    struct Pki {
        ca: CertificateDer<'static>,
        client: (CertificateDer<'static>, KeyPair),
    }

    fn write_pki(folder: &std::path::Path) -> Pki {
        let (ca_key, server_key, client_key) =
            (KeyPair::generate().unwrap(), KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = params.self_signed(&ca_key).unwrap();
        let issuer = Issuer::new(params, ca_key);
        let server = CertificateParams::new(vec!["localhost".into()]).unwrap().signed_by(&server_key, &issuer).unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "home/gw-1");
        let client = params.signed_by(&client_key, &issuer).unwrap();
        std::fs::write(folder.join("ca.pem"), ca.pem()).unwrap();
        std::fs::write(folder.join("server.pem"), server.pem()).unwrap();
        std::fs::write(folder.join("server.key"), server_key.serialize_pem()).unwrap();
        Pki { ca: ca.der().clone(), client: (client.der().clone(), client_key) }
    }

    fn config(
        ca: &CertificateDer<'static>,
        client: Option<&(CertificateDer<'static>, KeyPair)>,
    ) -> Arc<rustls::ClientConfig> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut roots = RootCertStore::empty();
        roots.add(ca.clone()).unwrap();
        let builder = rustls::ClientConfig::builder().with_root_certificates(roots);
        Arc::new(match client {
            None => builder.with_no_client_auth(),
            Some((cert, key)) => {
                let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
                builder.with_client_auth_cert(vec![cert.clone()], key).unwrap()
            }
        })
    }

    #[tokio::test]
    async fn mutual_tls_lets_in_who_has_a_certificate_and_nobody_else() {
        let mut pki = None;
        let lines = "allow_anonymous true\ncafile {folder}/ca.pem\ncertfile {folder}/server.pem\nkeyfile {folder}/server.key\n\
                     require_certificate true\nuse_identity_as_username true\n";
        let broker = Broker::start(lines, |folder| pki = Some(write_pki(folder)));
        let pki = pki.unwrap();
        let with = |tls| {
            let mut options = Options::new(&format!("mqtts://localhost:{}", broker.port), "gw").unwrap();
            options.tls = Some(tls);
            options.subscriptions = vec![Subscription::at_least_once("t")];
            options
        };
        let (session, mut events) = connected(with(config(&pki.ca, Some(&pki.client)))).await;
        delivered(&session, Publication::new("t", vec![7; 300_000]).at_least_once()).await.unwrap();
        assert_eq!(message(&mut events).await.payload.len(), 300_000);
        assert!(session.close(SOON).await);

        let error = probe(&with(config(&pki.ca, None)), SOON).await.unwrap_err();
        assert!(matches!(error, ConnectError::Tls { .. } | ConnectError::Protocol { .. }), "no certificate: {error}");
        let other = tempfile::tempdir().unwrap();
        let stranger = write_pki(other.path());
        let error = probe(&with(config(&stranger.ca, None)), SOON).await.unwrap_err();
        assert!(
            matches!(error, ConnectError::Tls { .. }) && error.to_string().contains("invalid peer certificate"),
            "{error}"
        );
        let plain = Options::new(&broker.url(), "x").unwrap();
        let error = probe(&plain, SOON).await.unwrap_err();
        assert!(error.to_string().contains("expects TLS"), "{error}");
    }
}
