//! What a watermark document means for this log: which kinds it moves, whether the lake behind it is another one, whether
//! this log or the hub's tables are older than they were, and whether somebody else uses this gateway's name.

use std::collections::BTreeMap;

use contract::{Archived, Epoch, Kind, archived::ArchivedKind};

use crate::outbox::{KINDS, Known};

/// What must be remembered from one document to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reader {
    /// How far other logs under this gateway's name were.
    others: Option<BTreeMap<Epoch, u64>>,
}

/// What a document says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Lake or incarnation is none that was known: forget what was archived, state what is held.
    pub new_lake: bool,
    /// The marks of this log, of every kind; nothing is committed of a kind that the hub does not name.
    pub marks: Vec<(Kind, ArchivedKind)>,
    /// Kinds of which the hub has what this log never said: it was restored from a snapshot. `marks` is about what it was.
    pub beyond_tail: Vec<Kind>,
    /// Kinds of which the same life of the same lake once had more: its tables were rolled back by hand. Not in `marks`.
    pub lowered: Vec<Kind>,
    /// Logs under this gateway's name that grow beside this one.
    pub living: Vec<Epoch>,
}

impl Reader {
    /// Reads one document about the log `epoch`, of which the hub can know the numbers below what was `said` of each kind, and
    /// has said what is `known`.
    pub fn read(&mut self, document: &Archived, epoch: Epoch, said: impl Fn(Kind) -> u64, known: &Known) -> Reading {
        let lake = (document.lake.clone(), document.incarnation.clone());
        let new_lake = known.lake.as_ref() != Some(&lake);
        let mut reading = Reading { new_lake, living: self.living(document, epoch), ..Reading::default() };
        for kind in KINDS {
            let mark = document.of(epoch, kind).cloned().unwrap_or_default();
            if !new_lake && known.is_more_than(kind, &mark) {
                reading.lowered.push(kind);
                continue;
            }
            if mark.ranges.last().map_or(mark.upto, |[_, to]| *to) > said(kind) {
                reading.beyond_tail.push(kind);
            }
            reading.marks.push((kind, mark));
        }
        reading
    }

    fn living(&mut self, document: &Archived, epoch: Epoch) -> Vec<Epoch> {
        let far = |kinds: &BTreeMap<Kind, ArchivedKind>| -> u64 {
            kinds.values().map(|mark| mark.upto + mark.ranges.iter().map(|[from, to]| to - from).sum::<u64>()).sum()
        };
        let others: BTreeMap<Epoch, u64> =
            document.epochs.iter().filter(|e| e.epoch != epoch).map(|e| (e.epoch, far(&e.kinds))).collect();
        let grown = |before: &BTreeMap<Epoch, u64>| {
            let more = |(epoch, far): (&Epoch, &u64)| before.get(epoch).is_none_or(|b| far > b).then_some(*epoch);
            others.iter().filter_map(more).collect()
        };
        let living = self.others.as_ref().map_or_else(Vec::new, grown);
        self.others = Some(others);
        living
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::archived::ArchivedEpoch;

    const OWN: Epoch = Epoch(1);

    fn document(incarnation: &str, epochs: &[(u128, u64)]) -> Archived {
        let one = |(epoch, upto): &(u128, u64)| {
            let kinds = [(Kind::Event, ArchivedKind { upto: *upto, ranges: vec![] })].into();
            ArchivedEpoch { epoch: Epoch(*epoch), kinds }
        };
        let epochs = epochs.iter().map(one).collect();
        Archived { schema: 1, lake: "l".into(), incarnation: incarnation.into(), epochs }
    }

    fn known(incarnation: &str, upto: u64) -> Known {
        Known { lake: Some(("l".into(), incarnation.into())), upto: [(Kind::Event, upto)].into(), ..Known::default() }
    }

    fn read(document: &Archived, known: &Known) -> Reading {
        Reader::default().read(document, OWN, |_| 10, known)
    }

    #[test]
    fn the_own_log_within_its_tail_is_moved() {
        let reading = read(&document("a", &[(1, 7), (2, 9)]), &known("a", 5));
        let event = reading.marks.iter().find(|(kind, _)| *kind == Kind::Event).unwrap();
        assert_eq!((event.1.upto, reading.new_lake, reading.marks.len()), (7, false, KINDS.len()));
        assert!(reading.beyond_tail.is_empty() && reading.lowered.is_empty() && reading.living.is_empty());
    }

    #[test]
    fn a_mark_beyond_the_tail_says_that_the_log_was_restored() {
        let reading = read(&document("a", &[(1, 11)]), &known("a", 5));
        assert_eq!(reading.beyond_tail, [Kind::Event]);
    }

    #[test]
    fn a_lower_mark_of_the_same_life_is_not_applied_and_is_told() {
        for lower in [document("a", &[(1, 4)]), document("a", &[(2, 4)])] {
            let reading = read(&lower, &known("a", 5));
            assert_eq!(reading.lowered, [Kind::Event]);
            assert!(reading.marks.iter().all(|(kind, _)| *kind != Kind::Event));
        }
    }

    #[test]
    fn another_life_of_the_lake_has_its_own_marks() {
        let reading = read(&document("b", &[(1, 4)]), &known("a", 5));
        assert!(reading.new_lake && reading.lowered.is_empty());
        assert!(read(&document("b", &[]), &Known::default()).new_lake, "so has the first one");
    }

    #[test]
    fn another_log_that_grows_is_somebody_else() {
        let (mut reader, known) = (Reader::default(), known("a", 0));
        let mut read = |other| reader.read(&document("a", &[(1, 5), (2, other)]), OWN, |_| 10, &known).living;
        assert_eq!(read(3), [], "it may be an old log of this gateway");
        assert_eq!(read(3), []);
        assert_eq!(read(4), [Epoch(2)]);
        assert_eq!(read(4), []);
    }
}
