//! `sightline-edge check`: what would hinder `run`, found without running: models, engine, broker, each camera's first
//! frame, and whether its regions fit the picture.

use std::{
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use daemon::{
    check::Report,
    listen,
    state::{Found, StateDir},
};
use tokio::runtime::Handle;

use crate::{
    app::{check_link, check_models},
    camera::{self, CameraUri, Play, Stop, supervisor::Outcome},
    classify::Queue,
    config::{Camera, Config},
    identity::Identity,
    intake::Intake,
    state,
    trace::Tracer,
};

/// How long a camera has for its first frame, and the broker to answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// Looks at everything; the report says what is wrong.
pub async fn run(config: &Config, state: &Path) -> Report {
    let mut report = Report::new();
    let running = check_state(state, &mut report);
    check_admin(config, running, &mut report);
    if let Some(outcome) = daemon::telemetry::probe(&config.telemetry).await {
        report.result("telemetry", outcome);
    }
    check_models(config, state, &mut report);
    let identity = Identity::new(config.site.clone(), config.gateway.clone());
    match check_link(config, &identity, PATIENCE).await {
        Ok(()) => report.ok("broker", daemon::config::without_secrets(&config.mqtt.url)),
        Err(error) => report.failed("broker", daemon::logs::chain(error.as_ref()), Some(broker_advice(config))),
    }
    if let Err(error) = gstreamer::init() {
        report.failed("gstreamer", error.to_string(), None);
        return report;
    }
    if config.cameras.is_empty() {
        report.warning("cameras", "none are configured", "add [cameras.<id>] with uri = \"rtsp://…\" or another");
    }
    for (id, camera) in &config.cameras {
        check_camera(id, camera, &mut report).await;
    }
    report
}

/// Whether an agent runs on this folder now.
fn check_state(state: &Path, report: &mut Report) -> bool {
    let (name, shown) = ("state folder", state.display());
    match StateDir::probe(state) {
        Ok(Found::Free) => report.ok(name, shown.to_string()),
        Ok(Found::Absent) => report.ok(name, format!("{shown} will be made")),
        Ok(Found::InUse { pid }) => {
            let by = pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"));
            report.warning(name, format!("{shown} is in use by {by}"), "fine if that is the agent that runs already");
            return true;
        }
        Err(error) => report.failed(name, error.to_string(), None),
    }
    false
}

fn check_admin(config: &Config, running: bool, report: &mut Report) {
    let address = config.admin.listen;
    if running && address.port() != 0 {
        return report.ok("admin.listen", format!("{address} is not tried: an agent is running and has it"));
    }
    report.result("admin.listen", listen::bind(address, "admin.listen").map(|_| address.to_string()));
}

fn broker_advice(config: &Config) -> String {
    let key = if config.mqtt.username.is_some() { "mqtt.url, mqtt.username and mqtt.password" } else { "mqtt.url" };
    format!(
        "start the hub or broker there, or set {key}; the agent itself keeps trying and holds its records meanwhile"
    )
}

async fn check_camera(id: &contract::CameraId, camera: &Camera, report: &mut Report) {
    let name = format!("camera {id}");
    let mut plan = camera.plan(id, Path::new(""));
    // One picture is enough, and it need not wait for its moment.
    match plan.uri {
        CameraUri::File(_) => plan.play = Play::Fast,
        CameraUri::Folder(_) => plan.play = Play::Once,
        _ => {}
    }
    let (frames, size, outcome) = first_frame(plan.clone()).await;
    match (outcome, size) {
        (_, Some((width, height))) if frames > 0 => {
            let wrong: Vec<String> = camera
                .regions()
                .iter()
                .filter_map(|(id, region)| {
                    Some(format!("region `{id}`: {}", region.rect().resolve(width, height).err()?))
                })
                .collect();
            match wrong.is_empty() {
                true => report.ok(name, format!("{}: {width}x{height}", plan.uri)),
                false => report.failed(name, wrong.join("\n"), None),
            }
        }
        (Some(Outcome::Failed(failure)), _) => {
            let watched = camera.play.unwrap_or(Play::Watch) == Play::Watch;
            if watched && matches!((&plan.uri, &failure), (CameraUri::Folder(_), camera::Failure::EmptyFolder(_))) {
                report.warning(name, failure.to_string(), "fine if pictures come later: the folder is watched");
            } else {
                report.failed(name, failure.to_string(), None);
            }
        }
        _ => report.failed(name, format!("{}: no frame came within {} s", plan.uri, PATIENCE.as_secs()), None),
    }
}

/// Plays a camera until its first frame.
async fn first_frame(plan: camera::Plan) -> (u64, Option<(u32, u32)>, Option<Outcome>) {
    let shared = Arc::new(state::Camera::new(plan.id.clone(), Vec::new(), Arc::default()));
    let queue = Arc::new(Queue::new(&[], Vec::new()));
    let intake = Intake::new(shared.clone(), plan.pace(), queue, Vec::new(), None, Tracer::new(plan.id.as_str()));
    let stop = Stop::default();
    let (runtime, thread_stop) = (Handle::current(), stop.clone());
    let mut attempt = tokio::task::spawn_blocking(move || camera::supervisor::once(plan, intake, runtime, thread_stop));
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let seen = || shared.counts.frames.load(Ordering::Relaxed);
    let mut outcome = None;
    while seen() == 0 && tokio::time::Instant::now() < deadline {
        tokio::select! {
            ended = &mut attempt => { outcome = ended.ok(); break; }
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
        }
    }
    stop.set();
    if outcome.is_none() {
        outcome = tokio::time::timeout(Duration::from_secs(5), attempt).await.ok().and_then(Result::ok);
    }
    (seen(), shared.size(), outcome)
}
