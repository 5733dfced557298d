//! Looks through a segment's bytes for its records. Damage costs what it hit: the search goes on at the next valid frame,
//! which says itself which log, kind and number it is.

use contract::{Epoch, Kind, frame};

use super::segment::HEADER;

/// Where a record's frame lies in its segment; length 0 where the record is not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Offset in the file.
    pub at: u32,
    /// Length of the frame, its header included.
    pub len: u32,
}

/// What a segment holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// The records from the first number on.
    pub spans: Vec<Span>,
    /// Offset after the last valid frame.
    pub end: u64,
}

/// Whose frames are looked for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// The log.
    pub epoch: Epoch,
    /// The kind.
    pub kind: Kind,
    /// The segment's first number.
    pub first: u64,
    /// One past its last number, where that is known.
    pub next: Option<u64>,
}

/// A jump over more numbers than this is no hole but nonsense: the numbers' places cost memory.
const JUMP_MAX: u64 = 1 << 20;

/// Scans the bytes of a segment.
pub fn scan(bytes: &[u8], wanted: Wanted) -> Scan {
    let mut scan = Scan { spans: Vec::new(), end: HEADER.min(bytes.len()) as u64 };
    let mut at = HEADER;
    while at < bytes.len() {
        let expected = wanted.first + scan.spans.len() as u64;
        match frame_at(bytes, at, wanted, expected) {
            Some((seq, len)) => {
                scan.spans.resize((seq - wanted.first) as usize, Span::default());
                scan.spans.push(Span { at: at as u32, len: len as u32 });
                at += len;
                scan.end = at as u64;
            }
            None => match next_candidate(bytes, at + 1, wanted.epoch) {
                Some(next) => at = next,
                None => break,
            },
        }
    }
    if let Some(next) = wanted.next.filter(|next| next - wanted.first <= scan.spans.len() as u64 + JUMP_MAX) {
        scan.spans.resize((next - wanted.first) as usize, Span::default());
    }
    scan
}

/// A whole record of the wanted log at an offset: its number and its frame's length.
fn frame_at(bytes: &[u8], at: usize, wanted: Wanted, expected: u64) -> Option<(u64, usize)> {
    let frame = frame::first_frame(&bytes[at..]).ok()?;
    let address = frame.address;
    let ours = address.epoch == wanted.epoch && address.kind == wanted.kind.number() && frame.count == 1;
    let limit = wanted.next.unwrap_or(u64::MAX).min(expected.saturating_add(JUMP_MAX));
    let len = frame::OVERHEAD + frame.payload.len();
    (ours && (expected..limit).contains(&address.seq)).then_some((address.seq, len))
}

/// The next place where a frame of this log could begin: its epoch stands at byte 16 of it.
fn next_candidate(bytes: &[u8], from: usize, epoch: Epoch) -> Option<usize> {
    const EPOCH_AT: usize = 16;
    let pattern = epoch.0.to_be_bytes();
    let rest = bytes.get(from + EPOCH_AT..)?;
    let found = rest.windows(pattern.len()).position(|window| window[0] == pattern[0] && *window == pattern)?;
    Some(from + found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::segment::Header;
    use contract::{Timestamp, frame::Address};
    use proptest::prelude::*;

    const WANTED: Wanted = Wanted { epoch: Epoch(0xfeed << 64 | 7), kind: Kind::Event, first: 5, next: None };

    fn segment(records: &[(u64, usize)]) -> Vec<u8> {
        let Wanted { epoch, kind, first, .. } = WANTED;
        let mut out = Header { kind, epoch, first, made_at: Timestamp(0) }.encode().to_vec();
        for (seq, len) in records {
            let address = Address { epoch, kind: kind.number(), seq: *seq };
            frame::write_frame(&mut out, address, 0, 1, &vec![*seq as u8; *len]);
        }
        out
    }

    #[test]
    fn a_torn_tail_ends_after_the_last_whole_record() {
        let whole = segment(&[(5, 10), (6, 20)]);
        for cut in 1..60 {
            let scan = scan(&whole[..whole.len() - cut], WANTED);
            assert_eq!((scan.spans.len(), scan.end), (1, (HEADER + 50) as u64), "{cut} bytes fewer");
        }
        assert_eq!(
            scan(&whole, Wanted { next: Some(9), ..WANTED }).spans.len(),
            4,
            "a sealed name says what was there"
        );
    }

    #[test]
    fn frames_of_another_log_kind_or_past_are_not_taken() {
        let whole = segment(&[(5, 10), (6, 10), (5, 10), (7, 10)]);
        let found = scan(&whole, WANTED);
        assert_eq!(found.spans.iter().filter(|s| s.len > 0).count(), 3, "the second 5 is none");
        for other in [Wanted { epoch: Epoch(1), ..WANTED }, Wanted { kind: Kind::Gap, ..WANTED }] {
            assert!(scan(&whole, other).spans.is_empty());
        }
    }

    proptest! {
        /// Flipped bytes lose the records that they hit and no other.
        #[test]
        fn damage_costs_what_it_hits(
            lens in proptest::collection::vec(0usize..200, 1..20), flips in proptest::collection::vec(any::<prop::sample::Index>(), 0..4)
        ) {
            let records: Vec<_> = lens.iter().enumerate().map(|(i, len)| (5 + i as u64, *len)).collect();
            let mut bytes = segment(&records);
            let whole = scan(&bytes, WANTED);
            let mut hit = vec![false; records.len()];
            for flip in flips {
                let at = flip.index(bytes.len());
                bytes[at] ^= 0x55;
                for (span, hit) in whole.spans.iter().zip(&mut hit) {
                    *hit |= (span.at as usize..(span.at + span.len) as usize).contains(&at);
                }
            }
            let next = Some(5 + records.len() as u64);
            let after = scan(&bytes, Wanted { next, ..WANTED });
            for (i, span) in after.spans.iter().enumerate() {
                prop_assert!(*span == whole.spans[i] || hit[i], "record {} is lost and was not hit", i);
            }
        }
    }
}
