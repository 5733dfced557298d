//! The kinds of record; each is a log of its own on the gateway and a partition of its own in the lake.

use std::{collections::BTreeMap, fmt, marker::PhantomData, str::FromStr};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{IgnoredAny, MapAccess, Visitor},
};

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// What the model said of one region of one frame.
    Prediction,
    /// The stable label of a region changed.
    Event,
    /// A kept picture, with what the model saw.
    Sample,
    /// How the gateway is.
    Health,
    /// What is missing from another kind's log, and why; never dropped.
    Gap,
    /// Reserved: video itself is archived by later versions. Nothing writes it yet.
    Clip,
}

impl Kind {
    /// Every kind, in the order of their wire numbers.
    pub const ALL: [Kind; 6] = [Kind::Prediction, Kind::Event, Kind::Sample, Kind::Health, Kind::Gap, Kind::Clip];

    /// The kind's name in topics, paths and documents.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Prediction => "prediction",
            Kind::Event => "event",
            Kind::Sample => "sample",
            Kind::Health => "health",
            Kind::Gap => "gap",
            Kind::Clip => "clip",
        }
    }

    /// The kind's number in frames.
    pub fn number(self) -> u8 {
        self as u8 + 1
    }

    /// The kind of a frame's number; `None` for a kind that this version does not know.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }
}

/// Reads a map by kind and passes over the kinds that this version does not know: a newer gateway or hub has more.
pub(crate) fn known<'de, D, T>(deserializer: D) -> Result<BTreeMap<Kind, T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct Known<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Known<T> {
        type Value = BTreeMap<Kind, T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a map by kind of record")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
            let mut map = BTreeMap::new();
            while let Some(name) = entries.next_key::<String>()? {
                match name.parse() {
                    Ok(kind) => drop(map.insert(kind, entries.next_value()?)),
                    Err(UnknownKind(_)) => drop(entries.next_value::<IgnoredAny>()?),
                }
            }
            Ok(map)
        }
    }

    deserializer.deserialize_map(Known(PhantomData))
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text names no kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a kind of record: expected prediction, event, sample, health, gap or clip")]
pub struct UnknownKind(String);

impl FromStr for Kind {
    type Err = UnknownKind;
    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        Self::ALL.into_iter().find(|kind| kind.name() == text).ok_or_else(|| UnknownKind(text.to_owned()))
    }
}
