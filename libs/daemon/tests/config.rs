//! Configuration as a person meets it: every mistake with its place, overrides, origins, and what is printed.

#![allow(clippy::unwrap_used, missing_docs)]

use std::{collections::BTreeMap, path::PathBuf};

use daemon::config::{self, Bytes, Config, ConfigErrors, Loaded, Origin, Problems, Secret, Sources, Span};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Edge {
    site: String,
    gateway: String,
    roles: Vec<String>,
    mqtt: Mqtt,
    cameras: BTreeMap<Id, Camera>,
    outbox: Outbox,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Mqtt {
    url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<Secret>,
    keep_alive: Span,
    port: u16,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Camera {
    uri: String,
    #[serde(default)]
    fps: f64,
    #[serde(default)]
    play: Play,
    #[serde(default)]
    samples: Vec<Sample>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Sample {
    periodic: Span,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Play {
    #[default]
    Loop,
    Once,
    At {
        hour: u8,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Outbox {
    max_bytes: Bytes,
}

/// An id that checks itself, as those of the contract do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
struct Id(String);

impl TryFrom<String> for Id {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.contains('/') { Err(format!("id {text:?} may not hold /")) } else { Ok(Self(text)) }
    }
}

impl Default for Edge {
    fn default() -> Self {
        let (mqtt, outbox) = (Mqtt::default(), Outbox::default());
        Self {
            site: "home".into(),
            gateway: "gw".into(),
            roles: vec!["all".into()],
            mqtt,
            cameras: BTreeMap::new(),
            outbox,
        }
    }
}

impl Default for Mqtt {
    fn default() -> Self {
        Self { url: "mqtt://127.0.0.1:1883".into(), password: None, keep_alive: Span::from_secs(15), port: 1883 }
    }
}

impl Default for Outbox {
    fn default() -> Self {
        Self { max_bytes: Bytes::mib(64) }
    }
}

impl Config for Edge {
    fn check(&self, problems: &mut Problems) {
        for (id, camera) in &self.cameras {
            if camera.fps > 120.0 {
                problems.add(format!("cameras.{}.fps", id.0), "no camera gives more than 120 frames a second");
            }
        }
    }
}

fn load(text: Option<&str>, env: &[(&str, &str)]) -> (Result<Loaded<Edge>, ConfigErrors>, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("edge.toml");
    if let Some(text) = text {
        std::fs::write(&path, text).unwrap();
    }
    let mut sources = Sources::new(text.map(|_| path.as_path()), "SIGHTLINE_EDGE");
    sources.env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    (config::load(&sources), path)
}

#[test]
fn no_file_is_needed() {
    assert_eq!(load(None, &[]).0.unwrap().value, Edge::default());
}

#[test]
fn every_mistake_is_told_with_its_place() {
    let text = r#"
stie = "plant"
gateway = 7

[mqtt]
url = "mqtt://broker"
keep_alive = 15
port = 70000
pasword = "x"
password = "env:SIGHTLINE_TEST_NOT_SET"

[cameras.front]
fps = 200

[cameras.door]
uri = "rtsp://door"
fps = 500
play = "onec"

[cameras."a/b"]
uri = "test:"

[cameras.yard]
uri = "test:"
play = { at = { hour = 300, minute = 1 } }
samples = [{ periodic = "10m" }, { periodic = "often" }]

[outbox]
max_bytes = "64MB!"

[outbx]
"#;
    let (result, path) = load(Some(text), &[("SIGHTLINE_EDGE__OUTBOX__MAX_BYTE", "1MiB")]);
    let errors = result.unwrap_err();
    let told = errors.to_string().replace(&format!("{}:", path.display()), "");
    let expected = r#"configuration has 15 mistakes
  2:1: stie: unknown key stie; did you mean site?
  3:1: gateway: 7 is not a string
  7:1: mqtt.keep_alive: 15 is not a length of time with its unit, such as "5s"
  8:1: mqtt.port: 70000 is not u16
  9:1: mqtt.pasword: unknown key pasword; did you mean password?
  10:1: mqtt.password: environment variable SIGHTLINE_TEST_NOT_SET is not set; export it or use file:/path
  12:10: cameras.front: key uri is missing
  17:1: cameras.door.fps: no camera gives more than 120 frames a second
  18:1: cameras.door.play: unknown value onec; did you mean once?
  20:10: cameras.a/b: id "a/b" may not hold /
  25:17: cameras.yard.play.at.hour: 300 is not u8
  25:29: cameras.yard.play.at.minute: unknown key minute; there are hour
  26:36: cameras.yard.samples.1.periodic: "often" is not a length of time; write one such as "100ms", "5s", "10m" or "1h"
  29:1: outbox.max_bytes: "64MB!" is not a size; write one such as "256KiB", "64MiB" or "2GiB"
  31:2: outbx: unknown key outbx; did you mean outbox?
  environment SIGHTLINE_EDGE__OUTBOX__MAX_BYTE: outbox.max_byte: unknown key max_byte; did you mean max_bytes?"#;
    assert_eq!(told, expected.replace("15 mistakes", "16 mistakes"));
}

#[test]
fn a_file_that_is_not_toml_is_told_by_line() {
    let (result, _) = load(Some("site = \"a\"\ngateway = =\n[mqtt]\nurl = \n"), &[]);
    let told = result.unwrap_err().to_string();
    assert!(told.contains("edge.toml:2:") && told.contains("edge.toml:4:") && told.contains("not TOML"), "{told}");
    let sources = Sources { file: Some("/no/such.toml".into()), ..Sources::default() };
    let told = config::load::<Edge>(&sources).unwrap_err().to_string();
    assert!(told.contains("/no/such.toml") && told.contains("cannot read the file"), "{told}");
}

#[test]
fn the_environment_goes_over_the_file_and_the_command_line_over_both() {
    let text = "gateway = \"file\"\n[cameras.front-door]\nuri = \"test:\"\n";
    let env = [
        ("SIGHTLINE_EDGE__MQTT__URL", "mqtt://other:1"),
        ("SIGHTLINE_EDGE__GATEWAY", "12345"),
        ("SIGHTLINE_EDGE__ROLES", "ingest, api"),
        ("SIGHTLINE_EDGE__CAMERAS__FRONT_DOOR__FPS", "5"),
        ("SIGHTLINE_EDGE__CAMERAS__YARD", r#"{ uri = "file:a", play = "once" }"#),
        ("SIGHTLINE_EDGE_STATE", "not a key"),
        ("SIGHTLINE_HUB__LISTEN", "another program"),
    ];
    let loaded = load(Some(text), &env).0.unwrap();
    let edge = &loaded.value;
    assert_eq!((edge.gateway.as_str(), edge.mqtt.url.as_str()), ("12345", "mqtt://other:1"));
    assert_eq!(edge.roles, ["ingest", "api"]);
    assert_eq!(edge.cameras[&Id("front-door".into())].fps, 5.0);
    assert_eq!(edge.cameras[&Id("yard".into())].play, Play::Once);
    assert!(loaded.is_set("mqtt.url") && !loaded.is_set("mqtt.port"));
    assert_eq!(loaded.origin("mqtt.url"), Origin::Environment("SIGHTLINE_EDGE__MQTT__URL".into()));
    assert!(matches!(loaded.origin("cameras.front-door.uri"), Origin::File { line: 3, column: 1, .. }));
    assert_eq!(loaded.origin("site"), Origin::Default);
    let mut sources =
        Sources::new(None, "X").flag("site", "--site", Some("plant")).flag("mqtt.url", "--mqtt", None::<&str>);
    sources.env.insert("X__SITE".into(), "other".into());
    let loaded = config::load::<Edge>(&sources).unwrap();
    assert_eq!((loaded.value.site.as_str(), loaded.is_set("mqtt.url")), ("plant", false));
    assert_eq!(loaded.origin("site").to_string(), "command line --site");
}

#[test]
fn what_is_printed_can_be_read_again_and_holds_no_secret() {
    let text = r#"
[mqtt]
url = "mqtt://user:hunter2@broker:1883"
password = "hunter2"
[cameras.front]
uri = "rtsp://cam"
play = { at = { hour = 3 } }
"#;
    let loaded = load(Some(text), &[("SIGHTLINE_EDGE__SITE", "plant")]).0.unwrap();
    let printed = loaded.print();
    assert!(!printed.contains("hunter2"), "{printed}");
    assert!(printed.contains("site = \"plant\"  # environment SIGHTLINE_EDGE__SITE"), "{printed}");
    assert!(printed.contains("edge.toml:3:1") && printed.contains("max_bytes = \"64MiB\"\n"), "{printed}");
    let mut again = load(Some(&printed), &[]).0.unwrap().value;
    again.mqtt.url = loaded.value.mqtt.url.clone();
    again.mqtt.password = loaded.value.mqtt.password.clone();
    assert_eq!(again, loaded.value);
}

#[test]
fn a_hopeless_file_ends_in_bounded_time() {
    let text: String = (0..500).map(|i| format!("[cameras.c{i}]\nuri = {i}\nfps = \"x\"\n")).collect();
    let errors = load(Some(&text), &[]).0.unwrap_err();
    assert!((50..=100).contains(&errors.mistakes.len()), "{}", errors.mistakes.len());
}
