//! Page tokens: opaque to clients, and good only for the query that gave them.
//!
//! A token holds the query's resolved time range, so that a query without `to` does not slide while it is paged
//! through, and a checksum over itself and the query's filters.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use contract::{Epoch, Timestamp};

use super::problem::{Problem, Slug};

const VERSION: u8 = 1;
const LEN: usize = 1 + 8 + 8 + 8 + 16 + 8 + 4;

/// A place in a query's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// The query's range, as it was resolved for the first page.
    pub from: Timestamp,
    /// Its end.
    pub to: Timestamp,
    /// `corrected_at` of the last row given.
    pub at: Timestamp,
    /// Its log.
    pub epoch: Epoch,
    /// Its number.
    pub seq: u64,
}

impl Token {
    /// The token's text; `filters` is the query without `cursor` and `limit`, in any fixed form.
    pub fn encode(&self, filters: &str) -> String {
        let mut bytes = Vec::with_capacity(LEN);
        bytes.push(VERSION);
        for moment in [self.from, self.to, self.at] {
            bytes.extend_from_slice(&moment.0.to_be_bytes());
        }
        bytes.extend_from_slice(&self.epoch.0.to_be_bytes());
        bytes.extend_from_slice(&self.seq.to_be_bytes());
        bytes.extend_from_slice(&checksum(&bytes, filters));
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads a token that the same query gave.
    pub fn decode(text: &str, filters: &str) -> Result<Self, Problem> {
        let foreign = || {
            Problem::new(
                Slug::BadCursor,
                "cursor: pass next_cursor of the page before, unchanged, with the same other parameters",
            )
        };
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| foreign())?;
        let bytes: &[u8; LEN] = bytes.as_slice().try_into().map_err(|_| foreign())?;
        let (content, sum) = bytes.split_at(LEN - 4);
        if content[0] != VERSION || checksum(content, filters) != sum {
            return Err(foreign());
        }
        let eight = |at: usize| <[u8; 8]>::try_from(&content[at..at + 8]).map_err(|_| foreign());
        let moment = |at| eight(at).map(|bytes| Timestamp(i64::from_be_bytes(bytes)));
        let epoch = <[u8; 16]>::try_from(&content[25..41]).map_err(|_| foreign())?;
        Ok(Self {
            from: moment(1)?,
            to: moment(9)?,
            at: moment(17)?,
            epoch: Epoch(u128::from_be_bytes(epoch)),
            seq: u64::from_be_bytes(eight(41)?),
        })
    }
}

fn checksum(content: &[u8], filters: &str) -> [u8; 4] {
    crc32c::crc32c_append(crc32c::crc32c(content), filters.as_bytes()).to_be_bytes()
}

/// Pages over names: the token is the last name given.
pub mod names {
    use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};

    use super::{Problem, Slug};

    /// The token after `name`.
    pub fn encode(name: &str) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(name)
    }

    /// The name that a token stands for.
    pub fn decode(text: &str) -> Result<String, Problem> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok();
        let name = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        name.ok_or_else(|| Problem::new(Slug::BadCursor, "cursor: pass next_cursor of the page before, unchanged"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_for_its_query_only() {
        let token = Token { from: Timestamp(-5), to: Timestamp(7), at: Timestamp(6), epoch: Epoch(1 << 100), seq: 9 };
        let text = token.encode("prediction site=a");
        assert_eq!(Token::decode(&text, "prediction site=a").unwrap(), token);
        assert!(Token::decode(&text, "prediction site=b").is_err());
        for at in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(Token::decode(&changed, "prediction site=a").is_err(), "{changed}");
        }
        for bad in ["", "?", "AAAA", &text[1..], &format!("{text}AA")] {
            assert!(Token::decode(bad, "prediction site=a").is_err(), "{bad}");
        }
        assert_eq!(names::decode(&names::encode("a/b/c")).unwrap(), "a/b/c");
    }
}
