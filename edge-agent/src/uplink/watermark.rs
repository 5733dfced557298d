//! What a watermark document means for this log: which kinds it moves, and whether the lake behind it is another one.

use contract::{Archived, Epoch, Kind, archived::ArchivedKind};

use crate::outbox::Index;

/// The lake that the last watermark came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reader {
    lake: Option<(String, String)>,
}

/// What a document says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Lake or incarnation changed: forget what was archived, state what is held.
    pub another_lake: bool,
    /// The marks of this log, by kind.
    pub marks: Vec<(Kind, ArchivedKind)>,
    /// Kinds whose mark lies beyond the tail: not about this log, or the log was restored. They are not in `marks`.
    pub beyond_tail: Vec<Kind>,
}

impl Reader {
    /// Reads one document about the log `epoch` whose records `index` holds.
    pub fn read(&mut self, document: &Archived, epoch: Epoch, index: &Index) -> Reading {
        let lake = (document.lake.clone(), document.incarnation.clone());
        let another_lake = self.lake.as_ref().is_some_and(|known| *known != lake);
        self.lake = Some(lake);
        let own = document.epochs.iter().filter(|e| e.epoch == epoch).flat_map(|e| &e.kinds);
        let (marks, beyond): (Vec<_>, Vec<_>) = own
            .map(|(kind, mark)| (*kind, mark.clone()))
            .partition(|(kind, mark)| mark.upto <= index.holding(*kind).next);
        Reading { another_lake, marks, beyond_tail: beyond.into_iter().map(|(kind, _)| kind).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::archived::ArchivedEpoch;

    fn document(incarnation: &str, epoch: u128, upto: u64) -> Archived {
        let kinds = [(Kind::Event, ArchivedKind { upto, ranges: vec![] })].into();
        let epochs = vec![ArchivedEpoch { epoch: Epoch(epoch), kinds }];
        Archived { schema: 1, lake: "l".into(), incarnation: incarnation.into(), epochs }
    }

    #[test]
    fn only_the_own_log_within_its_tail_counts() {
        let (mut reader, index) = (Reader::default(), Index::new(100));
        assert_eq!(reader.read(&document("a", 1, 0), Epoch(1), &index).marks.len(), 1);
        assert_eq!(reader.read(&document("a", 2, 5), Epoch(1), &index).marks.len(), 0);
        let beyond = reader.read(&document("a", 1, 5), Epoch(1), &index);
        assert_eq!((beyond.marks.len(), beyond.beyond_tail, beyond.another_lake), (0, vec![Kind::Event], false));
        assert!(reader.read(&document("b", 1, 0), Epoch(1), &index).another_lake);
    }
}
