//! The scanner and serde read one language: whatever the scanner reads, serde reads as the same.

use contract::{
    CaptureSource, Digest, Epoch, FrameId, Header, Kind, ModelRef, Prediction, Timestamp,
    record::{Latency, ServedBy},
    scan::Scanner,
};
use proptest::prelude::*;

use crate::examples;

fn name() -> impl Strategy<Value = String> {
    "[a-z0-9][a-z0-9-]{0,12}"
}

/// Texts of every kind, those with quotes, escapes and controls among them.
fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[ -~]{0,12}", "\\PC{0,6}", any::<String>()]
}

prop_compose! {
    fn header()(
        (schema, kind, source) in (any::<u16>(), 0usize..6, 0usize..4),
        (site, gateway) in (name(), name()),
        (camera, region, model) in (prop::option::of(name()), prop::option::of(name()), prop::option::of(any::<[u8; 32]>())),
        (epoch, seq, monotonic_us, counter) in (any::<u128>(), any::<u64>(), any::<u64>(), any::<u64>()),
        captured_at in -62_135_596_800_000_000i64..253_402_300_800_000_000,
        (boot_id, traceparent, version) in (text(), prop::option::of(text()), prop::option::of(text())),
        framed in prop::option::of(name()),
    ) -> Header {
        use CaptureSource::{Arrival, Client, Reference, Unknown};
        Header {
            schema,
            kind: Kind::ALL[kind],
            site: site.parse().unwrap(),
            gateway: gateway.parse().unwrap(),
            camera: camera.map(|camera| camera.parse().unwrap()),
            region: region.map(|region| region.parse().unwrap()),
            epoch: Epoch(epoch),
            seq,
            captured_at: Timestamp(captured_at),
            captured_source: [Reference, Arrival, Client, Unknown][source],
            monotonic_us,
            boot_id: boot_id.into(),
            traceparent,
            model: model.map(|digest| ModelRef { digest: Digest(digest), version: version.map(Into::into) }),
            frame_id: framed.map(|camera| FrameId { epoch: Epoch(epoch), camera: camera.parse().unwrap(), counter }),
        }
    }
}

prop_compose! {
    fn prediction()(
        labels in prop::collection::vec(text(), 0..4),
        scores in prop::collection::vec(prop_oneof![0f32..1.0, any::<f32>()], 0..4),
        times in any::<[u64; 5]>(),
        engine in text(),
        served in 0usize..3,
    ) -> Prediction {
        let [decode_us, preprocess_us, queue_us, inference_us, total_us] = times;
        Prediction {
            labels: labels.into_iter().map(Into::into).collect(),
            scores,
            latency: Latency { decode_us, preprocess_us, queue_us, inference_us, total_us },
            engine: engine.into(),
            served_by: [ServedBy::Gateway, ServedBy::Hub, ServedBy::Unknown][served],
        }
    }
}

/// Whatever is scanned, serde reads as the same; gives what was scanned.
fn agree<T: serde::de::DeserializeOwned + PartialEq + std::fmt::Debug>(json: &[u8], scanned: Option<T>) -> Option<T> {
    if let Some(scanned) = &scanned {
        let read: T = serde_json::from_slice(json).unwrap();
        assert_eq!(read, *scanned, "{}", String::from_utf8_lossy(json));
    }
    scanned
}

proptest! {
    #[test]
    fn what_is_scanned_is_what_serde_reads(header in header(), prediction in prediction()) {
        let mut scanner = Scanner::default();
        let json = serde_json::to_vec(&header).unwrap();
        agree(&json, scanner.header(&json));
        let json = serde_json::to_vec(&prediction).unwrap();
        agree(&json, scanner.prediction(&json));
    }

    #[test]
    fn a_changed_byte_is_read_alike_or_left_to_serde(
        header in header(), prediction in prediction(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let mut scanner = Scanner::default();
        let mut json = serde_json::to_vec(&header).unwrap();
        let place = at.index(json.len());
        json[place] = byte;
        agree(&json, scanner.header(&json));
        let mut json = serde_json::to_vec(&prediction).unwrap();
        let place = at.index(json.len());
        json[place] = byte;
        agree(&json, scanner.prediction(&json));
    }

    #[test]
    fn numbers_are_read_alike_or_left_to_serde(number in "-?[0-9]{1,20}(\\.[0-9]{0,20})?([eE][+-]?[0-9]{1,3})?") {
        let json = serde_json::to_string(&examples::prediction()).unwrap();
        for changed in [json.replace("0.75", &number), json.replace("2100", &number)] {
            agree(changed.as_bytes(), Scanner::default().prediction(changed.as_bytes()));
        }
    }
}

/// What gateways really write is scanned: else nothing would be won, and nobody would see.
#[test]
fn our_own_records_are_scanned() {
    let mut scanner = Scanner::default();
    for header in [examples::header(Kind::Prediction, 7), examples::bare_header(Kind::Health, 0)] {
        let json = serde_json::to_vec(&header).unwrap();
        assert!(agree(&json, scanner.header(&json)).is_some());
    }
    for score in [0.75, 1.0, 0.0, 0.9, 1e-7, 3.2e-5, 0.123_456_79] {
        let json = serde_json::to_vec(&Prediction { scores: vec![score; 2], ..examples::prediction() }).unwrap();
        assert!(agree(&json, scanner.prediction(&json)).is_some(), "{score}");
    }
}
