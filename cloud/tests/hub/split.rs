//! The same binary in several processes, each with some of the roles: what one commits, the other answers.

use std::{
    io::{BufRead, BufReader, Write as _},
    net::TcpStream,
    path::Path,
};

use contract::{Event, Kind, Topic, live::Live};
use link::Publication;

use super::{process::get, support::*};

/// The roles over somebody else's broker and objects, and over tables that they share.
fn roles(base: &Hub, folder: &Path, roles: &str) -> Hub {
    let endpoints: serde_json::Value =
        serde_json::from_slice(&std::fs::read(base.state.join("endpoints.json")).unwrap()).unwrap();
    let s3 = &endpoints["s3"];
    let tables = folder.join("tables.db");
    let own = folder.join(roles.replace([',', ' ', '"'], ""));
    std::fs::create_dir(&own).unwrap();
    let config = format!(
        "listen = \"127.0.0.1:0\"\nroles = [{roles}]\nmqtt = \"mqtt://{}\"\nobjects = \"s3://sightline/part\"\n\
         tables = \"sqlite:{}\"\ningest.flush_interval = \"200ms\"\n\
         [s3]\nendpoint = {}\naccess_key = {}\nsecret_key = {}\n",
        base.address("mqtt"),
        tables.display(),
        s3["endpoint"],
        s3["access_key"],
        s3["secret_key"]
    );
    Hub::start(&own, &config)
}

/// The next line of a stream's data.
fn data(stream: &mut impl BufRead) -> serde_json::Value {
    for line in stream.lines() {
        if let Some(json) = line.unwrap().strip_prefix("data:") {
            return serde_json::from_str(json.trim()).unwrap();
        }
    }
    panic!("the stream has ended")
}

#[tokio::test(flavor = "multi_thread")]
async fn ingest_and_api_in_two_processes_are_one_hub() {
    let folder = tempfile::tempdir().unwrap();
    let one = folder.path().join("one");
    std::fs::create_dir(&one).unwrap();
    let base = Hub::start(&one, &format!("{FREE_PORTS}roles = [\"broker\", \"objects\"]\n"));
    let mut ingest = roles(&base, folder.path(), "\"ingest\"");
    let mut api = roles(&base, folder.path(), "\"api\"");
    let http = api.address("http").to_owned();
    for hub in [&ingest, &api] {
        assert_eq!(get(hub.address("http"), "/ready").0, 200);
    }
    assert_eq!(get(ingest.address("http"), "/api/v1/gateways").0, 404, "it has no API");

    let mut gateway = Gateway::connect(&format!("mqtt://{}", base.address("mqtt")), "gw-1", 71).await;
    let records: Vec<_> = (0..20).map(|_| gateway.prediction()).collect();
    gateway.send_records(Kind::Prediction, &records).await;
    let sample = gateway.sample(b"picture", b"input");
    gateway.send_records(Kind::Sample, std::slice::from_ref(&sample)).await;
    gateway.archived(Kind::Prediction, 20).await;
    gateway.archived(Kind::Sample, 1).await;
    let (status, page) = get(&http, "/api/v1/predictions?limit=100");
    assert!(status == 200 && page.matches("\"open\"").count() >= 20, "{status} {page}");
    let frame = sample.0.frame_id.clone().unwrap();
    assert_eq!(get(&http, &format!("/api/v1/samples/{frame}/full/picture")), (200, "picture".to_owned()));

    // what is live reaches the API's streams and its directory without ingest in this process
    let mut stream = TcpStream::connect(&http).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET /api/v1/stream HTTP/1.1\r\nHost: {http}\r\n\r\n").unwrap();
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    stream.read_line(&mut head).unwrap();
    assert!(head.contains(" 200 "), "{head}");
    let (camera, region) = ("door".parse().unwrap(), "full".parse().unwrap());
    let header = gateway.header(Kind::Prediction);
    let live = serde_json::to_vec(&Live { header, body: prediction() }).unwrap();
    let topic = Topic::Prediction(gateway.who.clone(), camera, region).under("sightline");
    gateway.session.publish(Publication::new(topic, live)).await.unwrap().await.unwrap();
    let seen = data(&mut stream);
    assert_eq!((&seen["seq"], &seen["labels"][0]), (&20.into(), &"open".into()), "{seen}");

    let (camera, region) = ("door".parse().unwrap(), "full".parse().unwrap());
    let header = gateway.header(Kind::Event);
    let event = Event { id: "x-0".into(), before: None, after: Some("shut".into()), score: 0.5, since: now() };
    let live = serde_json::to_vec(&Live { header, body: event }).unwrap();
    let topic = Topic::Event(gateway.who.clone(), camera, region).under("sightline");
    gateway.session.publish(Publication::new(topic, live)).await.unwrap().await.unwrap();
    assert_eq!(data(&mut stream)["after"], "shut");
    let latest = get(&http, "/api/v1/predictions/latest").1;
    assert!(latest.contains("gw-1"), "{latest}");

    // it says whom to ask for what it does not do, and each ends alone
    let (status, said) = get(&http, "/api/v1/samples/0123456789abcdef0123456789abcdef_door_4/full");
    assert_eq!(status, 404, "{said}");
    drop(stream);
    assert_eq!(ingest.stop().code(), Some(0), "{}", ingest.log());
    assert_eq!(get(&http, "/api/v1/predictions").0, 200);
    assert_eq!(api.stop().code(), Some(0), "{}", api.log());
}
