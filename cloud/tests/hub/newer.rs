//! Records of a newer version: kept whole, and read after the upgrade by the same rules as those that arrive.

use cloud::{
    ingest::{Fact, read_kept},
    lake::Body,
};
use contract::{Epoch, Gap, Header, Kind, Timestamp, Topic, frame};
use link::Publication;
use serde::Serialize;
use store::lake_index::{Format, StreamId};

use super::support::*;

/// What an upgraded hub reads.
const UPGRADED: u16 = contract::SCHEMA + 1;

/// The record in a newer form, with something in it that this version does not know.
fn newer(mut header: Header, body: &impl Serialize, blobs: &[&[u8]]) -> (Header, Vec<u8>) {
    header.schema = UPGRADED;
    let mut body = serde_json::to_value(body).unwrap();
    body["new"] = "in the future".into();
    let record = frame::encode_record(&header, &body, blobs).unwrap();
    (header, record)
}

async fn read(parts: &Parts) -> cloud::ingest::CaughtUp {
    read_kept(&parts.index, &parts.objects, &"hub-test".parse().unwrap(), UPGRADED).await
}

#[tokio::test(flavor = "multi_thread")]
async fn they_are_kept_whole_and_one_that_cannot_be_read_later_does_not_keep_the_others_back() {
    let parts = Parts::start().await;
    let mut gateway = parts.gateway("gw-1", 14).await;
    let header = gateway.header(Kind::Prediction);
    let good = newer(header, &prediction(), &[]);
    // of a newer frame version, and no record even after the upgrade; in another message and with it in another tar
    let (header, _) = gateway.prediction();
    let mut message = bundle(&[(header, b"of a newer frame version".to_vec())]);
    reframe(&mut message, frame::VERSION + 1);
    // in one tar with the good one: no prediction, and one that speaks in the name of another gateway
    let header = gateway.header(Kind::Prediction);
    let unreadable = newer(header, &serde_json::json!({ "labels": 7 }), &[]);
    let header = gateway.header(Kind::Prediction);
    let mut other = header.clone();
    other.gateway = "gw-2".parse().unwrap();
    let stolen = (header, newer(other, &prediction(), &[]).1);
    let header = gateway.header(Kind::Prediction);
    let last = newer(header, &prediction(), &[]);
    gateway.send_records(Kind::Prediction, &[good, unreadable, stolen, last]).await;
    gateway.send(Kind::Prediction, message).await;
    let today = gateway.prediction();
    gateway.send_records(Kind::Prediction, &[today]).await;
    gateway.archived(Kind::Prediction, 6).await;
    assert_eq!(parts.seqs(Kind::Prediction).await, [5]);
    assert_eq!(parts.kept(Format::Newer, Kind::Prediction).await, 5);

    assert_eq!(read(&parts).await.rows, 2);
    assert_eq!(parts.seqs(Kind::Prediction).await, [0, 4, 5]);
    assert_eq!(parts.kept(Format::Newer, Kind::Prediction).await, 0);
    assert_eq!(parts.kept(Format::Dead, Kind::Prediction).await, 3);
    let mut gaps: Vec<_> = parts.rows(Kind::Gap).await.into_iter().map(|row| row.record.body).collect();
    gaps.sort_by_key(|body| if let Body::Gap(gap) = body { gap.from } else { 0 });
    let rejected: Vec<_> = gaps
        .iter()
        .map(|body| match body {
            Body::Gap(gap) => (gap.from, gap.epoch, &*gap.reason),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(rejected, [1, 2, 3].map(|seq| (seq, Epoch(14), "rejected")));
    assert_eq!(read(&parts).await, Default::default(), "there is nothing left to read");
    parts.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn their_clock_is_corrected_and_a_sample_is_in_the_index_with_its_row() {
    let parts = Parts::start().await;
    let mut gateway = parts.gateway("gw-1", 24).await;
    let hour = 3_600_000_000;
    let mut header = gateway.header(Kind::Sample);
    header.captured_at.0 += hour; // the gateway's clock is an hour ahead
    let (picture, input) = (&b"picture"[..], &b"input"[..]);
    let (header, record) = newer(header, &sample(picture, input), &[picture, input]);
    let sent_at = Timestamp(now().0 + hour).to_string();
    let topic = Topic::Up(gateway.who.clone(), Kind::Sample).under("sightline");
    let message =
        Publication::new(topic, bundle(&[(header.clone(), record)])).at_least_once().property(frame::SENT_AT, sent_at);
    gateway.session.publish(message).await.unwrap().await.unwrap();
    gateway.archived(Kind::Sample, 1).await;

    assert_eq!(read(&parts).await.rows, 1);
    let row = &parts.rows(Kind::Sample).await[0];
    assert!((row.clock_offset_us + hour).abs() < 30_000_000, "{}", row.clock_offset_us);
    let frame_id = header.frame_id.unwrap();
    let known = parts.index.samples_of(&frame_id, None).await.unwrap();
    let [at, length] = known[0].picture;
    assert_eq!(&parts.objects.get_range(&known[0].shard, at..at + length).await.unwrap()[..], picture);
    parts.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn their_gap_records_account_for_what_they_cover() {
    let parts = Parts::start().await;
    let mut gateway = parts.gateway("gw-1", 25).await;
    let first = gateway.prediction();
    gateway.send_records(Kind::Prediction, &[first]).await;
    let gap = |epoch, from, to| Gap {
        kind: Kind::Prediction,
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
    let own = newer(header, &gap(gateway.epoch, 0, 10), &[]);
    let header = gateway.header(Kind::Gap);
    let before = newer(header, &gap(Epoch(26), 3, 5), &[]); // the log before this one, which the hub has not seen
    gateway.send_records(Kind::Gap, &[own, before]).await;
    gateway.archived(Kind::Gap, 2).await;
    gateway.archived(Kind::Prediction, 1).await;

    let caught_up = read(&parts).await;
    assert!(caught_up.rows == 2 && caught_up.owners.contains(&gateway.who), "{caught_up:?}");
    for (epoch, ranges) in [(gateway.epoch, vec![[0, 10]]), (Epoch(26), vec![[3, 5]])] {
        let stream = parts.index.stream(StreamId { epoch, kind: Kind::Prediction }).await.unwrap();
        assert_eq!(stream.committed.ranges(), ranges);
    }
    assert_eq!(parts.seqs(Kind::Gap).await, [0, 1]);
    // the ingest that runs meanwhile learns of it when it commits
    let header = Header { seq: 10, ..gateway.prediction().0 };
    let record = frame::encode_record(&header, &prediction(), &[]).unwrap();
    gateway.send_records(Kind::Prediction, &[(header, record)]).await;
    gateway.archived(Kind::Prediction, 11).await;
    parts.end().await;
}

/// Nothing can be committed of a kind without a name; so the hub says which ones a gateway may send.
#[tokio::test(flavor = "multi_thread")]
async fn kinds_that_are_not_known_are_counted_and_the_watermark_names_those_that_are() {
    let parts = Parts::start().await;
    let mut gateway = parts.gateway("gw-1", 28).await;
    let (header, record) = gateway.prediction();
    let mut message = frame::MAGIC.to_vec();
    frame::write_frame(&mut message, frame::Address { kind: 99, ..address(&header) }, 0, 1, &record);
    frame::write_frame(&mut message, address(&header), 0, 1, &record);
    gateway.send(Kind::Prediction, message.clone()).await;
    let topic = Topic::Up(gateway.who.clone(), Kind::Prediction).under("sightline").replace("prediction", "thermal");
    let unknown = Publication::new(topic, message).at_least_once();
    gateway.session.publish(unknown).await.unwrap().await.unwrap();
    gateway.archived(Kind::Prediction, 1).await;
    until("the unknown topic", async || (parts.count(Fact::NoBundle) == 1).then_some(())).await;
    assert_eq!((parts.count(Fact::UnknownKind), parts.seqs(Kind::Prediction).await), (1, vec![0]));
    let topic = Topic::Archived(gateway.who.clone()).under("sightline");
    let kinds = |message: &link::Message| message.property(contract::archived::KINDS).map(str::to_owned);
    let kinds = until("the watermark", async || parts.described.last(&topic, kinds)).await;
    assert_eq!(kinds.as_deref(), Some("prediction,event,sample,health,gap,clip"));
    parts.end().await;
}
