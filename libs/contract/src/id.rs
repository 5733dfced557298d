//! Ids are types, never bare strings: what holds one has been checked.

use std::{
    fmt::{self, Write as _},
    str::FromStr,
    sync::Arc,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} `{text}` is not valid: {why}")]
pub struct InvalidId {
    what: &'static str,
    text: String,
    why: &'static str,
}

const NAME_RULE: &str = "use 1 to 63 of a-z, 0-9 and `-`, beginning with a letter or digit";

pub(crate) fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    let plain = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    (1..=63).contains(&bytes.len()) && plain(&bytes[0]) && bytes.iter().all(|b| plain(b) || *b == b'-')
}

macro_rules! name_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Of a text that was found to be a name.
            pub(crate) fn of_name(name: Arc<str>) -> Self {
                Self(name)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                if is_name(text) {
                    Ok(Self(text.into()))
                } else {
                    Err(InvalidId { what: $what, text: text.to_owned(), why: NAME_RULE })
                }
            }
        }

        text_form!($name);
    };
}

/// Display, Debug and serde of a type whose wire form is its text.
macro_rules! text_form {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.as_str())
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.as_str())
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
                text.parse().map_err(de::Error::custom)
            }
        }
    };
}

name_id!(
    /// A place with gateways; unique within a hub's topic prefix.
    SiteId,
    "site id"
);
name_id!(
    /// One camera gateway; unique within its site.
    GatewayId,
    "gateway id"
);
name_id!(
    /// One camera of a gateway.
    CameraId,
    "camera id"
);
name_id!(
    /// One region of a camera's picture.
    RegionId,
    "region id"
);

impl RegionId {
    /// The region that stands for the whole picture when a camera names none.
    pub fn full() -> Self {
        Self("full".into())
    }
}

/// Who a gateway is: MQTT user name and certificate common name, `<site>/<gateway>`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Principal {
    /// The gateway's site.
    pub site: SiteId,
    /// The gateway in its site.
    pub gateway: GatewayId,
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.site, self.gateway)
    }
}

/// A random 128-bit id of one record log, unordered; written as 32 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(pub u128);

impl Epoch {
    /// The epoch as its wire text.
    pub fn as_str(&self) -> String {
        let mut text = String::with_capacity(32);
        push_hex(&mut text, &self.0.to_be_bytes());
        text
    }
}

impl FromStr for Epoch {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = || InvalidId { what: "epoch", text: text.to_owned(), why: "expected 32 lower-case hex digits" };
        if text.len() != 32 || !text.bytes().all(is_lower_hex) {
            return Err(invalid());
        }
        u128::from_str_radix(text, 16).map(Self).map_err(|_| invalid())
    }
}

text_form!(Epoch);

/// Which frame: the log's epoch, the camera, and the camera's frame counter in that epoch.
///
/// Written `<epoch>_<camera>_<counter>`: without dots, since WebDataset cuts a sample's key at the first dot.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FrameId {
    /// The log that the frame's records belong to.
    pub epoch: Epoch,
    /// The camera that saw it.
    pub camera: CameraId,
    /// The camera's frame number in this epoch, from 0.
    pub counter: u64,
}

impl FrameId {
    /// The frame id as its wire text.
    pub fn as_str(&self) -> String {
        let mut text = String::with_capacity(32 + self.camera.as_str().len() + 22);
        push_hex(&mut text, &self.epoch.0.to_be_bytes());
        text.push('_');
        text.push_str(self.camera.as_str());
        let _ = write!(text, "_{}", self.counter); // writing to a String cannot fail
        text
    }
}

impl FromStr for FrameId {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid =
            || InvalidId { what: "frame id", text: text.to_owned(), why: "expected <epoch>_<camera>_<counter>" };
        let mut parts = text.split('_');
        let (Some(epoch), Some(camera), Some(counter), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(invalid());
        };
        Ok(Self {
            epoch: epoch.parse().map_err(|_| invalid())?,
            camera: camera.parse().map_err(|_| invalid())?,
            counter: counter.parse().map_err(|_| invalid())?,
        })
    }
}

text_form!(FrameId);

/// A SHA-256, written `sha256:` and 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest as its wire text.
    pub fn as_str(&self) -> String {
        let mut text = String::with_capacity(71);
        text.push_str("sha256:");
        push_hex(&mut text, &self.0);
        text
    }

    /// The 64 hex digits alone, as `sha256sum` prints them.
    pub fn hex(&self) -> String {
        let mut text = String::with_capacity(64);
        push_hex(&mut text, &self.0);
        text
    }
}

/// Two lower-case hex digits a byte. Every row of the lake has three such texts: `format!` for each byte was a fifth of what
/// a row cost.
fn push_hex(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        let digit = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble)]);
        text.push(digit(byte >> 4));
        text.push(digit(byte & 0xf));
    }
}

impl FromStr for Digest {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = || InvalidId {
            what: "digest",
            text: text.to_owned(),
            why: "expected sha256: and 64 lower-case hex digits",
        };
        let hex = text.strip_prefix("sha256:").ok_or_else(invalid)?;
        if hex.len() != 64 || !hex.bytes().all(is_lower_hex) {
            return Err(invalid());
        }
        let mut out = [0; 32];
        for (byte, pair) in out.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| invalid())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| invalid())?;
        }
        Ok(Self(out))
    }
}

text_form!(Digest);

fn is_lower_hex(b: u8) -> bool {
    b.is_ascii_digit() || (b'a'..=b'f').contains(&b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rule() {
        for good in ["a", "0", "dock-3", &"x".repeat(63)] {
            assert_eq!(good.parse::<SiteId>().unwrap().as_str(), good);
        }
        for bad in ["", "-a", "A", "a/b", "a_b", "a.b", "ä", &"x".repeat(64)] {
            let error = bad.parse::<CameraId>().unwrap_err().to_string();
            assert!(error.contains("camera id") && error.contains(bad), "{error}");
        }
    }

    #[test]
    fn composite_ids_round_trip() {
        let frame = "0123456789abcdef0123456789abcdef_front-door_42";
        assert_eq!(frame.parse::<FrameId>().unwrap().to_string(), frame);
        assert!("0123_front_1".parse::<FrameId>().is_err());
        let digest = format!("sha256:{}", "0f".repeat(32));
        assert_eq!(digest.parse::<Digest>().unwrap().to_string(), digest);
        assert!(digest.to_uppercase().parse::<Digest>().is_err());
    }
}
