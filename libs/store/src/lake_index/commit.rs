//! The commit: objects and the numbers they hold, in one transaction that begins with a comparison of versions.

use std::collections::BTreeMap;

use super::{
    Advance, Commit, LakeIndex, Outcome, RANGES_MAX, SEQ_END, Stream, hashes, objects, orphans, samples,
    streams::{bind_all, streams_by_id, write_streams},
};
use crate::{
    simulation::Careless,
    tables::{Error, Tx},
};

impl LakeIndex {
    /// Names objects and the numbers they hold, all or nothing.
    ///
    /// After the error `Uncertain` it may have happened, or not, or be about to happen: the database commits in its own
    /// time. Finding nothing then proves nothing, and none of its objects may be removed. The next commit to the same
    /// streams waits for it and decides: after a `Conflict` what it brought is either all there ([`Self::object`] knows
    /// its objects) or will never be.
    ///
    /// Errors: those of the tables; `Other` when an advance is empty, names a stream twice, adds a number that is
    /// committed already, or goes beyond [`SEQ_END`] or [`RANGES_MAX`].
    pub async fn commit(&self, commit: &Commit) -> Result<Outcome, Error> {
        check(commit)?;
        let careless = self.tables().careless();
        self.tables().write(|tx| async move { in_transaction(&tx, commit, careless).await }).await
    }
}

async fn in_transaction(tx: &Tx, commit: &Commit, careless: Careless) -> Result<Outcome, Error> {
    let ids: Vec<_> = commit.advances.iter().map(|advance| advance.stream).collect();
    let mut current = streams_by_id(tx, &ids).await?;
    // Nothing is written before all versions have been compared, so that returning here leaves nothing behind.
    let moved = |(s, a): &(&Stream, &Advance)| s.version != a.expected;
    let conflicts: Vec<_> = current.iter().zip(&commit.advances).filter(moved).map(|(s, _)| s.clone()).collect();
    if !conflicts.is_empty() && !careless.of_versions {
        return Ok(Outcome::Conflict(conflicts));
    }
    if let Some(mark) = orphans::too_old(tx, &commit.objects).await?
        && !careless.of_grace
    {
        return Ok(Outcome::Late(mark));
    }
    for key in &commit.replaced {
        if !objects::is_there(tx, key).await? {
            return Ok(Outcome::Gone(key.clone()));
        }
    }
    let owners: BTreeMap<_, _> = commit.advances.iter().map(|a| (a.stream.epoch, &a.owner)).collect();
    if let Some((epoch, owner)) = bind_all(tx, &owners, commit.now).await? {
        return Ok(Outcome::Foreign { epoch, owner });
    }
    for (stream, advance) in current.iter_mut().zip(&commit.advances) {
        advance_stream(stream, advance, careless)?;
    }
    write_streams(tx, &current, commit.now).await?;
    for object in &commit.objects {
        objects::insert(tx, object, commit.now).await?;
    }
    for key in &commit.replaced {
        objects::retire(tx, key, commit.rule, commit.now).await?;
    }
    samples::insert(tx, &commit.samples).await?;
    hashes::insert(tx, &commit.hashes).await?;
    Ok(Outcome::Committed(current))
}

fn advance_stream(stream: &mut Stream, advance: &Advance, careless: Careless) -> Result<(), Error> {
    let refuse =
        |why: String| Err(Error::other(format!("commit to {} of epoch {}: {why}", stream.id.kind, stream.id.epoch)));
    if advance.add.intersects(&stream.committed) && !careless.of_versions && !careless.of_numbers {
        let twice = advance.add.intersection(&stream.committed);
        return refuse(format!("numbers {:?} are committed already", twice.ranges().first()));
    }
    let mut committed = stream.committed.clone();
    committed.extend(&advance.add);
    if committed.ranges().len() > RANGES_MAX {
        return refuse(format!("more than {RANGES_MAX} ranges; commit the missing numbers first"));
    }
    stream.committed = committed;
    stream.version += 1;
    Ok(())
}

fn check(commit: &Commit) -> Result<(), Error> {
    let mut named = BTreeMap::new();
    for advance in &commit.advances {
        let name = || format!("{} of epoch {}", advance.stream.kind, advance.stream.epoch);
        if advance.add.is_empty() || advance.add.end() > SEQ_END {
            return Err(Error::other(format!("commit to {}: nothing to add, or a number beyond {SEQ_END}", name())));
        }
        if named.insert(advance.stream, ()).is_some() {
            return Err(Error::other(format!("commit names {} twice", name())));
        }
    }
    Ok(())
}
