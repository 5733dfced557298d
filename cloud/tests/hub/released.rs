//! Records and lakes of every released version, and of the next one: taken, rebuilt and read by today's hub.
//!
//! The frozen forms lie in `libs/contract/tests/released`, whose README tells how a version is added.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arrow_array::{RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use bytes::Bytes;
use cloud::{
    ingest::Fact,
    lake::{self, Body, Filter, Reader, Record, Row, SCHEMA_KEY},
    upkeep::{self, Window},
};
use contract::{
    Header, Kind, Timestamp,
    frame::{self, RecordParts},
    scan::Scanner,
};
use parquet::{
    arrow::{ArrowWriter, arrow_reader::ParquetRecordBatchReaderBuilder},
    file::properties::WriterProperties,
};
use store::{
    lake_index::{Format, LakeIndex, ObjectQuery},
    objects::PutOptions,
    tables::Tables,
};

use super::support::*;

/// Row versions, and the wire version of the records that each was made from.
const LAKES: [(u16, u16); 1] = [(1, 1)];
/// The kinds that gateways write.
const KINDS: [Kind; 5] = [Kind::Prediction, Kind::Event, Kind::Sample, Kind::Health, Kind::Gap];
const FREEZE: &str = "FREEZE_RELEASE";

fn released() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../libs/contract/tests/released")
}

/// A record of each kind as a wire version wrote it.
fn records(wire: u16) -> BTreeMap<Kind, Vec<u8>> {
    let read = |kind: Kind| {
        let path = released().join(format!("wire-{wire}/record-{kind}.bin"));
        (kind, fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())))
    };
    KINDS.map(read).into()
}

/// What today's hub makes of a record.
fn read(record: &[u8]) -> Record {
    let parts = RecordParts::split(record).unwrap();
    Record::read(parts.parse_header().unwrap(), &parts, &mut Scanner::default()).unwrap()
}

fn header(record: &[u8]) -> Header {
    RecordParts::split(record).unwrap().parse_header().unwrap()
}

/// The gateway that wrote the records, speaking to this hub.
async fn gateway(parts: &Parts, records: &BTreeMap<Kind, Vec<u8>>) -> Gateway {
    let header = header(&records[&Kind::Health]);
    parts.gateway(header.gateway.as_str(), header.epoch.0).await
}

/// Sends a record of each kind and waits until all are archived.
async fn send(gateway: &Gateway, records: &BTreeMap<Kind, Vec<u8>>) {
    for (kind, record) in records {
        gateway.send_records(*kind, &[(header(record), record.clone())]).await;
    }
    for (kind, record) in records {
        let seq = header(record).seq;
        until(&format!("{kind} {seq} in the watermark"), async || {
            let archived = gateway.watermark()?;
            archived.of(gateway.epoch, *kind)?.contains(seq).then_some(())
        })
        .await;
    }
}

/// Without what the lake keeps elsewhere: the blobs lie in the shard.
fn as_row(record: &Record) -> (Header, Body) {
    (record.header.clone(), record.body.clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_every_released_wire_become_rows() {
    for wire in 1..=contract::SCHEMA {
        let parts = Parts::start().await;
        let records = records(wire);
        let gateway = gateway(&parts, &records).await;
        send(&gateway, &records).await;
        for (kind, record) in &records {
            let rows = parts.rows(*kind).await;
            assert_eq!(rows.len(), 1, "{kind} of wire {wire}");
            assert_eq!(as_row(&rows[0].record), as_row(&read(record)), "{kind} of wire {wire}");
        }
        assert_eq!((parts.count(Fact::Rejected), parts.count(Fact::Newer)), (0, 0));
        if wire == contract::SCHEMA && std::env::var_os(FREEZE).is_some() {
            freeze_lake(&parts).await;
        }
        parts.end().await;
    }
}

/// The bucket as it is now becomes the frozen lake of this version, where there is none yet.
async fn freeze_lake(parts: &Parts) {
    let folder = released().join(format!("lake-{}", contract::lake::VERSION));
    if folder.exists() {
        return;
    }
    for prefix in ["lake/", "shards/"] {
        for entry in parts.objects.list(prefix).all().await.unwrap() {
            let path = folder.join(&entry.key);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, parts.objects.get(&entry.key).await.unwrap()).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_the_next_version_are_kept_whole_and_read_after_the_upgrade() {
    let parts = Parts::start().await;
    let records = records(contract::SCHEMA);
    let upgraded = contract::SCHEMA + 1;
    let newer = |record: &Vec<u8>| {
        let parts = RecordParts::split(record).unwrap();
        let mut header = parts.parse_header().unwrap();
        header.schema = upgraded;
        let mut body: serde_json::Value = parts.parse_body().unwrap();
        body["of_a_newer_version"] = serde_json::json!({ "deep": [1, "two"] });
        frame::encode_record(&header, &body, &[parts.blobs]).unwrap()
    };
    let next: BTreeMap<_, _> = records.iter().map(|(kind, record)| (*kind, newer(record))).collect();
    let gateway = gateway(&parts, &records).await;
    send(&gateway, &next).await;
    for kind in KINDS {
        assert_eq!((parts.rows(kind).await.len(), parts.kept(Format::Newer, kind).await), (0, 1), "{kind}");
    }
    let own = "hub-test".parse().unwrap();
    let read_later = cloud::ingest::read_kept(&parts.index, &parts.objects, &own, upgraded).await;
    assert_eq!(read_later.rows, KINDS.len());
    for (kind, record) in &records {
        let rows = parts.rows(*kind).await;
        let (mut header, body) = as_row(&read(record));
        header.schema = upgraded;
        assert_eq!(rows.iter().map(|row| as_row(&row.record)).collect::<Vec<_>>(), [(header, body)], "{kind}");
    }
    parts.end().await;
}

/// A bucket filled with a frozen lake, each object changed on its way; and the tables that today's hub makes of it.
async fn rebuilt(version: u16, change: impl Fn(Kind, Bytes) -> Bytes) -> (Parts, LakeIndex, tempfile::TempDir) {
    let parts = Parts::start().await;
    let folder = released().join(format!("lake-{version}"));
    let mut folders = vec![folder.clone()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let key = path.strip_prefix(&folder).unwrap().to_str().unwrap().to_owned();
            let bytes = Bytes::from(fs::read(&path).unwrap());
            let bytes = lake::kind_of_key(&key).map_or(bytes.clone(), |kind| change(kind, bytes));
            parts.objects.put(&key, bytes, PutOptions::default()).await.unwrap();
        }
    }
    let tables = tempfile::tempdir().unwrap();
    let uri = format!("sqlite:{}", tables.path().join("rebuilt.db").display());
    let index = LakeIndex::open(Tables::open(&uri).await.unwrap(), now()).await.unwrap();
    let rebuilt = upkeep::rebuild(&index, &parts.objects, now()).await.unwrap();
    assert!(rebuilt.damaged.is_empty() && rebuilt.written_again.is_empty(), "lake {version}: {rebuilt}");
    (parts, index, tables)
}

/// The one row of a kind, as the API reads it.
async fn row(index: &LakeIndex, parts: &Parts, kind: Kind) -> Row {
    let reader = Reader::new(index.clone(), parts.objects.clone());
    let mut page = reader.page(kind, &Filter::default(), None, 10).await.unwrap();
    assert_eq!(page.rows.len(), 1, "{kind}");
    page.rows.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lake_of_every_released_version_is_read_whole() {
    assert_eq!(LAKES.map(|(lake, _)| lake).into_iter().max(), Some(contract::lake::VERSION));
    for (version, wire) in LAKES {
        let (parts, index, _tables) = rebuilt(version, |_, bytes| bytes).await;
        for (kind, record) in records(wire) {
            let row = row(&index, &parts, kind).await;
            assert_eq!(as_row(&row.record), as_row(&read(&record)), "{kind} of lake {version}");
        }
        let sample = row(&index, &parts, Kind::Sample).await;
        let place = sample.place.unwrap();
        let original = read(&records(wire)[&Kind::Sample]);
        let (_, picture, input) = original.sample_blobs().unwrap();
        for (at, blob) in [(place.picture_offset, picture), (place.input_offset.unwrap(), input.unwrap())] {
            let bytes = parts.objects.get_range(&place.shard, at..at + blob.len() as u64).await.unwrap();
            assert_eq!(bytes, blob, "lake {version}");
        }
        let verified = upkeep::verify(&index, &parts.objects, Window::default()).await.unwrap();
        assert!(verified.problems.is_empty() && verified.samples == 1, "lake {version}: {verified}");
        index.tables().close().await;
        parts.end().await;
    }
}

/// A Parquet file with other columns, its metadata kept but for the version.
fn rewritten(object: Bytes, version: u16, change: impl Fn(RecordBatch) -> RecordBatch) -> Bytes {
    let builder = ParquetRecordBatchReaderBuilder::try_new(object).unwrap();
    let mut facts = builder.metadata().file_metadata().key_value_metadata().unwrap().clone();
    facts.retain(|fact| fact.key != "ARROW:schema");
    for fact in facts.iter_mut().filter(|fact| fact.key == SCHEMA_KEY) {
        fact.value = Some(version.to_string());
    }
    let batches: Vec<_> = builder.build().unwrap().map(|batch| change(batch.unwrap())).collect();
    let properties = WriterProperties::builder().set_key_value_metadata(Some(facts)).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batches[0].schema(), Some(properties)).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.into_inner().unwrap().into()
}

fn with_a_new_column(batch: RecordBatch) -> RecordBatch {
    let mut fields: Vec<_> = batch.schema().fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new("of_a_newer_version", DataType::Utf8, true)));
    let mut columns = batch.columns().to_vec();
    columns.push(Arc::new(StringArray::from(vec!["nobody knows what this is"; batch.num_rows()])));
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

fn without_columns_that_may_be_null(batch: RecordBatch) -> RecordBatch {
    let schema = batch.schema();
    let there = schema.fields().iter().enumerate().filter(|(_, f)| !f.is_nullable()).map(|(at, _)| at);
    batch.project(&there.collect::<Vec<_>>()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lake_of_the_next_version_is_read_and_not_compacted() {
    let (version, wire) = *LAKES.last().unwrap();
    let newer = |_: Kind, bytes: Bytes| rewritten(bytes, version + 1, with_a_new_column);
    let (parts, index, _tables) = rebuilt(version, newer).await;
    for (kind, record) in records(wire) {
        assert_eq!(as_row(&row(&index, &parts, kind).await.record), as_row(&read(&record)), "{kind}");
        let objects = index.objects(&ObjectQuery::rows_of(kind)).await.unwrap();
        assert_eq!(objects[0].schema, version + 1, "{kind}");
    }
    // What would be merged, were it not of a newer version: its new columns would be lost.
    let mut gateway = parts.gateway("gw-2", 91).await;
    for upto in 1..=3 {
        let record = gateway.prediction();
        gateway.send_records(Kind::Prediction, &[record]).await;
        gateway.archived(Kind::Prediction, upto).await;
    }
    let raise = "UPDATE lake_objects SET row_schema = row_schema + 1";
    parts.index.tables().write(|tx| async move { tx.sql(raise).execute().await }).await.unwrap();
    let hour = Duration::from_secs(3600);
    let later = Timestamp(now().0 + 3 * hour.as_micros() as i64);
    assert_eq!(upkeep::compact(&parts.index, &parts.objects, hour, later).await.unwrap().from, 0);
    index.tables().close().await;
    parts.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lake_of_a_version_that_lacks_columns_is_read_with_nothing_in_them() {
    let (version, wire) = *LAKES.last().unwrap();
    let older = |_: Kind, bytes: Bytes| rewritten(bytes, version - 1, without_columns_that_may_be_null);
    let (parts, index, _tables) = rebuilt(version, older).await;
    for (kind, record) in records(wire) {
        let (mut header, mut body) = as_row(&read(&record));
        (header.camera, header.region, header.traceparent, header.model, header.frame_id) = Default::default();
        match &mut body {
            Body::Event(event) => (event.before, event.after) = (None, None),
            Body::Sample(sample) => sample.input = None,
            Body::Gap(gap) => (gap.detail, gap.captured_from, gap.captured_to) = (None, None, None),
            Body::Prediction(_) | Body::Health(_) => {}
        }
        assert_eq!(as_row(&row(&index, &parts, kind).await.record), (header, body), "{kind}");
    }
    index.tables().close().await;
    parts.end().await;
}
