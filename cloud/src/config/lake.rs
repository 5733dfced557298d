//! `[lake]` and `[retention]`: how the lake is kept small, and how long records are kept.

use std::time::Duration;

use contract::Kind;
use daemon::config::{Bytes, Problems, Span};
use serde::{Deserialize, Serialize};

use crate::upkeep::{Keep, Rules};

/// The shortest grace of objects without a commit: ingest stores its objects again when a commit takes a third of it.
const ORPHAN_GRACE_MIN: Duration = Duration::from_secs(3600);

/// `[lake]`: the lake's upkeep.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LakeSection {
    /// Time between two turns of upkeep.
    pub upkeep_interval: Span,
    /// How long an hour must be over to be compacted.
    pub compact_after: Span,
    /// How long readers that started earlier may use objects that were compacted or removed.
    pub reader_grace: Span,
    /// How old an object that no commit names must be to be deleted.
    pub orphan_grace: Span,
}

impl Default for LakeSection {
    fn default() -> Self {
        Self {
            upkeep_interval: Span::from_secs(300),
            compact_after: Span::from_secs(3600),
            reader_grace: Span::from_secs(3600),
            orphan_grace: Span::from_secs(86_400),
        }
    }
}

impl LakeSection {
    /// Mistakes that no single value shows.
    pub fn check(&self, problems: &mut Problems) {
        if self.upkeep_interval.get() < Duration::from_millis(100) {
            problems.add("lake.upkeep_interval", "must be at least 100ms");
        }
        if self.orphan_grace.get() < ORPHAN_GRACE_MIN {
            problems.add("lake.orphan_grace", "must be at least 1h, so that no commit under way loses its objects");
        }
    }
}

/// `[retention]`: how long records are kept. Without a rule for ever; gap records always.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RetentionSection {
    /// Predictions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prediction: Option<Rule>,
    /// Events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<Rule>,
    /// Samples: rows and pictures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample: Option<Rule>,
    /// Health records.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Rule>,
}

/// What of a kind is kept; whole hours go, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rule {
    /// Hours whose last row is older go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age: Option<Span>,
    /// Over so many bytes, the oldest hours go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<Bytes>,
}

impl RetentionSection {
    /// The rules by kind.
    pub fn rules(&self) -> Rules {
        let all = [
            (Kind::Prediction, &self.prediction),
            (Kind::Event, &self.event),
            (Kind::Sample, &self.sample),
            (Kind::Health, &self.health),
        ];
        let keep = |rule: &Rule| Keep { age: rule.age.map(Span::get), bytes: rule.bytes.map(Bytes::get) };
        all.into_iter().filter_map(|(kind, rule)| Some((kind, keep(rule.as_ref()?)))).collect()
    }
}
