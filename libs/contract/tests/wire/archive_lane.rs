//! The archive lane's bytes: each record kind, a bundle of several, and a record cut into fragments.

use contract::{
    Kind,
    frame::{self, Address, RecordParts},
};

use crate::{examples as ex, golden::check_bytes};

fn record(kind: Kind) -> Vec<u8> {
    let full = ex::header(kind, 7);
    match kind {
        Kind::Prediction => frame::encode_record(&full, &ex::prediction(), &[]),
        Kind::Event => frame::encode_record(&full, &ex::event(), &[]),
        Kind::Sample => frame::encode_record(&full, &ex::sample(), &[ex::PICTURE, ex::INPUT]),
        Kind::Health => frame::encode_record(&ex::bare_header(kind, 7), &ex::health(), &[]),
        Kind::Gap => frame::encode_record(&ex::bare_header(kind, 7), &ex::gap(), &[]),
        Kind::Clip => unreachable!("reserved"),
    }
    .unwrap()
}

fn address(kind: Kind) -> Address {
    Address { epoch: ex::EPOCH, kind: kind.number(), seq: 7 }
}

const WRITTEN: [Kind; 5] = [Kind::Prediction, Kind::Event, Kind::Sample, Kind::Health, Kind::Gap];

#[test]
fn every_record_kind_keeps_its_bytes() {
    for kind in WRITTEN {
        let bytes = record(kind);
        check_bytes(&format!("record-{kind}.bin"), &bytes);
        let parts = RecordParts::split(&bytes).unwrap();
        assert_eq!(parts.parse_header().unwrap().kind, kind);
    }
    let bytes = record(Kind::Sample);
    let parts = RecordParts::split(&bytes).unwrap();
    assert_eq!(parts.parse_body::<contract::Sample>().unwrap(), ex::sample());
    assert_eq!(parts.blobs, [ex::PICTURE, ex::INPUT].concat());
}

#[test]
fn a_bundle_keeps_its_bytes() {
    let mut bundle = frame::MAGIC.to_vec();
    for kind in WRITTEN {
        frame::write_frame(&mut bundle, address(kind), 0, 1, &record(kind));
    }
    check_bytes("bundle.bin", &bundle);
    let frames: Vec<_> = frame::frames(&bundle).collect::<Result<_, _>>().unwrap();
    assert_eq!(frames.len(), WRITTEN.len());
    for (frame, kind) in frames.iter().zip(WRITTEN) {
        assert_eq!((frame.version, frame.address, frame.index, frame.count), (frame::VERSION, address(kind), 0, 1));
        assert_eq!(frame.payload, record(kind));
    }
}

#[test]
fn fragments_keep_their_bytes_and_make_the_record_again() {
    let record = record(Kind::Sample);
    let message_max = 512;
    let ranges: Vec<_> = frame::fragments(record.len(), message_max).unwrap().collect();
    assert!(ranges.len() > 2);
    let mut whole = Vec::new();
    for (index, range) in ranges.iter().enumerate() {
        let mut message = frame::MAGIC.to_vec();
        frame::write_frame(
            &mut message,
            address(Kind::Sample),
            index as u16,
            ranges.len() as u16,
            &record[range.clone()],
        );
        assert!(message.len() <= message_max);
        check_bytes(&format!("fragment-{index}.bin"), &message);
        let read = frame::frames(&message).next().unwrap().unwrap();
        assert_eq!((usize::from(read.index), usize::from(read.count)), (index, ranges.len()));
        whole.extend_from_slice(read.payload);
    }
    assert_eq!(whole, record);
}
