//! Objects that are slow, throttle and fail, tables that are locked: held, bounded, repeated; in the end everything once.

use std::time::Duration;

use cloud::{ingest::Fact, upkeep, upkeep::Window};
use contract::Kind;
use store::objects::{
    ErrorKind,
    faults::{Fault, Operation},
};

use super::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn every_way_of_failing_ends_with_everything_once() {
    let parts = Parts::start().await;
    let mut gateway = parts.gateway("gw-1", 91).await;
    let faults = [
        Fault::Fail(ErrorKind::Throttled),
        Fault::Delay(Duration::from_millis(700)),
        Fault::Fail(ErrorKind::Unavailable),
        Fault::DoneButTimedOut,
        Fault::Fail(ErrorKind::Full),
        Fault::DoneButTimedOut,
    ];
    for (round, fault) in faults.into_iter().enumerate() {
        parts.faults.plan(Operation::Put, fault, 1);
        let records: Vec<_> = (0..10).map(|_| gateway.prediction()).collect();
        gateway.send_records(Kind::Prediction, &records).await;
        let pictures = [gateway.sample(b"a picture", b"input")];
        gateway.send_records(Kind::Sample, &pictures).await;
        gateway.archived(Kind::Prediction, 10 * (round as u64 + 1)).await;
        gateway.archived(Kind::Sample, round as u64 + 1).await;
    }
    assert_eq!(parts.faults.left(), 0);
    let verified = upkeep::verify(&parts.index, &parts.objects, Window::default()).await.unwrap();
    assert!(verified.clean, "{verified}");
    assert_eq!(parts.seqs(Kind::Prediction).await, (0..60).collect::<Vec<_>>());
    parts.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn locked_tables_are_waited_for() {
    let parts = Parts::start().await;
    let mut gateway = parts.gateway("gw-1", 92).await;
    let first = gateway.prediction();
    gateway.send_records(Kind::Prediction, &[first]).await;
    gateway.archived(Kind::Prediction, 1).await;
    let flushes = parts.count(Fact::Flushes);
    let tables = parts.index.tables().clone();
    let (locked, is_locked) = tokio::sync::oneshot::channel();
    let holder = tokio::spawn(async move {
        let locked = std::sync::Mutex::new(Some(locked));
        let locked = &locked;
        let hold = tables.write(|tx| async move {
            tx.sql("UPDATE lake_epochs SET seen_at = seen_at").execute().await?;
            if let Some(locked) = locked.lock().unwrap().take() {
                locked.send(()).unwrap();
            }
            tokio::time::sleep(Duration::from_secs(2)).await;
            Ok(())
        });
        hold.await.unwrap();
    });
    is_locked.await.unwrap();
    let records: Vec<_> = (0..10).map(|_| gateway.prediction()).collect();
    gateway.send_records(Kind::Prediction, &records).await;
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert_eq!(parts.count(Fact::Flushes), flushes, "nothing is committed past the lock");
    holder.await.unwrap();
    gateway.archived(Kind::Prediction, 11).await;
    assert_eq!(parts.seqs(Kind::Prediction).await, (0..11).collect::<Vec<_>>());
    parts.end().await;
}
