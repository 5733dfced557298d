//! Objects and tables that fail: held, repeated, and neither lost nor doubled.

use std::time::Duration;

use cloud::ingest::Fact;
use contract::Kind;
use store::objects::{
    ErrorKind,
    faults::{Fault, Operation},
};

use super::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn failing_and_lying_objects_are_held_and_repeated() {
    let parts = Parts::start().await;
    let mut gateway = parts.gateway("gw-1", 21).await;
    parts.faults.plan(Operation::Put, Fault::Fail(ErrorKind::Denied), 3);
    parts.faults.plan(Operation::Put, Fault::DoneButTimedOut, 1);
    let records: Vec<_> = (0..10).map(|_| gateway.prediction()).collect();
    gateway.send_records(Kind::Prediction, &records).await;
    gateway.archived(Kind::Prediction, 10).await;
    assert_eq!(parts.seqs(Kind::Prediction).await, (0..10).collect::<Vec<_>>());
    assert!(parts.count(Fact::FlushFailures) >= 3 && parts.faults.left() == 0);
    parts.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_ingests_on_one_stream_neither_lose_nor_double() {
    let mut parts = Parts::start().await;
    let first = parts.ingest.take().unwrap();
    // a second session under another name hears the same messages
    let mut options = link::Options::new(&parts.url, "hub-ingest-2").unwrap();
    options.subscriptions = vec![link::Subscription::at_least_once("sightline/up/+/+/+")];
    let settings = cloud::ingest::Options {
        prefix: "sightline".into(),
        gateway: "hub-other".parse().unwrap(),
        flush_interval: Duration::from_millis(150),
        flush_bytes: 4 << 20,
        fragments: Default::default(),
        dead_bytes: 1 << 20,
    };
    let readiness = daemon::admin::Readiness::new();
    let second = cloud::ingest::start(
        settings,
        cloud::ingest::Parts {
            bus: link::connect(options).unwrap(),
            objects: parts.objects.clone(),
            index: parts.index.clone(),
            ready: readiness.component("ingest"),
            tasks: parts.tasks.clone(),
            pulse: parts.pulse.clone(),
        },
    );
    until("the second ingest", async || readiness.is_ready().then_some(())).await;
    let mut gateway = parts.gateway("gw-1", 22).await;
    for _ in 0..40 {
        let records: Vec<_> = (0..25).map(|_| gateway.prediction()).collect();
        gateway.send_records(Kind::Prediction, &records).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    gateway.archived(Kind::Prediction, 1000).await;
    let counted = first.stats.get(Fact::Rows) + second.stats.get(Fact::Rows);
    assert_eq!(parts.seqs(Kind::Prediction).await, (0..1000).collect::<Vec<_>>());
    assert_eq!(counted, 1000);
    first.drain(PATIENCE).await.unwrap();
    second.drain(PATIENCE).await.unwrap();
    parts.end().await;
}

/// The connection breaks during a commit, nothing is found afterwards, and the database commits all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_happens_after_it_was_given_up_keeps_its_objects() {
    let parts = Parts::start().await;
    let mut gateway = parts.gateway("gw-1", 23).await;
    let first = gateway.sample(b"first picture", b"input");
    gateway.send_records(Kind::Sample, &[first]).await;
    gateway.archived(Kind::Sample, 1).await;
    let conflicts = parts.count(Fact::Conflicts);
    parts.table_faults.commit_late(Duration::from_millis(1500));
    let (header, record) = gateway.sample(b"second picture", b"input");
    gateway.send_records(Kind::Sample, &[(header.clone(), record.clone())]).await;
    gateway.archived(Kind::Sample, 2).await;
    assert_eq!(parts.table_faults.left(), 0);
    // reading the rows reads their object; the picture lies in the shard
    let rows = parts.rows(Kind::Sample).await;
    assert_eq!(rows.iter().map(|row| row.record.header.seq).collect::<Vec<_>>(), [0, 1]);
    let place = rows[1].place.clone().unwrap();
    let at = place.picture_offset;
    assert_eq!(&parts.objects.get_range(&place.shard, at..at + 14).await.unwrap()[..], b"second picture");
    assert_eq!((parts.count(Fact::Conflicts), parts.count(Fact::Rows)), (conflicts, 2), "it was our own commit");
    // and what it holds is known here: a second arrival is one
    gateway.send_records(Kind::Sample, &[(header, record)]).await;
    until("the duplicate", async || (parts.count(Fact::Duplicates) == 1).then_some(())).await;
    parts.end().await;
}
