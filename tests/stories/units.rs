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
