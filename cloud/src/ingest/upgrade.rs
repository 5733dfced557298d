//! Records of a newer version, read after the upgrade: their tars become rows by one commit.
//!
//! Each tar goes through a new [`Intake`] as if its messages arrived again: the same checks, the same clock, dead letters
//! and gaps; so one record that cannot be read does not keep the others back. Only their own numbers are not counted
//! again, since they are committed since they arrived; what a gap record accounts for is. Run once at each start. Safe
//! beside another ingest that does the same: the commit happens once, and the loser removes what it stored.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io::Read as _,
    sync::Arc,
};

use contract::{Epoch, GatewayId, Kind, Principal, SiteId, Timestamp, frame};
use serde::Deserialize;
use store::{
    lake_index::{Commit, Format, LakeIndex, Object, ObjectQuery, Outcome, RangeSet, Stream, StreamId},
    objects::Objects,
};

use super::{
    assemble::Limits,
    batch::Batch,
    build,
    flush::{chain, remove_unnamed},
    handle::Arrivals,
    intake::{Intake, Lot},
    run::ask,
    stats::Stats,
};
use crate::{
    clock::{self, wall as now},
    lake,
};

/// Why a tar of kept records leaves the manifest.
const RULE: &str = "read after an upgrade";
/// How often a tar is tried whose gap records speak of streams that move meanwhile.
const ATTEMPTS: usize = 8;

/// The version up to which this program reads frames and records.
pub const READABLE: u16 =
    if contract::SCHEMA < frame::VERSION as u16 { contract::SCHEMA } else { frame::VERSION as u16 };

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// What became of the kept records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CaughtUp {
    /// Records that are rows now.
    pub rows: usize,
    /// The gateways whose logs were accounted for further by that: they are owed a watermark.
    pub owners: HashSet<Principal>,
}

/// What is known of a kept record beside its bytes.
#[derive(Deserialize)]
struct Facts {
    site: SiteId,
    gateway: GatewayId,
    received_at: Timestamp,
    #[serde(default)]
    sent_at: Option<Timestamp>,
}

/// A record as its tar holds it: a bundle of one frame.
struct KeptRecord {
    facts: Facts,
    bundle: Vec<u8>,
}

/// Makes rows of all that is readable by now; `own` is the hub's name as a gateway.
pub async fn read_kept(index: &LakeIndex, objects: &Objects, own: &GatewayId, readable: u16) -> CaughtUp {
    let reader = Reader { index, objects, own, readable };
    let mut all = CaughtUp::default();
    for kind in Kind::ALL {
        let query = ObjectQuery { format: Format::Newer, ..ObjectQuery::rows_of(kind) };
        let kept = match index.objects(&query).await {
            Ok(kept) => kept,
            Err(error) => {
                tracing::warn!(error = %chain(&error), "kept records of a newer version are not looked at");
                return all;
            }
        };
        for object in kept.into_iter().filter(|object| object.schema <= readable) {
            match reader.exchange(&object).await {
                Ok(read) => {
                    all.rows += read.rows;
                    all.owners.extend(read.owners);
                }
                Err(error) => {
                    tracing::warn!(key = object.key, error = %chain(&*error), "kept records are not read yet");
                }
            }
        }
    }
    if all.rows > 0 {
        tracing::info!(rows = all.rows, "records that a newer gateway had sent are rows now");
    }
    all
}

struct Reader<'a> {
    index: &'a LakeIndex,
    objects: &'a Objects,
    own: &'a GatewayId,
    readable: u16,
}

impl Reader<'_> {
    /// One tar to rows: stored, then one commit that names them and retires the tar.
    async fn exchange(&self, kept: &Object) -> Result<CaughtUp, AnyError> {
        let records = records(&self.objects.get(&kept.key).await?)?;
        for _ in 0..ATTEMPTS {
            let (mut batch, versions) = self.again(&records).await?;
            let read = CaughtUp { rows: batch.row_count() - batch.dead.len(), owners: batch.owners() };
            let built = build::build(&mut batch, now())?;
            let mut new = Vec::with_capacity(built.uploads.len());
            for upload in built.uploads {
                new.push(lake::put(self.objects, upload).await?);
            }
            let old = vec![kept.key.clone()];
            let commit = Commit {
                now: now(),
                advances: batch.advances(&versions),
                objects: new,
                samples: built.samples,
                hashes: built.hashes,
                replaced: old.clone(),
                rule: RULE,
            };
            match self.index.commit(&commit).await? {
                Outcome::Committed(_) => {
                    self.objects.delete_many(&old).await?;
                    self.index.forget(&old).await?;
                    return Ok(read);
                }
                Outcome::Gone(_) => {
                    remove_unnamed(self.index, self.objects, commit.objects).await;
                    return Ok(CaughtUp::default());
                }
                Outcome::Conflict(_) | Outcome::Foreign { .. } | Outcome::Late(_) => {
                    remove_unnamed(self.index, self.objects, commit.objects).await;
                }
            }
        }
        Err("their streams keep moving; they are tried again at the next start".into())
    }

    /// The records as if they arrived again, with what is new by them alone, and the versions that this builds upon.
    async fn again(&self, records: &[KeptRecord]) -> Result<(Batch, HashMap<StreamId, u64>), AnyError> {
        let arrivals = Arrivals::new(1); // nobody watches what is old
        let stats = Arc::new(Stats::default());
        let mut intake = Intake::new(self.own.clone(), self.readable, Limits::default(), stats, arrivals);
        let theirs = numbers(records)?;
        for message in records.chunk_by(|a, b| a.facts.came_with(&b.facts)) {
            let mut frames = Vec::with_capacity(message.len());
            for record in message {
                frames.push(record.frame()?);
            }
            let facts = &message[0].facts;
            let from = Principal { site: facts.site.clone(), gateway: facts.gateway.clone() };
            let lot = Lot {
                from,
                kind: Kind::from_number(frames[0].address.kind),
                received_at: facts.received_at,
                sent_at: facts.sent_at,
                now: clock::mono(),
            };
            for epoch in intake.unknown_epochs(&frames) {
                self.learn(&mut intake, &lot.from, epoch, &theirs).await?;
            }
            intake.take(&lot, &frames);
            let asked = std::mem::take(&mut intake.unknown);
            for (who, epoch) in &asked {
                self.learn(&mut intake, who, *epoch, &theirs).await?;
            }
            if !asked.is_empty() {
                intake.take(&lot, &frames); // gap records of epochs that are known only now; the others are duplicates
            }
        }
        let mut batch = intake.take_batch();
        let taken = batch.row_count() + batch.newer.len();
        if taken != records.len() {
            return Err(format!("{taken} of {} records are accounted for", records.len()).into());
        }
        batch.not_again(&theirs);
        let versions = batch.adds.keys().map(|id| (*id, intake.streams.version(*id))).collect();
        Ok((batch, versions))
    }

    /// Tells the intake of an epoch as it was before these records came.
    async fn learn(
        &self,
        intake: &mut Intake,
        who: &Principal,
        epoch: Epoch,
        theirs: &BTreeMap<StreamId, RangeSet>,
    ) -> Result<(), AnyError> {
        let (owner, streams) = ask(self.index, who, epoch, now()).await?;
        let before = |stream: Stream| match theirs.get(&stream.id) {
            Some(numbers) => Stream { committed: stream.committed.without(numbers), ..stream },
            None => stream,
        };
        intake.streams.learn(epoch, owner, streams.into_iter().map(before).collect());
        Ok(())
    }
}

impl Facts {
    /// Whether two records came in one message, for all that is known.
    fn came_with(&self, other: &Self) -> bool {
        (&self.site, &self.gateway, self.received_at, self.sent_at)
            == (&other.site, &other.gateway, other.received_at, other.sent_at)
    }
}

impl KeptRecord {
    fn frame(&self) -> Result<frame::Frame<'_>, AnyError> {
        Ok(frame::frames(&self.bundle).next().ok_or("a kept frame is empty")??)
    }
}

/// The numbers of these records: committed since they arrived.
fn numbers(records: &[KeptRecord]) -> Result<BTreeMap<StreamId, RangeSet>, AnyError> {
    let mut of: BTreeMap<StreamId, RangeSet> = BTreeMap::new();
    for record in records {
        let address = record.frame()?.address;
        let kind = Kind::from_number(address.kind).ok_or("a kept frame is of no kind")?;
        of.entry(StreamId { epoch: address.epoch, kind }).or_default().insert(address.seq);
    }
    Ok(of)
}

/// The records of a tar: each `.frame` is followed by its `.json`.
fn records(tar: &[u8]) -> Result<Vec<KeptRecord>, AnyError> {
    let mut records = Vec::new();
    let mut bundle = None;
    let mut archive = tar::Archive::new(tar);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let extension = entry.path()?.extension().map(|extension| extension.to_string_lossy().into_owned());
        match extension.as_deref() {
            Some("frame") => {
                let mut bytes = frame::MAGIC.to_vec();
                entry.read_to_end(&mut bytes)?;
                bundle = Some(bytes);
            }
            Some("json") => {
                if let Some(bundle) = bundle.take() {
                    let mut json = Vec::new();
                    entry.read_to_end(&mut json)?;
                    records.push(KeptRecord { facts: serde_json::from_slice(&json)?, bundle });
                }
            }
            _ => {}
        }
    }
    Ok(records)
}
