//! Where a dependency is: here (`embedded`), or at a URI. One string is the whole difference.

use std::{fmt, str::FromStr};

use daemon::config::without_secrets;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Where the broker is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MqttPlace {
    /// The role `broker` of this process.
    Embedded,
    /// `mqtt://host:port` or `mqtts://host:port`.
    Url(String),
}

/// Where the objects are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObjectsPlace {
    /// The role `objects` of this process.
    Embedded,
    /// `s3://bucket/prefix`.
    Uri(String),
}

impl FromStr for MqttPlace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "embedded" {
            return Ok(Self::Embedded);
        }
        match link::Options::new(text, "") {
            Ok(options) if options.credentials.is_some() => Err(String::from(
                "user name and password do not stand in the address: set mqtt_client.username and mqtt_client.password, \
                 best as \"env:NAME\" or \"file:/path\"",
            )),
            Ok(_) => Ok(Self::Url(text.to_owned())),
            Err(error) => Err(format!("{error}; or write \"embedded\"")),
        }
    }
}

impl FromStr for ObjectsPlace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "embedded" => Ok(Self::Embedded),
            uri if uri.starts_with("s3://") && uri.len() > 5 => Ok(Self::Uri(uri.to_owned())),
            other => Err(format!(
                "{:?} is not a place for objects: write \"embedded\" or \"s3://bucket/prefix\"",
                without_secrets(other)
            )),
        }
    }
}

impl fmt::Display for MqttPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded => f.write_str("embedded"),
            Self::Url(url) => f.write_str(url),
        }
    }
}

impl fmt::Display for ObjectsPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded => f.write_str("embedded"),
            Self::Uri(uri) => f.write_str(uri),
        }
    }
}

macro_rules! as_text {
    ($type:ty, $expecting:literal) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;
                impl de::Visitor<'_> for Text {
                    type Value = $type;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expecting)
                    }
                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$type, E> {
                        text.parse().map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(Text)
            }
        }
    };
}

as_text!(MqttPlace, "\"embedded\" or \"mqtt://host:1883\"");
as_text!(ObjectsPlace, "\"embedded\" or \"s3://bucket/prefix\"");
