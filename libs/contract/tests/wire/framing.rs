//! Properties of the framing: what was written reads back, and no damage is taken for data or brings a reader down.

use contract::{
    Epoch,
    frame::{self, Address, Error, RecordParts},
};
use proptest::prelude::*;

type Written = (Address, u16, u16, Vec<u8>);

fn any_frame() -> impl Strategy<Value = Written> {
    let address = (any::<u128>(), any::<u8>(), any::<u64>());
    (address, 0u16..50, 1u16..50, prop::collection::vec(any::<u8>(), 0..200)).prop_map(
        |((epoch, kind, seq), index, more, payload)| {
            (Address { epoch: Epoch(epoch), kind, seq }, index, index + more, payload)
        },
    )
}

fn bundle(frames: &[Written]) -> Vec<u8> {
    let mut out = frame::MAGIC.to_vec();
    for (address, index, count, payload) in frames {
        frame::write_frame(&mut out, *address, *index, *count, payload);
    }
    out
}

/// What can be read before the first error, and whether an error came.
fn read(message: &[u8]) -> (Vec<Written>, bool) {
    let mut out = Vec::new();
    for result in frame::frames(message) {
        match result {
            Ok(f) => out.push((f.address, f.index, f.count, f.payload.to_vec())),
            Err(_) => return (out, true),
        }
    }
    (out, false)
}

proptest! {
    #[test]
    fn what_was_written_reads_back(frames in prop::collection::vec(any_frame(), 0..8)) {
        prop_assert_eq!(read(&bundle(&frames)), (frames, false));
    }

    #[test]
    fn a_torn_bundle_gives_its_whole_frames_and_an_error(frames in prop::collection::vec(any_frame(), 1..4)) {
        let message = bundle(&frames);
        let mut ends = vec![frame::MAGIC.len()];
        ends.extend(frames.iter().scan(frame::MAGIC.len(), |at, (.., p)| { *at += frame::OVERHEAD + p.len(); Some(*at) }));
        for cut in 0..message.len() {
            let (whole, torn) = read(&message[..cut]);
            let expected = ends.iter().filter(|end| **end <= cut).count().saturating_sub(1);
            prop_assert_eq!(&whole[..], &frames[..expected], "cut at {}", cut);
            prop_assert_eq!(torn, !ends.contains(&cut), "cut at {}", cut);
        }
    }

    #[test]
    fn a_flipped_bit_is_never_taken_for_data(
        frames in prop::collection::vec(any_frame(), 1..4), at in any::<prop::sample::Index>(), bit in 0u8..8,
    ) {
        let mut message = bundle(&frames);
        let at = at.index(message.len());
        message[at] ^= 1 << bit;
        let (whole, error) = read(&message);
        prop_assert!(error, "bit {} of byte {} went unnoticed", bit, at);
        prop_assert_eq!(&whole[..], &frames[..whole.len()], "what came before the damage is intact");
    }

    #[test]
    fn arbitrary_bytes_never_bring_a_reader_down(mut bytes in prop::collection::vec(any::<u8>(), 0..300), magic: bool) {
        if magic && bytes.len() >= 4 {
            bytes[..4].copy_from_slice(frame::MAGIC);
        }
        let _ = read(&bytes);
        if let Ok(parts) = RecordParts::split(&bytes) {
            let _ = parts.parse_header();
            let _ = parts.parse_body::<contract::Sample>();
        }
    }

    #[test]
    fn fragments_cover_the_record_in_order(len in 0usize..100_000, message_max in 60usize..4000) {
        let ranges: Vec<_> = frame::fragments(len, message_max).unwrap().collect();
        prop_assert!(!ranges.is_empty());
        prop_assert_eq!(ranges[0].start, 0);
        prop_assert_eq!(ranges.last().unwrap().end, len);
        prop_assert!(ranges.windows(2).all(|w| w[0].end == w[1].start));
        for range in &ranges {
            prop_assert!(frame::MAGIC.len() + frame::OVERHEAD + range.len() <= message_max);
        }
    }
}

#[test]
fn nonsense_under_a_right_checksum_is_an_error() {
    let mut message = frame::MAGIC.to_vec();
    frame::write_frame(&mut message, Address { epoch: Epoch(1), kind: 1, seq: 0 }, 3, 3, b"x");
    assert!(matches!(frame::frames(&message).next(), Some(Err(Error::Fragment { index: 3, count: 3, .. }))));
    assert!(matches!(frame::frames(b"SLB2....").next(), Some(Err(Error::Magic))));
    assert!(frame::frames(b"SLB1").next().is_none());
}

#[test]
fn a_record_beyond_the_limits_is_refused_where_it_is_made() {
    assert!(matches!(frame::fragments(frame::RECORD_MAX + 1, frame::MESSAGE_MAX).err(), Some(Error::TooLong { .. })));
    assert!(frame::fragments(frame::RECORD_MAX, frame::MESSAGE_MAX).is_ok());
    assert!(matches!(frame::fragments(1 << 20, 50).err(), Some(Error::TooLong { .. })), "more than 65535 fragments");
    let header = crate::examples::header(contract::Kind::Sample, 0);
    let blob = vec![0; frame::RECORD_MAX];
    let error = frame::encode_record(&header, &crate::examples::sample(), &[&blob]).unwrap_err();
    assert!(matches!(error, Error::TooLong { .. }), "{error}");
}

#[test]
fn a_short_record_names_the_part_it_ends_in() {
    let header = crate::examples::header(contract::Kind::Event, 0);
    let record = frame::encode_record(&header, &crate::examples::event(), &[]).unwrap();
    let header_end = 4 + u32::from_le_bytes(record[..4].try_into().unwrap()) as usize;
    for cut in 0..record.len() {
        let part = if cut < header_end { "header" } else { "body" };
        let Err(Error::Short { part: named }) = RecordParts::split(&record[..cut]) else { panic!("cut at {cut}") };
        assert_eq!(named, part, "cut at {cut}");
    }
    assert!(RecordParts::split(&record).is_ok());
}
