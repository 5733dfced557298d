//! Benchmark: four 1080p H.264 files through `sightlineclassify` in one `gst-launch-1.0` line as fast as it goes, against our own
//! limit (decoding alone + preprocessing alone + inference alone) and a Python script that scales with videoconvertscale and
//! classifies with onnxruntime from an appsink. CPU time a frame, round by round; missed bars end it with status 1.

#![allow(clippy::print_stdout, missing_docs)]

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

mod cpu;
mod limit;
mod media;
#[expect(dead_code, reason = "rounds are not counted")]
mod rounds;

use rounds::Rounds;

fn main() -> Result<()> {
    let root = world::runtime::root();
    let files = media::four_1080p(root)?;
    let model = root.join(".sightline/models/tiny-gray64");
    let python = root.join(".sightline/bench-venv/bin/python");
    ensure!(python.exists(), "{} is absent: run `make bench`, which prepares it", python.display());
    let (mut line, mut own, mut peer) = (Rounds::default(), Rounds::default(), Rounds::default());
    for round in 0..=rounds::setting("BENCH_ROUNDS", 5) {
        let a = launch(root, &files, &model)?;
        let b = limit::per_frame(&files, &model)?.total();
        let c = script(&python, &root.join("tests/bench/peers/gst_appsink.py"), &model, &files)?;
        eprintln!("round {round}: gst-launch line {a:.0} us, limit {b:.0}, Python appsink {c:.0}");
        if round > 0 {
            line.push(a);
            own.push(b);
            peer.push(c);
        }
    }
    println!(
        "| contender | CPU a frame, us (min / median / max) | line / contender, median | bar |\n|---|---|---|---|"
    );
    println!("| gst-launch-1.0 with sightlineclassify | {} | 1.000 | - |", line.show(0));
    let mut missed = Vec::new();
    for (name, contender, bar) in [
        ("own limit: decode + preprocess + inference", &own, 1.05),
        ("Python: videoconvertscale, appsink, onnxruntime", &peer, 1.0),
    ] {
        let ratio = line.over(contender).median();
        println!("| {name} | {} | {ratio:.3} | <= {bar:.2} |", contender.show(0));
        if ratio > bar {
            missed.push(name);
        }
    }
    println!("load {}", rounds::load());
    ensure!(missed.is_empty(), "bars missed against: {}", missed.join(", "));
    Ok(())
}

/// One process, four pipelines that share the model; CPU microseconds a frame.
fn launch(root: &Path, files: &[PathBuf], model: &Path) -> Result<f64> {
    let plugins = tempfile::tempdir()?;
    let built = std::env::current_exe()?.with_file_name("libgstsightline.so");
    ensure!(built.exists(), "{} is absent: build it with cargo build --release --workspace", built.display());
    std::os::unix::fs::symlink(&built, plugins.path().join("libgstsightline.so"))?;
    let mut command = Command::new("gst-launch-1.0");
    command.arg("-q").env("GST_PLUGIN_PATH", plugins.path());
    command.env("ORT_DYLIB_PATH", root.join(".sightline/lib/libonnxruntime.so"));
    for file in files {
        let line = format!(
            "filesrc location={} ! qtdemux ! h264parse ! avdec_h264 max-threads=1 ! sightlineclassify model={} \
             model-instance-id=bench ! fakesink sync=false",
            file.display(),
            model.display()
        );
        command.args(line.split_whitespace());
    }
    let child = command.stdout(Stdio::null()).spawn().context("start gst-launch-1.0")?;
    Ok(cpu::wait(child)? / (media::FRAMES * files.len() as u64) as f64)
}

fn script(python: &Path, script: &Path, model: &Path, files: &[PathBuf]) -> Result<f64> {
    let mut command = Command::new(python);
    let mut child = command
        .arg(script)
        .arg(model.join("model.onnx"))
        .args(files)
        .stdout(Stdio::piped())
        .spawn()
        .context("start Python")?;
    let said: serde_json::Value = serde_json::from_reader(child.stdout.take().context("no stdout")?)?;
    let used = cpu::wait(child)?;
    let frames = said["frames"].as_u64().context("no count")?;
    ensure!(frames == media::FRAMES * files.len() as u64, "the script saw {frames} frames");
    Ok(used / frames as f64)
}
