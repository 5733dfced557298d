//! Invariants of the design that a program can check: import arrows, file openings, sizes, the wire's document.

#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use serde_json::Value;
use world::runtime::{python, root};

/// What each package of ours may use of ours. A package that is not named here may use nothing of ours.
const ARROWS: &[(&str, &[&str])] = &[
    ("contract", &[]),
    ("vision", &["contract"]),
    ("store", &["contract"]),
    ("link", &["contract"]),
    ("inference", &["contract", "vision"]),
    ("daemon", &[]),
    ("nvidia", &["inference"]),
    ("frames", &["vision"]),
    ("oip", &[]),
    ("engine-hub", &["contract", "vision", "inference", "oip"]),
    ("engine-ort", &["contract", "vision", "inference", "nvidia"]),
    // engine-ort for its tests and its GPU program alone, which compare the two
    ("engine-tensorrt", &["contract", "vision", "inference", "nvidia", "engine-ort"]),
    ("engines", &["inference", "engine-hub", "engine-ort", "engine-tensorrt"]),
    ("gst-sightline", &["contract", "vision", "frames", "inference", "link", "engines", "daemon"]),
    ("edge-agent", &["contract", "vision", "frames", "inference", "link", "daemon", "engines"]),
    ("cloud", &["contract", "oip", "vision", "inference", "link", "store", "daemon", "engine-ort"]),
    ("trainer", &["contract", "vision", "inference", "store", "daemon", "engine-ort"]),
];

fn metadata() -> Result<Value> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let said = Command::new(cargo)
        .args(["metadata", "--format-version=1", "--no-deps", "--offline", "--manifest-path"])
        .arg(root().join("Cargo.toml"))
        .output()?;
    Ok(serde_json::from_slice(&said.stdout)?)
}

#[test]
fn imports_point_down_only() -> Result<()> {
    let metadata = metadata()?;
    let packages = metadata["packages"].as_array().context("packages")?;
    let ours: BTreeSet<&str> = packages.iter().filter_map(|p| p["name"].as_str()).collect();
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    for package in packages {
        let name = package["name"].as_str().context("name")?;
        if ["world", "simulation"].contains(&name) {
            continue; // they stand above all
        }
        let allowed = allowed.get(name).with_context(|| format!("package {name} has no place among the arrows"))?;
        for dependency in package["dependencies"].as_array().context("dependencies")? {
            let on = dependency["name"].as_str().context("name")?;
            assert!(!ours.contains(on) || allowed.contains(&on), "{name} must not use {on}");
        }
    }
    Ok(())
}

#[test]
fn no_role_of_the_hub_imports_a_sibling() -> Result<()> {
    let roles = ["api", "broker", "ingest", "objects"];
    for role in roles {
        let folder = root().join("cloud/src").join(role);
        for file in rust_files(&folder)? {
            let text = std::fs::read_to_string(&file)?;
            for other in roles.into_iter().filter(|other| *other != role) {
                let import = format!("crate::{other}::");
                let grouped = format!("    {other}::");
                let group = text.split_once("use crate::{").and_then(|(_, rest)| rest.split_once("};"));
                let group = group.map_or("", |(group, _)| group);
                let bad = text
                    .lines()
                    .find(|line| line.contains(&import))
                    .or_else(|| group.lines().find(|line| line.starts_with(&grouped)));
                assert!(bad.is_none(), "{}: role {role} uses role {other}: {bad:?}", file.display());
            }
        }
    }
    Ok(())
}

/// What a pure machine must not do.
const EFFECTS: [&str; 8] =
    ["std::fs", "std::net", "std::thread", "Instant::now", "SystemTime::now", "Mono::now", "std::env", "tokio"];

fn is_pure(what: &str, file: &Path) -> Result<()> {
    let text = std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    for word in EFFECTS {
        assert!(!code.contains(word), "{what}: {} uses {word}", file.display());
    }
    Ok(())
}

#[test]
fn pure_crates_touch_no_clock_file_or_socket() -> Result<()> {
    for (package, folder) in [("contract", "libs/contract/src"), ("vision", "libs/vision/src"), ("oip", "libs/oip/src")]
    {
        rust_files(&root().join(folder))?.iter().try_for_each(|file| is_pure(package, file))?;
    }
    Ok(())
}

#[test]
fn pure_machines_touch_no_clock_file_or_socket() -> Result<()> {
    let machines = [
        ("the outbox's index", &["edge-agent/src/outbox/index.rs", "edge-agent/src/outbox/ranges.rs"][..]),
        (
            "the uplink",
            &[
                "edge-agent/src/uplink/mod.rs",
                "edge-agent/src/uplink/flight.rs",
                "edge-agent/src/uplink/fragments.rs",
                "edge-agent/src/uplink/watermark.rs",
            ],
        ),
        ("the batcher", &["libs/inference/src/batcher.rs"]),
        ("when engines are left and tried again", &["libs/inference/src/failover/turns.rs"]),
        (
            "the hub engine's breaker and budget",
            &["plugins/engine-hub/src/breaker.rs", "plugins/engine-hub/src/budget.rs"],
        ),
    ];
    for (what, files) in machines {
        files.iter().try_for_each(|file| is_pure(what, &root().join(file)))?;
    }
    Ok(())
}

#[test]
fn every_file_says_what_it_is_for() -> Result<()> {
    for file in all_rust_files()? {
        let text = std::fs::read_to_string(&file)?;
        let opening = text.lines().find(|line| !line.starts_with("#!") && !line.trim().is_empty()).unwrap_or_default();
        let said = opening.trim_start_matches("//!").trim();
        assert!(opening.starts_with("//!") && said.len() > 10, "{} opens with: {opening}", file.display());
    }
    Ok(())
}

#[test]
fn no_file_is_longer_than_600_lines() -> Result<()> {
    for file in all_rust_files()? {
        let text = std::fs::read_to_string(&file)?;
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().lines().count();
        assert!(code <= 600, "{}: {code} lines without tests", file.display());
    }
    Ok(())
}

#[test]
fn the_wires_document_is_valid_and_describes_the_golden_files() -> Result<()> {
    let said = Command::new(python()?).arg(root().join("tests/peers/asyncapi.py")).arg("document").output()?;
    assert!(
        said.status.success(),
        "{}{}",
        String::from_utf8_lossy(&said.stdout),
        String::from_utf8_lossy(&said.stderr)
    );
    Ok(())
}

#[test]
fn one_version_of_what_must_be_one() -> Result<()> {
    let lock = std::fs::read_to_string(root().join("Cargo.lock"))?;
    for name in ["opentelemetry", "rustls", "tokio", "libsqlite3-sys", "reqwest"] {
        let count = lock.matches(&format!("name = \"{name}\"\n")).count();
        assert!(count <= 1, "{count} versions of {name} in Cargo.lock");
    }
    for unwanted in ["aws-lc-rs", "aws-lc-sys", "openssl-sys", "native-tls"] {
        assert!(!lock.contains(&format!("name = \"{unwanted}\"\n")), "{unwanted} is in Cargo.lock");
    }
    Ok(())
}

/// The index of errors does not rot: what it quotes is said by the code.
#[test]
fn the_error_index_quotes_what_is_said() -> Result<()> {
    let index = std::fs::read_to_string(root().join("docs/errors.md"))?;
    let mut code = String::new();
    for file in all_rust_files()?.iter().filter(|file| !file.starts_with(root().join("tests"))) {
        code += &std::fs::read_to_string(file)?;
    }
    for heading in index.lines().filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`')) {
        for words in heading.split('…').map(str::trim).filter(|words| words.len() > 5) {
            let from_the_system = words == "no space left on device";
            assert!(from_the_system || code.contains(words), "docs/errors.md quotes `{words}`, which nothing says");
        }
    }
    Ok(())
}

/// Each bad input names the tests that show what one sees; a test that was renamed or removed leaves a hole in the promise.
#[test]
fn every_bad_input_has_its_test() -> Result<()> {
    let document = std::fs::read_to_string(root().join("docs/bad-input.md"))?;
    let mut code = String::new();
    for file in all_rust_files()? {
        code += &std::fs::read_to_string(file)?;
    }
    let rows = document.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    let rows: Vec<Vec<&str>> =
        rows.map(|row| row.split(" | ").collect()).filter(|row: &Vec<_>| row[0] != "input").collect();
    assert!(rows.len() > 35, "{} rows", rows.len());
    for row in rows {
        let [input, _, tests] = row[..] else { panic!("a row has {} cells: {row:?}", row.len()) };
        let names: Vec<_> = tests.split(", ").map(|name| name.trim_matches('`')).collect();
        for name in names {
            assert!(code.contains(&format!("fn {name}()")), "{input}: there is no test {name}");
        }
    }
    Ok(())
}

#[test]
fn every_metric_is_documented_and_every_documented_one_exists() -> Result<()> {
    let document = std::fs::read_to_string(root().join("docs/metrics.md"))?;
    let documented: BTreeSet<&str> =
        document.lines().filter_map(|l| l.strip_prefix("| `")?.split('`').next()).collect();
    let mut measured = BTreeSet::new();
    let code = ["edge-agent/src/metrics.rs", "cloud/src/app/metrics.rs"];
    let code = code.map(|file| std::fs::read_to_string(root().join(file)).unwrap()).concat();
    for kind in [" = counter(", " = gauge(", " = histogram("] {
        measured
            .extend(code.split(kind).skip(1).filter_map(|rest| rest.trim_start().strip_prefix('"')?.split('"').next()));
    }
    assert!(measured.len() > 40, "{measured:?}");
    assert_eq!(measured, documented);
    Ok(())
}

/// The fields of the structs in these files, which are the keys of a configuration.
fn keys(files: &[&str]) -> Result<BTreeSet<String>> {
    let mut keys = BTreeSet::new();
    for file in files {
        let text = std::fs::read_to_string(root().join(file)).with_context(|| format!("read {file}"))?;
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        let field = |line: &str| Some(line.strip_prefix("    pub ")?.split_once(": ")?.0.to_owned());
        keys.extend(code.lines().filter_map(field).filter(|key| !key.contains([' ', '(', '<'])));
    }
    Ok(keys)
}

#[test]
fn every_key_stands_in_the_configurations_document() -> Result<()> {
    let document = std::fs::read_to_string(root().join("docs/configuration.md"))?;
    let cameras = std::fs::read_to_string(root().join("docs/cameras.md"))?;
    let (before, agent) = document.split_once("## The agent's keys").context("no section of the agent")?;
    let (_, hub) = before.split_once("## The hub's keys").context("no section of the hub")?;
    let edge: &[&str] = &["edge-agent/src/config/mod.rs", "edge-agent/src/config/camera.rs"];
    let cloud: &[&str] = &["cloud/src/config/mod.rs", "cloud/src/config/sections.rs", "cloud/src/config/lake.rs"];
    for (program, files, document) in [("agent", edge, format!("{agent}{cameras}")), ("hub", cloud, hub.to_owned())] {
        let words: BTreeSet<&str> = document.split(|c: char| !(c.is_alphanumeric() || c == '_')).collect();
        let missing: Vec<_> = keys(files)?.into_iter().filter(|key| !words.contains(key.as_str())).collect();
        assert!(missing.is_empty(), "the document of the {program}'s configuration says nothing of {missing:?}");
    }
    assert!(keys(cloud)?.len() > 30 && keys(edge)?.len() > 30);
    Ok(())
}

fn all_rust_files() -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for folder in ["libs", "plugins", "edge-agent", "cloud", "trainer", "tests"] {
        files.extend(rust_files(&root().join(folder))?);
    }
    assert!(files.len() > 50);
    Ok(files)
}

fn rust_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
