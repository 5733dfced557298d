//! Parquet objects back to rows. Reads what this version and the ones beside it wrote: unknown columns are passed over,
//! an absent one reads as null.

use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, Float32Array, Int64Array, ListArray, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use bytes::Bytes;
use contract::{
    CaptureSource, Event, Gap, Header, Health, Kind, ModelRef, Prediction, Sample, Timestamp,
    record::{Input, Latency, Picture, Reason, ServedBy},
};
use parquet::{arrow::arrow_reader::ParquetRecordBatchReaderBuilder, errors::ParquetError};

use super::{Body, Place, Record, Row, SCHEMA_KEY};

/// Rows decoded at a time; bounds what a reader holds beside the object itself.
const BATCH_ROWS: usize = 4096;

/// Why an object could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Not Parquet, or a damaged one.
    #[error("object is no readable Parquet file")]
    Parquet(#[from] ParquetError),
    /// A batch could not be decoded.
    #[error("rows cannot be decoded")]
    Rows(#[from] arrow_schema::ArrowError),
    /// A cell is not what the column says.
    #[error("row {row}: column {column} cannot be read: {why}")]
    Cell {
        /// The row in its batch.
        row: usize,
        /// The column.
        column: &'static str,
        /// What is wrong.
        why: String,
    },
}

/// Calls `each` with every row of a Parquet object of `kind`, batch by batch.
pub fn read_parquet(kind: Kind, object: Bytes, mut each: impl FnMut(Row)) -> Result<(), ReadError> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(object)?.with_batch_size(BATCH_ROWS).build()?;
    for batch in reader {
        let batch = batch?;
        for at in 0..batch.num_rows() {
            each(Cells { batch: &batch, at }.row(kind)?);
        }
    }
    Ok(())
}

/// How many rows a Parquet object holds, by its footer.
pub fn count_rows(object: Bytes) -> Result<u64, ReadError> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(object)?;
    Ok(u64::try_from(builder.metadata().file_metadata().num_rows()).unwrap_or(0))
}

/// The version of the row schema that a Parquet object was written with, by its footer.
pub fn schema_version(object: Bytes) -> Result<u16, ReadError> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(object)?;
    let facts = builder.metadata().file_metadata().key_value_metadata();
    let said = facts.and_then(|facts| facts.iter().find(|fact| fact.key == SCHEMA_KEY)?.value.as_deref());
    Ok(said.and_then(|version| version.parse().ok()).unwrap_or(contract::lake::VERSION))
}

/// One row of a batch, by column name.
struct Cells<'a> {
    batch: &'a RecordBatch,
    at: usize,
}

impl<'a> Cells<'a> {
    fn row(&self, kind: Kind) -> Result<Row, ReadError> {
        let record = Record { header: self.header(kind)?, body: self.body(kind)?, blobs: Bytes::new() };
        Ok(Row {
            record,
            received_at: self.need("received_at", self.time("received_at"))?,
            clock_offset_us: self.need("clock_offset_us", self.int("clock_offset_us"))?,
            place: self.place(kind)?,
        })
    }

    fn header(&self, kind: Kind) -> Result<Header, ReadError> {
        let model = match self.text("model_digest") {
            Some(digest) => Some(ModelRef {
                digest: self.parse("model_digest", digest)?,
                version: self.text("model_version").map(Arc::from),
            }),
            None => None,
        };
        Ok(Header {
            schema: u16::try_from(self.need("schema", self.int("schema"))?).unwrap_or(u16::MAX),
            kind,
            site: self.parsed("site")?,
            gateway: self.parsed("gateway")?,
            camera: self.parsed_or_null("camera")?,
            region: self.parsed_or_null("region")?,
            epoch: self.parsed("epoch")?,
            seq: self.need("seq", self.count("seq"))?,
            captured_at: self.need("captured_at", self.time("captured_at"))?,
            captured_source: source(self.text("captured_source")),
            monotonic_us: self.count("monotonic_us").unwrap_or(0),
            boot_id: self.shared("boot_id"),
            traceparent: self.text("traceparent").map(str::to_owned),
            model,
            frame_id: self.parsed_or_null("frame_id")?,
        })
    }

    fn body(&self, kind: Kind) -> Result<Body, ReadError> {
        match kind {
            Kind::Prediction => Ok(Body::Prediction(self.prediction())),
            Kind::Event => Ok(Body::Event(Event {
                id: self.text("id").unwrap_or_default().to_owned(),
                before: self.text("before").map(Arc::from),
                after: self.text("after").map(Arc::from),
                score: self.float("score").unwrap_or(0.0),
                since: self.need("since", self.time("since"))?,
            })),
            Kind::Sample => Ok(Body::Sample(self.sample()?)),
            Kind::Health => {
                let document = self.text("document").unwrap_or("{}");
                let health: Health = serde_json::from_str(document).map_err(|e| self.wrong("document", e))?;
                Ok(Body::Health(health))
            }
            Kind::Gap => Ok(Body::Gap(self.gap()?)),
            Kind::Clip => Err(self.wrong("kind", "clip has no table yet")),
        }
    }

    fn prediction(&self) -> Prediction {
        let us = |name| self.count(name).unwrap_or(0);
        Prediction {
            labels: self.texts("labels"),
            scores: self.floats("scores"),
            latency: Latency {
                decode_us: us("decode_us"),
                preprocess_us: us("preprocess_us"),
                queue_us: us("queue_us"),
                inference_us: us("inference_us"),
                total_us: us("total_us"),
            },
            engine: self.shared("engine"),
            served_by: match self.text("served_by") {
                Some("gateway") => ServedBy::Gateway,
                Some("hub") => ServedBy::Hub,
                _ => ServedBy::Unknown,
            },
        }
    }

    fn sample(&self) -> Result<Sample, ReadError> {
        let rect = self.ints("region_rect");
        let mut region = [0; 4];
        region.iter_mut().zip(&rect).for_each(|(to, from)| *to = u32::try_from(*from).unwrap_or(0));
        let size = |name| u32::try_from(self.count(name).unwrap_or(0)).unwrap_or(u32::MAX);
        let input = match self.text("input_sha256") {
            Some(digest) => Some(Input {
                encoding: self.shared("input_encoding"),
                bytes: self.count("input_bytes").unwrap_or(0),
                sha256: self.parse("input_sha256", digest)?,
                dtype: self.shared("input_dtype"),
                shape: self.ints("input_shape").iter().map(|v| u32::try_from(*v).unwrap_or(0)).collect(),
            }),
            None => None,
        };
        Ok(Sample {
            reason: reason(self.text("reason")),
            labels: self.texts("labels"),
            scores: self.floats("scores"),
            picture: Picture {
                media_type: self.shared("media_type"),
                bytes: self.count("picture_bytes").unwrap_or(0),
                sha256: self.parsed("picture_sha256")?,
                width: size("width"),
                height: size("height"),
                region,
            },
            input,
        })
    }

    fn gap(&self) -> Result<Gap, ReadError> {
        Ok(Gap {
            kind: self.parsed("gap_kind")?,
            epoch: self.parsed("gap_epoch")?,
            from: self.need("from_seq", self.count("from_seq"))?,
            to: self.need("to_seq", self.count("to_seq"))?,
            count: self.need("count", self.count("count"))?,
            reason: self.shared("reason"),
            detail: self.text("detail").map(str::to_owned),
            captured_from: self.time("captured_from"),
            captured_to: self.time("captured_to"),
        })
    }

    fn place(&self, kind: Kind) -> Result<Option<Place>, ReadError> {
        let Some(shard) = self.text("shard").filter(|_| kind == Kind::Sample) else { return Ok(None) };
        Ok(Some(Place {
            shard: shard.to_owned(),
            picture_offset: self.need("picture_offset", self.count("picture_offset"))?,
            input_offset: self.count("input_offset"),
        }))
    }

    fn column(&self, name: &str) -> Option<&'a ArrayRef> {
        self.batch.column_by_name(name).filter(|column| column.is_valid(self.at))
    }

    fn text(&self, name: &str) -> Option<&'a str> {
        Some(self.column(name)?.as_any().downcast_ref::<StringArray>()?.value(self.at))
    }

    fn shared(&self, name: &str) -> Arc<str> {
        self.text(name).unwrap_or_default().into()
    }

    fn int(&self, name: &str) -> Option<i64> {
        Some(self.column(name)?.as_any().downcast_ref::<Int64Array>()?.value(self.at))
    }

    fn count(&self, name: &str) -> Option<u64> {
        u64::try_from(self.int(name)?).ok()
    }

    fn float(&self, name: &str) -> Option<f32> {
        Some(self.column(name)?.as_any().downcast_ref::<Float32Array>()?.value(self.at))
    }

    fn time(&self, name: &str) -> Option<Timestamp> {
        let array = self.column(name)?.as_any().downcast_ref::<TimestampMicrosecondArray>()?;
        Some(Timestamp(array.value(self.at)))
    }

    fn list(&self, name: &str) -> Option<ArrayRef> {
        Some(self.column(name)?.as_any().downcast_ref::<ListArray>()?.value(self.at))
    }

    fn texts(&self, name: &str) -> Vec<Arc<str>> {
        let list = self.list(name);
        let texts = list.as_ref().and_then(|l| l.as_any().downcast_ref::<StringArray>());
        texts.map_or_else(Vec::new, |t| t.iter().flatten().map(Arc::from).collect())
    }

    fn floats(&self, name: &str) -> Vec<f32> {
        let list = self.list(name);
        let floats = list.as_ref().and_then(|l| l.as_any().downcast_ref::<Float32Array>());
        floats.map_or_else(Vec::new, |f| f.values().to_vec())
    }

    fn ints(&self, name: &str) -> Vec<i64> {
        let list = self.list(name);
        let ints = list.as_ref().and_then(|l| l.as_any().downcast_ref::<Int64Array>());
        ints.map_or_else(Vec::new, |i| i.values().to_vec())
    }

    fn need<T>(&self, column: &'static str, value: Option<T>) -> Result<T, ReadError> {
        value.ok_or_else(|| self.wrong(column, "it is absent or null"))
    }

    fn parsed<T: std::str::FromStr<Err: ToString>>(&self, column: &'static str) -> Result<T, ReadError> {
        self.parse(column, self.need(column, self.text(column))?)
    }

    fn parsed_or_null<T: std::str::FromStr<Err: ToString>>(
        &self,
        column: &'static str,
    ) -> Result<Option<T>, ReadError> {
        self.text(column).map(|text| self.parse(column, text)).transpose()
    }

    fn parse<T: std::str::FromStr<Err: ToString>>(&self, column: &'static str, text: &str) -> Result<T, ReadError> {
        text.parse().map_err(|error: T::Err| self.wrong(column, error.to_string()))
    }

    fn wrong(&self, column: &'static str, why: impl ToString) -> ReadError {
        ReadError::Cell { row: self.at, column, why: why.to_string() }
    }
}

fn source(text: Option<&str>) -> CaptureSource {
    match text {
        Some("reference") => CaptureSource::Reference,
        Some("arrival") => CaptureSource::Arrival,
        Some("client") => CaptureSource::Client,
        _ => CaptureSource::Unknown,
    }
}

fn reason(text: Option<&str>) -> Reason {
    match text {
        Some("periodic") => Reason::Periodic,
        Some("uncertain") => Reason::Uncertain,
        Some("changed") => Reason::Changed,
        Some("requested") => Reason::Requested,
        _ => Reason::Unknown,
    }
}
