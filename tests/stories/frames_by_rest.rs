//! The REST API end to end: pictures in, rows out, samples back, events as they come; and what it says to bad pictures.

use anyhow::{Context, Result};
use contract::Kind;
use world::{Config, Edge, Hub, media, runtime, shard, story, wait};

use crate::common::tiny;

fn with_model(config: Config) -> Result<Config> {
    Ok(config
        .set("inference.model", runtime::tiny_model()?.display().to_string())
        .set("inference.library", runtime::onnxruntime()?.display().to_string()))
}

#[test]
fn a_posted_picture_is_classified_archived_and_given_back() {
    story(|folder| {
        let hub = Hub::start(folder, with_model(Config::new())?)?;
        let (rest, jpeg) = (hub.rest()?, media::jpeg(320, 240)?);
        let answer = rest.post("/api/v1/frames?site=office&camera=phone&wait=archived", "image/jpeg", jpeg.clone())?;
        let json = answer.json();
        assert_eq!((answer.status, &json["archived"]), (200, &true.into()), "{}", answer.text());
        assert!(json["gateway"].as_str().is_some_and(|gateway| gateway.starts_with("hub-")), "{json}");
        // Promised means there, now, without waiting.
        let rows = hub.lake()?.rows(Kind::Prediction)?;
        let row =
            rows.iter().find(|row| row["frame_id"] == json["frame_id"]).context("no row of the posted picture")?;
        assert_eq!(
            (&row["label"], &row["served_by"], &row["site"]),
            (&json["labels"][0], &"hub".into(), &"office".into())
        );
        let sample = json["sample_href"].as_str().context("sample_href")?;
        assert_eq!(rest.get(&format!("{sample}/picture"))?.body, jpeg);
        let samples = hub.lake()?.rows(Kind::Sample)?;
        let files = shard::files(&hub.lake()?, samples.first().context("no sample row")?)?;
        assert_eq!(files.picture, jpeg);

        let quick = rest.post("/api/v1/frames?site=office&camera=phone", "image/jpeg", jpeg)?;
        assert_eq!((quick.status, &quick.json()["archived"]), (202, &false.into()), "{}", quick.text());
        hub.lake()?.wait_rows(Kind::Prediction, 2)?;
        Ok(())
    });
}

/// The flush would come in a minute, and the server of a stopping hub waits for ten seconds.
#[test]
fn a_stopping_hub_answers_those_who_wait_for_their_commit() {
    story(|folder| {
        let hub = Hub::start(folder, with_model(Config::new().set("ingest.flush_interval", "60s"))?)?;
        let (rest, jpeg) = (hub.rest()?, media::jpeg(320, 240)?);
        let waiting = {
            let rest = rest.clone();
            std::thread::spawn(move || {
                rest.post("/api/v1/frames?site=office&camera=phone&wait=archived", "image/jpeg", jpeg)
            })
        };
        wait::until("the frame is classified", || {
            Ok(rest.get("/metrics")?.text().contains("sightline_hub_api_frames_total 1").then_some(()))
        })?;
        hub.stop()?;
        let answer = waiting.join().map_err(|_| anyhow::anyhow!("the client panicked"))??;
        assert_eq!((answer.status, &answer.json()["archived"]), (200, &true.into()), "{}", answer.text());
        Ok(())
    });
}

#[test]
fn bad_pictures_are_refused_with_a_reason() {
    story(|folder| {
        let hub = Hub::start(folder, with_model(Config::new())?)?;
        let rest = hub.rest()?;
        let jpeg = media::jpeg(320, 240)?;
        let address = "/api/v1/frames?site=office&camera=phone";
        type Case = (&'static str, String, &'static str, Vec<u8>, &'static [u16]);
        let cases: Vec<Case> = vec![
            ("truncated JPEG", address.into(), "image/jpeg", jpeg[..jpeg.len() / 2].to_vec(), &[422]),
            ("not a picture", address.into(), "image/jpeg", b"hello".repeat(100), &[422]),
            ("empty body", address.into(), "image/jpeg", vec![], &[400]),
            ("image bomb", address.into(), "image/jpeg", bomb(&jpeg), &[413, 422]),
            ("PNG bomb", address.into(), "image/png", png_bomb(), &[413, 422]),
            ("wrong type", address.into(), "text/plain", jpeg.clone(), &[415]),
            ("id with a slash", "/api/v1/frames?site=a%2Fb&camera=phone".into(), "image/jpeg", jpeg.clone(), &[400]),
            ("no camera", "/api/v1/frames?site=office".into(), "image/jpeg", jpeg.clone(), &[400]),
            ("rectangle outside", format!("{address}&rect=300,0,100,100"), "image/jpeg", jpeg.clone(), &[422]),
            ("typo in a parameter", format!("{address}&camra=x"), "image/jpeg", jpeg.clone(), &[400]),
            ("too large", address.into(), "image/jpeg", vec![0; 64 << 20], &[413]),
        ];
        for (what, path, content_type, body, statuses) in cases {
            let answer = match rest.post(&path, content_type, body) {
                Ok(answer) => answer,
                // The hub may stop reading a body that it refuses.
                Err(_) if what == "too large" => continue,
                Err(error) => return Err(error.context(what)),
            };
            assert!(statuses.contains(&answer.status), "{what}: {} {}", answer.status, answer.text());
            assert_eq!(answer.content_type(), "application/problem+json", "{what}");
            let json = answer.json();
            for key in ["type", "title", "status", "detail"] {
                assert!(!json[key].is_null(), "{what} has no {key}: {json}");
            }
        }
        let answer = rest.post(&format!("{address}&wait=archived"), "image/jpeg", jpeg)?;
        assert_eq!(answer.status, 200, "the hub still serves: {}", answer.text());
        Ok(())
    });
}

/// A JPEG whose header promises 65500 x 65500 pixels.
fn bomb(jpeg: &[u8]) -> Vec<u8> {
    let mut bytes = jpeg.to_vec();
    let sof = bytes.windows(2).position(|w| w == [0xff, 0xc0]).unwrap_or(0);
    bytes[sof + 5..sof + 9].copy_from_slice(&[0xff, 0xdc, 0xff, 0xdc]);
    bytes
}

/// A PNG header of 100000 x 100000 pixels and nothing behind it.
fn png_bomb() -> Vec<u8> {
    let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
    bytes.extend(100_000u32.to_be_bytes());
    bytes.extend(100_000u32.to_be_bytes());
    bytes.extend([8, 2, 0, 0, 0]);
    let mut crc = !0u32;
    for byte in &bytes[12..] {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    bytes.extend((!crc).to_be_bytes());
    bytes
}

#[test]
fn what_a_gateway_sees_can_be_asked_for() {
    story(|folder| {
        let hub = Hub::start(folder, Config::new())?;
        let config =
            tiny()?.set("cameras.cam.uri", "test:white").set("cameras.cam.regions.full.samples.periodic", "500ms");
        let _edge = Edge::start(folder, &hub, config)?;
        let rest = hub.rest()?;
        hub.lake()?.wait_rows(Kind::Prediction, 20)?;
        hub.lake()?.wait_rows(Kind::Sample, 1)?;

        let gateways = wait::until("the gateway in the API", || {
            let json = rest.json("/api/v1/gateways")?;
            Ok(json["gateways"].as_array().filter(|all| !all.is_empty()).cloned())
        })?;
        assert_eq!((&gateways[0]["site"], &gateways[0]["gateway"]), (&"plant".into(), &"gw-1".into()));
        assert_eq!(rest.json("/api/v1/gateways/plant/gw-1")?["site"], "plant");
        let cameras = rest.json("/api/v1/cameras")?;
        assert_eq!(cameras["cameras"][0]["camera"], "cam", "{cameras}");
        let latest = rest.json("/api/v1/predictions/latest")?;
        assert_eq!(latest["predictions"][0]["labels"][0], "very-bright", "{latest}");

        // Pages: all rows once, newest first, none of another label.
        let mut seqs = Vec::new();
        let mut path = "/api/v1/predictions?camera=cam&label=very-bright&limit=7".to_owned();
        let to = rest.json(&path)?;
        assert!(to["next_cursor"].is_string(), "{to}");
        loop {
            let page = rest.json(&path)?;
            let rows = page["predictions"].as_array().or(page["rows"].as_array()).context("rows of a page")?.clone();
            assert!(rows.len() <= 7);
            seqs.extend(rows.iter().filter_map(|row| row["seq"].as_u64()));
            let Some(cursor) = page["next_cursor"].as_str() else { break };
            if seqs.len() >= 20 {
                break;
            }
            path = format!("/api/v1/predictions?camera=cam&label=very-bright&limit=7&cursor={cursor}");
        }
        assert!(seqs.len() >= 20 && seqs.windows(2).all(|w| w[0] > w[1]), "{seqs:?}");
        let none = rest.json("/api/v1/predictions?camera=nobody")?;
        assert!(!none.to_string().contains("very-bright"), "{none}");

        let row = hub.lake()?.rows(Kind::Sample)?.into_iter().next().context("a sample")?;
        let sample = format!("/api/v1/samples/{}/full", row["frame_id"].as_str().context("frame_id")?);
        let picture = rest.get(&format!("{sample}/picture"))?;
        assert_eq!((picture.status, picture.content_type()), (200, "image/jpeg"));
        assert_eq!(shard::digest(&picture.body), row["picture_sha256"]);
        let input = rest.get(&format!("{sample}/input"))?;
        assert_eq!(input.status, 200);

        let docs = rest.get("/docs/")?;
        assert!(docs.status == 200 && docs.content_type().starts_with("text/html"), "{}", docs.status);
        let unknown = rest.get("/api/v1/nothing")?;
        assert_eq!((unknown.status, unknown.content_type()), (404, "application/problem+json"));
        Ok(())
    });
}

#[test]
fn what_arrives_is_streamed() {
    story(|folder| {
        let hub = Hub::start(folder, Config::new())?;
        let _edge = Edge::start(folder, &hub, tiny()?.set("cameras.cam.uri", "test:white"))?;
        let mut seen = 0;
        hub.rest()?.events("/api/v1/stream?kind=prediction&camera=cam", |line| {
            if let Some(data) = line.strip_prefix("data:") {
                let json: serde_json::Value = serde_json::from_str(data.trim()).unwrap();
                assert_eq!(json["labels"][0], "very-bright", "{json}");
                seen += 1;
            }
            seen < 5
        })?;
        assert_eq!(seen, 5);
        Ok(())
    });
}
