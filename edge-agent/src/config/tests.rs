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
    let errors = read("[cameras.yard]\nuri = \"v4l2:/dev/video0\"\nplay = \"loop\"\n").unwrap_err();
    for part in ["cameras.yard.play", "sets its own pace", "has no model: set [models] default"] {
        assert!(errors.contains(part), "`{part}` is not in: {errors}");
    }
}

#[test]
fn no_file_is_needed() {
    assert!(load::<Config>(&Sources::default()).is_ok());
}
