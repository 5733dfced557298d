//! The MQTT topics: printed and parsed in one place.
//!
//! `<prefix>/live/…` is for people and programs, `<prefix>/up/…` for the hub's archive, `<prefix>/down/…` to a gateway.
//! The prefix (default `sightline`) may itself have several levels; `Topic` is what follows it.

use std::fmt;

use crate::{CameraId, GatewayId, Kind, Principal, RegionId, SiteId};

/// The prefix where configuration names none.
pub const DEFAULT_PREFIX: &str = "sightline";

/// One of Sightline's topics, without the prefix.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// Retained: birth, and the will `offline`. JSON [`crate::live::GatewayStatus`].
    Status(Principal),
    /// Retained twin document of the gateway. JSON [`crate::twin::Reported`].
    Reported(Principal),
    /// JSON [`crate::live::Live`]`<Health>`, every minute and on change.
    Health(Principal),
    /// Retained: online or why not. JSON [`crate::live::CameraStatus`].
    CameraStatus(Principal, CameraId),
    /// JPEG, by option, at a limited rate.
    Snapshot(Principal, CameraId),
    /// Retained stable label. JSON [`crate::live::RegionState`].
    State(Principal, CameraId, RegionId),
    /// JSON [`crate::live::Live`]`<Prediction>`.
    Prediction(Principal, CameraId, RegionId),
    /// JSON [`crate::live::Live`]`<Event>`.
    Event(Principal, CameraId, RegionId),
    /// Answers to commands.
    Reply(Principal),
    /// Bundles of framed records, see [`crate::frame`].
    Up(Principal, Kind),
    /// Retained twin document for the gateway. JSON [`crate::twin::Desired`].
    Desired(Principal),
    /// Retained watermark. JSON [`crate::Archived`].
    Archived(Principal),
    /// MQTT 5 requests with correlation and expiry.
    Command(Principal),
}

impl Topic {
    /// The whole topic name under `prefix`.
    pub fn under(&self, prefix: &str) -> String {
        format!("{prefix}/{self}")
    }

    /// Parses a whole topic name; `None` for one that is not ours.
    pub fn parse(prefix: &str, name: &str) -> Option<Self> {
        let rest = name.strip_prefix(prefix)?.strip_prefix('/')?;
        let levels: Vec<&str> = rest.split('/').collect();
        let (&[lane, site, gateway], rest) = levels.split_first_chunk()?;
        let who = Principal { site: site.parse().ok()?, gateway: gateway.parse().ok()? };
        Some(match (lane, rest) {
            ("live", ["status"]) => Self::Status(who),
            ("live", ["reported"]) => Self::Reported(who),
            ("live", ["health"]) => Self::Health(who),
            ("live", ["reply"]) => Self::Reply(who),
            ("live", [camera, "status"]) => Self::CameraStatus(who, camera.parse().ok()?),
            ("live", [camera, "snapshot"]) => Self::Snapshot(who, camera.parse().ok()?),
            ("live", [camera, region, "state"]) => Self::State(who, camera.parse().ok()?, region.parse().ok()?),
            ("live", [camera, region, "prediction"]) => {
                Self::Prediction(who, camera.parse().ok()?, region.parse().ok()?)
            }
            ("live", [camera, region, "event"]) => Self::Event(who, camera.parse().ok()?, region.parse().ok()?),
            ("up", [kind]) => Self::Up(who, kind.parse().ok()?),
            ("down", ["desired"]) => Self::Desired(who),
            ("down", ["archived"]) => Self::Archived(who),
            ("down", ["command"]) => Self::Command(who),
            _ => return None,
        })
    }

    /// Whose topic it is.
    pub fn principal(&self) -> &Principal {
        match self {
            Self::Status(who) | Self::Reported(who) | Self::Health(who) | Self::Reply(who) => who,
            Self::CameraStatus(who, _) | Self::Snapshot(who, _) => who,
            Self::State(who, ..) | Self::Prediction(who, ..) | Self::Event(who, ..) => who,
            Self::Up(who, _) | Self::Desired(who) | Self::Archived(who) | Self::Command(who) => who,
        }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(who) => write!(f, "live/{who}/status"),
            Self::Reported(who) => write!(f, "live/{who}/reported"),
            Self::Health(who) => write!(f, "live/{who}/health"),
            Self::Reply(who) => write!(f, "live/{who}/reply"),
            Self::CameraStatus(who, camera) => write!(f, "live/{who}/{camera}/status"),
            Self::Snapshot(who, camera) => write!(f, "live/{who}/{camera}/snapshot"),
            Self::State(who, camera, region) => write!(f, "live/{who}/{camera}/{region}/state"),
            Self::Prediction(who, camera, region) => write!(f, "live/{who}/{camera}/{region}/prediction"),
            Self::Event(who, camera, region) => write!(f, "live/{who}/{camera}/{region}/event"),
            Self::Up(who, kind) => write!(f, "up/{who}/{kind}"),
            Self::Desired(who) => write!(f, "down/{who}/desired"),
            Self::Archived(who) => write!(f, "down/{who}/archived"),
            Self::Command(who) => write!(f, "down/{who}/command"),
        }
    }
}

/// The hub's subscription to every gateway's archive lane.
pub fn all_up(prefix: &str) -> String {
    format!("{prefix}/up/+/+/+")
}

/// A gateway's subscription to everything that is for it.
pub fn all_down(prefix: &str, site: &SiteId, gateway: &GatewayId) -> String {
    format!("{prefix}/down/{site}/{gateway}/+")
}

/// Whether a text can stand as a topic prefix: levels of printable text without wildcards, `$` or empty levels.
pub fn is_valid_prefix(prefix: &str) -> bool {
    !prefix.starts_with('$')
        && prefix.len() <= 128
        && prefix.split('/').all(|level| !level.is_empty() && !level.contains(['+', '#', '\0']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_topic_parses_as_what_it_printed() {
        let who = Principal { site: "plant".parse().unwrap(), gateway: "gw-1".parse().unwrap() };
        let (camera, region): (CameraId, RegionId) = ("door".parse().unwrap(), RegionId::full());
        let mut topics = vec![
            Topic::Status(who.clone()),
            Topic::Reported(who.clone()),
            Topic::Health(who.clone()),
            Topic::Reply(who.clone()),
            Topic::CameraStatus(who.clone(), camera.clone()),
            Topic::Snapshot(who.clone(), camera.clone()),
            Topic::State(who.clone(), camera.clone(), region.clone()),
            Topic::Prediction(who.clone(), camera.clone(), region.clone()),
            Topic::Event(who.clone(), camera, region),
            Topic::Desired(who.clone()),
            Topic::Archived(who.clone()),
            Topic::Command(who.clone()),
        ];
        topics.extend(Kind::ALL.map(|kind| Topic::Up(who.clone(), kind)));
        for topic in topics {
            for prefix in ["sightline", "acme/sightline"] {
                assert_eq!(Topic::parse(prefix, &topic.under(prefix)), Some(topic.clone()));
            }
        }
    }

    #[test]
    fn foreign_topics_are_refused() {
        for name in [
            "sightline",
            "sightline/up/a/b",
            "sightline/up/a/b/video",
            "other/up/a/b/event",
            "sightline/up/A/b/event",
            "sightline/live/a/b/c/d/e/f",
        ] {
            assert_eq!(Topic::parse("sightline", name), None, "{name}");
        }
        assert!(
            is_valid_prefix("a/b") && !is_valid_prefix("a/#") && !is_valid_prefix("/a") && !is_valid_prefix("$SYS")
        );
    }
}
