//! What `verify` and `rebuild` found, as a table for people.

use std::fmt::{self, Display, Formatter};

use store::lake_index::RangeSet;

use super::{rebuild::Rebuilt, sequence::Sequence, verify::Verified};

/// Ranges and problems that are written out; the JSON report has all.
const SHOWN: usize = 20;

impl Display for Verified {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<32} {:<10} {:>12} {:>12}  what became of the rest",
            "gateway and log", "kind", "numbers", "archived"
        )?;
        for sequence in &self.sequences {
            let name = format!("{}/{} {:.8}", sequence.site, sequence.gateway, sequence.epoch.as_str());
            writeln!(
                f,
                "{name:<32} {:<10} {:>12} {:>12}  {}",
                sequence.kind.name(),
                sequence.end,
                sequence.archived,
                rest(sequence)
            )?;
        }
        for problem in self.problems.iter().take(SHOWN) {
            writeln!(f, "{}: {}", problem.key, problem.why)?;
        }
        if self.problems.len() > SHOWN {
            writeln!(f, "… and {} more; --json has them all", self.problems.len() - SHOWN)?;
        }
        let unclean = self.sequences.iter().filter(|sequence| !sequence.is_clean()).count();
        writeln!(f, "{} objects with {} bytes read, {} pictures compared", self.objects, self.bytes, self.samples)?;
        if self.clean {
            return writeln!(f, "clean: every number is archived or accounted for");
        }
        writeln!(f, "not clean: {unclean} sequences and {} objects", self.problems.len())
    }
}

fn rest(sequence: &Sequence) -> String {
    let mut parts = Vec::new();
    parts.extend(sequence.removed.iter().map(|(rule, n)| format!("{n} removed by {rule}")));
    parts.extend(sequence.gaps.iter().filter(|(_, n)| **n > 0).map(|(reason, n)| format!("{n} gap {reason}")));
    let wrong = [
        ("MISSING", &sequence.missing),
        ("LOST", &sequence.lost),
        ("NOT COMMITTED", &sequence.not_committed),
        ("DOUBLED", &sequence.doubled),
    ];
    parts.extend(wrong.iter().filter(|(_, set)| !set.is_empty()).map(|(what, set)| format!("{what} {}", ranges(set))));
    if parts.is_empty() { "-".to_owned() } else { parts.join(", ") }
}

fn ranges(set: &RangeSet) -> String {
    let shown = set.ranges().iter().take(SHOWN).map(|[from, to]| match to - from {
        1 => from.to_string(),
        _ => format!("{from}-{}", to - 1),
    });
    let shown: Vec<_> = shown.collect();
    let more = if set.ranges().len() > SHOWN { " …" } else { "" };
    format!("{} ({}{more})", set.count(), shown.join(" "))
}

impl Display for Rebuilt {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "lake {} begins incarnation {}", self.lake, self.incarnation)?;
        writeln!(
            f,
            "{} objects with {} rows, {} pictures, {} logs of gateways",
            self.objects, self.rows, self.samples, self.epochs
        )?;
        for key in &self.written_again {
            writeln!(f, "written again without what others hold: {key}")?;
        }
        for aside in &self.unneeded {
            writeln!(f, "not needed: {}: {}", aside.key, aside.why)?;
        }
        for aside in &self.damaged {
            writeln!(f, "DAMAGED, moved to aside/{}: {}", aside.key, aside.why)?;
        }
        Ok(())
    }
}
