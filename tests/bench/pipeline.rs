//! Benchmark: four 1080p H.264 files through a small gray CNN as fast as it goes, against what people would write.
//!
//! Every round runs each contender once, in turn, so that a drift of the machine's speed meets all of them:
//! `sightline-edge` (broker connected, records on both lanes), an ffmpeg pipe with numpy and onnxruntime, an OpenCV
//! `VideoCapture` script, and our own limit (decoding alone + preprocessing alone + inference alone). What is compared
//! is CPU time (user + system, children included) per frame; the ratio is taken round by round.
//!
//! `make bench` prepares what it needs; bars that are missed end it with status 1.

#![allow(clippy::print_stdout, missing_docs)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

mod cpu;
mod limit;
mod media;

/// A contender's CPU time per frame, in microseconds, by round.
type Rounds = Vec<f64>;

fn main() -> Result<()> {
    let rounds = std::env::var("BENCH_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(5usize);
    let root = world::runtime::root();
    let files = media::four_1080p(root)?;
    let model = root.join(".sightline/models/tiny-gray64");
    let python = root.join(".sightline/bench-venv/bin/python");
    ensure!(python.exists(), "{} is absent: run `make bench`, which prepares it", python.display());
    let broker = Broker::start()?;

    let (mut ours, mut pipe, mut opencv, mut own) = (vec![], vec![], vec![], vec![]);
    for round in 0..=rounds {
        let a = agent(root, &files, &model, &broker)?;
        let b = peer(&python, &root.join("tests/bench/peers/ffmpeg_pipe.py"), &model, &files)?;
        let c = peer(&python, &root.join("tests/bench/peers/opencv_capture.py"), &model, &files)?;
        let d = limit::per_frame(&files, &model)?;
        eprintln!(
            "round {round}{}: sightline {a:.0} us, ffmpeg pipe {b:.0}, opencv {c:.0}, limit {:.0} (decode {:.0}, preprocess {:.1}, inference {:.1})",
            if round == 0 { " (warm-up)" } else { "" },
            d.total(),
            d.decode,
            d.preprocess,
            d.inference
        );
        if round > 0 {
            ours.push(a);
            pipe.push(b);
            opencv.push(c);
            own.push(d.total());
        }
    }
    report(&ours, &pipe, &opencv, &own)
}

fn report(ours: &Rounds, pipe: &Rounds, opencv: &Rounds, own: &Rounds) -> Result<()> {
    println!("| contender | CPU a frame, us (min / median / max) | sightline / contender, median | bar |");
    println!("|---|---|---|---|");
    let mut missed = Vec::new();
    for (name, rounds, bar) in [
        ("sightline-edge", ours, None),
        ("ffmpeg pipe + numpy + onnxruntime", pipe, Some(1.0)),
        ("OpenCV VideoCapture", opencv, Some(0.77)),
        ("own limit: decode + preprocess + inference", own, Some(1.0 / 0.95)),
    ] {
        let ratio = median(&ours.iter().zip(rounds).map(|(a, b)| a / b).collect());
        let (min, max) = rounds.iter().fold((f64::MAX, 0.0f64), |(lo, hi), x| (lo.min(*x), hi.max(*x)));
        let bar_text = bar.map_or(String::from("-"), |bar: f64| format!("<= {bar:.2}"));
        println!("| {name} | {min:.0} / {:.0} / {max:.0} | {ratio:.3} | {bar_text} |", median(rounds));
        if bar.is_some_and(|bar| ratio > bar) {
            missed.push(name);
        }
    }
    ensure!(missed.is_empty(), "bars missed against: {}", missed.join(", "));
    Ok(())
}

fn median(values: &Rounds) -> f64 {
    let mut sorted = values.clone();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// Runs the agent over the files until their end; CPU microseconds a frame.
fn agent(root: &Path, files: &[PathBuf], model: &Path, broker: &Broker) -> Result<f64> {
    let state = tempfile::tempdir()?;
    let mut config = format!(
        "site = \"bench\"\ngateway = \"gw\"\n[mqtt]\nurl = \"mqtt://127.0.0.1:{}\"\n[models]\ndefault = \"{}\"\n[admin]\nlisten = \"127.0.0.1:0\"\n",
        broker.port,
        model.display()
    );
    for (i, file) in files.iter().enumerate() {
        config += &format!(
            "[cameras.c{i}]\nuri = \"file:{}\"\nplay = \"fast\"\n[cameras.c{i}.regions.full]\nfps = \"every\"\nsamples = {{ changed = false }}\n",
            file.display()
        );
    }
    let path = state.path().join("edge.toml");
    fs::write(&path, config)?;
    let binary = std::env::current_exe()?.with_file_name("sightline-edge");
    let child = Command::new(&binary)
        .args(["run", "--until-end", "--config"])
        .arg(&path)
        .arg("--state")
        .arg(state.path().join("state"))
        .env("ORT_DYLIB_PATH", root.join(".sightline/lib/libonnxruntime.so"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("start {}: build it with cargo build --release --workspace", binary.display()))?;
    let used = cpu::wait(child)?;
    let summary: serde_json::Value = serde_json::from_slice(&fs::read(state.path().join("state/summary.json"))?)?;
    let cameras = summary["cameras"].as_object().context("summary.json has no cameras")?;
    let frames: u64 = cameras.values().filter_map(|camera| camera["classified"].as_u64()).sum();
    ensure!(frames == media::FRAMES * files.len() as u64, "sightline-edge classified {frames} frames");
    Ok(used / frames as f64)
}

/// Runs a peer script over the files; CPU microseconds a frame, its children included.
fn peer(python: &Path, script: &Path, model: &Path, files: &[PathBuf]) -> Result<f64> {
    let mut child = Command::new(python)
        .arg(script)
        .arg(model.join("model.onnx"))
        .args(files)
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {}", script.display()))?;
    let output = child.stdout.take().context("no stdout")?;
    let said: serde_json::Value =
        serde_json::from_reader(output).with_context(|| format!("{} said no JSON", script.display()))?;
    let used = cpu::wait(child)?;
    let frames = said["frames"].as_u64().context("no count")?;
    ensure!(frames == media::FRAMES * files.len() as u64, "{} saw {frames} frames", script.display());
    Ok(used / frames as f64)
}

/// A mosquitto of its own, so that the agent does all its work; its CPU time is not counted.
struct Broker {
    port: u16,
    child: std::process::Child,
    _folder: tempfile::TempDir,
}

impl Broker {
    fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let config = folder.path().join("mosquitto.conf");
        fs::write(
            &config,
            format!("listener {port} 127.0.0.1\nallow_anonymous true\nuser root\nmax_queued_messages 0\n"),
        )?;
        let child = Command::new("mosquitto")
            .arg("-c")
            .arg(&config)
            .stderr(Stdio::null())
            .spawn()
            .context("start mosquitto")?;
        Ok(Self { port, child, _folder: folder })
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
