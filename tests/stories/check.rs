//! `check` tries what `run` needs, beside a running program or before there is one, and leaves no trace.

use std::{
    io::{Read, Write},
    net::TcpListener,
    path::Path,
};

use anyhow::Result;
use world::{Config, Edge, Hub, Process, process::Ended, story};

use crate::common::{one_camera, tiny};

fn check(program: &str, config: &Path, state: &Path) -> Result<Ended> {
    let paths = [config.display().to_string(), state.display().to_string()];
    Process::run(program, &["check", "--config", &paths[0], "--state", &paths[1]])
}

/// The report's line about one thing.
fn line<'a>(ended: &'a Ended, name: &str) -> &'a str {
    let about = |line: &&str| line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ").starts_with(name);
    ended.stdout.lines().find(about).unwrap_or_else(|| panic!("nothing about {name} in\n{}", ended.text()))
}

#[test]
fn a_check_before_the_first_start_makes_nothing() {
    story(|folder| {
        let hub = Hub::start(&folder.join("running"), Config::new())?;
        let edge =
            one_camera("test:")?.set("mqtt.url", format!("mqtt://{}", hub.mqtt()?)).write(folder, "edge.toml")?;
        let own = Config::new().set("listen", "127.0.0.1:0").set("broker.listen", "127.0.0.1:0");
        let own = own.set("s3.listen", "127.0.0.1:0").write(folder, "own.toml")?;
        for (program, config) in [("sightline-edge", &edge), ("sightline-hub", &own)] {
            let state = folder.join("not").join("yet");
            let ended = check(program, config, &state)?;
            assert_eq!(ended.code, Some(0), "{}", ended.text());
            assert!(line(&ended, "state").contains("will be made"), "{}", ended.text());
            assert!(!folder.join("not").exists(), "{program} check made its state folder");
            let ended = check(program, config, Path::new("/proc/none/such"))?;
            assert_ne!(ended.code, Some(0), "{}", ended.text());
            assert!(line(&ended, "state").contains("/proc/none/such"), "{}", ended.text());
        }
        Ok(())
    });
}

#[test]
fn a_check_beside_a_running_program_is_in_nobodys_way() {
    story(|folder| {
        let hub = Hub::start(folder, Config::new())?;
        let edge = Edge::start(folder, &hub, tiny()?.set("cameras.cam.uri", "test:"))?;
        for (program, config, state, id) in [
            ("sightline-edge", "edge.toml", &edge.state, edge.process.id()),
            ("sightline-hub", "hub.toml", &hub.state, hub.process.id()),
        ] {
            let lock = std::fs::read_to_string(state.join("lock"))?;
            let ended = check(program, &folder.join(config), state)?;
            assert_eq!(ended.code, Some(0), "{}", ended.text());
            assert!(line(&ended, "state").contains(&id.to_string()), "{}", ended.text());
            assert_eq!(std::fs::read_to_string(state.join("lock"))?, lock, "{program} check wrote into the lock file");
            let second = Process::run(
                program,
                &[
                    "run",
                    "--config",
                    &folder.join(config).display().to_string(),
                    "--state",
                    &state.display().to_string(),
                ],
            )?;
            assert_eq!(second.code, Some(3), "{program} has lost its lock: {}", second.text());
        }
        Ok(())
    });
}

/// A collector that takes everything.
fn collector() -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let read = stream.read(&mut [0; 4096]);
            if read.is_ok() {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            }
        }
    });
    Ok(address)
}

#[test]
fn the_collector_and_the_admin_address_are_tried() {
    story(|folder| {
        let hub = Hub::start(&folder.join("running"), Config::new())?;
        let taken = TcpListener::bind("127.0.0.1:0")?;
        let busy = taken.local_addr()?.to_string();
        let good = one_camera("test:")?
            .set("mqtt.url", format!("mqtt://{}", hub.mqtt()?))
            .set("admin.listen", "127.0.0.1:0")
            .set("telemetry.otlp", format!("http://{}", collector()?));
        let ended = check("sightline-edge", &good.write(folder, "good.toml")?, &folder.join("state"))?;
        assert_eq!(ended.code, Some(0), "{}", ended.text());
        assert!(line(&ended, "telemetry").starts_with("ok"), "{}", ended.text());
        let bad = good.set("admin.listen", busy.clone()).set("telemetry.otlp", "http://127.0.0.1:1");
        let ended = check("sightline-edge", &bad.write(folder, "bad.toml")?, &folder.join("state"))?;
        assert_eq!(ended.code, Some(1), "{}", ended.text());
        assert!(line(&ended, "admin.listen").contains(&busy), "{}", ended.text());
        let told = line(&ended, "telemetry");
        assert!(
            told.starts_with("FAILED") && told.contains("127.0.0.1:1") && told.contains("telemetry.otlp"),
            "{told}"
        );
        let own = Config::new().set("listen", "127.0.0.1:0").set("telemetry.otlp", "http://127.0.0.1:1");
        let ended = check("sightline-hub", &own.write(folder, "own.toml")?, &folder.join("hub-state"))?;
        assert!(line(&ended, "telemetry").starts_with("FAILED"), "{}", ended.text());
        Ok(())
    });
}
