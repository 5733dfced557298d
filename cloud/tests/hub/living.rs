//! Tasks that the hub cannot live without, and the watchdog that notices one that is stuck.

use std::{
    os::unix::net::UnixDatagram,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use cloud::{app, config::HubConfig, upkeep};
use contract::Kind;
use daemon::{
    config::{Sources, load},
    exit,
    state::{Lock, StateDir},
    tasks::{Reason, Stop},
    telemetry::Telemetry,
};
use store::objects::{
    PutOptions,
    faults::{Fault, Operation},
};

use super::support::*;

/// The tasks that a hub with all roles needs.
const TASKS: [&str; 8] = ["broker", "directory", "http", "ingest", "objects", "streams", "watch", "watermarks"];
/// What it goes on without.
const BEST_EFFORT: &str = "upkeep";

async fn start(folder: &std::path::Path) -> app::App {
    daemon::install_crypto();
    let file = folder.join("hub.toml");
    std::fs::write(&file, FREE_PORTS).unwrap();
    let config = load::<HubConfig>(&Sources::new(Some(file.as_path()), "SIGHTLINE_NO_SUCH_HUB__")).unwrap();
    let state = StateDir::open(folder.join("state"), Lock::Exclusive).unwrap();
    app::start(&config, state, Stop::new()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn losing_any_task_that_it_needs_stops_the_hub_with_its_code() {
    futures::future::join_all(TASKS.map(|name| Box::pin(loses(name)))).await; // boxed: eight hubs are much for a stack
}

async fn loses(name: &str) {
    let folder = tempfile::tempdir().unwrap();
    let app = start(folder.path()).await;
    let running = || {
        let mut names: Vec<_> = app.tasks().running().iter().map(ToString::to_string).collect();
        names.sort();
        names
    };
    until("the start's own work", async || (!running().contains(&"kept records".to_owned())).then_some(())).await;
    let mut all = [&TASKS[..], &[BEST_EFFORT]].concat();
    all.sort();
    assert_eq!(running(), all);
    assert!(app.tasks().abort(BEST_EFFORT));
    until("the upkeep's end", async || (running() == TASKS).then_some(())).await;
    assert!(!app.tasks().stop().is_requested());
    assert!(app.tasks().abort(name));
    assert_eq!(app.run(Telemetry::none()).await, exit::TASK_LOST, "{name}");
}

/// Its numbers would be "on their way" for ever, and its gateways would send them in vain.
#[tokio::test(flavor = "multi_thread")]
async fn a_flush_that_panics_ends_ingest_and_the_next_one_takes_its_records() {
    let mut parts = Parts::start().await;
    let mut gateway = parts.gateway("gw-1", 61).await;
    parts.faults.plan(Operation::Put, Fault::Panic, 1);
    let records: Vec<_> = (0..10).map(|_| gateway.prediction()).collect();
    gateway.send_records(Kind::Prediction, &records).await;
    let reason = tokio::time::timeout(PATIENCE, parts.tasks.stop().requested()).await.unwrap();
    let Reason::TaskLost { task, error } = reason else { panic!("{reason:?}") };
    assert!(task == "ingest" && error.contains("flush"), "{task}: {error}");
    parts.ingest.take().unwrap().drain(PATIENCE).await.unwrap();
    parts.start_ingest().await;
    gateway.send_records(Kind::Prediction, &records).await;
    gateway.archived(Kind::Prediction, 10).await;
    assert_eq!(parts.seqs(Kind::Prediction).await, (0..10).collect::<Vec<_>>());
    parts.end().await;
}

/// A mistake in one reconciler takes neither the hub with it nor what it and the others would do later.
#[tokio::test(flavor = "multi_thread")]
async fn upkeep_that_panics_begins_again() {
    let parts = Parts::start().await;
    upkeep::claim(&parts.index, &parts.objects, now()).await.unwrap();
    let stray = "lake/kind=event/date=2026-11-23/hour=05/stray.parquet";
    parts.objects.put(stray, "left by a process that was killed", PutOptions::default()).await.unwrap();
    parts.faults.plan(Operation::Get, Fault::Panic, 2);
    let hour = Duration::from_secs(3600);
    let options = upkeep::Options {
        interval: Duration::from_millis(50),
        reader_grace: hour,
        orphan_grace: Duration::ZERO,
        compact_after: hour,
        retention: Default::default(),
    };
    let work = upkeep::start(options, parts.index.clone(), parts.objects.clone(), &parts.tasks);
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    until("a turn after two panics", async || (count(&work.stats.orphans) == 1).then_some(())).await;
    assert_eq!((count(&work.stats.failures), parts.faults.left()), (2, 0));
    assert!(!parts.tasks.stop().is_requested());
    work.end().await;
    parts.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pulse_stops_with_the_loop_and_comes_back_with_it() {
    let parts = Parts::start().await;
    let mut gateway = parts.gateway("gw-1", 62).await;
    let (tables, hold) = (parts.index.tables().clone(), Duration::from_secs(3));
    // who writes next waits for this, and the loop writes down to whom an epoch belongs that it has not seen before
    let held = tokio::spawn(async move {
        tables
            .write(|_| async move {
                tokio::time::sleep(hold).await;
                Ok(())
            })
            .await
            .unwrap();
    });
    let record = gateway.prediction();
    gateway.send_records(Kind::Prediction, &[record]).await;
    let mut oldest = Duration::ZERO;
    while !held.is_finished() {
        oldest = oldest.max(parts.pulse.still());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(oldest > Duration::from_secs(2), "{oldest:?}");
    gateway.archived(Kind::Prediction, 1).await;
    assert!(parts.pulse.still() < Duration::from_secs(1));
    parts.end().await;
}

#[test]
fn systemd_is_told_of_start_life_and_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut command = command(folder.path(), FREE_PORTS, &["run"]);
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "400000").env_remove("WATCHDOG_PID");
    let mut hub = Hub::start_by(command, folder.path());
    let hear = |wanted: &str, times: usize| {
        let (mut heard, deadline) = (0, Instant::now() + PATIENCE);
        while heard < times {
            assert!(Instant::now() < deadline, "systemd does not hear {wanted}");
            let mut buffer = [0; 1024];
            let Ok(length) = socket.recv(&mut buffer) else { continue };
            let said = String::from_utf8_lossy(&buffer[..length]).into_owned();
            heard += usize::from(said.lines().any(|line| line == wanted));
        }
    };
    hear("READY=1", 1);
    let began = Instant::now();
    hear("WATCHDOG=1", 5);
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    hub.signal(15);
    hear("STOPPING=1", 1);
    assert!(hub.wait().success());
}
