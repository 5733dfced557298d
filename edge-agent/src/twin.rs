//! Desired and reported state. In this version a desired document is read, its authority and generation are checked, and
//! `reported` answers; fetching models and settings comes later, and the answer says so. A pure machine.

use std::collections::BTreeMap;

use contract::{
    CameraId, Digest, RegionId, SCHEMA,
    twin::{Desired, Effective, Outcome, Reported, ReportedModel},
};
use serde::{Deserialize, Serialize};

/// A region's model, as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionModel {
    /// The camera.
    pub camera: CameraId,
    /// The region.
    pub region: RegionId,
    /// The package in use.
    pub digest: Option<Digest>,
    /// Named by the local file.
    pub pinned: bool,
}

/// The desired document that was last accepted; it survives a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// Who decides.
    pub authority: String,
    /// Its generation.
    pub generation: u64,
}

/// The machine.
#[derive(Clone, Debug)]
pub struct Twin {
    config: BTreeMap<String, Effective>,
    models: Vec<RegionModel>,
    accepted: Option<Accepted>,
    outcome: Outcome,
    reason: Option<String>,
}

impl Twin {
    /// Nothing desired yet in this run; `accepted` is what the last run had accepted.
    pub fn new(config: BTreeMap<String, Effective>, models: Vec<RegionModel>, accepted: Option<Accepted>) -> Self {
        Self { config, models, accepted, outcome: Outcome::None, reason: None }
    }

    /// A desired document came; an empty one takes the last back and changes nothing. Whether [`Twin::accepted`] is another
    /// than before, and must be kept.
    pub fn desired(&mut self, payload: &[u8]) -> bool {
        if payload.is_empty() {
            return false;
        }
        let before = self.accepted.clone();
        match serde_json::from_slice::<Desired>(payload) {
            Ok(desired) => self.apply(&desired),
            Err(error) => self.refuse(format!("the desired document cannot be read: {error}")),
        }
        self.accepted != before
    }

    /// What was last accepted.
    pub fn accepted(&self) -> Option<&Accepted> {
        self.accepted.as_ref()
    }

    fn apply(&mut self, desired: &Desired) {
        // Generations of another authority say nothing about ours: its first one counts.
        let known = self.accepted.as_ref().filter(|accepted| accepted.authority == desired.authority);
        if let Some(newer) = known.map(|accepted| accepted.generation).filter(|newer| desired.generation < *newer) {
            let old = desired.generation;
            return self.refuse(format!("generation {old} is older than {newer}, which is in force"));
        }
        self.accepted = Some(Accepted { authority: desired.authority.clone(), generation: desired.generation });
        self.outcome = Outcome::Accepted;
        self.reason = self.not_applied(desired);
    }

    fn not_applied(&self, desired: &Desired) -> Option<String> {
        let mut not = Vec::new();
        for wanted in &desired.models {
            let (camera, region) = (&wanted.camera, &wanted.region);
            match self.models.iter().find(|m| m.camera == *camera && m.region == *region) {
                None => not.push(format!("{camera}/{region}: there is no such region")),
                Some(model) if model.digest == Some(wanted.digest) => {}
                Some(model) if model.pinned => not.push(format!("{camera}/{region}: pinned by the local file")),
                Some(_) => not.push(format!("{camera}/{region}: this version does not fetch models")),
            }
        }
        if !desired.config.is_empty() {
            let keys: Vec<&str> = desired.config.keys().map(String::as_str).collect();
            not.push(format!("{}: this version does not take settings from the hub", keys.join(", ")));
        }
        (!not.is_empty()).then(|| not.join("; "))
    }

    fn refuse(&mut self, reason: String) {
        self.outcome = Outcome::Refused;
        self.reason = Some(reason);
    }

    /// The document to report.
    pub fn reported(&self) -> Reported {
        let model = |m: &RegionModel| ReportedModel {
            camera: m.camera.clone(),
            region: m.region.clone(),
            digest: m.digest,
            pinned: m.pinned,
        };
        Reported {
            schema: SCHEMA,
            authority: self.accepted.as_ref().map(|accepted| accepted.authority.clone()),
            generation: self.accepted.as_ref().map_or(0, |accepted| accepted.generation),
            outcome: self.outcome,
            reason: self.reason.clone(),
            config: self.config.clone(),
            models: self.models.iter().map(model).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn twin() -> Twin {
        let model = |region: &str, pinned| RegionModel {
            camera: "c".parse().unwrap(),
            region: region.parse().unwrap(),
            digest: Some(Digest([1; 32])),
            pinned,
        };
        Twin::new(BTreeMap::new(), vec![model("free", false), model("fixed", true)], None)
    }

    fn desired(authority: &str, generation: u64, region: &str, digest: u8) -> Vec<u8> {
        let digest = Digest([digest; 32]);
        let models = serde_json::json!([{"camera": "c", "region": region, "digest": digest, "url": "u"}]);
        let document = serde_json::json!({
            "schema": 1, "authority": authority, "generation": generation, "models": models, "later": true
        });
        document.to_string().into_bytes()
    }

    #[test]
    fn generations_go_forward_within_one_authority() {
        let mut twin = twin();
        twin.desired(&desired("a", 7, "free", 1));
        assert_eq!(
            (twin.reported().generation, twin.reported().outcome, twin.reported().reason),
            (7, Outcome::Accepted, None)
        );
        twin.desired(&desired("a", 6, "free", 1));
        assert_eq!((twin.reported().generation, twin.reported().outcome), (7, Outcome::Refused));
        twin.desired(&desired("b", 1, "free", 1));
        assert_eq!((twin.reported().generation, twin.reported().outcome), (1, Outcome::Accepted));
        twin.desired(b"{");
        assert!(twin.reported().reason.unwrap().contains("cannot be read"));
    }

    #[test]
    fn a_generation_is_not_forgotten_by_a_restart() {
        let mut first = twin();
        assert!(first.desired(&desired("a", 7, "free", 1)) && !first.desired(&desired("a", 7, "free", 1)));
        let mut second = Twin::new(BTreeMap::new(), Vec::new(), first.accepted().cloned());
        assert_eq!((second.reported().generation, second.reported().outcome), (7, Outcome::None));
        assert!(!second.desired(&desired("a", 6, "free", 1)));
        assert_eq!((second.reported().generation, second.reported().outcome), (7, Outcome::Refused));
        assert!(second.desired(&desired("a", 8, "free", 1)));
    }

    #[test]
    fn what_is_not_applied_is_said() {
        for (region, part) in [("free", "does not fetch models"), ("fixed", "pinned"), ("none", "no such region")] {
            let mut twin = twin();
            twin.desired(&desired("a", 1, region, 2));
            assert!(twin.reported().reason.unwrap().contains(part));
        }
    }
}
