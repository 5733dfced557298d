//! What the agent's operator relies on: systemd hears that it lives, it waits for a broker that is away, what was decided
//! and spent survives a restart, and an engine that fails is seen everywhere.

use std::{os::unix::net::UnixDatagram, path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use contract::Kind;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use world::{Config, Edge, Hub, Process, edge, runtime, story, wait};

use crate::common::{free_port, one_camera, package};

/// The next messages to systemd's socket, until one holds `word`.
fn hear(socket: &UnixDatagram, word: &str) -> Result<()> {
    let mut buffer = [0; 4096];
    loop {
        let length = socket.recv(&mut buffer).with_context(|| format!("waiting for {word}"))?;
        if String::from_utf8_lossy(&buffer[..length]).lines().any(|line| line == word) {
            return Ok(());
        }
    }
}

#[test]
fn systemd_hears_that_the_agent_is_ready_lives_and_ends() {
    story(|folder| {
        let path = folder.join("notify");
        let socket = UnixDatagram::bind(&path)?;
        socket.set_read_timeout(Some(wait::PATIENCE))?;
        let config = one_camera("test:")?.set("mqtt.url", "mqtt://127.0.0.1:1").set("shutdown.archive_wait", "0s");
        let file = edge::with_defaults(config)?.write(folder, "edge.toml")?;
        let mut command = Process::command("sightline-edge")?;
        command.arg("run").arg("--config").arg(file).arg("--state").arg(folder.join("edge"));
        let mut process =
            Process::start("sightline-edge", command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "400000"))?;
        hear(&socket, "READY=1")?;
        for _ in 0..5 {
            hear(&socket, "WATCHDOG=1")?;
        }
        process.signal(Signal::SIGTERM)?;
        hear(&socket, "STOPPING=1")?;
        process.wait(edge::DRAIN).map(drop)
    });
}

/// The steps of a shutdown as they were logged, with their times.
fn steps(process: &Process) -> Vec<(String, u64)> {
    let lines = process.log().text();
    let step = |line: &str| {
        let line: Value = serde_json::from_str(line).ok()?;
        Some((line["step"].as_str()?.to_owned(), line["took_ms"].as_u64()?))
    };
    lines.lines().filter_map(step).collect()
}

#[test]
fn an_agent_that_ends_while_the_broker_is_away_waits_for_it() {
    story(|folder| {
        let broker = format!("127.0.0.1:{}", free_port()?);
        let hub = Hub::start(folder, Config::new().set("broker.listen", broker))?;
        let config = one_camera("test:")?.set("shutdown.archive_wait", "50s");
        let mut edge = Edge::start(folder, &hub, config)?;
        hub.lake()?.wait_rows(Kind::Prediction, 5)?;
        let state = hub.stop()?;
        edge.process.signal(Signal::SIGTERM)?;
        wait::until("the agent to wait for the hub", || {
            Ok(steps(&edge.process).iter().any(|(step, _)| step == "documents").then_some(()))
        })?;
        ensure!(edge.process.is_running(), "the agent gave up at once");
        let hub = Hub::start_with(&state, &folder.join("hub.toml"), &[])?;
        let status = edge.process.wait(edge::DRAIN)?;
        assert_eq!(status.code(), Some(0), "{}", edge.process.log().text());
        let summary: Value = serde_json::from_slice(&std::fs::read(edge.state.join("summary.json"))?)?;
        assert_eq!(summary["archived"], true, "{summary}");
        let made = summary["cameras"]["cam"]["classified"].as_u64().context("classified")?;
        assert_eq!(hub.lake()?.rows(Kind::Prediction)?.len() as u64, made);
        let steps = steps(&edge.process);
        let (_, took_ms) = steps.iter().find(|(step, _)| step == "tasks").context("the step `tasks`")?;
        assert!(*took_ms < 1000, "a task did not end when it should: {steps:?}");
        Ok(())
    });
}

#[test]
fn what_was_decided_and_spent_survives_a_restart() {
    story(|folder| {
        let hub = Hub::start(folder, Config::new())?;
        let config = one_camera("test:ball")?
            .set("samples.budget_per_day", "1KiB")
            .set("cameras.cam.regions.full.samples.periodic", "100ms");
        let observer = hub.observe()?;
        let desire = |generation: u64| {
            let document = json!({ "schema": 1, "authority": "test", "generation": generation });
            observer.publish("sightline/down/plant/gw-1/desired", true, document.to_string())
        };
        let reported = |what: &str, generation: u64, outcome: &str| {
            let topic = "sightline/live/plant/gw-1/reported";
            wait::until(what, || {
                let now = observer.last(topic).map(|m| m.json()).unwrap_or_default();
                Ok((now["generation"] == generation && now["outcome"] == outcome).then_some(now))
            })
        };
        let refused = |edge: &Edge| {
            wait::until("samples that the budget refuses", || {
                let text = edge.admin()?.get("/metrics")?.text();
                let line = text.lines().find(|line| line.contains("samples_dropped") && line.contains("\"budget\""));
                Ok(line.filter(|line| !line.ends_with(" 0")).map(|_| ()))
            })
        };
        desire(5)?;
        let mut edge = Edge::start(folder, &hub, config.clone())?;
        reported("generation 5", 5, "accepted")?;
        hub.lake()?.wait_rows(Kind::Sample, 1)?;
        refused(&edge)?;
        edge.stop()?;
        let kept = hub.lake()?.rows(Kind::Sample)?.len();

        desire(4)?;
        let mut edge = Edge::start(folder, &hub, config)?;
        let now = reported("the refusal of generation 4", 5, "refused")?;
        assert!(now["reason"].as_str().is_some_and(|r| r.contains("4 is older than 5")), "{now}");
        refused(&edge)?;
        edge.stop()?;
        assert_eq!(hub.lake()?.rows(Kind::Sample)?.len(), kept, "a restart gave the day a new budget");
        desire(6)?;
        let _edge = Edge::start(folder, &hub, one_camera("test:")?)?;
        reported("generation 6", 6, "accepted").map(drop)
    });
}

/// A model that answers for dark pictures and fails for bright ones: a look-up beyond the end of its table.
fn moody(folder: &Path) -> Result<std::path::PathBuf> {
    let script = "import sys, protobuf as onnx\n\
        nodes = [onnx.node('Flatten', ['input'], 'flat', axis=1), onnx.node('Cast', ['flat'], 'long', to=onnx.INT64),\n\
        \x20 onnx.node('ReduceMax', ['long'], 'index', axes=[1], keepdims=1),\n\
        \x20 onnx.node('Gather', ['table', 'index'], 'row'), onnx.node('Flatten', ['row'], 'logits', axis=1)]\n\
        table = onnx.floats('table', [64, 5], [float(i % 5) for i in range(64 * 5)])\n\
        open(sys.argv[1], 'wb').write(onnx.model('moody', nodes, [table],\n\
        \x20 [onnx.value('input', onnx.UINT8, ['N', 64, 64, 1])], [onnx.value('logits', onnx.FLOAT, ['N', 5])], {}))\n";
    let file = folder.join("moody.onnx");
    let made = Command::new(runtime::python()?)
        .env("PYTHONPATH", runtime::root().join("deploy/setup"))
        .args(["-c", script])
        .arg(&file)
        .output()?;
    ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    package(folder, "moody", |manifest, to| {
        if let Some(manifest) = manifest.as_object_mut() {
            manifest.remove("golden");
        }
        std::fs::copy(&file, to.join("model.onnx")).unwrap();
    })
}

#[test]
fn an_engine_that_fails_is_seen_everywhere() {
    story(|folder| {
        let hub = Hub::start(folder, Config::new())?;
        let observer = hub.observe()?;
        let config = one_camera("test:white")?.set("models.default", moody(folder)?.display().to_string());
        let edge = Edge::start(folder, &hub, config)?;
        let admin = edge.admin()?;
        let ready = wait::until("an agent that is not ready", || {
            let answer = admin.get("/ready")?;
            Ok((answer.status == 503 && answer.json()["components"]["engine"]["ready"] == false).then(|| answer.json()))
        })?;
        let reason = ready["components"]["engine"]["reason"].as_str().unwrap_or_default();
        assert!(reason.contains("model default fails"), "{ready}");
        let metrics = wait::until("the metric", || {
            let text = admin.get("/metrics")?.text();
            Ok(text.lines().any(|line| line == "sightline_engine_failing 1").then_some(text))
        })?;
        assert!(!metrics.contains("sightline_engine_failures_total 0"), "{metrics}");
        observer.wait("the engine in the health record", |m| {
            let json = m.json();
            let told = json["engine_reason"].as_str().is_some_and(|reason| reason.contains("model default fails"));
            (m.topic.ends_with("/health") && told).then_some(())
        })?;
        assert!(edge.process.log().text().contains("engine fails; frames are skipped"));
        Ok(())
    });
}

/// A clock for `LD_PRELOAD` that is set back by a day as soon as a file is there.
fn jumping_clock(folder: &Path) -> Result<std::path::PathBuf> {
    let (source, library) = (folder.join("clock.c"), folder.join("clock.so"));
    std::fs::write(
        &source,
        "#define _GNU_SOURCE\n#include <stdlib.h>\n#include <sys/syscall.h>\n#include <time.h>\n#include <unistd.h>\n\
         int clock_gettime(clockid_t id, struct timespec *t) {\n    int r = syscall(SYS_clock_gettime, id, t);\n    \
         const char *f = getenv(\"CLOCK_JUMPS\");\n    if (id == CLOCK_REALTIME && f && access(f, F_OK) == 0) t->tv_sec -= \
         86400;\n    return r;\n}\n",
    )?;
    let made = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source).output()?;
    ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    Ok(library)
}

#[test]
fn a_clock_that_jumps_back_stops_nothing() {
    story(|folder| {
        let jump = folder.join("jump");
        let hub = Hub::start(folder, Config::new())?;
        let config = one_camera("test:")?
            .set("mqtt.url", format!("mqtt://{}", hub.mqtt()?))
            .set("cameras.cam.regions.full.fps", 5)
            .set("cameras.cam.regions.full.samples.periodic", "300ms");
        let file = edge::with_defaults(config)?.write(folder, "edge.toml")?;
        let mut command = Process::command("sightline-edge")?;
        command.arg("run").arg("--config").arg(file).arg("--state").arg(folder.join("edge"));
        command.env("LD_PRELOAD", jumping_clock(folder)?).env("CLOCK_JUMPS", &jump);
        let mut process = Process::start("sightline-edge", &mut command)?;
        process.ready()?;
        let lake = hub.lake()?;
        let before = lake.wait_rows(Kind::Prediction, 5)?.len();
        let samples = lake.wait_rows(Kind::Sample, 2)?.len();
        std::fs::write(&jump, "")?;
        let rows = lake.wait_rows(Kind::Prediction, before + 15)?;
        lake.wait_rows(Kind::Sample, samples + 3)?;
        assert_eq!(world::lake::holes_and_doubles(&rows), (vec![], vec![]));
        let mut captured: Vec<(u64, i64)> =
            rows.iter().filter_map(|row| Some((row["seq"].as_u64()?, row["captured_at"].as_i64()?))).collect();
        captured.sort_unstable();
        let steps: Vec<i64> = captured.windows(2).map(|pair| pair[1].1 - pair[0].1).collect();
        let day = Duration::from_secs(86_000).as_micros() as i64;
        assert_eq!(steps.iter().filter(|step| **step < -day).count(), 1, "one jump: {steps:?}");
        // Rates are the monotonic clock's business: five a second before, after, and at the jump.
        let regular = steps.iter().filter(|step| (50_000..2_000_000).contains(*step)).count();
        assert!(regular + 1 >= steps.len(), "{steps:?}");
        process.terminate(edge::DRAIN)?;
        Ok(())
    });
}
