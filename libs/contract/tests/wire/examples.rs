//! One example of every document and record, with every field set to a value of its own.

use std::collections::BTreeMap;

use contract::{
    Archived, CaptureSource, Digest, Epoch, Event, Gap, Header, Health, Kind, ModelRef, Prediction, Principal,
    RegionId, Sample, Timestamp,
    archived::{ArchivedEpoch, ArchivedKind},
    live::{CameraStatus, Command, GatewayStatus, Holding, Presence, Quality, RegionState, Reply, SeenWatermark},
    model::{
        Color, Dtype, Filter, Golden, GoldenRow, Layout, ModelInput, ModelManifest, ModelOutput, Normalize, OutputForm,
        Preprocess,
    },
    record::{CameraHealth, Input, Latency, Picture, Reason, ServedBy},
    twin::{Desired, DesiredModel, Effective, Origin, Outcome, Reported, ReportedModel},
};

pub const NOON: Timestamp = Timestamp(1_795_458_240_123_456);
pub const EPOCH: Epoch = Epoch(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);

pub fn principal() -> Principal {
    Principal { site: "plant".parse().unwrap(), gateway: "gw-1".parse().unwrap() }
}

fn later(us: i64) -> Timestamp {
    Timestamp(NOON.0 + us)
}

fn digest(byte: u8) -> Digest {
    Digest([byte; 32])
}

pub fn model() -> ModelRef {
    ModelRef { digest: digest(0xa1), version: Some("1.0.0".into()) }
}

/// A header with every field.
pub fn header(kind: Kind, seq: u64) -> Header {
    Header {
        schema: contract::SCHEMA,
        kind,
        site: principal().site,
        gateway: principal().gateway,
        camera: Some("front-door".parse().unwrap()),
        region: Some(RegionId::full()),
        epoch: EPOCH,
        seq,
        captured_at: NOON,
        captured_source: CaptureSource::Reference,
        monotonic_us: 86_400_000_001,
        boot_id: "6d1b0c52-93a5-4a0e-8a3c-0d7f2f7f4f11".into(),
        traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into()),
        model: Some(model()),
        frame_id: Some("0123456789abcdef0123456789abcdef_front-door_42".parse().unwrap()),
    }
}

/// A header with only the fields that every record has.
pub fn bare_header(kind: Kind, seq: u64) -> Header {
    let absent = Header { camera: None, region: None, traceparent: None, model: None, ..header(kind, seq) };
    Header { frame_id: None, captured_source: CaptureSource::Arrival, ..absent }
}

pub fn prediction() -> Prediction {
    Prediction {
        labels: vec!["crate".into(), "pallet".into()],
        scores: vec![0.75, 0.125],
        latency: Latency { decode_us: 2100, preprocess_us: 310, queue_us: 40, inference_us: 9800, total_us: 12_400 },
        engine: "ort-cpu".into(),
        served_by: ServedBy::Gateway,
    }
}

pub fn event() -> Event {
    Event { id: format!("{EPOCH}-7"), before: None, after: Some("open".into()), score: 0.875, since: later(-1_000_000) }
}

pub const PICTURE: &[u8] = b"\xff\xd8 not really a JPEG \xff\xd9";
pub const INPUT: &[u8] = b"\x28\xb5\x2f\xfd not really zstd";

pub fn sample() -> Sample {
    Sample {
        reason: Reason::Uncertain,
        labels: vec!["open".into()],
        scores: vec![0.5],
        picture: Picture {
            media_type: "image/jpeg".into(),
            bytes: PICTURE.len() as u64,
            // of PICTURE: the hub compares it
            sha256: "sha256:758434ffb68b440922fd93b28ec8ab489822861a524adb7c5e849d01a6678933".parse().unwrap(),
            width: 768,
            height: 576,
            region: [16, 32, 224, 240],
        },
        input: Some(Input {
            encoding: "zstd".into(),
            bytes: INPUT.len() as u64,
            sha256: digest(0xc3),
            dtype: "uint8".into(),
            shape: vec![224, 224, 3],
        }),
    }
}

pub fn health() -> Health {
    Health {
        uptime_s: 3600,
        version: "0.1.0".into(),
        cpu_percent: 37.5,
        memory_bytes: 62_914_560,
        temperature_celsius: Some(48.5),
        accelerator: Some("gpu-0".into()),
        engine: "ort-cpu".into(),
        engine_reason: "first of the preference that passed its probe".into(),
        backlog_records: BTreeMap::from([(Kind::Prediction, 12), (Kind::Sample, 1)]),
        backlog_bytes: 65_536,
        dropped: BTreeMap::from([("newest_wins".into(), 3)]),
        outbox: None,
        cameras: BTreeMap::from([(
            "front-door".parse().unwrap(),
            CameraHealth {
                online: true,
                fps: 25.0,
                reason: Some("reconnected".into()),
                predictions_per_second: BTreeMap::from([(RegionId::full(), 5.0)]),
            },
        )]),
    }
}

pub fn gap() -> Gap {
    Gap {
        kind: Kind::Prediction,
        epoch: EPOCH,
        from: 10,
        to: 14,
        count: 4,
        reason: "overflow".into(),
        detail: Some("outbox full at 64 MiB".into()),
        captured_from: Some(NOON),
        captured_to: Some(later(4_000_000)),
    }
}

pub fn status() -> GatewayStatus {
    GatewayStatus {
        schema: contract::SCHEMA,
        status: Presence::Online,
        session: 3,
        since: Some(NOON),
        version: Some("0.1.0".into()),
        engine: Some("ort-cpu".into()),
        epoch: Some(EPOCH),
        holds: BTreeMap::from([(Kind::Prediction, Holding { first: 5, next: 9 })]),
        archived: Some(SeenWatermark {
            ranges: BTreeMap::new(),
            lake: "00000000000000000000000000000001".into(),
            incarnation: "00000000000000000000000000000002".into(),
            upto: BTreeMap::from([(Kind::Prediction, 5)]),
        }),
    }
}

pub fn will() -> GatewayStatus {
    let gone = GatewayStatus { status: Presence::Offline, since: None, version: None, ..status() };
    GatewayStatus { engine: None, epoch: None, holds: BTreeMap::new(), archived: None, ..gone }
}

pub fn camera_status() -> CameraStatus {
    CameraStatus {
        schema: contract::SCHEMA,
        status: Presence::Offline,
        reason: Some("connection refused".into()),
        fps: 0.0,
        since: NOON,
    }
}

pub fn region_state() -> RegionState {
    RegionState {
        schema: contract::SCHEMA,
        label: Some("open".into()),
        score: 0.875,
        since: NOON,
        quality: Quality::Live,
        model: model(),
    }
}

pub fn command() -> Command {
    Command::SampleNow { camera: "front-door".parse().unwrap(), region: Some(RegionId::full()) }
}

pub fn reply() -> Reply {
    Reply { accepted: false, reason: Some("no camera `back`".into()), model: Some(digest(0xa1)) }
}

pub fn desired() -> Desired {
    Desired {
        schema: contract::SCHEMA,
        authority: "hub-7f3a".into(),
        generation: 12,
        config: BTreeMap::from([("health.interval".into(), "30s".into())]),
        models: vec![DesiredModel {
            camera: "front-door".parse().unwrap(),
            region: RegionId::full(),
            digest: digest(0xa1),
            url: "https://hub.example/api/v1/models/a1".into(),
        }],
    }
}

pub fn reported() -> Reported {
    Reported {
        schema: contract::SCHEMA,
        authority: Some("hub-7f3a".into()),
        generation: 12,
        outcome: Outcome::Accepted,
        reason: Some("models are not fetched by this version".into()),
        config: BTreeMap::from([(
            "health.interval".into(),
            Effective { value: "30s".into(), origin: Origin::Desired },
        )]),
        models: vec![ReportedModel {
            camera: "front-door".parse().unwrap(),
            region: RegionId::full(),
            digest: Some(digest(0xa1)),
            pinned: true,
        }],
    }
}

pub fn archived() -> Archived {
    let kinds = BTreeMap::from([
        (Kind::Prediction, ArchivedKind { upto: 120, ranges: vec![[130, 140], [150, 151]] }),
        (Kind::Event, ArchivedKind { upto: 3, ranges: vec![] }),
    ]);
    Archived {
        schema: contract::SCHEMA,
        lake: "01jd8xw3".into(),
        incarnation: "9f2c".into(),
        epochs: vec![ArchivedEpoch { epoch: EPOCH, kinds }],
    }
}

pub fn manifest() -> ModelManifest {
    ModelManifest {
        schema: contract::SCHEMA,
        id: "door".into(),
        version: "1.0.0".into(),
        files: BTreeMap::from([("golden.json".into(), digest(0x02)), ("model.onnx".into(), digest(0x01))]),
        input: ModelInput {
            name: "input".into(),
            width: 224,
            height: 224,
            color: Color::Rgb,
            layout: Layout::Nchw,
            dtype: Dtype::Float32,
            preprocess: Preprocess { version: 1, filter: Filter::Triangle },
            normalize: Some(Normalize { scale: 0.0625, mean: vec![0.5, 0.5, 0.5], std: vec![0.25, 0.25, 0.25] }),
        },
        output: ModelOutput { name: "scores".into(), form: OutputForm::Logits },
        classes: vec!["closed".into(), "open".into()],
        thresholds: BTreeMap::from([("open".into(), 0.75)]),
        variants: BTreeMap::new(),
        golden: Some("golden.json".into()),
        commit: Some("d18e230".into()),
        dataset: Some(digest(0x03)),
        licence: Some("Apache-2.0".into()),
        source: Some("trained on the plant's own pictures".into()),
    }
}

pub fn golden_rows() -> Golden {
    Golden {
        tolerance: 0.001,
        rows: vec![GoldenRow { input: "golden/0.bin".into(), probabilities: BTreeMap::from([(0, 0.25), (1, 0.75)]) }],
    }
}
