//! Rows written and read back, for every kind; shards as WebDataset sees them.

use std::collections::BTreeMap;

use bytes::Bytes;
use contract::{
    CaptureSource, Digest, Epoch, Event, FrameId, Gap, Header, Health, Kind, ModelRef, Prediction, Sample, Timestamp,
    record::{Input, Latency, Picture, Reason, ServedBy},
};
use sha2::Digest as _;
use store::lake_index::Format;

use super::*;

fn sha256(bytes: &[u8]) -> Digest {
    Digest(sha2::Sha256::digest(bytes).into())
}

pub(crate) fn header(kind: Kind, seq: u64) -> Header {
    let about_frame = matches!(kind, Kind::Prediction | Kind::Event | Kind::Sample);
    Header {
        schema: 1,
        kind,
        site: "plant".parse().unwrap(),
        gateway: "gw-1".parse().unwrap(),
        camera: about_frame.then(|| "door".parse().unwrap()),
        region: about_frame.then(|| "full".parse().unwrap()),
        epoch: Epoch(7),
        seq,
        captured_at: Timestamp(1_795_458_240_000_000 + seq as i64),
        captured_source: CaptureSource::Arrival,
        monotonic_us: 5_000_000 + seq,
        boot_id: "boot".into(),
        traceparent: about_frame.then(|| "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
        model: about_frame.then(|| ModelRef { digest: sha256(b"model"), version: Some("1.0".into()) }),
        frame_id: about_frame.then(|| FrameId { epoch: Epoch(7), camera: "door".parse().unwrap(), counter: seq }),
    }
}

pub(crate) fn prediction() -> Prediction {
    Prediction {
        labels: vec!["open".into(), "shut".into()],
        scores: vec![0.75, 0.25],
        latency: Latency { decode_us: 1, preprocess_us: 2, queue_us: 3, inference_us: 4, total_us: 10 },
        engine: "ort-cpu".into(),
        served_by: ServedBy::Gateway,
    }
}

pub(crate) fn sample(picture: &[u8], input: &[u8]) -> Sample {
    Sample {
        reason: Reason::Changed,
        labels: vec!["open".into()],
        scores: vec![0.75],
        picture: Picture {
            media_type: "image/jpeg".into(),
            bytes: picture.len() as u64,
            sha256: sha256(picture),
            width: 640,
            height: 480,
            region: [1, 2, 3, 4],
        },
        input: Some(Input {
            encoding: "zstd".into(),
            bytes: input.len() as u64,
            sha256: sha256(b"tensor"),
            dtype: "uint8".into(),
            shape: vec![64, 64, 1],
        }),
    }
}

fn bodies() -> Vec<Body> {
    let event = Event {
        id: "7-1".into(),
        before: None,
        after: Some("open".into()),
        score: 0.75,
        since: Timestamp(1_795_458_239_000_000),
    };
    let health = Health { uptime_s: 5, version: "0.1.0".into(), engine: "ort-cpu".into(), ..Health::default() };
    let gap = Gap {
        kind: Kind::Prediction,
        epoch: Epoch(9),
        from: 3,
        to: 5,
        count: 2,
        reason: "overflow".into(),
        detail: Some("full".into()),
        captured_from: None,
        captured_to: Some(Timestamp(1)),
    };
    vec![
        Body::Prediction(prediction()),
        Body::Event(event),
        Body::Sample(sample(b"jpeg", b"zstd")),
        Body::Health(health),
        Body::Gap(gap),
    ]
}

#[test]
fn every_kind_reads_back_as_written() {
    for body in bodies() {
        let kind = body.kind();
        let place = (kind == Kind::Sample).then(|| Place {
            shard: "shards/a.tar".into(),
            picture_offset: 512,
            input_offset: Some(2048),
        });
        let row = |seq| Row {
            record: Record { header: header(kind, seq), body: body.clone(), blobs: Bytes::new() },
            received_at: Timestamp(1_795_458_241_000_000),
            clock_offset_us: -3,
            place: place.clone(),
        };
        let rows = vec![row(2), row(0), row(1)];
        let facts = facts(Format::Parquet, kind, &rows, &Partition::of(rows[0].corrected_at()));
        let object = Bytes::from(write_parquet(kind, &rows, &facts).unwrap());
        let mut back = Vec::new();
        read_parquet(kind, object.clone(), |row| back.push(row)).unwrap();
        assert_eq!(back, [row(0), row(1), row(2)], "{kind}");
        assert_eq!(count_rows(object).unwrap(), 3);
    }
}

/// Rows with the facts that they make.
fn described() -> (Vec<Row>, Facts) {
    let row = |seq| Row {
        record: Record { header: header(Kind::Event, seq), body: bodies().remove(1), blobs: Bytes::new() },
        received_at: Timestamp(1_795_458_241_000_000),
        clock_offset_us: 0,
        place: None,
    };
    let rows = vec![row(2), row(7), row(3)];
    let facts = facts(Format::Parquet, Kind::Event, &rows, &Partition::of(rows[0].corrected_at()));
    (rows, facts)
}

#[test]
fn an_object_says_what_it_holds() {
    let (rows, facts) = described();
    let object = Bytes::from(write_parquet(Kind::Event, &rows, &facts).unwrap());
    assert_eq!(schema_version(object.clone()).unwrap(), contract::lake::VERSION);
    let builder = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(object).unwrap();
    let said = builder.metadata().file_metadata().key_value_metadata().unwrap();
    let said: BTreeMap<_, _> = said.iter().map(|f| (f.key.as_str(), f.value.as_deref().unwrap())).collect();
    let holds = r#"[{"site":"plant","gateway":"gw-1","epoch":"00000000000000000000000000000007","kind":"event","ranges":[[2,4],[7,8]]}]"#;
    assert_eq!((said[SCHEMA_KEY], said[KIND_KEY], said[RANGES_KEY]), ("1", "event", holds));
    assert_eq!(serde_json::from_str::<Facts>(said[FACTS_KEY]).unwrap(), facts);
}

/// The description is no file: who lists the tar's files does not see it.
#[test]
fn a_tar_says_what_it_holds_before_its_files() {
    let (_, facts) = described();
    for holes in [0, 9, 90, 900] {
        let mut facts = facts.clone();
        facts.holds[0].ranges.extend(&(0..holes).map(|n| 100 + 2 * n).collect());
        let mut shard = Shard::described("shards/x.tar".to_owned(), &facts).unwrap();
        let at = shard.file("a.jpg", b"a picture", Timestamp(0)).unwrap() as usize;
        let (_, tar) = shard.finish().unwrap();
        assert_eq!(&tar[at..at + 9], b"a picture");
        assert_eq!(tar_facts(&tar).unwrap(), Some(facts));
        let mut archive = tar::Archive::new(&tar[..]);
        let files =
            archive.entries().unwrap().map(|e| e.unwrap()).filter(|e| e.header().entry_type().is_file()).count();
        assert_eq!(files, 1);
    }
    let (_, plain) = Shard::new("shards/y.tar".to_owned()).finish().unwrap();
    assert_eq!(tar_facts(&plain).unwrap(), None);
}

#[test]
fn garbage_is_no_object() {
    for garbage in [&b""[..], b"PAR1", b"PAR1garbagePAR1", &[0; 4096]] {
        assert!(read_parquet(Kind::Event, Bytes::copy_from_slice(garbage), |_| ()).is_err());
    }
}

#[test]
fn shard_offsets_point_at_the_bytes() {
    let mut shard = Shard::new("shards/x.tar".to_owned());
    let blobs = Bytes::from_static(b"a picture of a doorcompressed input");
    let body = Body::Sample(sample(&blobs[..19], &blobs[19..]));
    let record = Record { header: header(Kind::Sample, 4), body, blobs };
    let first = shard.add(&record).unwrap().unwrap();
    let mut again = record.clone();
    again.header.seq = 5; // the same frame and region, kept for another reason
    let second = shard.add(&again).unwrap().unwrap();
    let (_, tar) = shard.finish().unwrap();
    for place in [first, second] {
        let picture = place.picture_offset as usize;
        assert_eq!(&tar[picture..picture + 19], b"a picture of a door");
        let input = place.input_offset.unwrap() as usize;
        assert_eq!(&tar[input..input + 16], b"compressed input");
    }
    let mut archive = tar::Archive::new(&tar[..]);
    let names: Vec<String> =
        archive.entries().unwrap().map(|e| e.unwrap().path().unwrap().display().to_string()).collect();
    let key = format!("{}_door_4_full", Epoch(7));
    let expected: Vec<String> = [&key, &format!("{key}_5")]
        .iter()
        .flat_map(|k| ["jpg", "u8.zst", "json"].map(|extension| format!("{k}.{extension}")))
        .collect();
    assert_eq!(names, expected);
}

#[test]
fn inconsistent_bodies_are_named() {
    let mut wrong = prediction();
    wrong.scores.pop();
    let record = Record { header: header(Kind::Prediction, 0), body: Body::Prediction(wrong), blobs: Bytes::new() };
    assert_eq!(record.check().unwrap_err().to_string(), "2 labels but 1 scores");
    let body = Body::Sample(sample(b"jpeg", b"zstd"));
    let mut record = Record { header: header(Kind::Sample, 0), body, blobs: Bytes::from_static(b"jpegzst") };
    assert!(record.check().unwrap_err().to_string().contains("states 4 + 4 bytes of blobs and carries 7"));
    record.blobs = Bytes::from_static(b"jpegzstd");
    record.check().unwrap();
    record.blobs = Bytes::from_static(b"jpgezstd");
    assert!(record.check().unwrap_err().to_string().contains("digest"));
}
