//! What nobody should send: impossible numbers, kinds of the future, samples without their facts, another's log.

use cloud::{ingest::Fact, upkeep, upkeep::Window};
use contract::{Epoch, Gap, Kind, frame};

use super::support::*;

fn gap(kind: Kind, epoch: Epoch, from: u64, to: u64) -> Gap {
    let (detail, captured_from, captured_to) = (None, None, None);
    let count = to.saturating_sub(from);
    Gap { kind, epoch, from, to, count, reason: "overflow".into(), detail, captured_from, captured_to }
}

#[tokio::test(flavor = "multi_thread")]
async fn impossible_numbers_are_refused_and_great_ones_cost_nothing() {
    let parts = Parts::start().await;
    let mut gateway = parts.gateway("gw-1", 81).await;
    let send_gap = async |gateway: &mut Gateway, gap: &Gap| {
        let header = gateway.header(Kind::Gap);
        let record = frame::encode_record(&header, gap, &[]).unwrap();
        gateway.send_records(Kind::Gap, &[(header, record)]).await;
    };
    // beyond what can be counted, backwards, of gap records that come later, with a wrong count
    let wrong = [
        gap(Kind::Prediction, gateway.epoch, 0, u64::MAX),
        gap(Kind::Prediction, gateway.epoch, 9, 3),
        gap(Kind::Gap, gateway.epoch, 0, 5),
        Gap { count: 4, ..gap(Kind::Prediction, gateway.epoch, 0, 5) },
    ];
    for gap in &wrong {
        send_gap(&mut gateway, gap).await;
    }
    gateway.archived(Kind::Gap, 4).await;
    assert_eq!(parts.count(Fact::Rejected), 4);
    // a number that no table can hold is held back, and so is nothing else
    let mut header = gateway.header(Kind::Prediction);
    header.seq = u64::MAX - 1;
    let record = frame::encode_record(&header, &prediction(), &[]).unwrap();
    gateway.send_records(Kind::Prediction, &[(header, record)]).await;
    until("the impossible number", async || (parts.count(Fact::HeldBack) == 1).then_some(())).await;
    // a gap of 2^60 is only a range
    let epoch = gateway.epoch;
    send_gap(&mut gateway, &gap(Kind::Prediction, epoch, 0, 1 << 60)).await;
    gateway.archived(Kind::Prediction, 1 << 60).await;
    let mut header = gateway.header(Kind::Prediction);
    header.seq = 1 << 60;
    let record = frame::encode_record(&header, &prediction(), &[]).unwrap();
    gateway.send_records(Kind::Prediction, &[(header, record)]).await;
    gateway.archived(Kind::Prediction, (1 << 60) + 1).await;
    let verified = upkeep::verify(&parts.index, &parts.objects, Window::default()).await.unwrap();
    assert!(verified.clean, "{verified}");
    parts.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kinds_of_the_future_stay_with_their_gateway_and_empty_samples_are_rejected() {
    let parts = Parts::start().await;
    let mut gateway = parts.gateway("gw-1", 82).await;
    let mut message = frame::MAGIC.to_vec();
    let address = frame::Address { epoch: gateway.epoch, kind: 200, seq: 0 };
    frame::write_frame(&mut message, address, 0, 1, b"of a kind that nobody knows");
    gateway.send(Kind::Prediction, message).await;
    until("the unknown kind", async || (parts.count(Fact::UnknownKind) == 1).then_some(())).await;

    let mut nameless = gateway.header(Kind::Sample);
    nameless.frame_id = None;
    let record = frame::encode_record(&nameless, &sample(b"picture", b""), &[b"picture"]).unwrap();
    let bare = gateway.header(Kind::Sample);
    let without = frame::encode_record(&bare, &serde_json::json!({ "reason": "periodic" }), &[]).unwrap();
    gateway.send_records(Kind::Sample, &[(nameless, record), (bare, without)]).await;
    gateway.archived(Kind::Sample, 2).await;
    assert_eq!((parts.count(Fact::Rejected), parts.seqs(Kind::Sample).await.len()), (2, 0));
    let verified = upkeep::verify(&parts.index, &parts.objects, Window::default()).await.unwrap();
    assert!(verified.clean, "{verified}");
    parts.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_another_gateway_is_not_touched_by_gaps_or_records() {
    let parts = Parts::start().await;
    let mut owner = parts.gateway("gw-1", 83).await;
    let mut thief = parts.gateway("gw-2", 84).await;
    let record = owner.prediction();
    owner.send_records(Kind::Prediction, &[record]).await;
    owner.archived(Kind::Prediction, 1).await;
    let header = thief.header(Kind::Gap);
    let record = frame::encode_record(&header, &gap(Kind::Prediction, owner.epoch, 1, 1000), &[]).unwrap();
    thief.send_records(Kind::Gap, &[(header, record)]).await;
    thief.archived(Kind::Gap, 1).await;
    let record = owner.prediction();
    owner.send_records(Kind::Prediction, &[record]).await;
    owner.archived(Kind::Prediction, 2).await;
    assert_eq!((parts.seqs(Kind::Prediction).await, parts.count(Fact::Rejected)), (vec![0, 1], 1));
    parts.end().await;
}
