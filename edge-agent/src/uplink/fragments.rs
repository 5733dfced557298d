//! A record that is longer than a message travels as fragments. Shorter ones go as they lie in the outbox's files.

use bytes::Bytes;
use contract::frame::{self, Address};

/// One record in messages no longer than `message_max`.
///
/// # Errors
/// A record longer than the archive lane takes; the outbox refuses those already.
pub fn fragments(address: Address, record: &[u8], message_max: usize) -> Result<Vec<Bytes>, frame::Error> {
    let ranges: Vec<_> = frame::fragments(record.len(), message_max)?.collect();
    let count = ranges.len() as u16;
    let message = |(index, range): (usize, std::ops::Range<usize>)| {
        let mut out = frame::MAGIC.to_vec();
        frame::write_frame(&mut out, address, index as u16, count, &record[range]);
        Bytes::from(out)
    };
    Ok(ranges.into_iter().enumerate().map(message).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::Epoch;

    #[test]
    fn a_long_record_is_whole_again() {
        let address = Address { epoch: Epoch(1), kind: 3, seq: 9 };
        let record: Vec<u8> = (0..1000u32).map(|i| i as u8).collect();
        let messages = fragments(address, &record, 300).unwrap();
        let mut whole = Vec::new();
        for message in &messages {
            assert!(message.len() <= 300);
            let frames: Vec<_> = frame::frames(message).map(Result::unwrap).collect();
            assert_eq!((frames.len(), frames[0].address, usize::from(frames[0].count)), (1, address, messages.len()));
            whole.extend_from_slice(frames[0].payload);
        }
        assert_eq!(whole, record);
    }
}
