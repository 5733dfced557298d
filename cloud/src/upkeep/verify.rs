//! `verify`: proves that the lake is what its tables say, and that no number is missing without a reason.
//!
//! Every sequence is looked at, by the tables and the gap rows. The objects of the asked time are read whole: each must be
//! there with its recorded length and digest, hold the numbers that the manifest says, and each sample's picture must lie
//! where its row says, with the row's digest. Changes nothing; may run beside a hub that works: what was retired meanwhile
//! is no fault.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use contract::{FrameId, Gap, Kind, Principal, RegionId, Timestamp};
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use serde::Serialize;
use store::{
    lake_index::{Format, LakeIndex, Manifest, Object, SampleRow},
    objects::{ErrorKind, Objects},
};

use super::{
    Error, claim,
    claim::Claim,
    rebuild::Aside,
    retention::Removal,
    sequence::{Sequence, sequences},
    survey::{chain, digest},
};
use crate::{
    clock::off_loop,
    lake::{self, Body},
};

/// Objects read at a time.
const READS: usize = 4;

/// Which objects are read whole: those with a row in this time, by `corrected_at`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Window {
    /// At or after.
    pub from: Option<Timestamp>,
    /// Before.
    pub to: Option<Timestamp>,
}

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub struct Verified {
    /// Whether nothing is wrong.
    pub clean: bool,
    /// Each log and kind.
    pub sequences: Vec<Sequence>,
    /// Objects read whole.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Samples whose picture was compared with its digest.
    pub samples: u64,
    /// What is wrong with objects.
    pub problems: Vec<Aside>,
}

/// What reading one object gave.
#[derive(Default)]
struct Looked {
    bytes: u64,
    read: bool,
    samples: u64,
    gaps: Vec<(Principal, Gap)>,
    rule: Option<String>,
    problems: Vec<String>,
}

type Samples<'m> = HashMap<(&'m FrameId, &'m RegionId, u64), &'m SampleRow>;

/// Looks at everything.
pub async fn verify(index: &LakeIndex, objects: &Objects, window: Window) -> Result<Verified, Error> {
    let manifest = index.manifest().await?;
    let mut problems = Vec::new();
    if let Claim::Rebuild(why) = claim::state_of(index, objects).await? {
        problems.push(Aside { key: claim::MARKER.to_owned(), why });
    }
    if let Some(why) = index.rebuild_due().await? {
        problems.push(Aside { key: claim::MARKER.to_owned(), why: format!("a rebuild is due: {why}") });
    }
    let verifier = Verifier::new(index, objects, &manifest);
    let wanted = manifest.objects.iter().filter(|object| is_wanted(object, window));
    let looks: Vec<_> = wanted.map(|object| verifier.look(object).boxed()).collect();
    let looked: Vec<_> = futures::stream::iter(looks).buffered(READS).try_collect().await?;
    let (mut gaps, mut rules) = (Vec::new(), HashMap::new());
    let (mut count, mut bytes, mut samples) = (0, 0, 0);
    for (key, look) in looked {
        count += u64::from(look.read);
        bytes += look.bytes;
        samples += look.samples;
        gaps.extend(look.gaps);
        rules.extend(look.rule.map(|rule| (key.clone(), rule)));
        problems.extend(look.problems.into_iter().map(|why| Aside { key: key.clone(), why }));
    }
    for sample in &manifest.samples {
        if !verifier.shards.contains_key(sample.shard.as_str()) {
            let why = format!(
                "the index names picture {} {} in it, and it is not in the lake",
                sample.frame_id, sample.region
            );
            problems.push(Aside { key: sample.shard.clone(), why });
        }
    }
    let sequences = sequences(&manifest, &gaps, &rules);
    let clean = problems.is_empty() && sequences.iter().all(Sequence::is_clean);
    Ok(Verified { clean, sequences, objects: count, bytes, samples, problems })
}

/// Gaps and records of removal are read whatever their time: sequences need them.
fn is_wanted(object: &Object, window: Window) -> bool {
    let [from, to] = object.corrected;
    let in_time = window.from.is_none_or(|t| to >= t) && window.to.is_none_or(|t| from < t);
    in_time || object.kind == Kind::Gap || object.format == Format::Removed
}

struct Verifier<'m> {
    index: &'m LakeIndex,
    objects: &'m Objects,
    shards: HashMap<&'m str, &'m Object>,
    samples: Samples<'m>,
    pictures: BTreeMap<&'m str, Vec<&'m SampleRow>>,
}

impl<'m> Verifier<'m> {
    fn new(index: &'m LakeIndex, objects: &'m Objects, manifest: &'m Manifest) -> Self {
        let shards = manifest.objects.iter().filter(|o| o.format == Format::Shard).map(|o| (o.key.as_str(), o));
        let key = |s: &'m SampleRow| ((&s.frame_id, &s.region, s.seq), s);
        let mut pictures: BTreeMap<&str, Vec<&SampleRow>> = BTreeMap::new();
        manifest.samples.iter().for_each(|sample| pictures.entry(&sample.shard).or_default().push(sample));
        Self { index, objects, shards: shards.collect(), samples: manifest.samples.iter().map(key).collect(), pictures }
    }

    async fn look(&self, object: &Object) -> Result<(String, Looked), Error> {
        let mut looked = Looked::default();
        let bytes = match self.objects.get(&object.key).await {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                if self.is_still_live(object).await? {
                    looked.problems.push("it is not in the bucket".to_owned());
                }
                return Ok((object.key.clone(), looked));
            }
            Err(error) => return Err(error.into()),
        };
        (looked.read, looked.bytes) = (true, bytes.len() as u64);
        if (bytes.len() as u64, digest(&bytes)) != (object.bytes, object.digest) {
            looked.problems.push(format!("its {} bytes are not those that were recorded", bytes.len()));
            return Ok((object.key.clone(), looked));
        }
        match object.format {
            Format::Parquet => self.rows(object, bytes, &mut looked).await?,
            Format::Shard => self.pictures(object, &bytes, &mut looked),
            Format::Removed => match serde_json::from_slice::<Removal>(&bytes) {
                Ok(removal) => looked.rule = Some(removal.rule),
                Err(error) => looked.problems.push(format!("it is no record of removal: {error}")),
            },
            Format::Dead | Format::Newer => {}
        }
        Ok((object.key.clone(), looked))
    }

    /// Meanwhile compaction or retention may have taken it out.
    async fn is_still_live(&self, object: &Object) -> Result<bool, Error> {
        Ok(self.index.live_objects().await?.iter().any(|live| live.key == object.key))
    }

    async fn rows(&self, object: &Object, bytes: Bytes, looked: &mut Looked) -> Result<(), Error> {
        let kind = object.kind;
        let read = off_loop(move || {
            let mut rows = Vec::new();
            lake::read_parquet(kind, bytes, |row| rows.push(row)).map(|()| rows)
        });
        let rows = match read.await.map_err(|_| Error::Interrupted { what: object.key.clone() })? {
            Ok(rows) => rows,
            Err(error) => {
                looked.problems.push(chain(&error));
                return Ok(());
            }
        };
        if lake::holdings(&rows) != object.holds || rows.len() as u64 != object.rows {
            looked.problems.push("its rows are not those that the manifest says".to_owned());
        }
        for row in &rows {
            let header = &row.record.header;
            if let Body::Gap(gap) = &row.record.body {
                let by = Principal { site: header.site.clone(), gateway: header.gateway.clone() };
                looked.gaps.push((by, gap.clone()));
            }
            if let Some(sample) = lake::sample_row(row) {
                let known = self.samples.get(&(&sample.frame_id, &sample.region, sample.seq));
                if known.is_none_or(|known| **known != sample) {
                    let SampleRow { frame_id, region, seq, .. } = &sample;
                    looked
                        .problems
                        .push(format!("sample {frame_id} {region} ({seq}) is not in the index as its row is"));
                }
            }
        }
        Ok(())
    }

    fn pictures(&self, object: &Object, tar: &[u8], looked: &mut Looked) {
        for sample in self.pictures.get(object.key.as_str()).into_iter().flatten() {
            let [offset, length] = sample.picture;
            let range = usize::try_from(offset).ok().zip(usize::try_from(offset.saturating_add(length)).ok());
            let picture = range.and_then(|(from, to)| tar.get(from..to));
            if picture.is_none_or(|picture| digest(picture) != sample.picture_digest) {
                let SampleRow { frame_id, region, .. } = sample;
                looked.problems.push(format!("picture {frame_id} {region} is not at byte {offset} of it"));
            }
            looked.samples += 1;
        }
    }
}
