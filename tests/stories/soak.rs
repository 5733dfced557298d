//! Five rounds of `make soak`: kills, frozen and cut off programs and full disks, with SQLite and with Postgres.

use std::time::Duration;

use anyhow::ensure;
use world::{Process, story};

/// Five rounds take about a minute; nextest ends what takes four.
const PATIENCE: Duration = Duration::from_secs(220);
/// Five rounds that between them kill agent, hub, mosquitto and Postgres, freeze, cut a link and fill disks, some while the
/// others start again: `sightline-soak rounds --dry-run --rounds 5 --seed 47` says so.
const SEED: &str = "47";

#[test]
fn five_rounds_lose_nothing() {
    story(|_| {
        let mut command = Process::command("sightline-soak")?;
        command.args(["rounds", "--rounds", "5", "--seed", SEED]);
        let ended = Process::start("sightline-soak", &mut command)?.ended(PATIENCE)?;
        println!("{}", ended.stdout);
        let last = ended.stdout.lines().last().unwrap_or_default();
        let words: Vec<&str> = last.split(' ').collect();
        ensure!(ended.code == Some(0), "exit code {:?}: {}", ended.code, ended.text());
        ensure!(matches!(words[..], ["kills", n, "lost", "0", "doubled", "0"] if n != "0"), "the last line is: {last}");
        Ok(())
    });
}
