//! The demo itself, with the usual ports taken: three cameras, three equal counts, by time and by Ctrl-C.

use std::{net::TcpListener, process::Command, time::Duration};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use world::{Process, process::Ended, runtime, story, wait};

#[test]
fn the_demo_counts_the_same_three_times() {
    story(|_| {
        // Whoever has them, they are taken now.
        let _taken: Vec<_> =
            [1883, 8080, 9000].map(|port| TcpListener::bind(("127.0.0.1", port))).into_iter().collect();
        let demo = start(Some("6"))?;
        let ended = demo.ended(Duration::from_secs(120))?;
        counts_are_equal(&ended);
        for words in ["http://127.0.0.1:", "mosquitto_sub", "rtsp://127.0.0.1:", "street", "bikes", "pictures"] {
            assert!(ended.stdout.contains(words), "no `{words}` in:\n{}", ended.stdout);
        }
        Ok(())
    });
}

/// A terminal sends SIGINT to the foreground's process group: hub, agent and camera are not in it, and end in order.
#[test]
fn ctrl_c_ends_the_demo_in_order() {
    story(|_| {
        let mut demo = start(None)?;
        demo.stdout().find(wait::PATIENCE, |line| line.contains("street  ").then_some(())).context("no table")?;
        std::thread::sleep(Duration::from_secs(3));
        assert!(demo.is_running(), "it ends by itself:\n{}", demo.log().text());
        let programs = demo.descendants();
        assert!(programs.len() >= 4, "hub, broker, agent and camera run: {programs:?}");
        let group = nix::unistd::Pid::from_raw(demo.id() as i32);
        nix::sys::signal::killpg(group, Signal::SIGINT)?;
        counts_are_equal(&demo.ended(Duration::from_secs(60))?);
        for left in programs {
            assert!(!std::path::Path::new(&format!("/proc/{left}")).exists(), "process {left} still runs");
        }
        Ok(())
    });
}

fn start(seconds: Option<&str>) -> Result<Process> {
    let mut command = Command::new(runtime::program("sightline-demo")?);
    command.env_remove("DEMO_SECONDS");
    if let Some(seconds) = seconds {
        command.env("DEMO_SECONDS", seconds);
    }
    Process::start("sightline-demo", &mut command)
}

fn counts_are_equal(ended: &Ended) {
    let last = ended.stdout.lines().last().unwrap_or_default().to_owned();
    assert_eq!(ended.code, Some(0), "{}", ended.text());
    let numbers: Vec<u64> = last.split([' ', ',']).filter_map(|word| word.parse().ok()).collect();
    let expected = format!("classified {0}, published {0}, archived {0}", numbers.first().copied().unwrap_or(0));
    assert!(last == expected && numbers[0] >= 3, "{last}");
}
