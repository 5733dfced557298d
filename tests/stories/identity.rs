//! Who remembers what: gateway, hub, broker and tables of different days. Whoever forgets or is doubled, every number is in
//! the lake, once, or explained, and `verify` says so in the end.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
};

use anyhow::{Context, Result, ensure};
use contract::{Kind, live::GatewayStatus};
use serde_json::Value;
use world::{Config, Edge, Hub, Message, Observer, Process, Row, lake, process::Ended, story, wait};

use crate::common::{free_port, tiny};

/// A hub that comes back on the same ports.
fn ports() -> Result<Config> {
    let at = |port: u16| format!("127.0.0.1:{port}");
    Ok(Config::new()
        .set("listen", at(free_port()?))
        .set("broker.listen", at(free_port()?))
        .set("s3.listen", at(free_port()?)))
}

/// One camera, and a log of small segments, so that what is archived is soon gone.
fn camera(name: &str) -> Result<Config> {
    let uri = "test:ball?width=160&height=120&fps=50";
    Ok(tiny()?
        .set(&format!("cameras.{name}.uri"), uri)
        .set(&format!("cameras.{name}.regions.full.fps"), "every")
        .set("outbox.segment", "64KiB"))
}

/// A hub command of people, on the hub's own state.
fn hub_command(folder: &Path, args: &[&str]) -> Result<Ended> {
    let mut command = Process::command("sightline-hub")?;
    command.args(args).arg("--config").arg(folder.join("hub.toml")).arg("--state").arg(folder.join("hub"));
    Process::start("sightline-hub", &mut command)?.ended(wait::PATIENCE)
}

fn succeeds(folder: &Path, args: &[&str]) -> Result<Ended> {
    let ended = hub_command(folder, args)?;
    ensure!(ended.code == Some(0), "{args:?}: {:?}\n{}", ended.code, ended.text());
    Ok(ended)
}

/// What `verify` says of each log of predictions: `(archived, end)` by epoch. It must be clean.
fn verified(folder: &Path) -> Result<BTreeMap<String, (u64, u64)>> {
    let report: Value = serde_json::from_str(&succeeds(folder, &["verify", "--json"])?.stdout)?;
    let sequences = report["sequences"].as_array().context("sequences")?;
    let predictions = sequences.iter().filter(|sequence| sequence["kind"] == "prediction");
    let facts = predictions.map(|sequence| {
        let number = |key: &str| sequence[key].as_u64().with_context(|| format!("{key} of {sequence}"));
        let epoch = sequence["epoch"].as_str().context("epoch")?.to_owned();
        Ok((epoch, (number("archived")?, number("end")?)))
    });
    facts.collect()
}

/// What `lake cat` prints: the committed rows.
fn committed(folder: &Path, kind: Kind) -> Result<Vec<Row>> {
    let printed = succeeds(folder, &["lake", "cat", "--kind", kind.name(), "--limit", "1000000"])?.stdout;
    printed.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
}

/// Waits until the first segment of predictions is archived and deleted.
fn first_segment_is_gone(edge: &Edge) -> Result<()> {
    wait::until("the first segment to be archived and deleted", || {
        let names = fs::read_dir(edge.state.join("outbox"))?.map(|entry| Ok(entry?.file_name().into_string().ok()));
        let names: Vec<_> = names.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
        let first = |name: &String| name.starts_with("prediction-00000000000000000000");
        Ok((names.iter().any(|name| name.starts_with("prediction-")) && !names.iter().any(first)).then_some(()))
    })
}

fn epochs(rows: &[Row]) -> BTreeSet<String> {
    rows.iter().filter_map(|row| Some(row["epoch"].as_str()?.to_owned())).collect()
}

/// What the gateway says of itself when it is born.
fn birth(message: &Message) -> Option<GatewayStatus> {
    let status = message.topic.ends_with("/gw-1/status").then(|| serde_json::from_slice(&message.payload).ok())?;
    status.filter(|status: &GatewayStatus| status.epoch.is_some())
}

fn incarnation(observer: &Observer) -> Option<String> {
    Some(observer.last("sightline/down/plant/gw-1/archived")?.json()["incarnation"].as_str()?.to_owned())
}

/// Copies a folder as it lies, as a snapshot of a virtual machine would.
fn snapshot(from: &Path, to: &Path) -> Result<()> {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status()?;
    ensure!(status.success(), "cp of {} failed", from.display());
    Ok(())
}

#[test]
fn hub_wiped_while_the_gateway_keeps_its_log() {
    story(|folder| {
        let hub = Hub::start(folder, ports()?)?;
        let mut edge = Edge::start(folder, &hub, camera("cam")?)?;
        first_segment_is_gone(&edge)?;
        let state = hub.stop()?;
        fs::remove_dir_all(&state)?;
        let hub = Hub::start_with(&state, &folder.join("hub.toml"), &[])?;
        let observer = hub.observe()?;
        let gaps = hub.lake()?.wait_rows(Kind::Gap, 1)?;
        let made = edge.stop()?.classified;
        let gone = gaps[0]["to_seq"].as_u64().context("to_seq")?;
        assert_eq!((gaps.len(), &gaps[0]["reason"], &gaps[0]["from_seq"]), (1, &"not_held".into(), &0.into()));
        let rows = hub.lake()?.rows(Kind::Prediction)?;
        let first = rows.iter().filter_map(|row| row["seq"].as_u64()).min();
        assert_eq!((first, rows.len() as u64), (Some(gone), made - gone), "all that is held came again, once");
        let held = observer.wait("the birth that states what is held", |m| {
            let status = birth(m)?;
            status.holds.get(&Kind::Prediction).map(|held| held.first).filter(|first| *first == gone)
        })?;
        assert_eq!(held, gone);
        hub.stop()?;
        assert_eq!(verified(folder)?.into_values().collect::<Vec<_>>(), [(made - gone, made)]);
        Ok(())
    });
}

#[test]
fn hub_restored_from_yesterdays_backup_while_the_broker_still_holds_todays_watermark() {
    story(|folder| {
        let hub = Hub::start(folder, ports()?)?;
        let observer = hub.observe()?;
        let mut edge = Edge::start(folder, &hub, camera("cam")?)?;
        hub.lake()?.wait_rows(Kind::Prediction, 30)?;
        let backup = folder.join("yesterday.db").display().to_string();
        succeeds(folder, &["backup", &backup])?;
        first_segment_is_gone(&edge)?;
        let today = wait::until("today's watermark", || Ok(incarnation(&observer)))?;
        let state = hub.stop()?;
        let broker = fs::read(state.join("broker/mosquitto.db")).context("what the broker keeps")?;
        let holds = |word: &str| broker.windows(word.len()).any(|window| window == word.as_bytes());
        assert!(holds(&today) && holds("down/plant/gw-1/archived"), "the broker does not hold today's watermark");
        succeeds(folder, &["restore", &backup, "--replace"])?;

        let hub = Hub::start_with(&state, &folder.join("hub.toml"), &[])?;
        let observer = hub.observe()?;
        wait::until("another life of the lake", || {
            Ok(incarnation(&observer).filter(|incarnation| *incarnation != today))
        })?;
        let before = hub.lake()?.rows(Kind::Prediction)?.len();
        hub.lake()?.wait_rows(Kind::Prediction, before + 50)?;
        let made = edge.stop()?.classified;
        hub.stop()?;
        let due = hub_command(folder, &["verify"])?;
        assert!(due.code == Some(1) && due.stdout.contains("a rebuild is due"), "{}", due.text());
        succeeds(folder, &["rebuild"])?;
        assert_eq!(
            verified(folder)?.into_values().collect::<Vec<_>>(),
            [(made, made)],
            "the bucket had what the backup lacked"
        );
        let rows = committed(folder, Kind::Prediction)?;
        assert_eq!((rows.len() as u64, lake::holes_and_doubles(&rows)), (made, (vec![], vec![])));
        Ok(())
    });
}

#[test]
fn hub_tables_rolled_back_by_hand() {
    story(|folder| {
        let hub = Hub::start(folder, ports()?)?;
        let mut edge = Edge::start(folder, &hub, camera("cam")?)?;
        hub.lake()?.wait_rows(Kind::Prediction, 30)?;
        let state = hub.stop()?;
        let (tables, old) = (state.join("tables.db"), folder.join("old.db"));
        fs::copy(&tables, &old)?;
        let hub = Hub::start_with(&state, &folder.join("hub.toml"), &[])?;
        let observer = hub.observe()?;
        first_segment_is_gone(&edge)?;
        let rolled_back = wait::until("a watermark", || Ok(incarnation(&observer)))?;
        hub.stop()?;
        for beside in ["tables.db-wal", "tables.db-shm"] {
            let _ = fs::remove_file(state.join(beside)); // those that are there
        }
        fs::copy(&old, &tables)?;

        let hub = Hub::start_with(&state, &folder.join("hub.toml"), &[])?;
        let observer = hub.observe()?;
        wait::until("a new incarnation", || Ok(incarnation(&observer).filter(|now| *now != rolled_back)))?;
        let report = hub.rest()?.json("/api/v1/lake")?;
        let noticed = &report["rollbacks"][0];
        let told = |key: &str| noticed[key].as_u64().unwrap_or_default();
        assert!(noticed["gateway"] == "plant/gw-1" && told("told") > told("known"), "{report}");
        let why = report["rebuild_due"].as_str().context("no rebuild is due")?;
        assert!(why.contains("plant/gw-1") && why.contains("rolled back"), "{why}");
        let log = hub.process.log().text();
        assert!(log.contains("the tables are older than the lake; run `sightline-hub rebuild`"), "{log}");
        // What they forgot comes again as far as it is held, and what is new is archived.
        let before = hub.lake()?.rows(Kind::Prediction)?.len();
        hub.lake()?.wait_rows(Kind::Prediction, before + 50)?;
        let made = edge.stop()?.classified;
        hub.stop()?;
        let due = hub_command(folder, &["verify"])?;
        assert!(due.code == Some(1) && due.stdout.contains("a rebuild is due"), "{}", due.text());
        succeeds(folder, &["rebuild"])?;
        assert_eq!(verified(folder)?.into_values().collect::<Vec<_>>(), [(made, made)]);
        let rows = committed(folder, Kind::Prediction)?;
        assert_eq!((rows.len() as u64, lake::holes_and_doubles(&rows)), (made, (vec![], vec![])));
        Ok(())
    });
}

#[test]
fn gateway_rolled_back_to_a_snapshot() {
    story(|folder| {
        let hub = Hub::start(folder, Config::new())?;
        let observer = hub.observe()?;
        let mut edge = Edge::start(folder, &hub, camera("cam")?)?;
        hub.lake()?.wait_rows(Kind::Prediction, 30)?;
        let (state, copy) = (edge.state.clone(), folder.join("snapshot"));
        edge.process.kill()?;
        snapshot(&state, &copy)?;
        let mut edge = Edge::start(folder, &hub, camera("cam")?)?;
        let before = hub.lake()?.rows(Kind::Prediction)?.len();
        hub.lake()?.wait_rows(Kind::Prediction, before + 100)?;
        edge.process.kill()?;
        fs::remove_dir_all(&state)?;
        fs::rename(&copy, &state)?;
        let old = epochs(&hub.lake()?.rows(Kind::Prediction)?);
        assert_eq!(old.len(), 1);

        let mut edge = Edge::start(folder, &hub, camera("cam")?)?;
        observer.wait("the birth with another log", |m| {
            birth(m)?.epoch.filter(|epoch| !old.contains(&epoch.to_string())).map(drop)
        })?;
        assert!(edge.process.log().text().contains("it was restored from a snapshot; a new epoch begins"));
        wait::until("records of the new log", || {
            let rows = hub.lake()?.rows(Kind::Prediction)?;
            Ok(rows.iter().filter(|row| row["epoch"].as_str().is_some_and(|e| !old.contains(e))).nth(30).map(drop))
        })?;
        edge.stop()?;
        let rows = hub.lake()?.rows(Kind::Prediction)?;
        assert_eq!((epochs(&rows).len(), lake::holes_and_doubles(&rows)), (2, (vec![], vec![])));
        let frames: BTreeSet<_> = rows.iter().map(|row| row["frame_id"].to_string()).collect();
        assert_eq!(frames.len(), rows.len(), "no frame stands under two numbers");
        assert!(hub.lake()?.rows(Kind::Gap)?.is_empty());
        assert_eq!(verified(folder)?.len(), 2);
        Ok(())
    });
}

#[test]
fn gateway_disk_replaced() {
    story(|folder| {
        let hub = Hub::start(folder, Config::new())?;
        let mut edge = Edge::start(folder, &hub, camera("cam")?)?;
        hub.lake()?.wait_rows(Kind::Prediction, 30)?;
        edge.process.kill()?;
        fs::remove_dir_all(&edge.state)?;
        let old = epochs(&hub.lake()?.rows(Kind::Prediction)?);
        let mut edge = Edge::start(folder, &hub, camera("cam")?)?;
        wait::until("records of the new log", || {
            let rows = hub.lake()?.rows(Kind::Prediction)?;
            Ok(rows.iter().filter(|row| row["epoch"].as_str().is_some_and(|e| !old.contains(e))).nth(30).map(drop))
        })?;
        let made = edge.stop()?.classified;
        let rows = hub.lake()?.rows(Kind::Prediction)?;
        assert_eq!((epochs(&rows).len(), lake::holes_and_doubles(&rows)), (2, (vec![], vec![])));
        let new = rows.iter().filter(|row| row["epoch"].as_str().is_some_and(|e| !old.contains(e))).count();
        assert_eq!(new as u64, made, "the watermark of the old log says nothing of the new one");
        assert!(hub.lake()?.rows(Kind::Gap)?.is_empty());
        let report = hub.rest()?.json("/api/v1/lake")?;
        assert_eq!(report["gateway_twins"], Value::Array(vec![]), "one gateway, on a new disk");
        assert_eq!(verified(folder)?.len(), 2);
        Ok(())
    });
}

#[test]
fn two_gateways_with_one_id_are_reported_and_never_merged() {
    story(|folder| {
        let hub = Hub::start(folder, Config::new())?;
        let mut edges = [
            Edge::start(&folder.join("a"), &hub, camera("front")?)?,
            Edge::start(&folder.join("b"), &hub, camera("back")?)?,
        ];
        let twin = wait::until("the report of two gateways with one id", || {
            let report = hub.rest()?.json("/api/v1/lake")?;
            Ok(report["gateway_twins"].as_array().and_then(|twins| twins.first().cloned()))
        })?;
        assert_eq!((&twin["site"], &twin["gateway"]), (&"plant".into(), &"gw-1".into()));
        assert!(hub.process.log().text().contains("two gateways use one id and take turns"));
        // One leaves; the other then has the line to itself.
        let made = [edges[0].stop()?.classified, edges[1].stop()?.classified];
        let rows = hub.lake()?.rows(Kind::Prediction)?;
        let mut of: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for row in &rows {
            let cameras = of.entry(row["epoch"].as_str().context("epoch")?.to_owned()).or_default();
            cameras.insert(row["camera"].as_str().context("camera")?.to_owned());
        }
        assert!(of.len() == 2 && of.values().all(|cameras| cameras.len() == 1), "each has a log of its own: {of:?}");
        assert_eq!(lake::holes_and_doubles(&rows), (vec![], vec![]));
        for (camera, made) in ["front", "back"].into_iter().zip(made) {
            assert_eq!(rows.iter().filter(|row| row["camera"] == camera).count() as u64, made, "{camera}");
        }
        hub.stop()?;
        assert_eq!(verified(folder)?.len(), 2);
        Ok(())
    });
}
