//! What released versions wrote, frozen: today's reader loses nothing of it, and reads what the next version may write.
//!
//! `tests/released/README.md` tells what lies there and how a version is added. Rows and shards of the lake lie there too;
//! their digests are compared here, and the hub's tests read them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use contract::{
    Archived, Event, Gap, Header, Health, Kind, Prediction, Sample,
    frame::{self, RecordParts},
    lake,
    live::{CameraStatus, Command, GatewayStatus, Live, RegionState, Reply},
    model::{Golden, ModelManifest},
    twin::{Desired, Reported},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{examples as ex, tolerance::add_unknown};

const SUMS: &str = "SHA256SUMS";
/// Set to freeze forms that are not frozen yet.
const FREEZE: &str = "FREEZE_RELEASE";

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

fn wire(version: u16) -> PathBuf {
    tests().join(format!("released/wire-{version}"))
}

/// Every file below a folder, by its path from there.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).unwrap_or_else(|e| panic!("{}: {e}", next.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                found.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// As `sha256sum` writes and checks it.
fn sums(of: &BTreeMap<String, Vec<u8>>) -> BTreeMap<String, String> {
    let hex = |bytes: &[u8]| Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    of.iter().map(|(name, bytes)| (name.clone(), hex(bytes))).collect()
}

/// Copies what is not frozen of the present version, and takes note of digests that are not known yet.
fn freeze(released: &Path) {
    let to = wire(contract::SCHEMA);
    fs::create_dir_all(&to).unwrap();
    for (name, bytes) in files(&tests().join("golden")) {
        if !to.join(&name).exists() {
            fs::write(to.join(&name), bytes).unwrap();
        }
    }
    let text = fs::read_to_string(released.join(SUMS)).unwrap_or_default();
    let mut known = listed(&text);
    for (name, sum) in sums(&frozen(released)) {
        known.entry(name).or_insert(sum);
    }
    let lines: String = known.iter().map(|(name, sum)| format!("{sum}  {name}\n")).collect();
    fs::write(released.join(SUMS), lines).unwrap();
}

fn listed(text: &str) -> BTreeMap<String, String> {
    text.lines().filter_map(|line| line.split_once("  ")).map(|(sum, name)| (name.to_owned(), sum.to_owned())).collect()
}

fn frozen(released: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = files(released);
    all.retain(|name, _| name.contains('/')); // the list itself and what explains it lie beside the versions
    all
}

#[test]
fn released_files_never_change_and_every_version_has_its_own() {
    let released = tests().join("released");
    if std::env::var_os(FREEZE).is_some() {
        freeze(&released);
    }
    let listed = listed(&fs::read_to_string(released.join(SUMS)).unwrap());
    let there = sums(&frozen(&released));
    let names: BTreeSet<_> = listed.keys().chain(there.keys()).collect();
    for name in names {
        match (listed.get(name), there.get(name)) {
            (Some(was), Some(is)) if was == is => {}
            (Some(_), Some(_)) => panic!(
                "tests/released/{name} has changed: devices in the field have written it so, and always will have. Put it \
                 back; a new form is a new version, added as tests/released/README.md tells"
            ),
            (Some(_), None) => panic!("tests/released/{name} is gone: put it back, old data is read for ever"),
            (None, _) => panic!("tests/released/{name} is not in {SUMS}: {FREEZE}=1 adds it"),
        }
    }
    let golden = files(&tests().join("golden"));
    for version in 1..=contract::SCHEMA {
        assert!(wire(version).is_dir(), "wire version {version} is not frozen: see tests/released/README.md");
    }
    let newest = files(&wire(contract::SCHEMA));
    let missing: Vec<_> = golden.keys().filter(|name| !newest.contains_key(*name)).collect();
    assert!(missing.is_empty(), "{missing:?} of version {} are not frozen: {FREEZE}=1 adds them", contract::SCHEMA);
    for version in 1..=lake::VERSION {
        let folder = released.join(format!("lake-{version}"));
        assert!(folder.is_dir(), "lake version {version} is not frozen: see tests/released/README.md");
    }
}

/// A document by today's reader and written again, by the name of its golden file.
fn again(name: &str, text: &str) -> Value {
    fn read<T: DeserializeOwned + Serialize>(name: &str, text: &str) -> Value {
        let read: T =
            serde_json::from_str(text).unwrap_or_else(|e| panic!("{name} cannot be read any more: {e}\n{text}"));
        serde_json::from_str(&serde_json::to_string(&read).unwrap()).unwrap()
    }
    match name {
        "archived.json" => read::<Archived>(name, text),
        "body-event.json" => read::<Event>(name, text),
        "body-gap.json" => read::<Gap>(name, text),
        "body-health.json" => read::<Health>(name, text),
        "body-prediction.json" => read::<Prediction>(name, text),
        "body-sample.json" => read::<Sample>(name, text),
        "command-sample-now.json" => read::<Command>(name, text),
        "desired.json" => read::<Desired>(name, text),
        "header.json" | "header-bare.json" => read::<Header>(name, text),
        "live-camera-status.json" => read::<CameraStatus>(name, text),
        "live-event.json" => read::<Live<Event>>(name, text),
        "live-health.json" => read::<Live<Health>>(name, text),
        "live-prediction.json" => read::<Live<Prediction>>(name, text),
        "live-state.json" => read::<RegionState>(name, text),
        "live-status-birth.json" | "live-status-will.json" => read::<GatewayStatus>(name, text),
        "manifest.json" => read::<ModelManifest>(name, text),
        "manifest-golden-rows.json" => read::<Golden>(name, text),
        "reply.json" => read::<Reply>(name, text),
        "reported.json" => read::<Reported>(name, text),
        other => panic!("say here what reads {other}"),
    }
}

/// What `old` says and `new` does not, by path. A field that says null may be absent.
fn lost(path: &str, old: &Value, new: &Value) -> Vec<String> {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => old
            .iter()
            .filter(|(key, value)| !(value.is_null() && new.get(*key).is_none()))
            .flat_map(|(key, value)| lost(&format!("{path}/{key}"), value, new.get(key).unwrap_or(&Value::Null)))
            .collect(),
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => old
            .iter()
            .zip(new)
            .enumerate()
            .flat_map(|(at, (old, new))| lost(&format!("{path}/{at}"), old, new))
            .collect(),
        _ if old == new => Vec::new(),
        _ => vec![format!("{path}: {old} became {new}")],
    }
}

fn body(kind: Kind, text: &str) -> Value {
    again(&format!("body-{kind}.json"), text)
}

/// Reads a record and compares it with what stands in its own bytes.
fn check_record(what: &str, record: &[u8]) {
    let parts = RecordParts::split(record).unwrap_or_else(|e| panic!("{what}: {e}"));
    let header = parts.parse_header().unwrap_or_else(|e| panic!("{what}: {e}"));
    let text = |part: &[u8]| String::from_utf8(part.to_vec()).unwrap();
    let value = |part: &[u8]| serde_json::from_slice::<Value>(part).unwrap();
    assert_eq!(lost("header", &value(parts.header), &again("header.json", &text(parts.header))), [""; 0], "{what}");
    assert_eq!(lost("body", &value(parts.body), &body(header.kind, &text(parts.body))), [""; 0], "{what}");
    if header.kind == Kind::Sample {
        assert_eq!(parts.blobs, [ex::PICTURE, ex::INPUT].concat(), "{what}");
    }
}

/// A message's frames; fragments of one record are put together.
fn records(what: &str, message: &[u8], partial: &mut Vec<u8>) -> Vec<Vec<u8>> {
    let mut whole = Vec::new();
    for frame in frame::frames(message) {
        let frame = frame.unwrap_or_else(|e| panic!("{what}: {e}"));
        partial.extend_from_slice(frame.payload);
        if frame.index + 1 == frame.count {
            whole.push(std::mem::take(partial));
        }
    }
    whole
}

#[test]
fn todays_reader_loses_nothing_of_what_a_released_version_wrote() {
    for version in 1..=contract::SCHEMA {
        let mut partial = Vec::new();
        let mut read = 0;
        for (name, bytes) in files(&wire(version)) {
            let what = format!("wire-{version}/{name}");
            if name.ends_with(".json") {
                let text = String::from_utf8(bytes).unwrap();
                let lost = lost("", &serde_json::from_str(&text).unwrap(), &again(&name, &text));
                assert!(lost.is_empty(), "{what} is read with losses: {lost:#?}");
            } else if name.starts_with("record-") {
                check_record(&what, &bytes);
            } else if name.starts_with("bundle") || name.starts_with("fragment-") {
                records(&what, &bytes, &mut partial).iter().for_each(|record| check_record(&what, record));
            } else {
                assert_eq!(name, "lake-columns.txt", "say here what reads {name}");
            }
            read += 1;
        }
        assert!(partial.is_empty() && read > 25, "wire-{version}: {read} files");
    }
}

/// Words that a newer version may write where today's reader expects new ones, by field. A command is none of them: one
/// that is not known must be refused, not passed over.
const WORDS: [(&str, &str); 6] = [
    ("captured_source", "ptp"),
    ("served_by", "neighbour"),
    ("quality", "guessed"),
    ("status", "asleep"),
    ("outcome", "postponed"),
    ("origin", "fleet"),
];

/// Gives each word of a closed list another value: what a newer version writes, or what today's reader makes of it.
fn reword(value: &mut Value, with: impl Fn(&str) -> Option<&'static str> + Copy) {
    match value {
        Value::Object(fields) => {
            for (key, inner) in fields {
                match with(key) {
                    Some(word) if inner.is_string() => *inner = word.into(),
                    _ => reword(inner, with),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| reword(item, with)),
        _ => {}
    }
}

fn newer_word(field: &str) -> Option<&'static str> {
    WORDS.iter().find(|(name, _)| *name == field).map(|(_, word)| *word)
}

/// The document as the next version may write it.
fn newer(name: &str, document: &Value) -> Value {
    let mut newer = document.clone();
    add_unknown(&mut newer, false);
    if let Some(version) = document["schema"].as_u64() {
        newer["schema"] = json!(version + 1);
    }
    for map in ["/holds", "/archived/upto", "/backlog_records", "/epochs/0/kinds"] {
        if let Some(map) = newer.pointer_mut(map).and_then(Value::as_object_mut)
            && let Some(entry) = map.values().next().cloned()
        {
            map.insert("hologram".into(), entry);
        }
    }
    reword(&mut newer, newer_word);
    if name == "body-sample.json" {
        newer["reason"] = "novel".into();
    }
    newer
}

/// What today's reader makes of it: what it knows, and `unknown` where the word is new.
fn expected(name: &str, document: &Value) -> Value {
    let mut expected = document.clone();
    if let Some(version) = document["schema"].as_u64() {
        expected["schema"] = json!(version + 1);
    }
    reword(&mut expected, |field| newer_word(field).map(|_| "unknown"));
    if name == "body-sample.json" {
        expected["reason"] = "unknown".into();
    }
    expected
}

#[test]
fn todays_reader_reads_what_the_next_version_may_write() {
    for (name, bytes) in files(&wire(contract::SCHEMA)) {
        if name.ends_with(".json") {
            let today: Value = serde_json::from_slice(&bytes).unwrap();
            let tomorrow = newer(&name, &today);
            assert_ne!(tomorrow, today, "{name}");
            let lost = lost("", &expected(&name, &today), &again(&name, &tomorrow.to_string()));
            assert!(lost.is_empty(), "{name} of the next version is read with losses: {lost:#?}");
        }
        if let Some(kind) = name.strip_prefix("record-").and_then(|rest| rest.strip_suffix(".bin")) {
            let parts = RecordParts::split(&bytes).unwrap();
            let tomorrow = |name: &str, part| newer(name, &serde_json::from_slice(part).unwrap());
            let (body_name, next) = (format!("body-{kind}.json"), contract::SCHEMA + 1);
            let (header, body) = (tomorrow("header.json", parts.header), tomorrow(&body_name, parts.body));
            let mut record = Vec::new();
            for part in [header.to_string(), body.to_string()] {
                record.extend_from_slice(&(part.len() as u32).to_le_bytes());
                record.extend_from_slice(part.as_bytes());
            }
            record.extend_from_slice(&[parts.blobs, b"and a blob more"].concat());
            let read = RecordParts::split(&record).unwrap();
            let header = read.parse_header().unwrap();
            assert_eq!((header.schema, header.kind.name()), (next, kind), "{name}");
            let today: Value = serde_json::from_slice(parts.body).unwrap();
            let again = again(&body_name, std::str::from_utf8(read.body).unwrap());
            assert_eq!(lost("", &expected(&body_name, &today), &again), [""; 0], "{name}");
        }
    }
}

/// Rows of old objects are read by column name.
#[test]
fn released_columns_keep_their_place_name_and_type() {
    let current = fs::read_to_string(tests().join("golden/lake-columns.txt")).unwrap();
    for version in 1..=contract::SCHEMA {
        let old = fs::read_to_string(wire(version).join("lake-columns.txt")).unwrap();
        let mut now = current.lines();
        for column in old.lines().filter(|line| !line.starts_with('#')) {
            assert!(
                now.any(|line| line == column),
                "column `{column}` of wire-{version} is gone, renamed, moved or of another type"
            );
        }
    }
}
