//! From what the gateways saw to a model that they run: label archived pictures by folder, train, export, and watch it classify.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use contract::Kind;
use serde_json::Value;
use world::{Config, Edge, Hub, Process, media, runtime, shard, story};

use crate::common::tiny;

const CAMERAS: [&str; 2] = ["snow", "ball"];

fn two_cameras(config: Config) -> Config {
    CAMERAS.into_iter().fold(config, |config, camera| {
        config
            .set(&format!("cameras.{camera}.uri"), format!("test:{camera}?fps=10"))
            .set(&format!("cameras.{camera}.regions.full.fps"), "every")
            .set(&format!("cameras.{camera}.regions.full.samples.periodic"), "200ms")
            .set(&format!("cameras.{camera}.regions.full.samples.uncertain"), 0.0)
            .set(&format!("cameras.{camera}.regions.part.rect.x"), 0.25)
            .set(&format!("cameras.{camera}.regions.part.rect.y"), 0.25)
            .set(&format!("cameras.{camera}.regions.part.rect.width"), 0.5)
            .set(&format!("cameras.{camera}.regions.part.rect.height"), 0.5)
            .set(&format!("cameras.{camera}.regions.part.samples.periodic"), "500ms")
    })
}

/// Runs `sightline-train`; it must end well.
fn train(args: &[&str]) -> Result<String> {
    let ended = Process::run("sightline-train", args)?;
    ensure!(ended.code == Some(0), "{args:?}: {}", ended.text());
    Ok(ended.stdout)
}

/// Moves each picture into the folder of the camera that it comes from, as a person would who looks at it.
fn sort(folder: &Path) -> Result<usize> {
    let mut moved = 0;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).context("a name")?.to_owned();
        let camera = CAMERAS.into_iter().find(|camera| name.contains(&format!("_{camera}_")));
        let to = folder.join(camera.with_context(|| format!("whose picture is {name}"))?);
        fs::create_dir_all(&to)?;
        fs::rename(&path, to.join(name))?;
        moved += 1;
    }
    Ok(moved)
}

#[test]
fn pictures_of_the_lake_become_a_model_that_the_gateway_runs() {
    story(|folder| {
        let hub = Hub::start(folder, Config::new())?;
        let mut edge = Edge::start(&folder.join("first"), &hub, two_cameras(tiny()?))?;
        hub.lake()?.wait_rows(Kind::Sample, 120)?;
        edge.stop()?;
        let path = |name: &str| folder.join(name).display().to_string();
        let (state, sorted, datasets) = (hub.state.display().to_string(), path("sorted"), path("datasets"));
        let (tensors, run, model) = (path("tensors"), path("run"), path("model"));
        let library = runtime::onnxruntime()?.display().to_string();

        // What the gateway's model said comes out again, bit for bit, of the inputs that it saw.
        let tiny = runtime::tiny_model()?.display().to_string();
        let again: Value =
            serde_json::from_str(&train(&["replay", &tiny, "--state", &state, "--library", &library, "--json"])?)?;
        assert!(again["same"].as_u64() >= Some(100) && again["different"] == 0, "{again}");

        train(&["label", "pictures", "--state", &state, "--unlabelled", "--out", &sorted])?;
        let pictures = sort(Path::new(&sorted))?;
        assert!(pictures >= 120, "{pictures} pictures");
        let said = train(&["label", "add", &sorted, "--state", &state, "--author", "ada"])?;
        assert!(said.contains(&format!("{pictures} added")), "{said}");
        let said = train(&["label", "add", &sorted, "--state", &state, "--author", "ada"])?;
        assert!(said.contains("0 added"), "nothing new is said: {said}");
        let said = train(&["label", "pictures", "--state", &state, "--unlabelled", "--out", &path("rest")])?;
        assert!(said.contains("0 written"), "{said}");

        let create = ["dataset", "create", "--state", &state, "--out", &datasets, "--name", "patterns"];
        let create = |more: &[&str]| train(&[&create[..], more].concat());
        let made: Value = serde_json::from_str(&create(&["--block=1s", "--dedupe=none", "--region=full", "--json"])?)?;
        let dataset = made["folder"].as_str().context("the dataset's folder")?;
        assert_eq!(made["manifest"]["classes"], serde_json::json!(["ball", "snow"]));
        let both: Value = serde_json::from_str(&create(&["--block=1s", "--dedupe=none", "--region=part", "--json"])?)?;
        assert_ne!(both["digest"], made["digest"]);

        // The archived inputs are the tensors, where they are asked for as the gateway made them.
        let preprocess = |to: &str| {
            let form = ["--size", "64x64", "--color", "gray", "--state", &state, "--out", to];
            train(&[&["preprocess", dataset], &form[..]].concat())
        };
        assert!(preprocess(&tensors)?.contains("objects put now)"));
        let again = preprocess(&path("tensors-again"))?;
        assert!(again.contains("(0 made now") && again.contains("(0 objects put now)"), "taken from the lake: {again}");
        let index: Value = serde_json::from_slice(&fs::read(Path::new(&tensors).join("index.json"))?)?;
        let rows = index["shards"][0]["rows"].as_array().context("rows")?;
        assert!(rows.iter().all(|row| row["from"] == "input"), "{}", rows[0]);
        train(&[
            "train",
            &tensors,
            "--run",
            &run,
            "--architecture=small-cnn",
            "--size=small",
            "--epochs=6",
            "--set=batch=8",
        ])?;
        train(&["export", &run, "--tensors", &tensors, "--out", &model, "--id=patterns", "--library", &library])?;

        let config = two_cameras(Config::new().set("models.default", model.clone())).set("gateway", "gw-2");
        let mut edge = Edge::start(&folder.join("second"), &hub, config)?;
        let is_new = |row: &&world::Row| row["gateway"] == "gw-2" && row["region"] == "full";
        let rows = world::wait::until("predictions of the new model", || {
            let rows = hub.lake()?.rows(Kind::Prediction)?;
            Ok((rows.iter().filter(is_new).count() >= 40).then_some(rows))
        })?;
        edge.stop()?;
        for row in rows.iter().filter(is_new) {
            assert_eq!(row["label"], row["camera"], "the class is the pattern that the camera shows: {row:?}");
        }
        Ok(())
    });
}

/// The frames of a Y4M file, each as a file of its own.
fn frames(bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
    const FRAME: &[u8] = b"FRAME\n";
    let head = bytes.iter().position(|byte| *byte == b'\n').context("a first line")? + 1;
    let text = std::str::from_utf8(&bytes[..head])?;
    let side = |key: char| -> Result<usize> {
        Ok(text.split_whitespace().find_map(|word| word.strip_prefix(key)).context("a size")?.parse()?)
    };
    let length = FRAME.len() + side('W')? * side('H')? * 3 / 2;
    Ok(bytes[head..].chunks_exact(length).map(|frame| [&bytes[..head], frame].concat()).collect())
}

#[test]
fn the_job_makes_of_raw_planes_the_tensor_that_the_gateway_saw() {
    story(|folder| {
        let video = folder.join("video.mp4");
        media::video_of("snow", &video, 320, 240, 20)?;
        let hub = Hub::start(folder, Config::new())?;
        let config = tiny()?
            .set("cameras.cam.uri", format!("file:{}", video.display()))
            .set("cameras.cam.play", "fast")
            .set("cameras.cam.regions.full.fps", "every")
            .set("cameras.cam.regions.full.samples.periodic", "1ms");
        let _edge = Edge::start(folder, &hub, config)?;
        let lake = hub.lake()?;
        let samples = lake.wait_rows(Kind::Sample, 8)?;

        // The same frames, decoded by somebody else. The way by NV12 loses nothing, and leaves no padding between rows, which
        // y4menc would write as pixels.
        let raw = folder.join("video.y4m");
        let line = format!(
            "filesrc location={} ! decodebin ! videoconvert ! video/x-raw,format=NV12 ! videoconvert ! \
             video/x-raw,format=I420 ! y4menc ! filesink location={}",
            video.display(),
            raw.display()
        );
        ensure!(Command::new("gst-launch-1.0").arg("-q").args(line.split(' ')).status()?.success(), "{line}");
        let all = frames(&fs::read(&raw)?)?;
        ensure!(all.len() == 20, "{} frames", all.len());
        for (number, frame) in all.iter().enumerate() {
            let class = folder.join("pictures").join(["even", "odd"][number % 2]);
            fs::create_dir_all(&class)?;
            fs::write(class.join(format!("{number}.y4m")), frame)?;
        }
        let path = |name: &str| folder.join(name).display().to_string();
        let (pictures, datasets, tensors) = (path("pictures"), path("datasets"), path("tensors"));
        let import = ["dataset", "import", "folder", &pictures, "--out", &datasets, "--name", "raw", "--json"];
        let made: Value = serde_json::from_str(&train(&import)?)?;
        let dataset = made["folder"].as_str().context("the dataset's folder")?;
        train(&["preprocess", dataset, "--size", "64x64", "--color", "gray", "--out", &tensors])?;
        let bytes = fs::read(Path::new(&tensors).join("shard-00000.u8"))?;
        let made: Vec<&[u8]> = bytes.chunks_exact(64 * 64).collect();
        assert_eq!(made.len(), all.len());
        let mut seen = 0;
        for sample in &samples {
            let input = shard::files(&lake, sample)?.input.context("a sample without its input")?;
            assert!(made.contains(&&input[..]), "the tensor of {} is none of the job's", sample["frame_id"]);
            seen += 1;
        }
        assert!(seen >= 8, "{seen}");
        Ok(())
    });
}
