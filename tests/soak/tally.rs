//! What the lake holds: the objects that its manifest names, their rows read from the Parquet themselves; and the judgement
//! whether that is what the agents wrote, once each.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    fmt,
};

use anyhow::{Context, Result, ensure};
use contract::{Epoch, Kind};
use serde_json::Value;
use world::{Hub, Lake, Row};

use crate::written::Written;

/// Reasons that a full disk gives a gap.
const FULL: [&str; 2] = ["disk", "overflow"];

/// The lake's rows, by the object that holds them: an object that is compacted takes its rows with it.
#[derive(Default)]
pub struct Tally {
    objects: BTreeMap<String, Vec<Fact>>,
    /// Objects without rows that are no pictures: records that could not be read, or that have another's number.
    odd: BTreeSet<String>,
}

/// What is kept of a row.
struct Fact {
    epoch: Epoch,
    kind: Kind,
    seq: u64,
    captured: i64,
    gap: Option<Gap>,
}

struct Gap {
    epoch: Epoch,
    kind: Kind,
    from: u64,
    to: u64,
    reason: String,
}

/// What one gateway's numbers became.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Numbers that the agents gave, as far as was asked.
    pub written: u64,
    /// Rows of these logs in the lake, all.
    pub rows: u64,
    /// Numbers that a gap with an acceptable reason stands for, by reason.
    pub gaps: BTreeMap<String, u64>,
    /// Numbers without a row and without such a gap.
    pub lost: u64,
    /// Rows beyond the first of their number.
    pub doubled: u64,
    /// What is wrong, for people; the first of each.
    pub wrong: Vec<String>,
}

impl Tally {
    /// Reads what is new in the lake.
    pub fn update(&mut self, hub: &Hub) -> Result<()> {
        let (listed, code) = hub.command(&["lake", "ls", "--json"])?;
        ensure!(code == Some(0), "`lake ls` ended with {code:?}");
        let mut live = BTreeSet::new();
        for line in listed.lines() {
            let object: Value = serde_json::from_str(line).context("a line of `lake ls` is not JSON")?;
            let key = object["key"].as_str().context("an object without a key")?;
            match object["format"].as_str() {
                Some("parquet") => drop(live.insert(key.to_owned())),
                Some("shard") => {}
                _ => drop(self.odd.insert(key.to_owned())),
            }
        }
        self.objects.retain(|key, _| live.contains(key));
        let lake = hub.lake()?;
        for key in live {
            if let Entry::Vacant(new) = self.objects.entry(key) {
                let facts = facts(&lake, new.key()).with_context(|| format!("read {}", new.key()))?;
                new.insert(facts);
            }
        }
        Ok(())
    }

    /// Holds the lake against what one gateway wrote. `full`: its disk has been full before, and may have cost records;
    /// `ended`: it writes no more, so that nothing beyond what was read can be in the lake.
    pub fn judge(&self, written: &Written, full: bool, ended: bool) -> Verdict {
        let mut verdict = Verdict::default();
        let Some(epoch) = written.epoch else { return verdict };
        let mut rows: BTreeMap<Kind, BTreeMap<u64, (u64, i64)>> = BTreeMap::new();
        for fact in self.facts().filter(|fact| fact.epoch == epoch) {
            rows.entry(fact.kind).or_default().entry(fact.seq).or_insert((0, fact.captured)).0 += 1;
        }
        let gaps: Vec<&Gap> = self.facts().filter_map(|fact| fact.gap.as_ref()).filter(|g| g.epoch == epoch).collect();
        for (kind, next) in &written.next {
            let here = rows.remove(kind).unwrap_or_default();
            let gaps = gaps.iter().filter(|gap| gap.kind == *kind).copied().collect::<Vec<_>>();
            verdict.kind(*kind, *next, &here, &gaps, full);
            verdict.contents(*kind, &here, written);
            let beyond = here.range(next..).count() as u64;
            if ended && beyond > 0 {
                verdict.wrong.push(format!("{beyond} rows of {kind} from number {next} on, where the log ends"));
            }
        }
        for (kind, here) in rows.into_iter().filter(|_| ended) {
            verdict.doubled += here.len() as u64;
            verdict.wrong.push(format!("{} rows of {kind}, of which the log has none", here.len()));
        }
        verdict
    }

    /// Objects that should not be there: every record can be read, and no number is given twice.
    pub fn odd(&self) -> impl Iterator<Item = String> {
        self.odd.iter().map(|key| format!("{key} is in the lake, where every record is readable and alone"))
    }

    /// Rows of logs that nobody knows; the hub's own gaps about a gateway's records would be among them.
    pub fn strangers(&self, known: &BTreeSet<Epoch>) -> u64 {
        self.facts().filter(|fact| !known.contains(&fact.epoch)).count() as u64
    }

    fn facts(&self) -> impl Iterator<Item = &Fact> {
        self.objects.values().flatten()
    }
}

impl Verdict {
    fn kind(&mut self, kind: Kind, next: u64, here: &BTreeMap<u64, (u64, i64)>, gaps: &[&Gap], full: bool) {
        self.written += next;
        let (mut lost, mut doubled) = (Vec::new(), Vec::new());
        for seq in 0..next {
            if here.contains_key(&seq) {
                continue;
            }
            match gaps.iter().find(|gap| (gap.from..gap.to).contains(&seq)) {
                Some(gap) if full && FULL.contains(&gap.reason.as_str()) => {
                    *self.gaps.entry(gap.reason.clone()).or_default() += 1;
                }
                Some(gap) => {
                    lost.push(seq);
                    self.wrong.push(format!("{kind} {seq} is lost by a gap `{}`", gap.reason));
                }
                None => lost.push(seq),
            }
        }
        for (seq, (count, _)) in here {
            self.rows += count;
            if *count > 1 {
                self.doubled += count - 1;
                doubled.push(*seq);
            }
        }
        self.lost += lost.len() as u64;
        for (what, numbers) in [("lost", lost), ("doubled", doubled)] {
            if let (Some(first), Some(last)) = (numbers.first(), numbers.last()) {
                self.wrong.push(format!("{} of {kind} {what}, from {first} to {last}", numbers.len()));
            }
        }
    }

    /// A row must be the record that the agent wrote under this number.
    fn contents(&mut self, kind: Kind, here: &BTreeMap<u64, (u64, i64)>, written: &Written) {
        let seen = written.seen.get(&kind).into_iter().flatten();
        let other = |(seq, captured): &(&u64, &i64)| here.get(seq).is_some_and(|(_, row)| row != *captured);
        let others: Vec<u64> = seen.filter(other).map(|(seq, _)| *seq).collect();
        if let Some(first) = others.first() {
            self.lost += others.len() as u64;
            self.wrong.push(format!("{} of {kind} stand for other records, from {first} on", others.len()));
        }
    }

    /// Takes another gateway's in.
    pub fn add(&mut self, other: Self) {
        self.written += other.written;
        self.rows += other.rows;
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.wrong.extend(other.wrong);
        for (reason, count) in other.gaps {
            *self.gaps.entry(reason).or_default() += count;
        }
    }

    /// Nothing lost, nothing doubled, nothing strange.
    pub fn is_clean(&self) -> bool {
        self.lost == 0 && self.doubled == 0 && self.wrong.is_empty()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "written {} rows {}", self.written, self.rows)?;
        for (reason, count) in &self.gaps {
            write!(f, " gap:{reason} {count}")?;
        }
        if !self.is_clean() {
            write!(f, " LOST {} DOUBLED {}", self.lost, self.doubled)?;
            self.wrong.iter().take(10).try_for_each(|wrong| write!(f, "; {wrong}"))?;
        }
        Ok(())
    }
}

fn facts(lake: &Lake, key: &str) -> Result<Vec<Fact>> {
    let kind = key.split('/').find_map(|part| part.strip_prefix("kind=")).context("a key without a kind")?;
    let kind: Kind = kind.parse().ok().context("an unknown kind")?;
    lake.rows_of(key)?.iter().map(|row| fact(kind, row)).collect()
}

fn fact(kind: Kind, row: &Row) -> Result<Fact> {
    let epoch = |column: &str| text(row, column)?.parse::<Epoch>().ok().context("an epoch that is none");
    let gap = (kind == Kind::Gap).then(|| -> Result<Gap> {
        Ok(Gap {
            epoch: epoch("gap_epoch")?,
            kind: text(row, "gap_kind")?.parse().ok().context("an unknown kind")?,
            from: number(row, "from_seq")? as u64,
            to: number(row, "to_seq")? as u64,
            reason: text(row, "reason")?.to_owned(),
        })
    });
    Ok(Fact {
        epoch: epoch("epoch")?,
        kind,
        seq: number(row, "seq")? as u64,
        captured: number(row, "captured_at")?,
        gap: gap.transpose()?,
    })
}

fn text<'r>(row: &'r Row, column: &str) -> Result<&'r str> {
    row.get(column).and_then(Value::as_str).with_context(|| format!("a row without {column}"))
}

fn number(row: &Row, column: &str) -> Result<i64> {
    row.get(column).and_then(Value::as_i64).with_context(|| format!("a row without {column}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH: Epoch = Epoch(7);

    fn row(seq: u64, captured: i64) -> Fact {
        Fact { epoch: EPOCH, kind: Kind::Event, seq, captured, gap: None }
    }

    fn written() -> Written {
        let seen = [(Kind::Event, [(0, 100), (1, 101)].into())].into();
        Written { epoch: Some(EPOCH), next: [(Kind::Event, 4)].into(), seen }
    }

    fn gap(reason: &str) -> Fact {
        let gap = Gap { epoch: EPOCH, kind: Kind::Event, from: 2, to: 3, reason: reason.into() };
        Fact { epoch: Epoch(8), kind: Kind::Gap, seq: 0, captured: 0, gap: Some(gap) }
    }

    fn judge(facts: Vec<Fact>, full: bool) -> (u64, u64, bool) {
        let tally = Tally { objects: [("key".to_owned(), facts)].into(), odd: BTreeSet::new() };
        let verdict = tally.judge(&written(), full, true);
        (verdict.lost, verdict.doubled, verdict.is_clean())
    }

    #[test]
    fn what_is_missing_doubled_or_other_is_seen() {
        let all = || vec![row(0, 100), row(1, 101), row(2, 102), row(3, 103)];
        let but = |seq: u64| all().into_iter().filter(move |fact| fact.seq != seq).collect::<Vec<_>>();
        let with = |mut facts: Vec<Fact>, more: Fact| {
            facts.push(more);
            facts
        };
        assert_eq!(judge(all(), false), (0, 0, true));
        assert_eq!(judge(but(2), false), (1, 0, false));
        assert_eq!(judge(with(all(), row(3, 103)), false), (0, 1, false));
        assert_eq!(judge(with(but(1), row(1, 999)), false), (1, 0, false), "another record under its number");
        assert_eq!(judge(with(but(2), gap("disk")), true), (0, 0, true));
        assert_eq!(judge(with(but(2), gap("disk")), false), (1, 0, false), "no disk was ever full");
        assert_eq!(judge(with(but(2), gap("not_held")), true), (1, 0, false), "no reason for such a gap");
        let other = Fact { kind: Kind::Sample, ..row(0, 0) };
        assert!(!judge(with(all(), other), false).2, "rows that nobody wrote");
    }
}
