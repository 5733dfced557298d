//! From a message on the archive lane to rows, shards and a watermark.

use cloud::{
    ingest::Fact,
    lake::{Filter, Place, Reader},
};
use contract::{Epoch, Gap, Kind, Principal, frame};
use store::lake_index::{Format, ObjectQuery};

use super::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_message_becomes_rows_and_a_watermark_and_a_second_arrival_changes_nothing() {
    let mut parts = Parts::start().await;
    let mut gateway = parts.gateway("gw-1", 11).await;
    let records: Vec<_> = (0..50).map(|_| gateway.prediction()).collect();
    gateway.send_records(Kind::Prediction, &records).await;
    let archived = gateway.archived(Kind::Prediction, 50).await;
    assert_eq!(archived.lake, parts.index.identity().await.unwrap().lake);
    let rows = parts.rows(Kind::Prediction).await;
    assert_eq!(rows.len(), 50);
    assert_eq!(rows[7].record.header, records[7].0);
    assert!(rows[7].received_at >= rows[7].record.header.captured_at && rows[7].clock_offset_us == 0);

    gateway.send_records(Kind::Prediction, &records).await;
    until("the duplicates", async || (parts.count(Fact::Duplicates) == 50).then_some(())).await;
    // a hub that starts anew knows by the tables alone
    parts.ingest.take().unwrap().drain(PATIENCE).await.unwrap();
    parts.start_ingest().await;
    let later = gateway.prediction();
    gateway.send_records(Kind::Prediction, &[records[49].clone(), later]).await;
    gateway.archived(Kind::Prediction, 51).await;
    assert_eq!(parts.seqs(Kind::Prediction).await, (0..51).collect::<Vec<_>>());
    parts.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_sample_travels_in_fragments_and_its_row_points_at_its_bytes() {
    let parts = Parts::start().await;
    let mut gateway = parts.gateway("gw-1", 12).await;
    let picture: Vec<u8> = (0..700_000u32).map(|i| (i * 7) as u8).collect();
    let (header, record) = gateway.sample(&picture, b"compressed");
    let ranges: Vec<_> = frame::fragments(record.len(), frame::MESSAGE_MAX).unwrap().collect();
    assert!(ranges.len() > 2);
    for (index, range) in ranges.iter().enumerate().rev() {
        let mut message = frame::MAGIC.to_vec();
        let piece = &record[range.clone()];
        frame::write_frame(&mut message, address(&header), index as u16, ranges.len() as u16, piece);
        assert!(message.len() <= frame::MESSAGE_MAX);
        gateway.send(Kind::Sample, message).await;
    }
    gateway.archived(Kind::Sample, 1).await;
    let row = &parts.rows(Kind::Sample).await[0];
    let Some(Place { shard, picture_offset, input_offset: Some(input_offset) }) = row.place.clone() else {
        panic!("{row:?}")
    };
    let stored = parts.objects.get_range(&shard, picture_offset..picture_offset + picture.len() as u64).await.unwrap();
    assert!(stored == picture);
    let stored = parts.objects.get_range(&shard, input_offset..input_offset + 10).await.unwrap();
    assert_eq!(&stored[..], b"compressed");
    let frame_id = header.frame_id.unwrap();
    let known = parts.index.samples_of(&frame_id, None).await.unwrap();
    assert_eq!((known.len(), known[0].picture), (1, [picture_offset, picture.len() as u64]));
    parts.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_is_dropped_and_counted_and_what_cannot_be_read_becomes_a_gap() {
    let parts = Parts::start().await;
    let mut gateway = parts.gateway("gw-1", 13).await;
    let good: Vec<_> = (0..3).map(|_| gateway.prediction()).collect();

    gateway.send(Kind::Prediction, &b"garbage"[..]).await;
    let whole = bundle(&good);
    gateway.send(Kind::Prediction, whole[..whole.len() - 5].to_vec()).await; // torn: the first two are there
    let mut flipped = bundle(&good[2..]);
    *flipped.last_mut().unwrap() ^= 1;
    gateway.send(Kind::Prediction, flipped).await;
    gateway.archived(Kind::Prediction, 2).await;
    let counts = [Fact::NoBundle, Fact::Torn, Fact::Checksum].map(|fact| parts.count(fact));
    assert_eq!(counts, [1, 1, 1]);
    gateway.send_records(Kind::Prediction, &good[2..]).await;

    // right checksums over what cannot be read: no record, another's name, a sample whose digest is wrong
    let (header, _) = gateway.prediction();
    gateway.send_records(Kind::Prediction, &[(header, b"no record".to_vec())]).await;
    let (header, _) = gateway.prediction();
    let mut wrong = header.clone();
    wrong.gateway = "gw-2".parse().unwrap();
    let record = frame::encode_record(&wrong, &prediction(), &[]).unwrap();
    gateway.send_records(Kind::Prediction, &[(header, record)]).await;
    let (header, mut record) = gateway.sample(b"picture", b"input");
    let at = record.len() - 8;
    record[at] ^= 1;
    gateway.send_records(Kind::Sample, &[(header, record)]).await;

    gateway.archived(Kind::Prediction, 5).await;
    gateway.archived(Kind::Sample, 1).await;
    assert_eq!(parts.seqs(Kind::Prediction).await, [0, 1, 2]);
    assert_eq!((parts.seqs(Kind::Sample).await.len(), parts.count(Fact::Rejected)), (0, 3));
    assert_eq!(parts.kept(Format::Dead, Kind::Prediction).await + parts.kept(Format::Dead, Kind::Sample).await, 3);
    let gaps: Vec<_> =
        parts.rows(Kind::Gap).await.into_iter().map(|row| (row.record.header, row.record.body)).collect();
    assert_eq!(gaps.len(), 3);
    for (header, body) in gaps {
        let cloud::lake::Body::Gap(gap) = body else { panic!() };
        assert_eq!((header.gateway.as_str(), &*gap.reason, gap.count), ("hub-test", "rejected", 1));
        assert_eq!(gap.epoch, Epoch(13));
        assert!(gap.detail.unwrap().starts_with("plant/gw-1: "));
    }
    parts.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_bounded_and_what_they_were_is_still_said() {
    let parts = Parts::start().await;
    let mut gateway = parts.gateway("gw-1", 27).await;
    let mut newest = Vec::new();
    for n in 1..=6 {
        let (header, _) = gateway.prediction();
        newest = vec![n; 300 << 10];
        gateway.send_records(Kind::Prediction, &[(header, newest.clone())]).await;
        gateway.archived(Kind::Prediction, n.into()).await;
    }
    let dead = ObjectQuery { format: Format::Dead, ..ObjectQuery::rows_of(Kind::Prediction) };
    let held = parts.index.objects(&dead).await.unwrap();
    let bytes: u64 = held.iter().map(|object| object.bytes).sum();
    assert!(held.len() == 3 && bytes <= 1 << 20, "{} of {bytes} bytes", held.len());
    let kept = parts.objects.get(&held.last().unwrap().key).await.unwrap();
    assert!(kept.windows(newest.len()).any(|window| window == newest), "the oldest go first");
    let stored = parts.objects.list("dead/").all().await.unwrap();
    assert_eq!(stored.len(), held.len(), "their bytes go with them");
    assert_eq!(parts.rows(Kind::Gap).await.len(), 6);
    parts.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_epoch_belongs_to_its_first_gateway_and_gaps_let_the_watermark_pass() {
    let parts = Parts::start().await;
    let mut first = parts.gateway("gw-1", 15).await;
    let mut thief = parts.gateway("gw-2", 15).await;
    let record = first.prediction();
    first.send_records(Kind::Prediction, &[record]).await;
    first.archived(Kind::Prediction, 1).await;
    let record = thief.prediction();
    thief.send_records(Kind::Prediction, &[record]).await;
    until("the foreign record", async || (parts.count(Fact::Foreign) == 1).then_some(())).await;

    // numbers 1 to 9 were dropped by the gateway's outbox
    let gap = Gap {
        kind: Kind::Prediction,
        epoch: first.epoch,
        from: 1,
        to: 10,
        count: 9,
        reason: "overflow".into(),
        detail: None,
        captured_from: None,
        captured_to: None,
    };
    let header = first.header(Kind::Gap);
    let record = frame::encode_record(&header, &gap, &[]).unwrap();
    first.send_records(Kind::Gap, &[(header, record)]).await;
    first.archived(Kind::Prediction, 10).await;
    first.archived(Kind::Gap, 1).await;
    assert_eq!(parts.seqs(Kind::Prediction).await, [0]);
    parts.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hub_itself_is_a_gateway_without_the_broker() {
    let parts = Parts::start().await;
    let handle = parts.ingest.as_ref().unwrap().handle.clone();
    let mut arrived = handle.subscribe();
    let mut own = parts.gateway("hub-test", 16).await;
    let who = Principal { site: "plant".parse().unwrap(), gateway: "hub-test".parse().unwrap() };
    let records = [own.prediction(), own.sample(b"picture", b"input")];
    let encoded = records.iter().map(|(header, record)| (address(header), record.clone().into())).collect();
    handle.submit(&who, encoded).unwrap().await.unwrap();
    assert_eq!((parts.seqs(Kind::Prediction).await, parts.seqs(Kind::Sample).await), (vec![0], vec![0]));
    assert_eq!(arrived.recv().await.unwrap().record.header, records[0].0);
    let (header, _) = own.prediction();
    let refused = handle.submit(&who, vec![(address(&header), b"no record".to_vec().into())]).unwrap();
    assert!(refused.await.is_err(), "only what was committed is answered");
    parts.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_neither_hides_rows_nor_breaks_order() {
    let parts = Parts::start().await;
    let mut gateway = parts.gateway("gw-1", 17).await;
    let jumps = [0, -3_600_000_000i64, 86_400_000_000 * 400, -1_700_000_000_000_000, 0];
    for jump in jumps {
        let mut header = gateway.header(Kind::Prediction);
        header.captured_at.0 += jump;
        let record = frame::encode_record(&header, &prediction(), &[]).unwrap();
        gateway.send_records(Kind::Prediction, &[(header, record)]).await;
    }
    gateway.archived(Kind::Prediction, 5).await;
    let rows = parts.rows(Kind::Prediction).await;
    assert_eq!(rows.len(), 5);
    let now = now().0;
    // captures from the future, and from before the outbox can reach, are certainly wrong: corrected
    for far in [2, 3] {
        assert!((rows[far].corrected_at().0 - now).abs() < 60_000_000, "{:?}", rows[far]);
        assert_ne!(rows[far].clock_offset_us, 0);
    }
    parts.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_the_lake_give_every_row_once_newest_first() {
    let parts = Parts::start().await;
    let mut gateways = [parts.gateway("gw-1", 18).await, parts.gateway("gw-2", 19).await];
    let mut sent = Vec::new();
    for round in 0..3u64 {
        for gateway in &mut gateways {
            let records: Vec<_> = (0..20).map(|_| gateway.prediction()).collect();
            gateway.send_records(Kind::Prediction, &records).await;
            gateway.archived(Kind::Prediction, 20 * (round + 1)).await;
            sent.extend(records.into_iter().map(|(header, _)| header));
        }
    }
    assert!(parts.index.objects(&ObjectQuery::rows_of(Kind::Prediction)).await.unwrap().len() >= 6);
    let reader = Reader::new(parts.index.clone(), parts.objects.clone());
    for limit in [7, 40, 1000] {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = reader.page(Kind::Prediction, &Filter::default(), after, limit).await.unwrap();
            assert!(page.rows.len() <= limit);
            seen.extend(page.rows.into_iter().map(|row| row.record.header));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert!(seen.is_sorted_by(|a, b| a.captured_at >= b.captured_at));
        seen.sort_by_key(|h| (h.epoch, h.seq));
        sent.sort_by_key(|h| (h.epoch, h.seq));
        assert!(seen == sent, "limit {limit}");
    }
    let filter = Filter { gateway: Some("gw-2".parse().unwrap()), label: Some("open".into()), ..Filter::default() };
    let page = reader.page(Kind::Prediction, &filter, None, 1000).await.unwrap();
    assert_eq!((page.rows.len(), page.next), (60, None));
    let filter = Filter { to: Some(sent[0].captured_at), min_score: Some(0.9), ..Filter::default() };
    assert!(reader.page(Kind::Prediction, &filter, None, 10).await.unwrap().rows.is_empty());
    parts.end().await;
}
