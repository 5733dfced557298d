//! Files that people write, and what they are told.

use super::*;
use daemon::config::{Sources, load};

fn read(text: &str) -> Result<Config, String> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("edge.toml");
    std::fs::write(&file, text).unwrap();
    let sources = Sources { file: Some(file), env_prefix: ENV_PREFIX.into(), ..Sources::default() };
    load::<Config>(&sources).map(|loaded| loaded.value).map_err(|errors| errors.to_string())
}

#[test]
fn a_file_with_everything_is_read() {
    let config = read(
        r#"
        site = "plant"
        gateway = "gw-1"
        [mqtt]
        url = "mqtts://broker:8884"
        username = "plant/gw-1"
        [models]
        default = "/m/a"
        people = "/m/b"
        [cameras.front]
        uri = "rtsp://user:pw@10.0.0.1/1"
        latency = "80ms"
        [cameras.front.regions.door]
        rect = { x = 0.1, y = 0.2, width = 0.5, height = 0.5 }
        model = "people"
        fps = 2
        events = { min_score = 0.7 }
        samples = { periodic = "1m", uncertain = 0.0 }
        [cameras.yard]
        uri = "file:/v/yard.mp4"
        play = "fast"
        "#,
    )
    .unwrap();
    let front = &config.cameras[&"front".parse::<CameraId>().unwrap()];
    let door = &front.regions[&"door".parse().unwrap()];
    assert_eq!((door.rule().votes, door.rule().min_score, door.policy().uncertain), (3, 0.7, None));
    let yard = &config.cameras[&"yard".parse::<CameraId>().unwrap()];
    assert_eq!(yard.regions().keys().next().unwrap().as_str(), "full");
    assert!(toml::to_string(&config).is_ok_and(|text| !text.contains("pw")));
}

#[test]
fn every_mistake_is_told_with_its_line() {
    let errors = read(
        r#"
        sit = "plant"
        [cameras."a/b"]
        uri = "test:"
        [cameras.front]
        uri = "ftp://x"
        [cameras.yard]
        uri = "v4l2:/dev/video0"
        play = "loop"
        [cameras.yard.regions.r]
        rect = { x = 0.5, y = 0.0, width = 0.6, height = 1.0 }
        fps = "often"
        "#,
    )
    .unwrap_err();
    for part in ["sit", "a/b", "`ftp:` is unknown", "fps"] {
        assert!(errors.contains(part), "`{part}` is not in: {errors}");
    }
    let errors = read(
        r#"
        [models]
        default = "/m"
        [cameras.front]
        uri = "ftp://x"
        username = "u"
        [cameras.front.regions.door]
        rect = { x = 0.5, y = 0.0, width = 0.6, height = 1.0 }
        fps = "often"
        samples = { periodic = "soon", uncertain = 7.0 }
        events = { votes = 9, of = 5 }
        [cameras.yard]
        latency = "5"
        [cameras.yard.regions.gate]
        top_k = 0
        "#,
    )
    .unwrap_err();
    let parts = [
        "`ftp:` is unknown",
        "door.rect",
        "door.fps",
        "periodic",
        "uncertain",
        "votes",
        "uri is missing",
        "yard.latency",
        "gate.top_k",
    ];
    for part in parts {
        assert!(errors.contains(part), "`{part}` is not in: {errors}");
    }
    assert!(!errors.contains("front.username"), "may be right, were the address right: {errors}");
    let errors = read("[cameras.yard]\nuri = \"v4l2:/dev/video0\"\nplay = \"loop\"\n").unwrap_err();
    for part in ["cameras.yard.play", "sets its own pace", "has no model: set [models] default"] {
        assert!(errors.contains(part), "`{part}` is not in: {errors}");
    }
}

#[test]
fn secrets_do_not_stand_in_addresses_and_never_print() {
    for (text, key) in [
        ("mqtt.url = \"mqtt://gw:hunter2@broker\"", "mqtt.username and mqtt.password"),
        ("mqtt.url = \"mqtt://gw:hunter2@broker:port\"", "mqtt.url"),
        ("telemetry.otlp = \"http://u:hunter2@collector:4318\"", "OTEL_EXPORTER_OTLP_HEADERS"),
        ("telemetry.otlp = \"u:hunter2@collector\"", "telemetry.otlp"),
        ("[cameras.c]\nuri = \"rtsp://u:hunter2@cam:port/\"", "cameras.c.uri"),
        ("[cameras.c]\nuri = \"rtsp://cam:port/?password=hunter2\"", "cameras.c.uri"),
        ("[cameras.c]\nuri = \"test:\"\npassword = [\"hunter2\"]", "cameras.c.password"),
        ("mqtt.password = 77421", "mqtt.password: this is not a text: put it in quotes"),
    ] {
        let said = read(text).unwrap_err();
        assert!(said.contains(key) && !said.contains("hunter2") && !said.contains("77421"), "{text}: {said}");
    }
}

#[test]
fn the_effective_document_and_the_printed_file_hold_no_secret() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let text = "[mqtt]\nusername = \"gw\"\npassword = \"hunter2\"\n[models]\ndefault = \"/m\"\n\
                [cameras.a]\nuri = \"rtsp://u:hunter2@cam/x?pwd=hunter2\"\n\
                [cameras.b]\nuri = \"http://cam/user=u&password=hunter2&channel=1\"\npassword = \"hunter2\"\n";
    std::fs::write(file.path(), text).unwrap();
    let sources = Sources { file: Some(file.path().into()), env_prefix: ENV_PREFIX.into(), ..Sources::default() };
    let loaded = load::<Config>(&sources).unwrap();
    let effective = serde_json::to_string(&effective(&loaded)).unwrap();
    let debug = format!("{:?}", loaded.value);
    for shown in [effective, loaded.print(), debug] {
        assert!(shown.contains("cam/") && !shown.contains("hunter2"), "{shown}");
    }
}

#[test]
fn the_unit_gives_a_drain_and_a_stuck_loop_their_time() {
    let unit = include_str!("../../../deploy/systemd/sightline-edge.service");
    let seconds = |key: &str| -> u64 {
        let line = unit.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.unwrap_or_else(|| panic!("no {key}")).parse().unwrap()
    };
    assert!(seconds("TimeoutStopSec") > Shutdown::default().bound.get().as_secs());
    // The watchdog is fed at half its period.
    assert!(seconds("WatchdogSec") / 2 >= crate::app::STUCK.as_secs());
}

#[test]
fn no_file_is_needed() {
    assert!(load::<Config>(&Sources::default()).is_ok());
}
