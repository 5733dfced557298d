//! What is wrong on the archive lane is dropped and counted, or kept as a dead letter with a gap, and stops nobody.

use anyhow::{Context, Result};
use contract::{
    Archived, CaptureSource, Epoch, Header, Kind, Timestamp,
    frame::{self, Address},
};
use world::{Config, Edge, Hub, story, wait};

use crate::common::tiny;

const EPOCH: Epoch = Epoch(0xfeed);

fn record(seq: u64, body: &serde_json::Value) -> Result<Vec<u8>> {
    let header = Header {
        schema: contract::SCHEMA,
        kind: Kind::Event,
        site: "plant".parse()?,
        gateway: "strange".parse()?,
        camera: Some("cam".parse()?),
        region: Some("full".parse()?),
        epoch: EPOCH,
        seq,
        captured_at: Timestamp::from_system(std::time::SystemTime::now()),
        captured_source: CaptureSource::Arrival,
        monotonic_us: 1,
        boot_id: "boot".into(),
        traceparent: None,
        model: None,
        frame_id: None,
    };
    Ok(frame::encode_record(&header, body, &[])?)
}

fn bundle(frames: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let mut out = frame::MAGIC.to_vec();
    for (seq, record) in frames {
        let address = Address { epoch: EPOCH, kind: Kind::Event.number(), seq: *seq };
        frame::write_frame(&mut out, address, 0, 1, record);
    }
    out
}

#[test]
fn garbage_is_counted_and_unreadable_records_become_gaps() {
    story(|folder| {
        let hub = Hub::start(folder, Config::new())?;
        let observer = hub.observe()?;
        let good = serde_json::json!({"id": "x-0", "before": null, "after": "open", "score": 0.5, "since": "2026-11-23T00:00:00Z"});
        let (first, third) = (record(0, &good)?, record(2, &good)?);
        let whole = bundle(&[(0, first.clone()), (1, b"\x02\0\0\0{}\xff\xff\xff\xff".to_vec()), (2, third)]);
        let mut flipped = whole.clone();
        let at = flipped.len() - 3;
        flipped[at] ^= 0x40;
        let topic = "sightline/up/plant/strange/event";
        let random: Vec<u8> = (0..5000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        for garbage in [vec![], b"SLB1".to_vec(), b"hello".to_vec(), random, whole[..whole.len() / 2].to_vec(), flipped]
        {
            observer.publish_wrong(topic, garbage)?;
        }
        observer.publish_wrong("sightline/up/plant/strange/video", "no such kind")?;
        observer.publish_wrong("sightline/up/Plant/strange/event", "no such site")?;
        observer.publish_wrong(topic, whole)?;

        let rows = hub.lake()?.wait_rows(Kind::Event, 2)?;
        let seqs: Vec<_> = rows.iter().filter_map(|row| row["seq"].as_u64()).collect();
        assert_eq!(seqs, [0, 2], "record 0 came in the torn bundle as well and stands once");
        let gaps = hub.lake()?.wait_rows(Kind::Gap, 1)?;
        let gap = gaps.iter().find(|row| row["reason"] == "rejected").context("no gap `rejected`")?;
        assert_eq!((&gap["gap_kind"], &gap["from_seq"], &gap["to_seq"]), (&"event".into(), &1.into(), &2.into()));
        assert!(!hub.lake()?.keys("dead/")?.is_empty(), "the unreadable record is kept");
        wait::until("the watermark to pass the rejected record", || {
            let document = observer.last("sightline/down/plant/strange/archived").context("no watermark")?;
            let archived: Archived = serde_json::from_slice(&document.payload)?;
            Ok(archived.of(EPOCH, Kind::Event).filter(|kind| kind.upto == 3).map(drop))
        })?;
        // Everybody else's records go on.
        let _edge = Edge::start(folder, &hub, tiny()?.set("cameras.cam.uri", "test:"))?;
        hub.lake()?.wait_rows(Kind::Prediction, 3)?;
        Ok(())
    });
}

#[test]
fn a_message_beyond_the_brokers_limit_does_not_reach_the_hub() {
    story(|folder| {
        let hub = Hub::start(folder, Config::new().set("broker.message_max", "256KiB"))?;
        let big = hub.observe()?;
        let _ = big.publish("sightline/up/plant/strange/event", false, vec![0; 2 << 20]);
        let _edge = Edge::start(folder, &hub, tiny()?.set("cameras.cam.uri", "test:"))?;
        hub.lake()?.wait_rows(Kind::Prediction, 3).map(drop)
    });
}

#[test]
fn a_record_larger_than_a_message_travels_in_fragments() {
    story(|folder| {
        let hub = Hub::start(folder, Config::new())?;
        let config = tiny()?
            .set("mqtt.archive_message_max", "4KiB")
            .set("cameras.cam.uri", "test:snow?width=1280&height=720&fps=2")
            .set("cameras.cam.regions.full.samples.periodic", "500ms");
        let _edge = Edge::start(folder, &hub, config)?;
        let lake = hub.lake()?;
        let samples = lake.wait_rows(Kind::Sample, 2)?;
        for sample in &samples {
            let files = world::shard::files(&lake, sample)?;
            assert!(files.picture.len() > 100_000, "{} bytes", files.picture.len());
        }
        Ok(())
    });
}
