//! What the lake holds in the end, against what was written.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read as _,
};

use cloud::{lake, upkeep};
use contract::{Gap, Kind, frame::RecordParts};
use store::{
    lake_index::{Format, LakeIndex, RangeSet, StreamId},
    objects::Objects,
};

use crate::{
    gateway::Gateway,
    lake::Lake,
    truth::{Number, Truth, Written},
    world::{Fate, Outcome},
};

/// Reasons by which a stated policy drops records.
const POLICIES: [&str; 2] = ["overflow", "age"];
/// Reasons that a failing disk gives; the last where the gap record itself was damaged.
const DISK: [&str; 3] = ["disk", "damaged", "not_held"];

/// Compares.
pub async fn everything(
    lake: &Lake,
    truth: &Truth,
    gateways: &[Gateway],
    fates: &[Fate],
    outcome: &mut Outcome,
) -> anyhow::Result<()> {
    let (index, objects) = lake.open().await?;
    let mut rows: BTreeMap<Number, Vec<u64>> = BTreeMap::new();
    let mut gaps: Vec<Gap> = Vec::new();
    let aside = kept_aside(&index, &objects).await?;
    for object in index.live_objects().await?.into_iter().filter(|object| object.format == Format::Parquet) {
        let bytes = match objects.get(&object.key).await {
            Ok(bytes) => bytes,
            Err(error) => {
                outcome.violations.push(format!("{error}"));
                continue;
            }
        };
        lake::read_parquet(object.kind, bytes, |row| {
            let header = &row.record.header;
            rows.entry((header.epoch, header.kind, header.seq)).or_default().push(header.monotonic_us);
            if let lake::Body::Gap(gap) = &row.record.body {
                gaps.push(gap.clone());
            }
        })?;
    }
    outcome.rows = rows.values().map(|contents| contents.len() as u64).sum();
    for (number, contents) in rows.iter().filter(|(_, contents)| contents.len() > 1) {
        outcome.doubled += contents.len() as u64 - 1;
        outcome.violations.push(format!("{number:?} is in the lake {} times: {contents:?}", contents.len()));
    }
    contents(&rows, &gaps, &aside, truth, fates, outcome);
    let verified = upkeep::verify(&index, &objects, upkeep::Window::default()).await?;
    // Of a log that nobody has any more, nobody can say what is missing.
    let living: Vec<_> = gateways.iter().filter_map(|gateway| Some(gateway.extent()?.0)).collect();
    let is_wrong = |sequence: &&upkeep::Sequence| {
        let cut_short = upkeep::Sequence { missing: RangeSet::new(), ..(*sequence).clone() };
        !(sequence.is_clean() || cut_short.is_clean() && !living.contains(&sequence.epoch))
    };
    let wrong: Vec<_> = verified.sequences.iter().filter(is_wrong).collect();
    if !verified.problems.is_empty() || !wrong.is_empty() {
        outcome.violations.push(format!("verify: {:?} {wrong:?}", verified.problems));
    }
    outcome.violations.extend(unaccounted(&index, gateways).await?);
    Ok(())
}

/// Kinds of which the lake does not account for everything that a gateway has numbered.
pub async fn unaccounted(index: &LakeIndex, gateways: &[Gateway]) -> anyhow::Result<Vec<String>> {
    let mut open = Vec::new();
    for gateway in gateways {
        let Some((epoch, extent)) = gateway.extent() else { continue };
        for (kind, (_, next)) in edge_agent::outbox::KINDS.into_iter().zip(extent) {
            let upto = index.stream(StreamId { epoch, kind }).await?.committed.upto();
            if upto != next {
                open.push(format!("{}: the lake accounts for {kind} up to {upto}, the log for {next}", gateway.who));
            }
        }
    }
    Ok(open)
}

/// Records that came with the number of another one: a gateway that was rolled back gives numbers twice before it learns of
/// it. They are kept beside the lake's rows, and told.
async fn kept_aside(index: &LakeIndex, objects: &Objects) -> anyhow::Result<BTreeSet<u64>> {
    let mut aside = BTreeSet::new();
    for object in index.live_objects().await?.into_iter().filter(|object| object.format == Format::Dead) {
        let bytes = objects.get(&object.key).await?;
        for entry in tar::Archive::new(&bytes[..]).entries()? {
            let mut record = Vec::new();
            entry?.read_to_end(&mut record)?;
            let header = RecordParts::split(&record).and_then(|parts| parts.parse_header());
            aside.extend(header.ok().map(|header| header.monotonic_us));
        }
    }
    Ok(aside)
}

/// Each record that was written is in the lake once, or there is a reason.
fn contents(
    rows: &BTreeMap<Number, Vec<u64>>,
    gaps: &[Gap],
    aside: &BTreeSet<u64>,
    truth: &Truth,
    fates: &[Fate],
    outcome: &mut Outcome,
) {
    let mut found: BTreeMap<u64, Vec<Number>> = BTreeMap::new();
    for (number, contents) in rows.iter().filter(|((_, kind, _), _)| *kind != Kind::Gap) {
        contents.iter().for_each(|content| found.entry(*content).or_default().push(*number));
    }
    for (content, written) in &truth.written {
        let places = found.get(content).map_or(&[][..], Vec::as_slice);
        let fate = fates[written.gateway];
        let strict = written.excused.is_none() && !aside.contains(content);
        if strict && places.is_empty() && !is_explained(written, gaps, fate.disk_failed) {
            outcome.lost += 1;
            outcome.violations.push(format!("{content} is lost: {written:?}"));
        }
        if strict && !fate.rolled_back && places.len() > 1 && places.windows(2).any(|pair| pair[0] != pair[1]) {
            outcome.doubled += 1;
            outcome.violations.push(format!("{content} is in the lake as {places:?}"));
        }
    }
    for (content, places) in found {
        if !truth.written.contains_key(&content) {
            outcome.violations.push(format!("{content} was never written and is in the lake as {places:?}"));
        }
    }
}

/// A gap stands for it: by policy, or for a record that its disk never took.
fn is_explained(written: &Written, gaps: &[Gap], disk_failed: bool) -> bool {
    let (epoch, kind, seq) = written.number;
    let mut about =
        gaps.iter().filter(|gap| (gap.epoch, gap.kind) == (epoch, kind) && (gap.from..gap.to).contains(&seq));
    about.any(|gap| {
        let excuse = !written.durable || written.cut || disk_failed;
        POLICIES.contains(&&*gap.reason) || excuse && DISK.contains(&&*gap.reason)
    })
}
