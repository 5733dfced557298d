//! The lake's index: identity, binding, commits, watermarks, objects, samples.

use contract::{Digest, Epoch, Kind, Principal, Timestamp};
use store::{
    lake_index::{
        Advance, Binding, Commit, EpochRow, Exchange, Format, Hashes, Holding, LakeIndex, Manifest, Object,
        ObjectQuery, Outcome, RANGES_MAX, RangeSet, SEQ_END, SampleInput, SampleQuery, SampleRow, Stream, StreamId,
    },
    tables::Tables,
};

use crate::Databases;

const NOW: Timestamp = Timestamp(1_795_458_240_000_000);
const EPOCH: Epoch = Epoch(7);

pub async fn all(databases: &Databases) {
    identity_stays(&databases.fresh("identity").await).await;
    commits_advance_streams(&lake(databases, "commits").await).await;
    refused_commits_change_nothing(&lake(databases, "refused").await).await;
    an_epoch_has_one_owner(&lake(databases, "owner").await).await;
    one_of_many_writers_wins(&databases.fresh("writers").await).await;
    the_watermark_names_the_newest_epochs(&lake(databases, "watermark").await).await;
    objects_are_found_by_time(&lake(databases, "objects").await).await;
    objects_are_replaced_whole(&lake(databases, "replaced").await).await;
    samples_are_found(&lake(databases, "samples").await).await;
    hashes_are_kept_until_the_exchange(&lake(databases, "hashes").await).await;
    a_manifest_is_written_and_read(&lake(databases, "manifest").await).await;
    a_rollback_ends_an_incarnation_once(&lake(databases, "rollback").await).await;
    a_backup_is_restored(databases).await;
}

async fn lake(databases: &Databases, name: &str) -> LakeIndex {
    LakeIndex::open(Tables::open(&databases.fresh(name).await).await.unwrap(), NOW).await.unwrap()
}

fn principal(gateway: &str) -> Principal {
    Principal { site: "home".parse().unwrap(), gateway: gateway.parse().unwrap() }
}

fn advance(epoch: Epoch, kind: Kind, expected: u64, ranges: &[[u64; 2]]) -> Advance {
    let add = RangeSet::from(ranges.to_vec());
    Advance { owner: principal("gw"), stream: StreamId { epoch, kind }, expected, add }
}

fn commit(advances: Vec<Advance>) -> Commit {
    Commit { now: NOW, advances, ..Commit::default() }
}

fn object(key: &str, hour: u32, rows: u64) -> Object {
    let at = |minutes: i64| Timestamp((i64::from(hour) * 60 + minutes) * 60_000_000);
    let ranges = RangeSet::from(vec![[0, rows]]);
    let (site, gateway) = ("home".parse().unwrap(), "gw".parse().unwrap());
    Object {
        key: key.to_owned(),
        format: Format::Parquet,
        kind: Kind::Prediction,
        date: "1970-01-01".to_owned(),
        hour,
        site: Some("home".parse().unwrap()),
        rows,
        bytes: rows * 10,
        digest: Digest([hour as u8; 32]),
        captured: [at(0), at(59)],
        corrected: [at(0), at(59)],
        schema: 1,
        holds: vec![Holding { site, gateway, epoch: EPOCH, kind: Kind::Prediction, ranges }],
    }
}

fn sample(n: u64, camera: &str, with_input: bool) -> SampleRow {
    let camera: contract::CameraId = camera.parse().unwrap();
    SampleRow {
        frame_id: contract::FrameId { epoch: EPOCH, camera: camera.clone(), counter: n },
        region: "door".parse().unwrap(),
        seq: n,
        site: "home".parse().unwrap(),
        gateway: "gw".parse().unwrap(),
        camera,
        corrected_at: Timestamp(n as i64),
        captured_at: Timestamp(n as i64 + 1),
        reason: "changed".to_owned(),
        label: if n.is_multiple_of(2) { "open" } else { "shut" }.to_owned(),
        score: 0.5,
        shard: "shards/1.tar".to_owned(),
        media_type: "image/jpeg".to_owned(),
        picture: [512 * n, 300],
        picture_digest: Digest([9; 32]),
        size: [1920, 1080],
        input: with_input.then(|| SampleInput {
            at: [7, 8],
            digest: Digest([8; 32]),
            encoding: "zstd".to_owned(),
            dtype: "uint8".to_owned(),
            shape: vec![224, 224, 3],
        }),
    }
}

async fn identity_stays(uri: &str) {
    let open = || async { LakeIndex::open(Tables::open(uri).await.unwrap(), NOW).await.unwrap() };
    let all = futures::future::join_all((0..4).map(|_| open())).await;
    let first = all[0].identity().await.unwrap();
    assert_eq!((first.lake.len(), first.incarnation.len()), (32, 32));
    for lake in &all {
        assert_eq!(lake.identity().await.unwrap(), first);
    }
    let second = all[1].new_incarnation().await.unwrap();
    assert_eq!(second.lake, first.lake);
    assert_ne!(second.incarnation, first.incarnation);
    assert_eq!(open().await.identity().await.unwrap(), second);
}

async fn commits_advance_streams(lake: &LakeIndex) {
    let id = StreamId { epoch: EPOCH, kind: Kind::Prediction };
    let empty = lake.stream(id).await.unwrap();
    assert_eq!((empty.version, empty.committed.is_empty()), (0, true));
    let first = Commit {
        objects: vec![object("a", 1, 10)],
        ..commit(vec![
            advance(EPOCH, Kind::Prediction, 0, &[[0, 10], [20, 30]]),
            advance(EPOCH, Kind::Gap, 0, &[[0, 1]]),
        ])
    };
    let Outcome::Committed(streams) = lake.commit(&first).await.unwrap() else { panic!() };
    assert_eq!(streams.len(), 2);
    assert_eq!(lake.stream(id).await.unwrap(), streams[0]);
    assert_eq!((streams[0].version, streams[0].committed.upto()), (1, 10));
    // The same again is a conflict: whoever lost the answer sees that it is done.
    let Outcome::Conflict(moved) = lake.commit(&first).await.unwrap() else { panic!() };
    assert_eq!(moved, streams);
    let Outcome::Committed(streams) =
        lake.commit(&commit(vec![advance(EPOCH, Kind::Prediction, 1, &[[10, 20]])])).await.unwrap()
    else {
        panic!()
    };
    assert_eq!(streams[0].committed.ranges(), [[0, 30]]);
    assert_eq!(lake.streams(EPOCH).await.unwrap().len(), 2);
    assert_eq!(lake.counts().await.unwrap()[0].rows, 10);
}

async fn refused_commits_change_nothing(lake: &LakeIndex) {
    lake.commit(&commit(vec![advance(EPOCH, Kind::Event, 0, &[[5, 10]])])).await.unwrap();
    let many: Vec<_> = (0..RANGES_MAX as u64 + 1).map(|i| [20 + 2 * i, 21 + 2 * i]).collect();
    let cases = [
        (advance(EPOCH, Kind::Event, 1, &[[8, 12]]), "committed already"),
        (advance(EPOCH, Kind::Event, 1, &[]), "nothing to add"),
        (advance(EPOCH, Kind::Event, 1, &[[SEQ_END, SEQ_END + 1]]), "beyond"),
        (advance(EPOCH, Kind::Event, 1, &many), "ranges"),
    ];
    for (advance, says) in cases {
        let refused = Commit { objects: vec![object("x", 1, 1)], ..commit(vec![advance]) };
        let error = lake.commit(&refused).await.unwrap_err();
        assert!(error.to_string().contains(says) && !error.retryable(), "{error}");
    }
    let twice = vec![advance(EPOCH, Kind::Event, 1, &[[0, 1]]), advance(EPOCH, Kind::Event, 1, &[[1, 2]])];
    assert!(lake.commit(&commit(twice)).await.unwrap_err().to_string().contains("twice"));
    // An object that is there already fails the whole commit.
    let first = Commit { objects: vec![object("y", 1, 1)], ..commit(vec![advance(EPOCH, Kind::Event, 1, &[[0, 1]])]) };
    lake.commit(&first).await.unwrap();
    let again = Commit { objects: vec![object("y", 1, 1)], ..commit(vec![advance(EPOCH, Kind::Event, 2, &[[1, 2]])]) };
    lake.commit(&again).await.unwrap_err();
    let stream = lake.stream(StreamId { epoch: EPOCH, kind: Kind::Event }).await.unwrap();
    assert_eq!((stream.version, stream.committed.ranges()), (2, &[[0, 1], [5, 10]][..]));
    assert_eq!(lake.objects(&ObjectQuery::rows_of(Kind::Prediction)).await.unwrap().len(), 1);
}

async fn an_epoch_has_one_owner(lake: &LakeIndex) {
    assert_eq!(lake.bind(&principal("gw"), EPOCH, NOW).await.unwrap(), Binding::Own);
    assert_eq!(lake.bind(&principal("gw"), EPOCH, NOW).await.unwrap(), Binding::Own);
    let foreign = lake.bind(&principal("thief"), EPOCH, NOW).await.unwrap();
    assert_eq!(foreign, Binding::Foreign(principal("gw")));
    let mut stolen = advance(EPOCH, Kind::Event, 0, &[[0, 1]]);
    stolen.owner = principal("thief");
    let outcome = lake.commit(&commit(vec![stolen])).await.unwrap();
    assert_eq!(outcome, Outcome::Foreign { epoch: EPOCH, owner: principal("gw") });
    assert!(lake.streams(EPOCH).await.unwrap().is_empty());
    assert_eq!(lake.principals().await.unwrap(), [principal("gw")]);
}

/// Eight writers, of two processes, all with the same records: each number is committed once.
async fn one_of_many_writers_wins(uri: &str) {
    let lakes = [
        LakeIndex::open(Tables::open(uri).await.unwrap(), NOW).await.unwrap(),
        LakeIndex::open(Tables::open(uri).await.unwrap(), NOW).await.unwrap(),
    ];
    let writers = (0..8).map(|w| {
        let lake = lakes[w % 2].clone();
        tokio::spawn(async move {
            let id = StreamId { epoch: EPOCH, kind: Kind::Prediction };
            let wanted = RangeSet::from(vec![[0, 50]]);
            let mut won = 0;
            for round in 0.. {
                let stream = lake.stream(id).await.unwrap();
                let left = wanted.without(&stream.committed);
                let Some([from, _]) = left.ranges().first().copied() else { return won };
                let next = Commit {
                    objects: vec![object(&format!("{w}-{round}"), 1, 5)],
                    ..commit(vec![advance(EPOCH, Kind::Prediction, stream.version, &[[from, from + 5]])])
                };
                match lake.commit(&next).await {
                    Ok(Outcome::Committed(_)) => won += 1,
                    Ok(Outcome::Conflict(moved)) => assert!(moved[0].version > stream.version),
                    Ok(other) => panic!("{other:?}"),
                    Err(e) => assert!(e.retryable(), "{e}"),
                }
            }
            won
        })
    });
    let won: u32 = futures::future::join_all(writers).await.into_iter().map(|w| w.unwrap()).sum();
    assert_eq!(won, 10);
    let counts = lakes[0].counts().await.unwrap();
    assert_eq!((counts[0].objects, counts[0].rows), (10, 50));
}

async fn the_watermark_names_the_newest_epochs(lake: &LakeIndex) {
    let owner = principal("gw");
    let unknown = lake.watermark(&owner).await.unwrap();
    assert!(unknown.epochs.is_empty() && unknown.lake == lake.identity().await.unwrap().lake);
    for n in 1..=6u64 {
        let now = Timestamp(NOW.0 + n as i64);
        let advances = vec![advance(Epoch(n.into()), Kind::Event, 0, &[[0, n], [n + 5, n + 6]])];
        lake.commit(&Commit { now, ..commit(advances) }).await.unwrap();
    }
    let watermark = lake.watermark(&owner).await.unwrap();
    assert_eq!(watermark.epochs.iter().map(|e| e.epoch.0).collect::<Vec<_>>(), [6, 5, 4, 3]);
    let kind = watermark.of(Epoch(6), Kind::Event).unwrap();
    assert_eq!((kind.upto, kind.ranges.as_slice()), (6, &[[11, 12]][..]));
    // An old log that speaks again is named first; a clock that was set back changes nothing.
    lake.commit(&Commit { now: Timestamp(NOW.0 + 50), ..commit(vec![advance(Epoch(1), Kind::Event, 1, &[[1, 2]])]) })
        .await
        .unwrap();
    lake.commit(&Commit { now: Timestamp(0), ..commit(vec![advance(Epoch(1), Kind::Event, 2, &[[2, 3]])]) })
        .await
        .unwrap();
    assert_eq!(lake.watermark(&owner).await.unwrap().epochs[0].epoch, Epoch(1));
    assert!(lake.watermark(&principal("other")).await.unwrap().epochs.is_empty());
}

async fn objects_are_found_by_time(lake: &LakeIndex) {
    let objects: Vec<_> = (0..10).map(|hour| object(&format!("k{hour}"), hour, 1 + u64::from(hour))).collect();
    let all = Commit { objects: objects.clone(), ..commit(vec![advance(EPOCH, Kind::Prediction, 0, &[[0, 1]])]) };
    lake.commit(&all).await.unwrap();
    let query = ObjectQuery::rows_of(Kind::Prediction);
    assert_eq!(lake.objects(&query).await.unwrap(), objects);
    let hour = |h: i64| Some(Timestamp(h * 3_600_000_000));
    let keys = |objects: Vec<Object>| objects.into_iter().map(|o| o.key).collect::<Vec<_>>();
    let some = ObjectQuery { from: hour(3), to: hour(5), ..query.clone() };
    assert_eq!(keys(lake.objects(&some).await.unwrap()), ["k3", "k4"]);
    let newest = ObjectQuery { newest_first: true, offset: 1, limit: 2, ..query.clone() };
    assert_eq!(keys(lake.objects(&newest).await.unwrap()), ["k8", "k7"]);
    let elsewhere = ObjectQuery { site: Some("away".parse().unwrap()), ..query.clone() };
    assert!(lake.objects(&elsewhere).await.unwrap().is_empty());
    assert!(lake.objects(&ObjectQuery { kind: Kind::Event, ..query }).await.unwrap().is_empty());
    assert_eq!(lake.object("k3").await.unwrap().unwrap(), objects[3]);
    assert!(lake.object("absent").await.unwrap().is_none());
}

async fn objects_are_replaced_whole(lake: &LakeIndex) {
    let all = Commit {
        objects: vec![object("a", 1, 1), object("b", 1, 2)],
        ..commit(vec![advance(EPOCH, Kind::Prediction, 0, &[[0, 3]])])
    };
    lake.commit(&all).await.unwrap();
    let old = ["a".to_owned(), "b".to_owned()];
    let later = Timestamp(NOW.0 + 1);
    let (one, other) = ([object("ab", 1, 3)], [object("ba", 1, 3)]);
    let exchange = |new| Exchange { now: NOW, old: &old, new, samples: &[], why: "compaction" };
    let (one, other) = (exchange(&one), exchange(&other));
    let (first, second) = tokio::join!(lake.exchange(&one), lake.exchange(&other));
    assert_eq!(u8::from(first.unwrap()) + u8::from(second.unwrap()), 1, "one of two compactions wins");
    assert_eq!(lake.counts().await.unwrap()[0].rows, 3);
    assert_eq!(lake.retired_before(NOW, 10).await.unwrap().len(), 0);
    assert_eq!(lake.retired_before(later, 10).await.unwrap().len(), 2);
    lake.forget(&old).await.unwrap();
    assert!(lake.object("a").await.unwrap().is_none());
    lake.forget(&["ab".to_owned(), "ba".to_owned()]).await.unwrap();
    assert_eq!(lake.counts().await.unwrap()[0].objects, 1, "only retired objects are forgotten");

    // a commit replaces too, beside numbers of its own: all of it or nothing
    let kept = lake.objects(&ObjectQuery::rows_of(Kind::Prediction)).await.unwrap().remove(0).key;
    let exchange = |key: &str, expected, from| Commit {
        objects: vec![object(key, 1, 4)],
        replaced: vec![kept.clone()],
        rule: "read after an upgrade",
        ..commit(vec![advance(EPOCH, Kind::Prediction, expected, &[[from, from + 1]])])
    };
    assert!(matches!(lake.commit(&exchange("c", 1, 3)).await.unwrap(), Outcome::Committed(_)));
    assert_eq!(lake.retired_before(later, 10).await.unwrap()[0].key, kept);
    assert_eq!(lake.commit(&exchange("d", 2, 4)).await.unwrap(), Outcome::Gone(kept.clone()));
    assert!(lake.object("d").await.unwrap().is_none());
    let stream = lake.stream(StreamId { epoch: EPOCH, kind: Kind::Prediction }).await.unwrap();
    assert_eq!((stream.version, stream.committed.upto()), (2, 4));
}

async fn samples_are_found(lake: &LakeIndex) {
    let samples: Vec<_> = (0..70).map(|n| sample(n, if n < 50 { "front" } else { "back" }, n % 3 == 0)).collect();
    let all = Commit { samples: samples.clone(), ..commit(vec![advance(EPOCH, Kind::Sample, 0, &[[0, 70]])]) };
    lake.commit(&all).await.unwrap();
    for wanted in [&samples[0], &samples[64], &samples[69]] {
        assert_eq!(lake.samples_of(&wanted.frame_id, None).await.unwrap(), std::slice::from_ref(wanted));
        assert_eq!(lake.samples_of(&wanted.frame_id, Some(&wanted.region)).await.unwrap().len(), 1);
        assert!(lake.samples_of(&wanted.frame_id, Some(&"roof".parse().unwrap())).await.unwrap().is_empty());
    }
    let query = SampleQuery {
        camera: Some("front".parse().unwrap()),
        label: Some("open".to_owned()),
        from: Some(Timestamp(10)),
        to: Some(Timestamp(20)),
        limit: 3,
        ..SampleQuery::default()
    };
    let found: Vec<_> = lake.samples(&query).await.unwrap().into_iter().map(|s| s.seq).collect();
    assert_eq!(found, [18, 16, 14]);
    let next: Vec<_> =
        lake.samples(&SampleQuery { offset: 3, ..query }).await.unwrap().into_iter().map(|s| s.seq).collect();
    assert_eq!(next, [12, 10]);
}

async fn hashes_are_kept_until_the_exchange(lake: &LakeIndex) {
    let stream = StreamId { epoch: EPOCH, kind: Kind::Prediction };
    let row = |object: &str, from: u64, n: u64| Hashes {
        object: object.to_owned(),
        stream,
        from,
        hashes: (from..from + n).map(|seq| seq.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect(),
    };
    // more than one statement's worth of ranges
    let many: Vec<_> = (0..70).map(|n| row("a", 100 + 4 * n, 3)).collect();
    let hashes = [vec![row("a", 0, 10), row("b", 10, 5)], many].concat();
    let all = Commit {
        objects: vec![object("a", 1, 10), object("b", 1, 5)],
        hashes: hashes.clone(),
        ..commit(vec![advance(EPOCH, Kind::Prediction, 0, &[[0, 500]])])
    };
    lake.commit(&all).await.unwrap();
    assert_eq!(lake.hashes(stream, 0, 1000).await.unwrap(), hashes);
    assert_eq!(lake.hashes(stream, 9, 11).await.unwrap(), hashes[..2]);
    assert_eq!(lake.hashes(stream, 9, 10).await.unwrap(), hashes[..1]);
    assert!(lake.hashes(StreamId { kind: Kind::Event, ..stream }, 0, 1000).await.unwrap().is_empty());
    let (old, new) = (["a".to_owned()], [object("c", 1, 10)]);
    let done = lake.exchange(&Exchange { now: NOW, old: &old, new: &new, samples: &[], why: "compaction" }).await;
    assert!(done.unwrap());
    assert_eq!(lake.hashes(stream, 0, 1000).await.unwrap(), hashes[1..2]);
}

async fn a_manifest_is_written_and_read(lake: &LakeIndex) {
    let before = lake.identity().await.unwrap();
    lake.commit(&commit(vec![advance(Epoch(99), Kind::Event, 0, &[[0, 3]])])).await.unwrap();
    lake.ask_for_rebuild("a test").await.unwrap();
    assert_eq!(lake.rebuild_due().await.unwrap().as_deref(), Some("a test"));
    let stream = Stream {
        id: StreamId { epoch: EPOCH, kind: Kind::Prediction },
        version: 0,
        committed: RangeSet::from(vec![[0, 12], [15, 20]]),
    };
    let epoch = EpochRow { epoch: EPOCH, owner: principal("gw"), bound_at: Timestamp(1), seen_at: Timestamp(2) };
    let manifest = Manifest {
        lake: Some("0123".into()),
        epochs: vec![epoch],
        streams: vec![stream],
        objects: vec![object("a", 1, 10), object("b", 2, 20)],
        samples: vec![sample(1, "front", true), sample(2, "front", false)],
    };
    let identity = lake.write_manifest(&manifest, NOW).await.unwrap();
    assert!(identity.lake == "0123" && identity.incarnation != before.incarnation);
    assert_eq!(lake.rebuild_due().await.unwrap(), None);
    let mut read = lake.manifest().await.unwrap();
    // whoever built upon the tables before meets a conflict, whatever version he had
    let version = std::mem::take(&mut read.streams[0].version);
    assert!(version >= NOW.0 as u64);
    assert_eq!((read.lake, read.epochs, read.streams), (manifest.lake, manifest.epochs, manifest.streams));
    assert_eq!((&read.objects, &read.samples), (&manifest.objects, &manifest.samples));
    assert_eq!(lake.live_objects().await.unwrap(), manifest.objects);
    let mut keys: Vec<_> = (0..1200).map(|n| format!("lake/kind=gap/{n}")).collect();
    assert!(lake.known_keys(&keys).await.unwrap().is_empty() && lake.known_keys(&[]).await.unwrap().is_empty());
    keys.extend(["a".to_owned(), "b".to_owned()]);
    assert_eq!(lake.known_keys(&keys).await.unwrap().into_iter().collect::<Vec<_>>(), ["a", "b"]);
    let stale = lake.commit(&commit(vec![advance(EPOCH, Kind::Prediction, 0, &[[20, 21]])])).await.unwrap();
    assert!(matches!(stale, Outcome::Conflict(_)));
}

async fn a_rollback_ends_an_incarnation_once(lake: &LakeIndex) {
    let first = lake.identity().await.unwrap();
    let (a, b) = tokio::join!(
        lake.end_incarnation(&first.incarnation, "rolled back"),
        lake.end_incarnation(&first.incarnation, "rolled back")
    );
    assert_eq!(u8::from(a.unwrap()) + u8::from(b.unwrap()), 1);
    let second = lake.identity().await.unwrap();
    assert!(second.lake == first.lake && second.incarnation != first.incarnation);
    assert_eq!(lake.rebuild_due().await.unwrap().as_deref(), Some("rolled back"));
}

async fn a_backup_is_restored(databases: &Databases) {
    let from = lake(databases, "backup").await;
    let samples: Vec<_> = (0..1200).map(|n| sample(n, "front", n % 2 == 0)).collect();
    let hashes = vec![Hashes {
        object: "a".into(),
        stream: StreamId { epoch: EPOCH, kind: Kind::Sample },
        from: 0,
        hashes: vec![1, u64::MAX],
    }];
    let all = Commit {
        objects: vec![object("a", 1, 10)],
        samples,
        hashes,
        ..commit(vec![advance(EPOCH, Kind::Sample, 0, &[[0, 1200]]), advance(EPOCH, Kind::Gap, 0, &[[0, 1]])])
    };
    from.commit(&all).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("backup.db");
    from.backup(&file, NOW).await.unwrap();
    assert!(from.backup(&file, NOW).await.unwrap_err().to_string().contains("exists"));
    let bytes = std::fs::read(&file).unwrap();

    let into = lake(databases, "restored").await;
    into.restore(&file, false, NOW).await.unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), bytes, "the backup is as it was");
    let (old, new) = (from.manifest().await.unwrap(), into.manifest().await.unwrap());
    assert_eq!((&old.lake, &old.epochs, &old.streams), (&new.lake, &new.epochs, &new.streams));
    assert!(old.objects == new.objects && old.samples == new.samples && new.samples.len() == 1200);
    let stream = StreamId { epoch: EPOCH, kind: Kind::Sample };
    assert_eq!(from.hashes(stream, 0, 9).await.unwrap(), into.hashes(stream, 0, 9).await.unwrap());
    assert_ne!(from.identity().await.unwrap().incarnation, into.identity().await.unwrap().incarnation);
    assert!(into.rebuild_due().await.unwrap().unwrap().contains("restored"));

    let refused = into.restore(&file, false, NOW).await.unwrap_err().to_string();
    assert!(refused.contains("--replace"), "{refused}");
    into.restore(&file, true, NOW).await.unwrap();
    let nothing = folder.path().join("nothing.db");
    std::fs::write(&nothing, "no database, but long enough to be taken for one ".repeat(40)).unwrap();
    into.restore(&nothing, true, NOW).await.unwrap_err();
    assert_eq!(into.manifest().await.unwrap().samples.len(), 1200);
}
