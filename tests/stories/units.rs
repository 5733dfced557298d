//! The systemd units hold against systemd's own checker.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use world::runtime::{program, root};

#[test]
fn systemd_accepts_the_units() -> Result<()> {
    let folder = root().join("deploy/systemd");
    let mut units = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "service") {
            units.push(path);
        }
    }
    assert!(units.len() >= 2, "units of hub and edge: {units:?}");
    let place = tempfile::tempdir()?;
    for unit in units {
        // The checker wants the program to exist; put ours where the unit would look.
        let text = std::fs::read_to_string(&unit)?;
        let name = if text.contains("sightline-hub") { "sightline-hub" } else { "sightline-edge" };
        let built = program(name)?.display().to_string();
        let text = text.replace(&format!("/usr/bin/{name}"), &built).replace(&format!("/usr/local/bin/{name}"), &built);
        let copy = place.path().join(unit.file_name().context("name")?);
        std::fs::write(&copy, text)?;
        let said =
            Command::new("systemd-analyze").args(["verify", "--man=no", "--recursive-errors=no"]).arg(&copy).output();
        let said = said.context("run systemd-analyze; `make setup` installs it")?;
        let complaints = String::from_utf8_lossy(&said.stderr).into_owned();
        let ours: Vec<_> = complaints.lines().filter(|line| line.contains(name)).collect();
        ensure!(said.status.success() && ours.is_empty(), "{}: {complaints}", unit.display());
    }
    Ok(())
}

/// The files that the units name are there to begin with, and the programs take them, also with every example switched on.
#[test]
fn the_programs_take_the_files_that_come_with_the_units() -> Result<()> {
    let place = tempfile::tempdir()?;
    for name in ["hub", "edge"] {
        let file = root().join("deploy/systemd").join(format!("{name}.toml"));
        let unit = std::fs::read_to_string(file.with_file_name(format!("sightline-{name}.service")))?;
        ensure!(unit.contains(&format!("--config /etc/sightline/{name}.toml")), "{name}: the unit names another file");
        let text = std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        for (form, text) in [("as it is", text.clone()), ("with its examples", examples(&text))] {
            let copy = place.path().join(format!("{name}.toml"));
            std::fs::write(&copy, &text)?;
            let mut command = Command::new(program(&format!("sightline-{name}"))?);
            command.args(["print-config", "--config"]).arg(&copy).arg("--state").arg(place.path().join("state"));
            let secrets = [("CAM_USER", "u"), ("CAM_PASSWORD", "p"), ("MQTT_PASSWORD", "p")];
            let said = command.envs(secrets).output()?;
            ensure!(said.status.success(), "{name} {form}: {}", String::from_utf8_lossy(&said.stderr));
        }
    }
    Ok(())
}

/// With each line that is commented out switched on, where it is a setting and not prose.
fn examples(text: &str) -> String {
    let setting = |line: &str| {
        let key = line.split([' ', '=']).next().unwrap_or_default();
        let named = !key.is_empty() && key.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        line.starts_with('[') || (named && line[key.len()..].trim_start().starts_with('='))
    };
    let on = |line: &str| match line.strip_prefix("# ") {
        Some(rest) if setting(rest) && !rest.contains('…') => rest.to_owned() + "\n",
        _ => line.to_owned() + "\n",
    };
    text.lines().map(on).collect()
}
