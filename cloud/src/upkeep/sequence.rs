//! Whether a log is complete: each of its numbers is in one object, was removed by a rule, or is explained by a gap. Pure.

use std::collections::{BTreeMap, HashMap};

use contract::{Epoch, Gap, GatewayId, Kind, Principal, SiteId};
use serde::Serialize;
use store::lake_index::{Format, Manifest, Object, RangeSet, StreamId};

use super::choose::stream_of;

/// What became of the numbers of one log and kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sequence {
    /// The gateway's site.
    pub site: SiteId,
    /// The gateway.
    pub gateway: GatewayId,
    /// The log.
    pub epoch: Epoch,
    /// The kind.
    pub kind: Kind,
    /// One past the highest number that is committed.
    pub end: u64,
    /// Numbers whose records are in the lake.
    pub archived: u64,
    /// Numbers removed, by rule.
    pub removed: BTreeMap<String, u64>,
    /// Numbers that gaps stand for, by reason.
    pub gaps: BTreeMap<String, u64>,
    /// Numbers below `end` that are neither committed nor explained.
    pub missing: RangeSet,
    /// Numbers that are committed although no object holds them and nothing explains it: lost.
    pub lost: RangeSet,
    /// Numbers in an object that are not committed: their gateway will send them again.
    pub not_committed: RangeSet,
    /// Numbers that are in more than one object.
    pub doubled: RangeSet,
}

impl Sequence {
    /// Whether nothing is wrong with it.
    pub fn is_clean(&self) -> bool {
        [&self.missing, &self.lost, &self.not_committed, &self.doubled].iter().all(|set| set.is_empty())
    }
}

/// What is known of one stream's numbers.
#[derive(Default)]
struct Numbers {
    committed: RangeSet,
    held: RangeSet,
    doubled: RangeSet,
    archived: RangeSet,
    removed: BTreeMap<String, RangeSet>,
    gaps: BTreeMap<String, RangeSet>,
}

/// Every log of the manifest. `gaps` are the rows of kind gap; `rules` name the rule of each record of removal.
pub fn sequences(manifest: &Manifest, gaps: &[(Principal, Gap)], rules: &HashMap<String, String>) -> Vec<Sequence> {
    let mut streams: BTreeMap<StreamId, Numbers> = BTreeMap::new();
    for stream in &manifest.streams {
        streams.entry(stream.id).or_default().committed = stream.committed.clone();
    }
    for object in manifest.objects.iter().filter(|object| object.format.accounts()) {
        for holding in &object.holds {
            streams.entry(stream_of(holding)).or_default().hold(object, &holding.ranges, rules);
        }
    }
    for (_, gap) in gaps {
        let numbers = streams.entry(StreamId { epoch: gap.epoch, kind: gap.kind }).or_default();
        numbers.gaps.entry(gap.reason.to_string()).or_default().insert_range(gap.from, gap.to);
    }
    let owners: HashMap<Epoch, &Principal> = manifest.epochs.iter().map(|e| (e.epoch, &e.owner)).collect();
    let known = |(id, numbers): (StreamId, Numbers)| {
        let owner = owners.get(&id.epoch).copied().or_else(|| {
            let by = gaps.iter().find(|(_, gap)| gap.epoch == id.epoch);
            by.map(|(who, _)| who)
        });
        Some(numbers.judge(id, owner?))
    };
    streams.into_iter().filter_map(known).collect()
}

impl Numbers {
    fn hold(&mut self, object: &Object, ranges: &RangeSet, rules: &HashMap<String, String>) {
        self.doubled.extend(&self.held.intersection(ranges));
        self.held.extend(ranges);
        match object.format {
            Format::Removed => {
                let rule = rules.get(&object.key).map_or("a rule that cannot be read", String::as_str);
                self.removed.entry(rule.to_owned()).or_default().extend(ranges);
            }
            Format::Dead => self.gaps.entry("rejected".to_owned()).or_default().extend(ranges),
            Format::Parquet | Format::Newer | Format::Shard => self.archived.extend(ranges),
        }
    }

    fn judge(self, id: StreamId, owner: &Principal) -> Sequence {
        let mut explained = self.held.clone();
        let mut by_reason = BTreeMap::new();
        for (reason, ranges) in &self.gaps {
            // a gap may speak of numbers that came after all: those are archived
            by_reason.insert(reason.clone(), ranges.without(&self.archived).count());
            explained.extend(ranges);
        }
        let mut accounted = self.committed.clone();
        accounted.extend(&explained);
        let end = accounted.end();
        let all = RangeSet::from(vec![[0, end]]);
        Sequence {
            site: owner.site.clone(),
            gateway: owner.gateway.clone(),
            epoch: id.epoch,
            kind: id.kind,
            end,
            archived: self.archived.count(),
            removed: self.removed.iter().map(|(rule, ranges)| (rule.clone(), ranges.count())).collect(),
            gaps: by_reason,
            missing: all.without(&accounted),
            lost: self.committed.without(&explained),
            not_committed: self.held.without(&self.committed),
            doubled: self.doubled,
        }
    }
}
