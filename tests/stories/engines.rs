//! `sightline-edge engines`: which engines a machine can use, and why not the others.

use anyhow::Result;
use serde_json::Value;
use world::{Process, story, wait};

fn engines(library: &str, more: &[&str]) -> Result<world::process::Ended> {
    let mut command = Process::command("sightline-edge")?;
    command.arg("engines").args(more).env("ORT_DYLIB_PATH", library).env("SIGHTLINE_TENSORRT", "/nowhere");
    Process::start("sightline-edge", &mut command)?.ended(wait::PATIENCE)
}

fn here() -> Result<String> {
    Ok(world::runtime::onnxruntime()?.display().to_string())
}

#[test]
fn a_machine_with_onnx_runtime_alone_uses_the_cpu() {
    story(|_| {
        let ended = engines(&here()?, &["--json"])?;
        assert_eq!(ended.code, Some(0), "{}", ended.text());
        let survey: Vec<Value> = serde_json::from_str(&ended.stdout)?;
        let names: Vec<_> = survey.iter().map(|one| one["engine"].as_str().unwrap_or_default()).collect();
        assert_eq!(names, ["tensorrt", "ort-cuda", "ort-cpu"]);
        for one in &survey[..2] {
            assert_eq!(one["usable"], false);
            assert!(one["why"].as_str().is_some_and(|why| why.len() > 40), "{one}");
        }
        assert_eq!((&survey[2]["usable"], &survey[2]["device"]), (&Value::Bool(true), &Value::from("CPU")));
        assert_eq!(survey[2]["precisions"], serde_json::json!(["fp32"]));
        Ok(())
    });
}

#[test]
fn a_machine_with_nothing_says_what_to_do_for_each() {
    story(|_| {
        let ended = engines("/nowhere/libonnxruntime.so", &[])?;
        assert_eq!(ended.code, Some(4), "{}", ended.text());
        let lines: Vec<_> = ended.stdout.lines().collect();
        assert!(lines[0].starts_with("ENGINE     USABLE VERSION"), "{}", ended.stdout);
        for name in ["tensorrt", "ort-cuda", "ort-cpu"] {
            let at = lines.iter().position(|line| line.starts_with(name)).expect("each engine has a line");
            assert!(lines[at].contains(" no "), "{}", lines[at]);
            assert!(lines[at + 1].starts_with("           ") && lines[at + 1].len() > 40, "{}", lines[at + 1]);
        }
        assert!(ended.stdout.contains("libonnxruntime is missing: ORT_DYLIB_PATH names `/nowhere/libonnxruntime.so`"));
        Ok(())
    });
}
