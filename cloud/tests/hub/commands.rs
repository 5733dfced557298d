//! The commands that look after the lake, as people run them: rebuild, verify, lake, backup, restore.

use std::{collections::BTreeMap, path::Path};

use contract::{
    Epoch, Kind, Topic,
    live::{GatewayStatus, Presence},
};
use link::Publication;
use store::objects::{Location, Objects};

use super::support::*;

/// Runs a command to its end: exit code, stdout, stderr.
fn runs(folder: &Path, args: &[&str]) -> (i32, String, String) {
    let output = command(folder, FREE_PORTS, args).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

fn ok(folder: &Path, args: &[&str]) -> String {
    let (code, said, error) = runs(folder, args);
    assert_eq!(code, 0, "{args:?}: {said}{error}");
    said
}

/// Sends predictions and samples, and waits until they are archived.
async fn send(hub: &Hub, gateway: &mut Gateway, upto: u64) {
    let records: Vec<_> = (0..10).map(|_| gateway.prediction()).collect();
    gateway.send_records(Kind::Prediction, &records).await;
    let pictures = [gateway.sample(b"a picture, \"quoted\"", b"input")];
    gateway.send_records(Kind::Sample, &pictures).await;
    gateway.archived(Kind::Prediction, 10 * upto).await;
    gateway.archived(Kind::Sample, upto).await;
    assert!(hub.log().is_empty() || !hub.log().contains("panic"), "{}", hub.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_database_is_noticed_and_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut hub = Hub::start(folder, FREE_PORTS);
    let mut gateway = Gateway::connect(&format!("mqtt://{}", hub.address("mqtt")), "gw-1", 71).await;
    send(&hub, &mut gateway, 1).await;

    // beside a hub that runs
    let said = ok(folder, &["verify"]);
    assert!(said.contains("clean: every number is archived") && said.contains("plant/gw-1"), "{said}");
    let (code, _, said) = runs(folder, &["rebuild"]);
    assert!(code == 3 && said.contains("stop that process"), "{code} {said}");
    let backup = folder.join("backup.db");
    ok(folder, &["backup", backup.to_str().unwrap()]);
    send(&hub, &mut gateway, 2).await;
    assert!(hub.stop().success());

    for file in ["tables.db", "tables.db-wal", "tables.db-shm"] {
        let _ = std::fs::remove_file(hub.state.join(file)); // those that are there
    }
    let (code, said) = fails(folder, FREE_PORTS, &["run"]);
    assert!(code == 5 && said.contains("sightline-hub rebuild"), "{code} {said}");
    let (code, said, _) = runs(folder, &["verify", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert!(code == 1 && report["clean"] == false, "{said}");
    let said = ok(folder, &["rebuild"]);
    assert!(said.contains("20 rows") || said.contains("22 rows"), "{said}");
    let report: serde_json::Value = serde_json::from_str(&ok(folder, &["verify", "--json"])).unwrap();
    assert!(report["clean"] == true && report["samples"] == 2, "{report}");

    // yesterday's backup, and what came after it
    let (code, _, said) = runs(folder, &["restore", backup.to_str().unwrap()]);
    assert!(code == 1 && said.contains("--replace"), "{code} {said}");
    ok(folder, &["restore", backup.to_str().unwrap(), "--replace"]);
    let (code, said, _) = runs(folder, &["verify"]);
    assert!(code == 1 && said.contains("a rebuild is due"), "{said}");
    ok(folder, &["rebuild"]);
    ok(folder, &["verify"]);

    let mut hub = Hub::start(folder, FREE_PORTS);
    let mut gateway = Gateway::connect(&format!("mqtt://{}", hub.address("mqtt")), "gw-2", 72).await;
    send(&hub, &mut gateway, 1).await;
    ok(folder, &["verify"]);
    assert!(hub.stop().success());
    ok(folder, &["verify"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_and_pictures_are_listed_printed_and_exported() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut hub = Hub::start(folder, FREE_PORTS);
    daemon::install_crypto();
    let objects = Objects::connect(Location::from_state(&hub.state).unwrap()).unwrap();
    let mut gateway = Gateway::connect(&format!("mqtt://{}", hub.address("mqtt")), "gw-1", 73).await;
    send(&hub, &mut gateway, 1).await;

    let listed = ok(folder, &["lake", "ls", "--json"]);
    let keys: Vec<String> = listed
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["key"].as_str().unwrap().to_owned())
        .collect();
    for key in &keys {
        objects.head(key).await.unwrap();
    }
    assert!(keys.iter().any(|key| key.starts_with("shards/")), "{keys:?}");
    assert_eq!(ok(folder, &["lake", "ls", "--kind", "health"]), "");
    let rows = ok(folder, &["lake", "cat", "--kind", "prediction", "--limit", "4"]);
    let rows: Vec<serde_json::Value> = rows.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.iter().map(|row| row["seq"].as_u64().unwrap()).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert!(ok(folder, &["lake", "cat", "--from", "2040-01-01T00:00:00Z"]).is_empty());

    for (form, file, lines) in [("csv", "prediction.csv", 11), ("jsonl", "prediction.jsonl", 10)] {
        let out = folder.join(form);
        let said = ok(folder, &["lake", "export", out.to_str().unwrap(), "--form", form]);
        assert!(said.contains("11 rows and 1 pictures"), "{said}");
        assert_eq!(std::fs::read_to_string(out.join(file)).unwrap().lines().count(), lines);
        let picture = std::fs::read_dir(out.join("pictures")).unwrap().next().unwrap().unwrap().path();
        assert_eq!(std::fs::read(picture).unwrap(), b"a picture, \"quoted\"");
    }
    let out = folder.join("parquet");
    ok(folder, &["lake", "export", out.to_str().unwrap(), "--kind", "prediction"]);
    let key = keys.iter().find(|key| key.starts_with("lake/kind=prediction")).unwrap();
    assert_eq!(std::fs::read(out.join(key)).unwrap(), objects.get(key).await.unwrap());
    let (code, _, said) = runs(folder, &["lake", "export", "x", "--form", "excel"]);
    assert!(code == 2 && said.contains("write parquet, csv or jsonl"), "{said}");
    assert!(hub.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_gateways_with_one_id_are_told_of() {
    daemon::install_crypto();
    let folder = tempfile::tempdir().unwrap();
    let mut hub = Hub::start(folder.path(), FREE_PORTS);
    let gateway = Gateway::connect(&format!("mqtt://{}", hub.address("mqtt")), "gw-1", 74).await;
    let topic = Topic::Status(gateway.who.clone()).under("sightline");
    let (url, metrics) = (format!("http://{}/api/v1/lake", hub.address("http")), hub.address("http").to_owned());
    let get = async |url: &str| reqwest::get(url).await.unwrap().text().await.unwrap();
    let twins = async || {
        let report: serde_json::Value = serde_json::from_str(&get(&url).await).unwrap();
        report["gateway_twins"].as_array().unwrap().clone()
    };
    // a new log is no second gateway; one that comes back again and again is
    for (session, epoch) in [1, 2, 3, 4, 3, 4, 3].into_iter().enumerate() {
        if session == 4 {
            assert!(twins().await.is_empty());
        }
        let status = GatewayStatus {
            schema: contract::SCHEMA,
            status: Presence::Online,
            session: session as u64,
            since: None,
            version: None,
            engine: None,
            epoch: Some(Epoch(epoch)),
            holds: BTreeMap::new(),
            archived: None,
        };
        let publication = Publication::new(topic.clone(), serde_json::to_vec(&status).unwrap()).at_least_once();
        gateway.session.publish(publication).await.unwrap().await.unwrap();
    }
    let found = until("the twins", async || twins().await.pop()).await;
    assert_eq!((&found["site"], &found["gateway"]), (&"plant".into(), &"gw-1".into()));
    assert_eq!(found["epochs"].as_array().unwrap().len(), 2);
    assert!(get(&format!("http://{metrics}/metrics")).await.contains("sightline_hub_gateway_twins 1"));
    assert!(hub.log().contains("two gateways use one id and take turns"), "{}", hub.log());
    assert!(hub.stop().success());
}
