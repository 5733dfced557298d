//! Each mistake that people make has an error that names what, which and what to do, and ends the program where it
//! cannot go on. Mistakes of cameras are in `failing_cameras`, of pictures in `frames_by_rest`, of the archive lane in
//! `archive_garbage`.

use std::{net::TcpListener, path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use world::{Config, Edge, Hub, Process, SmallDisk, edge, process::Ended, runtime, story};

use crate::common::{package, tiny};

/// Runs `<program> <command>` with a file in `folder`, to its end.
fn run(program: &str, command: &str, folder: &Path, toml: &str, env: &[(&str, &str)]) -> Result<Ended> {
    let config = folder.join("bad.toml");
    std::fs::write(&config, toml)?;
    let mut process = Process::command(program)?;
    process.arg(command).arg("--config").arg(&config).arg("--state").arg(folder.join("state"));
    process.envs(env.iter().copied());
    Process::start(program, &mut process)?.ended(world::wait::PATIENCE)
}

fn must_say(what: &str, ended: &Ended, words: &[&str]) {
    let text = ended.text();
    assert!(!matches!(ended.code, Some(0) | None), "{what}: ended with {:?}\n{text}", ended.code);
    for word in words {
        assert!(text.contains(word), "{what}: `{word}` is not in\n{text}");
    }
    assert!(!text.contains("panicked"), "{what}:\n{text}");
}

fn edge_toml(more: &str) -> Result<String> {
    let model = runtime::tiny_model()?;
    Ok(format!("[models]\ndefault = \"{}\"\n{more}", model.display()))
}

#[test]
fn mistakes_in_the_agents_file_are_named_with_line_and_key() {
    story(|folder| {
        let camera = |uri: &str| edge_toml(&format!("[cameras.cam]\nuri = \"{uri}\"\n"));
        let cases: Vec<(&str, String, &[&str])> = vec![
            ("unknown scheme", camera("gopher://door")?, &["gopher", "rtsp://", "bad.toml:4"]),
            ("no scheme", camera("door")?, &["door", "scheme"]),
            ("id with a slash", edge_toml("[cameras.\"a/b\"]\nuri = \"test:\"\n")?, &["a/b", "a-z"]),
            ("site with a slash", format!("site = \"a/b\"\n{}", edge_toml("")?), &["a/b", "site", "bad.toml:1"]),
            ("typo in a key", edge_toml("[cameras.cam]\nurl = \"test:\"\n")?, &["url", "uri", "bad.toml:4"]),
            ("typo in a section", edge_toml("[camera.cam]\nuri = \"test:\"\n")?, &["camera", "cameras"]),
            ("no unit", edge_toml("[health]\ninterval = 5\n")?, &["interval", "5s", "bad.toml:4"]),
            ("not TOML", "site = \n".into(), &["bad.toml:1"]),
            (
                "region outside",
                edge_toml(
                    "[cameras.cam]\nuri = \"test:\"\n[cameras.cam.regions.r]\nrect = { x = 0.9, y = 0.0, width = 0.5, height = 1.0 }\n",
                )?,
                &["rect", "regions.r"],
            ),
            (
                "unknown model",
                edge_toml("[cameras.cam]\nuri = \"test:\"\n[cameras.cam.regions.r]\nmodel = \"people\"\n")?,
                &["people", "models"],
            ),
        ];
        for (what, toml, words) in cases {
            must_say(what, &run("sightline-edge", "check", folder, &toml, &[])?, words);
        }
        let two = edge_toml("[cameras.cam]\nuri = \"gopher:x\"\n[health]\ninterval = \"soon\"\n")?;
        must_say("two mistakes", &run("sightline-edge", "check", folder, &two, &[])?, &["gopher", "soon"]);
        Ok(())
    });
}

#[test]
fn mistakes_in_the_hubs_file_are_named_with_line_and_key() {
    story(|folder| {
        let cases: &[(&str, &str, &[&str])] = &[
            ("typo in a key", "lisen = \"127.0.0.1:0\"\n", &["lisen", "listen", "bad.toml:1"]),
            ("unknown role", "roles = [\"broker\", \"magic\"]\n", &["magic", "ingest"]),
            ("not an address", "listen = \"here\"\n", &["listen", "127.0.0.1:8080"]),
            ("open to all", "listen = \"0.0.0.0:0\"\n", &["0.0.0.0", "insecure"]),
            ("not objects", "objects = \"ftp://x\"\n", &["ftp://x", "s3://"]),
            ("not tables", "tables = \"mysql://x\"\n", &["mysql", "sqlite"]),
        ];
        for (what, toml, words) in cases {
            must_say(what, &run("sightline-hub", "check", folder, toml, &[])?, words);
        }
        Ok(())
    });
}

#[test]
fn check_and_print_config_take_a_good_file_and_hide_secrets() {
    story(|folder| {
        let toml =
            edge_toml("[cameras.cam]\nuri = \"rtsp://door\"\nusername = \"u\"\npassword = \"env:CAM_SECRET\"\n")?;
        let printed = run("sightline-edge", "print-config", folder, &toml, &[("CAM_SECRET", "hunter2-secret")])?;
        assert_eq!(printed.code, Some(0), "{}", printed.text());
        assert!(
            printed.stdout.contains("[cameras.cam") && !printed.text().contains("hunter2-secret"),
            "{}",
            printed.text()
        );
        let hub = Hub::start(&folder.join("h"), Config::new())?;
        let toml = format!(
            "mqtt = {{ url = \"mqtt://{}\" }}\n{}",
            hub.mqtt()?,
            edge_toml("[cameras.cam]\nuri = \"test:\"\n")?
        );
        let checked = run("sightline-edge", "check", folder, &toml, &[])?;
        assert_eq!(checked.code, Some(0), "{}", checked.text());
        let over = run("sightline-edge", "print-config", folder, &toml, &[("SIGHTLINE_EDGE__HEALTH__INTERVAL", "7s")])?;
        assert!(over.stdout.contains("7s"), "{}", over.text());
        Ok(())
    });
}

#[test]
fn passwords_in_addresses_are_refused_or_hidden_wherever_they_stand() {
    story(|folder| {
        let toml = edge_toml("[mqtt]\nurl = \"mqtt://gw:hunter2-secret@127.0.0.1:1\"\n")?;
        let hub = "mqtt = \"mqtt://gw:hunter2-secret@127.0.0.1:1\"\n";
        for command in ["check", "print-config", "run"] {
            let ended = run("sightline-edge", command, folder, &toml, &[])?;
            must_say(command, &ended, &["mqtt.url", "mqtt.username", "mqtt.password", "bad.toml:4"]);
            assert!(!ended.text().contains("hunter2"), "{command}: {}", ended.text());
            let ended = run("sightline-hub", command, folder, hub, &[])?;
            must_say(command, &ended, &["mqtt_client.username", "bad.toml:1"]);
            assert!(!ended.text().contains("hunter2"), "{command}: {}", ended.text());
        }
        let tables = "tables = \"postgres://u:hunter2-secret@127.0.0.1:1/d?password=hunter2-secret\"\n";
        let printed = run("sightline-hub", "print-config", folder, tables, &[])?;
        assert_eq!(printed.code, Some(0), "{}", printed.text());
        for command in ["check", "print-config", "run"] {
            let ended = run("sightline-hub", command, folder, tables, &[])?;
            assert!(ended.text().contains("postgres://") && !ended.text().contains("hunter2"), "{}", ended.text());
        }
        let toml =
            edge_toml("[cameras.cam]\nuri = \"rtsp://u:hunter2-secret@127.0.0.1:1/x?password=hunter2-secret\"\n")?;
        for command in ["check", "print-config"] {
            let ended = run("sightline-edge", command, folder, &toml, &[])?;
            assert!(ended.text().contains("127.0.0.1:1/x") && !ended.text().contains("hunter2"), "{}", ended.text());
        }
        Ok(())
    });
}

#[test]
fn models_that_cannot_be_right_are_refused_at_load() {
    story(|folder| {
        let cases = [
            (
                "wrong shape",
                package(folder, "shape", |m, _| m["input"]["width"] = json!(96))?,
                &["96", "64", "input `input` has shape", "correct the manifest or export the model again"][..],
            ),
            (
                "class list",
                package(folder, "classes", |m, _| m["classes"] = json!(["dark", "bright"]))?,
                &[
                    "gives 5 classes",
                    "the manifest lists 2",
                    "list exactly one name a class",
                    "does not match `manifest.json`",
                ],
            ),
            (
                "corrupt ONNX",
                package(folder, "corrupt", |_, to| {
                    std::fs::write(to.join("model.onnx"), b"\xff".repeat(500)).unwrap()
                })?,
                &["`model.onnx`", "not a readable ONNX file", "export or copy it again"],
            ),
            ("absent", folder.join("nothing-here"), &["nothing-here", "No such file"]),
        ];
        for (what, package, words) in cases {
            let toml = format!("[models]\ndefault = \"{}\"\n[cameras.cam]\nuri = \"test:\"\n", package.display());
            let ended = run("sightline-edge", "run", folder, &toml, &[])?;
            must_say(what, &ended, words);
            must_say(what, &ended, &["model `default`", &package.display().to_string()]);
            assert_eq!(ended.code, Some(4), "{}", ended.text());
            let inspected = Process::run("sightline-train", &["inspect", &package.display().to_string()])?;
            must_say(&format!("inspect, {what}"), &inspected, &[words[0]]);
        }
        // Changed after it was packed: the digest says so.
        let tampered = package(folder, "tampered", |_, _| ())?;
        std::fs::write(tampered.join("model.onnx"), b"something else")?;
        let toml = format!("[models]\ndefault = \"{}\"\n[cameras.cam]\nuri = \"test:\"\n", tampered.display());
        must_say(
            "tampered",
            &run("sightline-edge", "run", folder, &toml, &[])?,
            &["`model.onnx` has digest sha256:", "fetch it again"],
        );
        let good =
            Process::run("sightline-train", &["inspect", &runtime::tiny_model()?.display().to_string(), "--json"])?;
        let said: Value = serde_json::from_str(&good.stdout).with_context(|| good.text())?;
        assert!(said.to_string().contains("very-dark"), "{said}");
        Ok(())
    });
}

#[test]
fn missing_programs_and_libraries_are_named() {
    story(|folder| {
        let toml = edge_toml("[engines]\nlibrary = \"/nowhere/libonnxruntime.so\"\n[cameras.cam]\nuri = \"test:\"\n")?;
        let ended = run("sightline-edge", "run", folder, &toml, &[])?;
        must_say("no libonnxruntime", &ended, &["/nowhere/libonnxruntime.so", "make setup"]);
        let toml = "[broker]\nprogram = \"/nowhere/mosquitto\"\nlisten = \"127.0.0.1:0\"\n";
        let ended = run("sightline-hub", "run", folder, toml, &[])?;
        must_say("no mosquitto", &ended, &["/nowhere/mosquitto", "install"]);
        Ok(())
    });
}

#[test]
fn a_port_that_was_asked_for_and_is_taken_is_named() {
    story(|folder| {
        let taken = TcpListener::bind("127.0.0.1:0")?;
        let address = taken.local_addr()?.to_string();
        for key in ["listen", "broker.listen", "s3.listen"] {
            let toml = match key.split_once('.') {
                Some((section, key)) => format!("listen = \"127.0.0.1:0\"\n[{section}]\n{key} = \"{address}\"\n"),
                None => format!("{key} = \"{address}\"\n[broker]\nlisten = \"127.0.0.1:0\"\n"),
            };
            let ended = run("sightline-hub", "run", folder, &toml, &[])?;
            must_say(key, &ended, &[&address]);
            assert_eq!(ended.code, Some(4), "{key}: {}", ended.text());
        }
        let toml = edge_toml(&format!("[admin]\nlisten = \"{address}\"\n"))?;
        let ended = run("sightline-edge", "run", folder, &toml, &[])?;
        let what = format!("admin.listen = \"{address}\"");
        must_say(
            "admin",
            &ended,
            &[&what, "is taken by another process", "stop it, or choose another port (0 takes any free one)"],
        );
        assert_eq!(ended.code, Some(4), "{}", ended.text());
        Ok(())
    });
}

#[test]
fn a_state_folder_in_use_or_unusable_is_named() {
    story(|folder| {
        let hub = Hub::start(folder, Config::new())?;
        let state = hub.state.display().to_string();
        let second = Process::run("sightline-hub", &["run", "--state", &state, "--listen", "127.0.0.1:0"])?;
        must_say("hub twice", &second, &[&state, &hub.process.id().to_string()]);
        assert_eq!(second.code, Some(3), "{}", second.text());
        let edge = Edge::start(folder, &hub, tiny()?)?;
        let state = edge.state.display().to_string();
        let second = Process::run("sightline-edge", &["run", "--state", &state])?;
        let owner = format!("is in use by process {}", edge.process.id());
        must_say("agent twice", &second, &[&state, &owner, "choose another folder with --state"]);
        assert_eq!(second.code, Some(3), "{}", second.text());
        let file = folder.join("file");
        std::fs::write(&file, "not a folder")?;
        for program in ["sightline-hub", "sightline-edge"] {
            let ended = Process::run(program, &["run", "--state", &file.join("below").display().to_string()])?;
            must_say(program, &ended, &[&file.join("below").display().to_string(), "cannot be used", "--state"]);
            assert_eq!(ended.code, Some(5), "{}", ended.text());
        }
        // Readable, not writable: proc takes no files, not even root's.
        for program in ["sightline-hub", "sightline-edge"] {
            let ended = Process::run(program, &["run", "--state", "/proc/1"])?;
            must_say("not writable", &ended, &["/proc/1", "cannot be used", "make it writable for this user"]);
            assert_eq!(ended.code, Some(5), "{}", ended.text());
        }
        Ok(())
    });
}

#[test]
fn wrong_s3_credentials_and_an_absent_bucket_are_named() {
    story(|folder| {
        let hub = Hub::start(&folder.join("with-s3"), Config::new())?;
        let s3 = hub.endpoints()?["s3"].clone();
        let text = |key: &str| s3[key].as_str().unwrap_or_default().to_owned();
        let settings = |bucket: &str, secret: &str| {
            format!(
                "listen = \"127.0.0.1:0\"\nobjects = \"s3://{bucket}\"\n[broker]\nlisten = \"127.0.0.1:0\"\n[s3]\n\
                 endpoint = \"{}\"\nregion = \"{}\"\naccess_key = \"{}\"\nsecret_key = \"{secret}\"\n",
                text("endpoint"),
                text("region"),
                text("access_key")
            )
        };
        let wrong = run("sightline-hub", "check", folder, &settings(&text("bucket"), "not-the-secret"), &[])?;
        must_say("wrong secret", &wrong, &["access key", "SignatureDoesNotMatch"]);
        assert!(!wrong.text().contains("not-the-secret"));
        let absent = run("sightline-hub", "check", folder, &settings("no-such-bucket", &text("secret_key")), &[])?;
        must_say("absent bucket", &absent, &["no-such-bucket"]);
        let right = run("sightline-hub", "check", folder, &settings(&text("bucket"), &text("secret_key")), &[])?;
        assert_eq!(right.code, Some(0), "{}", right.text());
        Ok(())
    });
}

#[test]
fn a_database_of_a_newer_version_is_left_alone() {
    story(|folder| {
        let hub = Hub::start(folder, Config::new())?;
        let endpoints = hub.endpoints()?;
        let path =
            endpoints["tables"].as_str().and_then(|uri| uri.strip_prefix("sqlite:")).context("tables")?.to_owned();
        let state = hub.stop()?;
        let script = format!(
            "import sqlite3\nc = sqlite3.connect('{path}')\n\
             tables = [r[0] for r in c.execute(\"select name from sqlite_master where type='table' and name = 'sightline_table_sets'\")]\n\
             assert tables, 'no table of versions'\n\
             for t in tables:\n    names = [r[1] for r in c.execute(f'pragma table_info({{t}})')]\n    \
             v = [n for n in names if 'version' in n][0]\n    c.execute(f'update {{t}} set {{v}} = {{v}} + 1000')\nc.commit()\n"
        );
        let made = Command::new(runtime::python()?).arg("-c").arg(script).output()?;
        ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let ended = Process::run(
            "sightline-hub",
            &["run", "--state", &state.display().to_string(), "--listen", "127.0.0.1:0"],
        )?;
        must_say("newer database", &ended, &["newer"]);
        Ok(())
    });
}

#[test]
fn a_full_disk_is_said_and_survived() {
    story(|folder| {
        let disk = folder.join("disk");
        std::fs::create_dir(&disk)?;
        fill_and_free(&SmallDisk::new(&disk, 6 << 10)?, folder)
    });
}

fn fill_and_free(disk: &SmallDisk, folder: &Path) -> Result<()> {
    let hub = Hub::start_on(disk, folder, Config::new())?;
    let config = edge::with_defaults(tiny()?)?.set("cameras.cam.uri", "test:").set("cameras.cam.regions.full.fps", 5);
    let mut edge = Edge::start(folder, &hub, config)?;
    let before = hub.lake()?.wait_rows(contract::Kind::Prediction, 3)?.len();
    let ballast = disk.seen_by(hub.process.id()).join("filling");
    // Writes until nothing more fits.
    let filled = std::fs::write(&ballast, vec![0u8; 6 << 20]);
    ensure!(filled.is_err(), "the small disk took 6 MiB beside the hub's files");
    hub.process
        .log()
        .find(world::wait::PATIENCE, |line| {
            let line = line.to_lowercase();
            (line.contains("no space left") || line.contains("disk is full") || line.contains("disk full"))
                .then_some(())
        })
        .context("the log does not say that the disk is full")?;
    std::fs::remove_file(&ballast)?;
    let summary = edge.stop()?;
    let rows = hub.lake()?.rows(contract::Kind::Prediction)?;
    ensure!(rows.len() > before, "nothing was archived after the disk had room again");
    ensure!(rows.len() as u64 == summary.classified, "{} rows; {summary:?}", rows.len());
    Ok(())
}
