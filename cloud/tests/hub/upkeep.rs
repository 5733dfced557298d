//! The lake's upkeep on real parts: rebuilt, verified, compacted, removed by rule, swept; and what must not be deleted.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use cloud::{
    ingest::Fact,
    lake::{self, Partition, Row},
    upkeep::{self, Claim, Findings, Keep, Verified, Window},
};
use contract::{
    Gap, Kind, Timestamp, frame,
    live::{GatewayStatus, Presence, SeenWatermark},
};
use store::{
    lake_index::{Format, LakeIndex, Manifest, Object, ObjectQuery},
    objects::PutOptions,
    tables::Tables,
};

use super::support::*;

const HOUR: Duration = Duration::from_secs(3600);

/// As if so long had passed.
fn later(span: Duration) -> Timestamp {
    Timestamp(now().0 + span.as_micros() as i64)
}

/// A gateway's records of every kind that ingest tells apart: rows, samples, a dead letter, one of a newer version, a gap.
async fn fill(parts: &Parts, name: &str, epoch: u128) -> Gateway {
    let mut gateway = parts.gateway(name, epoch).await;
    for round in 1..=3 {
        let records: Vec<_> = (0..20).map(|_| gateway.prediction()).collect();
        gateway.send_records(Kind::Prediction, &records).await;
        let pictures = [gateway.sample(b"a picture", b"input"), gateway.sample(b"another picture", b"more")];
        gateway.send_records(Kind::Sample, &pictures).await;
        gateway.archived(Kind::Prediction, 20 * round).await;
        gateway.archived(Kind::Sample, 2 * round).await;
    }
    let (header, _) = gateway.prediction();
    gateway.send_records(Kind::Prediction, &[(header, b"no record".to_vec())]).await;
    let mut header = gateway.header(Kind::Prediction);
    header.schema = contract::SCHEMA + 1;
    let record = frame::encode_record(&header, &prediction(), &[]).unwrap();
    gateway.send_records(Kind::Prediction, &[(header, record)]).await;
    gateway.archived(Kind::Prediction, 62).await;
    let (from, to) = (62, 62 + (1 << 60));
    let (kind, epoch) = (Kind::Prediction, gateway.epoch);
    let gap = Gap {
        kind,
        epoch,
        from,
        to,
        count: to - from,
        reason: "overflow".into(),
        detail: None,
        captured_from: None,
        captured_to: None,
    };
    let header = gateway.header(Kind::Gap);
    let record = frame::encode_record(&header, &gap, &[]).unwrap();
    gateway.send_records(Kind::Gap, &[(header, record)]).await;
    gateway.archived(Kind::Prediction, to).await;
    gateway
}

/// Tables that know nothing, as after the loss of the database.
async fn empty_tables() -> (tempfile::TempDir, LakeIndex) {
    let folder = tempfile::tempdir().unwrap();
    let tables = Tables::open(&format!("sqlite:{}", folder.path().join("new.db").display())).await.unwrap();
    let index = LakeIndex::open(tables, now()).await.unwrap();
    (folder, index)
}

async fn check(parts: &Parts) -> Verified {
    upkeep::verify(&parts.index, &parts.objects, Window::default()).await.unwrap()
}

async fn clean(parts: &Parts) -> Verified {
    let verified = check(parts).await;
    assert!(verified.clean, "{verified}");
    verified
}

/// What both must say.
fn essence(manifest: &Manifest) -> impl PartialEq + std::fmt::Debug + use<> {
    let epochs: Vec<_> = manifest.epochs.iter().map(|e| (e.epoch, e.owner.clone())).collect();
    let epochs: BTreeMap<_, _> = epochs.into_iter().collect();
    let streams: BTreeMap<_, _> = manifest.streams.iter().map(|s| (s.id, s.committed.clone())).collect();
    (manifest.lake.clone(), epochs, streams, manifest.objects.clone(), manifest.samples.clone())
}

async fn same_after_rebuild(parts: &Parts) -> LakeIndex {
    let (folder, fresh) = empty_tables().await;
    assert!(matches!(upkeep::state_of(&fresh, &parts.objects).await.unwrap(), Claim::Rebuild(_)));
    let before = parts.index.manifest().await.unwrap();
    let rebuilt = upkeep::rebuild(&fresh, &parts.objects, now()).await.unwrap();
    assert!(rebuilt.damaged.is_empty() && rebuilt.written_again.is_empty(), "{rebuilt}");
    assert_eq!(essence(&before), essence(&fresh.manifest().await.unwrap()));
    assert_eq!(upkeep::state_of(&fresh, &parts.objects).await.unwrap(), Claim::Own);
    let verified = upkeep::verify(&fresh, &parts.objects, Window::default()).await.unwrap();
    assert!(verified.clean, "{verified}");
    std::mem::forget(folder); // the caller goes on with these tables
    fresh
}

async fn rows_of(parts: &Parts, kind: Kind) -> Vec<Row> {
    parts.rows(kind).await
}

async fn objects(parts: &Parts, format: Format, kind: Kind) -> Vec<Object> {
    parts.index.objects(&ObjectQuery { format, ..ObjectQuery::rows_of(kind) }).await.unwrap()
}

async fn put(parts: &Parts, key: &str, bytes: impl Into<Bytes>) {
    parts.objects.put(key, bytes, PutOptions::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_rebuilt_from_the_objects_alone() {
    let parts = Parts::start().await;
    upkeep::claim(&parts.index, &parts.objects, now()).await.unwrap();
    fill(&parts, "gw-1", 51).await;
    fill(&parts, "gw-2", 52).await;
    let verified = clean(&parts).await;
    let of_first = |kind: Kind| {
        verified.sequences.iter().find(|s| s.gateway.as_str() == "gw-1" && s.kind == kind).unwrap().clone()
    };
    let predictions = of_first(Kind::Prediction);
    assert_eq!((predictions.archived, predictions.end), (61, 62 + (1 << 60)));
    let gaps: Vec<_> = predictions.gaps.iter().map(|(reason, n)| (reason.as_str(), *n)).collect();
    assert_eq!(gaps, [("overflow", 1 << 60), ("rejected", 1)]);
    assert_eq!((of_first(Kind::Sample).archived, verified.samples), (6, 12));
    same_after_rebuild(&parts).await;
    // what is rebuilt over tables that work gives the same again, in a new life
    let before = parts.index.identity().await.unwrap();
    let manifest = parts.index.manifest().await.unwrap();
    upkeep::rebuild(&parts.index, &parts.objects, now()).await.unwrap();
    let after = parts.index.identity().await.unwrap();
    assert!(after.lake == before.lake && after.incarnation != before.incarnation);
    assert_eq!(essence(&manifest), essence(&parts.index.manifest().await.unwrap()));
    parts.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ingest_goes_on_over_rebuilt_tables() {
    let parts = Parts::start().await;
    let mut gateway = parts.gateway("gw-1", 53).await;
    let records: Vec<_> = (0..10).map(|_| gateway.prediction()).collect();
    gateway.send_records(Kind::Prediction, &records).await;
    gateway.archived(Kind::Prediction, 10).await;
    let rebuilt = upkeep::rebuild(&parts.index, &parts.objects, now()).await.unwrap();
    let more: Vec<_> = (0..10).map(|_| gateway.prediction()).collect();
    gateway.send_records(Kind::Prediction, &[&records[5..], &more[..]].concat()).await;
    let archived = gateway.archived(Kind::Prediction, 20).await;
    assert_eq!(archived.incarnation, rebuilt.incarnation);
    assert_eq!(parts.seqs(Kind::Prediction).await, (0..20).collect::<Vec<_>>());
    clean(&parts).await;
    parts.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parquet_cut_in_half_is_told_of_and_left_aside() {
    let parts = Parts::start().await;
    upkeep::claim(&parts.index, &parts.objects, now()).await.unwrap();
    fill(&parts, "gw-1", 54).await;
    let victims =
        [objects(&parts, Format::Parquet, Kind::Prediction).await, objects(&parts, Format::Shard, Kind::Sample).await];
    for victim in victims.iter().map(|found| &found[0]) {
        let whole = parts.objects.get(&victim.key).await.unwrap();
        put(&parts, &victim.key, whole.slice(..whole.len() / 2)).await;
    }
    let keys: Vec<_> = victims.iter().map(|found| found[0].key.clone()).collect();
    let verified = check(&parts).await;
    assert!(!verified.clean);
    for key in &keys {
        assert!(verified.problems.iter().any(|problem| problem.key == *key), "{verified}");
    }
    let (_folder, fresh) = empty_tables().await;
    let rebuilt = upkeep::rebuild(&fresh, &parts.objects, now()).await.unwrap();
    let damaged: Vec<_> = rebuilt.damaged.iter().map(|aside| aside.key.clone()).collect();
    assert_eq!(damaged, keys);
    for key in &keys {
        assert!(parts.objects.get(&format!("aside/{key}")).await.is_ok());
        assert!(parts.objects.get(key).await.is_err());
    }
    // the numbers of the lost rows are not committed: their gateway is asked for them, or says that it no longer has them
    let verified = upkeep::verify(&fresh, &parts.objects, Window::default()).await.unwrap();
    let predictions = verified.sequences.iter().find(|s| s.kind == Kind::Prediction).unwrap();
    assert_eq!(predictions.missing.count(), victims[0][0].rows);
    parts.end().await;
}

/// A process that was killed left objects of a commit that another one won: some numbers are in both.
#[tokio::test(flavor = "multi_thread")]
async fn what_two_ingests_stored_is_kept_once_and_nothing_of_it_lost() {
    let parts = Parts::start().await;
    upkeep::claim(&parts.index, &parts.objects, now()).await.unwrap();
    let mut gateway = parts.gateway("gw-1", 55).await;
    let records: Vec<_> = (0..10).map(|_| gateway.prediction()).collect();
    gateway.send_records(Kind::Prediction, &records).await;
    gateway.archived(Kind::Prediction, 10).await;
    let committed = rows_of(&parts, Kind::Prediction).await;
    let partition = Partition::of(committed[0].corrected_at());
    let stray = |numbers: std::ops::Range<u64>| {
        let rows: Vec<_> = numbers
            .map(|seq| {
                let mut row = committed[0].clone();
                row.record.header.seq = seq;
                row
            })
            .collect();
        lake::parquet(Kind::Prediction, &rows, &partition, now()).unwrap()
    };
    // a copy of what is committed, and one that goes on where the other ends
    let (copy, overlap) = (stray(2..6), stray(7..15));
    let (copied, overlapping) = (copy.object.key.clone(), overlap.object.key.clone());
    lake::put(&parts.objects, copy).await.unwrap();
    lake::put(&parts.objects, overlap).await.unwrap();
    let (_folder, fresh) = empty_tables().await;
    let rebuilt = upkeep::rebuild(&fresh, &parts.objects, now()).await.unwrap();
    assert_eq!(rebuilt.written_again, [overlapping]);
    assert_eq!(rebuilt.unneeded.iter().map(|a| a.key.as_str()).collect::<Vec<_>>(), [copied]);
    let verified = upkeep::verify(&fresh, &parts.objects, Window::default()).await.unwrap();
    assert!(verified.clean, "{verified}");
    assert_eq!((verified.sequences[0].archived, verified.sequences[0].end), (15, 15));
    parts.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_names_what_is_wrong() {
    let parts = Parts::start().await;
    fill(&parts, "gw-1", 56).await;
    let key = objects(&parts, Format::Parquet, Kind::Prediction).await[0].key.clone();
    let bytes = parts.objects.get(&key).await.unwrap();
    parts.objects.delete(&key).await.unwrap();
    let verified = check(&parts).await;
    assert!(verified.problems.iter().any(|p| p.key == key && p.why.contains("not in the bucket")), "{verified}");
    put(&parts, &key, bytes).await;
    clean(&parts).await;

    let damage = [
        ("DELETE FROM lake_samples WHERE seq = 1", "is not in the index"),
        ("UPDATE lake_streams SET upto = upto - 1 WHERE kind = 'sample'", "NOT COMMITTED 1 (5)"),
        ("UPDATE lake_objects SET retired_at = 1 WHERE kind = 'gap'", "LOST"),
        (
            "UPDATE lake_objects SET holds = replace(holds, '[0,20]', '[0,21]') WHERE kind = 'prediction'",
            "DOUBLED 1 (20)",
        ),
        ("UPDATE lake_streams SET upto = upto + 3 WHERE kind = 'sample'", "LOST 3 (6-8)"),
        ("UPDATE lake_streams SET ranges = '[[8,9]]' WHERE kind = 'sample'", "MISSING 2 (6-7)"),
    ];
    for (sql, says) in damage {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("copy.db");
        parts.index.backup(&file, now()).await.unwrap();
        let tables = Tables::open(&format!("sqlite:{}", file.display())).await.unwrap();
        let damaged = LakeIndex::open(tables.clone(), now()).await.unwrap();
        tables.write(|tx| async move { tx.sql(sql).execute().await }).await.unwrap();
        let verified = upkeep::verify(&damaged, &parts.objects, Window::default()).await.unwrap();
        assert!(!verified.clean && verified.to_string().contains(says), "{sql}: {verified}");
        tables.close().await;
    }
    // only objects of the asked time are read; sequences are proven all the same
    let window = Window { from: Some(later(HOUR)), to: None };
    let verified = upkeep::verify(&parts.index, &parts.objects, window).await.unwrap();
    assert!(verified.clean && verified.samples == 0 && verified.sequences.len() >= 4, "{verified}");
    parts.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn small_objects_are_merged_and_readers_have_their_time() {
    let parts = Parts::start().await;
    upkeep::claim(&parts.index, &parts.objects, now()).await.unwrap();
    fill(&parts, "gw-1", 57).await;
    fill(&parts, "gw-2", 58).await;
    let mut before = BTreeMap::new();
    for kind in [Kind::Prediction, Kind::Sample, Kind::Gap] {
        before.insert(kind, rows_of(&parts, kind).await);
    }
    let old = objects(&parts, Format::Parquet, Kind::Prediction).await;
    assert!(old.len() >= 6);
    assert_eq!(
        upkeep::compact(&parts.index, &parts.objects, HOUR, now()).await.unwrap().from,
        0,
        "the hour is not over"
    );
    // two processes at once
    let at = later(3 * HOUR);
    let (a, b) = tokio::join!(
        upkeep::compact(&parts.index, &parts.objects, HOUR, at),
        upkeep::compact(&parts.index, &parts.objects, HOUR, at)
    );
    let (a, b) = (a.unwrap(), b.unwrap());
    assert!(a.from + b.from >= 12, "{a:?} {b:?}");
    for kind in [Kind::Prediction, Kind::Sample, Kind::Gap] {
        let hours = before[&kind]
            .iter()
            .map(|row| Partition::of(row.corrected_at()))
            .collect::<std::collections::BTreeSet<_>>();
        assert_eq!(objects(&parts, Format::Parquet, kind).await.len(), hours.len(), "{kind}");
        let now: Vec<_> = rows_of(&parts, kind).await.into_iter().map(|row| Row { place: None, ..row }).collect();
        let then: Vec<_> = before[&kind].iter().cloned().map(|row| Row { place: None, ..row }).collect();
        assert!(now == then, "{kind}");
    }
    let verified = clean(&parts).await;
    assert_eq!(verified.samples, 12);
    assert_eq!(upkeep::compact(&parts.index, &parts.objects, HOUR, at).await.unwrap().from, 0, "once is enough");
    // a reader that listed before still finds its objects, until their time is over
    assert!(parts.objects.get(&old[0].key).await.is_ok());
    assert_eq!(upkeep::sweep(&parts.index, &parts.objects, HOUR, at).await.unwrap(), 0);
    assert!(upkeep::sweep(&parts.index, &parts.objects, HOUR, later(5 * HOUR)).await.unwrap() >= 12);
    assert!(parts.objects.get(&old[0].key).await.is_err());
    assert_eq!(upkeep::orphans(&parts.index, &parts.objects, Duration::ZERO, at).await.unwrap(), 0);
    clean(&parts).await;
    same_after_rebuild(&parts).await;
    parts.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_lost_does_not_keep_the_others_from_being_merged() {
    let parts = Parts::start().await;
    upkeep::claim(&parts.index, &parts.objects, now()).await.unwrap();
    fill(&parts, "gw-1", 63).await;
    let predictions = objects(&parts, Format::Parquet, Kind::Prediction).await;
    let samples = objects(&parts, Format::Parquet, Kind::Sample).await;
    parts.objects.delete(&predictions[0].key).await.unwrap();
    upkeep::compact(&parts.index, &parts.objects, HOUR, later(3 * HOUR)).await.unwrap();
    assert!(objects(&parts, Format::Parquet, Kind::Sample).await.len() < samples.len());
    assert!(
        objects(&parts, Format::Parquet, Kind::Prediction).await.contains(&predictions[0]),
        "it stays to be told of"
    );
    let problems = check(&parts).await.problems;
    assert!(problems.len() == 1 && problems[0].key == predictions[0].key, "{problems:?}");
    parts.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_removes_whole_hours_by_a_named_rule() {
    let parts = Parts::start().await;
    upkeep::claim(&parts.index, &parts.objects, now()).await.unwrap();
    fill(&parts, "gw-1", 59).await;
    let day = Duration::from_secs(86_400);
    let rules = [
        (Kind::Prediction, Keep { age: Some(day), bytes: None }),
        (Kind::Sample, Keep { age: None, bytes: Some(1) }),
        (Kind::Gap, Keep { age: Some(HOUR), bytes: None }),
    ];
    let rules = rules.into_iter().collect();
    // samples are over their bytes at once; predictions are not old yet
    assert!(upkeep::retain(&parts.index, &parts.objects, &rules, now()).await.unwrap() >= 6);
    assert_eq!(rows_of(&parts, Kind::Prediction).await.len(), 60);
    assert!(upkeep::retain(&parts.index, &parts.objects, &rules, later(2 * day)).await.unwrap() >= 3);
    assert_eq!(upkeep::retain(&parts.index, &parts.objects, &rules, later(2 * day)).await.unwrap(), 0);
    assert!(rows_of(&parts, Kind::Prediction).await.is_empty() && rows_of(&parts, Kind::Sample).await.is_empty());
    assert!(!rows_of(&parts, Kind::Gap).await.is_empty(), "gaps stay");
    let verified = clean(&parts).await;
    let removed: BTreeMap<_, _> = verified.sequences.iter().flat_map(|s| s.removed.clone()).collect();
    let expected = [("retention.prediction.age = 1d".to_owned(), 60), ("retention.sample.bytes = 1B".to_owned(), 6)];
    assert_eq!(removed, expected.into());
    assert!(verified.to_string().contains("60 removed by retention.prediction.age = 1d"), "{verified}");
    // the bytes of removed objects are still there: a rebuild must not bring their rows back
    same_after_rebuild(&parts).await;
    upkeep::sweep(&parts.index, &parts.objects, HOUR, later(3 * day)).await.unwrap();
    assert!(parts.objects.list("shards/").all().await.unwrap().is_empty());
    same_after_rebuild(&parts).await;
    parts.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn orphans_go_after_their_grace_and_never_while_a_rebuild_is_due() {
    let parts = Parts::start().await;
    upkeep::claim(&parts.index, &parts.objects, now()).await.unwrap();
    fill(&parts, "gw-1", 60).await;
    let stray = "lake/kind=event/date=2026-11-23/hour=05/stray.parquet";
    put(&parts, stray, "left by a process that was killed").await;
    put(&parts, "elsewhere/not-ours", "somebody else's").await;
    let (index, objects) = (&parts.index, &parts.objects);
    let day = Duration::from_secs(86_400);
    assert_eq!(upkeep::orphans(index, objects, day, now()).await.unwrap(), 0, "young");
    parts.index.ask_for_rebuild("a test").await.unwrap();
    assert_eq!(upkeep::orphans(index, objects, day, later(2 * day)).await.unwrap(), 0, "a rebuild is due");
    // empty tables beside a full bucket: all of it looks like orphans
    let (_folder, fresh) = empty_tables().await;
    let all = objects.list("").all().await.unwrap().len();
    assert_eq!(upkeep::orphans(&fresh, objects, day, later(2 * day)).await.unwrap(), 0);
    objects.delete(upkeep::MARKER).await.unwrap();
    assert_eq!(upkeep::orphans(&fresh, objects, day, later(2 * day)).await.unwrap(), 0, "even without the marker");
    assert_eq!(objects.list("").all().await.unwrap().len(), all - 1);
    // after the rebuild, which sets the unreadable one aside, only true orphans go
    upkeep::rebuild(index, objects, now()).await.unwrap();
    put(&parts, stray, "left by a process that was killed").await;
    let (a, b) = tokio::join!(
        upkeep::orphans(index, objects, day, later(2 * day)),
        upkeep::orphans(index, objects, day, later(2 * day))
    );
    assert!(a.unwrap() + b.unwrap() >= 1);
    assert!(objects.get(stray).await.is_err() && objects.get("elsewhere/not-ours").await.is_ok());
    clean(&parts).await;
    parts.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_duplicate_with_other_contents_is_kept_aside_and_counted() {
    let parts = Parts::start().await;
    let mut gateway = parts.gateway("gw-1", 61).await;
    let (first, other) = (gateway.prediction(), gateway.prediction());
    let forged = {
        let mut body = prediction();
        body.scores = vec![0.5, 0.5];
        (first.0.clone(), frame::encode_record(&first.0, &body, &[]).unwrap())
    };
    // while the first is on its way, after its commit, and again
    gateway.send_records(Kind::Prediction, &[first.clone(), forged.clone(), first.clone()]).await;
    gateway.archived(Kind::Prediction, 1).await;
    until("the difference", async || (parts.count(Fact::Differing) == 1).then_some(())).await;
    gateway.send_records(Kind::Prediction, &[forged.clone(), first.clone(), other.clone()]).await;
    gateway.archived(Kind::Prediction, 2).await;
    assert_eq!((parts.count(Fact::Differing), parts.count(Fact::Unchecked)), (1, 0));
    until("the dead letter", async || (parts.kept(Format::Dead, Kind::Prediction).await == 1).then_some(())).await;
    let rows = rows_of(&parts, Kind::Prediction).await;
    assert!(rows.len() == 2 && rows[0].record.header == first.0);
    let lake::Body::Prediction(kept) = &rows[0].record.body else { panic!() };
    assert_eq!(kept.scores, prediction().scores, "the first one stays");
    let dead = objects(&parts, Format::Dead, Kind::Prediction).await;
    assert!(dead[0].holds.is_empty(), "it accounts for no number");
    clean(&parts).await;
    // once compacted there is nothing left to compare with
    let done = upkeep::compact(&parts.index, &parts.objects, HOUR, later(3 * HOUR)).await.unwrap();
    assert_eq!(done.from, 2);
    gateway.send_records(Kind::Prediction, &[forged, first]).await;
    until("the unchecked", async || (parts.count(Fact::Unchecked) == 2).then_some(())).await;
    assert_eq!(parts.count(Fact::Differing), 1);
    parts.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_were_rolled_back_are_noticed_by_what_a_gateway_was_told() {
    let parts = Parts::start().await;
    let mut gateway = parts.gateway("gw-1", 62).await;
    let records: Vec<_> = (0..10).map(|_| gateway.prediction()).collect();
    gateway.send_records(Kind::Prediction, &records).await;
    let archived = gateway.archived(Kind::Prediction, 10).await;
    let status = GatewayStatus {
        schema: contract::SCHEMA,
        status: Presence::Online,
        session: 1,
        since: None,
        version: None,
        engine: None,
        epoch: Some(gateway.epoch),
        holds: BTreeMap::new(),
        archived: Some(SeenWatermark {
            ranges: BTreeMap::new(),
            lake: archived.lake.clone(),
            incarnation: archived.incarnation.clone(),
            upto: [(Kind::Prediction, 10)].into(),
        }),
    };
    let findings = Findings::default();
    let birth = async |status: &GatewayStatus| {
        upkeep::birth(&parts.index, &findings, &gateway.who, status, now()).await.unwrap();
    };
    birth(&status).await;
    assert_eq!(findings.rollback_count(), 0, "as told");
    parts
        .index
        .tables()
        .write(|tx| async move { tx.sql("UPDATE lake_streams SET upto = 4, version = 1").execute().await })
        .await
        .unwrap();
    birth(&status).await;
    birth(&status).await;
    assert_eq!(findings.rollback_count(), 1, "the second time it is another incarnation");
    let found = &findings.rollbacks()[0];
    assert_eq!((found.kind, found.told, found.known), (Kind::Prediction, 10, 4));
    assert!(parts.index.rebuild_due().await.unwrap().unwrap().contains("plant/gw-1"));
    // ingest forgets what it had learnt and tells everyone
    let told = until("the new incarnation", async || {
        let told = gateway.archived(Kind::Prediction, 4).await;
        (told.incarnation != archived.incarnation).then_some(told)
    })
    .await;
    assert_eq!(told.of(gateway.epoch, Kind::Prediction).unwrap().upto, 4);
    upkeep::rebuild(&parts.index, &parts.objects, now()).await.unwrap();
    clean(&parts).await;
    parts.end().await;
}
