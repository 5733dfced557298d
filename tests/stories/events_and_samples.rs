//! Events when the stable label changes; samples with the picture and the exact input, which makes the prediction again,
//! bit for bit.

use std::path::Path;

use anyhow::{Context, Result};
use contract::{CaptureSource, Kind};
use inference::{Batch, EngineFactory, Package};
use rumqttc::v5::mqttbytes::v5::PublishProperties;
use world::{Config, Edge, Hub, Observer, TestCamera, lake, media, runtime, shard, story, wait};

use crate::common::tiny;

fn dark_then_bright(folder: &Path) -> Result<TestCamera> {
    let (dark, bright) = (folder.join("dark.mp4"), folder.join("bright.mp4"));
    media::video_of("black", &dark, 320, 240, 25)?;
    media::video_of("white", &bright, 320, 240, 25)?;
    TestCamera::with(&dark, &["--then", &bright.display().to_string()])
}

#[test]
fn a_change_of_light_is_one_event_and_one_sample() {
    story(|folder| {
        let camera = dark_then_bright(folder)?;
        let hub = Hub::start(folder, Config::new())?;
        let observer = hub.observe()?;
        let config = tiny()?
            .set("cameras.cam.uri", camera.url.clone())
            .set("cameras.cam.regions.full.fps", 10)
            .set("cameras.cam.regions.full.samples.periodic", "0s")
            .set("cameras.cam.regions.full.samples.uncertain", 0.0);
        let mut edge = Edge::start(folder, &hub, config)?;
        let state = "sightline/live/plant/gw-1/cam/full/state";
        let stable = |label: &str| {
            observer.wait(&format!("the stable label {label}"), |m| {
                (m.topic == state && m.json()["label"] == label && m.json()["quality"] == "live").then_some(())
            })
        };
        stable("very-dark")?;
        camera.switch()?;
        stable("very-bright")?;
        let rows = wait::until("the event in the lake", || {
            let rows = hub.lake()?.rows(Kind::Event)?;
            Ok(rows.iter().any(|row| row["after"] == "very-bright").then_some(rows))
        })?;
        let event = rows.iter().find(|row| row["after"] == "very-bright").context("just found")?;
        assert_eq!(event["before"], "very-dark");
        assert!(event["since"].as_i64() <= event["captured_at"].as_i64());
        let live = observer.ending("/cam/full/event");
        assert!(live.iter().any(|m| m.json()["id"] == event["id"] && m.json()["after"] == "very-bright"));
        let samples = wait::until("a sample of the change", || {
            let rows = hub.lake()?.rows(Kind::Sample)?;
            Ok(rows.iter().any(|row| row["reason"] == "changed").then_some(rows))
        })?;
        assert!(samples.iter().all(|row| row["reason"] == "changed"));
        edge.stop()?;
        assert_eq!(observer.last(state).context("state")?.json()["quality"], "offline");
        Ok(())
    });
}

#[test]
fn what_the_model_saw_gives_its_scores_again_bit_for_bit() {
    story(|folder| {
        let hub = Hub::start(folder, Config::new())?;
        let package = runtime::model()?;
        let config = Config::new()
            .set("models.default", package.display().to_string())
            .set("cameras.cam.uri", format!("folder:{}", runtime::pictures()?.display()))
            .set("cameras.cam.play", "once")
            .set("cameras.cam.regions.full.fps", "every")
            .set("cameras.cam.regions.full.samples.periodic", "1ms");
        let _edge = Edge::start(folder, &hub, config)?;
        let lake = hub.lake()?;
        let samples = lake.wait_rows(Kind::Sample, 3)?;
        let package = Package::open(&package)?;
        let mut engine = engine_ort::OrtCpu::new(Some(runtime::onnxruntime()?))
            .load(&package)
            .map_err(|r| anyhow::anyhow!("load the model: {}", r.full()))?;
        for sample in &samples {
            let files = shard::files(&lake, sample)?;
            let input = files.input.context("a sample without its input")?;
            assert_eq!(input.len(), package.tensor_len());
            let mut scores = vec![0.0; package.classes().len()];
            engine.run(Batch { input: &input, n: 1 }, &mut scores, None)?;
            for (label, score) in sample["labels"]
                .as_array()
                .context("labels")?
                .iter()
                .zip(sample["scores"].as_array().context("scores")?)
            {
                let class = package.classes().iter().position(|c| label == &**c).context("unknown label")?;
                assert_eq!(score.as_f64().map(|s| (s as f32).to_bits()), Some(scores[class].to_bits()), "{label}");
            }
            let picture = vision::decode_picture(&files.picture, &vision::Limits::default())?;
            let view = picture.view();
            assert_eq!(
                (sample["width"].as_u64(), sample["height"].as_u64()),
                (Some(view.width().into()), Some(view.height().into()))
            );
        }
        Ok(())
    });
}

#[test]
fn a_command_keeps_a_sample_and_is_answered() {
    story(|folder| {
        let hub = Hub::start(folder, Config::new())?;
        let observer = hub.observe()?;
        let config = tiny()?
            .set("cameras.cam.uri", "test:")
            .set("cameras.cam.regions.full.samples.periodic", "0s")
            .set("cameras.cam.regions.full.samples.uncertain", 0.0);
        let _edge = Edge::start(folder, &hub, config)?;
        observer.wait("a prediction", |m| m.topic.ends_with("/prediction").then_some(()))?;
        let send = |body: &str, answer_to: &str, correlation: &'static [u8]| {
            let properties = PublishProperties {
                response_topic: Some(answer_to.into()),
                correlation_data: Some(correlation.into()),
                message_expiry_interval: Some(30),
                ..PublishProperties::default()
            };
            if !body.contains("sample-now") {
                Observer::is_wrong(body.as_bytes());
            }
            observer.publish_with("sightline/down/plant/gw-1/command", body, properties)
        };
        let ask = |body: &str, correlation: &'static [u8]| {
            send(body, "sightline/live/plant/gw-1/reply", correlation)?;
            observer.wait("the answer", |m| {
                (m.topic.ends_with("/reply") && m.correlation.as_deref() == Some(correlation)).then(|| m.json())
            })
        };
        for elsewhere in ["cam/status", "reply/me", "../../other/reply"] {
            let elsewhere = format!("sightline/live/plant/gw-1/{elsewhere}");
            send(r#"{"command":"sample-now","camera":"cam"}"#, &elsewhere, b"elsewhere")?;
        }
        let yes = ask(r#"{"command":"sample-now","camera":"cam"}"#, b"1")?;
        assert_eq!(yes["accepted"], true, "{yes}");
        let no = ask(r#"{"command":"sample-now","camera":"nobody"}"#, b"2")?;
        assert!(no["accepted"] == false && no["reason"].as_str().is_some_and(|r| r.contains("nobody")), "{no}");
        let nonsense = ask(r#"{"command":"explode"}"#, b"3")?;
        assert_eq!(nonsense["accepted"], false, "{nonsense}");
        let answers = observer.ending("/reply");
        assert!(answers.iter().all(|m| m.content_type.as_deref() == Some("application/json")), "{answers:?}");
        assert!(answers.iter().all(|m| m.expiry.is_some_and(|left| (1..=60).contains(&left))), "{answers:?}");
        world::schema::validate(&answers)?;
        let strays = observer.messages().into_iter().filter(|m| m.correlation.as_deref() == Some(b"elsewhere"));
        let strays: Vec<_> = strays.map(|m| m.topic).filter(|topic| !topic.ends_with("/command")).collect();
        assert!(strays.is_empty(), "answers where nobody may ask for them: {strays:?}");
        wait::until("the requested sample", || {
            Ok(hub.lake()?.rows(Kind::Sample)?.into_iter().find(|row| row["reason"] == "requested"))
        })?;
        Ok(())
    });
}

#[test]
fn a_restart_alone_makes_no_event_and_goes_on_with_the_log() {
    story(|folder| {
        let hub = Hub::start(folder, Config::new())?;
        let config = tiny()?.set("cameras.cam.uri", "test:white").set("cameras.cam.regions.full.fps", 10);
        for round in 1..=2 {
            let observer = hub.observe()?;
            let mut edge = Edge::start(folder, &hub, config.clone())?;
            observer.wait_count("ten predictions", 10, |m| m.topic.ends_with("/prediction"))?;
            edge.stop()?;
            // The first label ever is an event; the same label after a restart is none.
            let events = hub.lake()?.rows(Kind::Event)?;
            assert_eq!(events.len(), 1, "round {round}: {events:?}");
        }
        let rows = hub.lake()?.wait_rows(Kind::Prediction, 20)?;
        let epochs: std::collections::BTreeSet<_> =
            lake::addresses(&rows).into_keys().map(|(epoch, _)| epoch).collect();
        assert_eq!(epochs.len(), 1);
        assert_eq!(lake::holes_and_doubles(&rows), (vec![], vec![]));
        assert!(rows.iter().all(|row| row["captured_source"] != serde_json::to_value(CaptureSource::Client).unwrap()));
        Ok(())
    });
}
