//! `make soak`: the whole system for SOAK_SECONDS; memory stays flat and nothing is lost.

use std::time::{Duration, Instant};

use contract::Kind;
use world::{Config, Edge, Hub, TestCamera, lake, media, story};

use crate::common::tiny;

#[test]
#[ignore = "takes SOAK_SECONDS (600); run by `make soak`"]
fn memory_is_flat_and_nothing_is_lost() {
    story(|folder| {
        let seconds = std::env::var("SOAK_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(600);
        let video = folder.join("video.mp4");
        media::video(&video, 1280, 720, 100)?;
        let camera = TestCamera::start(&video)?;
        let hub = Hub::start(folder, Config::new().set("ingest.flush_interval", "10s"))?;
        let mut config = tiny()?;
        for n in 0..4 {
            config = config
                .set(&format!("cameras.cam-{n}.uri"), camera.url.clone())
                .set(&format!("cameras.cam-{n}.regions.full.samples.periodic"), "5s");
        }
        let mut edge = Edge::start(folder, &hub, config)?;
        let (began, mut measured) = (Instant::now(), Vec::new());
        let length = Duration::from_secs(seconds);
        while began.elapsed() < length {
            std::thread::sleep((length / 60).min(Duration::from_secs(10)));
            let sizes = (edge.process.resident_bytes()? >> 20, hub.process.resident_bytes()? >> 20);
            println!("{:>5} s  agent {} MiB  hub {} MiB", began.elapsed().as_secs(), sizes.0, sizes.1);
            measured.push(sizes);
        }
        let summary = edge.stop()?;
        let rows = hub.lake()?.rows(Kind::Prediction)?;
        println!("{} predictions in the lake; agent: {summary:?}", rows.len());
        assert_eq!(lake::holes_and_doubles(&rows), (vec![], vec![]));
        assert_eq!(rows.len() as u64, summary.classified);
        let third = measured.len() / 3;
        let most = |part: &[(u64, u64)]| part.iter().fold((0, 0), |m, s| (m.0.max(s.0), m.1.max(s.1)));
        let (middle, last) = (most(&measured[third..2 * third]), most(&measured[2 * third..]));
        let grown = (last.0.saturating_sub(middle.0), last.1.saturating_sub(middle.1));
        assert!(grown.0 <= 8 && grown.1 <= 8, "memory grew by {grown:?} MiB from the second to the last third");
        Ok(())
    });
}
