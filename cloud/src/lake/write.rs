//! Rows to one Parquet object: sorted by site, gateway and time, zstd, with statistics, and with its own ranges inside.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, RecordBatch,
    builder::{Float32Builder, Int64Builder, ListBuilder, StringBuilder, TimestampMicrosecondBuilder},
};
use arrow_schema::DataType;
use contract::{
    Kind,
    lake::{Column, Type, columns},
};
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, ZstdLevel},
    errors::ParquetError,
    file::{
        metadata::{KeyValue, SortingColumn},
        properties::{EnabledStatistics, WriterProperties},
    },
};

use super::{
    Row,
    cells::{Cell, Extract, extract},
    facts::{FACTS_KEY, Facts},
    schema::{element, schema},
};

/// Key of the row schema's version in an object's metadata.
pub const SCHEMA_KEY: &str = "sightline.schema";
/// Key of the sequence ranges that an object holds, a JSON list of [`store::lake_index::Holding`].
pub const RANGES_KEY: &str = "sightline.ranges";
/// Key of the kind of an object's rows.
pub const KIND_KEY: &str = "sightline.kind";
/// zstd's own default; 1 saves a third of the time and costs a tenth more bytes on predictions.
const ZSTD_LEVEL: i32 = 3;

/// Why rows could not be written.
#[derive(Debug, thiserror::Error)]
#[error("could not write {rows} {kind} rows as Parquet")]
pub struct WriteError {
    kind: Kind,
    rows: usize,
    source: ParquetError,
}

/// Sorts `rows`, all of `kind`, and writes them as one Parquet file; `facts` go into its metadata.
pub fn write_parquet(kind: Kind, rows: &mut [Row], facts: &Facts) -> Result<Vec<u8>, WriteError> {
    rows.sort_by(|a, b| sort_key(a).cmp(&sort_key(b)));
    encode(kind, rows, facts).map_err(|source| WriteError { kind, rows: rows.len(), source })
}

fn sort_key(row: &Row) -> (&str, &str, i64, u128, u64) {
    let h = &row.record.header;
    (h.site.as_str(), h.gateway.as_str(), row.corrected_at().0, h.epoch.0, h.seq)
}

fn encode(kind: Kind, rows: &[Row], facts: &Facts) -> Result<Vec<u8>, ParquetError> {
    let arrays = columns(kind).map(|column| array(kind, column, rows)).collect::<Result<Vec<_>, _>>()?;
    let schema = schema(kind);
    let batch = RecordBatch::try_new(schema.clone(), arrays)?;
    let mut writer = ArrowWriter::try_new(Vec::new(), schema, Some(properties(kind, facts)?))?;
    writer.write(&batch)?;
    writer.into_inner()
}

fn properties(kind: Kind, facts: &Facts) -> Result<WriterProperties, ParquetError> {
    let fact = |key: &str, value: String| KeyValue::new(key.to_owned(), value);
    let by = |name: &str| columns(kind).position(|c| c.name == name).and_then(|at| i32::try_from(at).ok());
    let sorted = ["site", "gateway", "corrected_at"].into_iter().filter_map(by);
    let sorting = sorted.map(|column_idx| SortingColumn { column_idx, descending: false, nulls_first: false });
    Ok(WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_created_by(concat!("sightline-hub ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_sorting_columns(Some(sorting.collect()))
        .set_key_value_metadata(Some(vec![
            fact(SCHEMA_KEY, contract::lake::VERSION.to_string()),
            fact(KIND_KEY, kind.to_string()),
            fact(RANGES_KEY, serde_json::to_string(&facts.holds).unwrap_or_default()),
            fact(FACTS_KEY, facts.json()),
        ]))
        .build())
}

fn array(kind: Kind, column: &Column, rows: &[Row]) -> Result<ArrayRef, ParquetError> {
    let extract = extract(kind, column.name)
        .ok_or_else(|| ParquetError::General(format!("column {} of {kind} has no source", column.name)))?;
    Ok(match column.ty {
        Type::Text => texts(extract, rows),
        Type::Int64 => ints(extract, rows),
        Type::Float32 => floats(extract, rows),
        Type::Timestamp => times(extract, rows),
        Type::TextList => text_lists(extract, rows),
        Type::Float32List => float_lists(extract, rows),
        Type::Int64List => int_lists(extract, rows),
    })
}

fn texts(extract: Extract, rows: &[Row]) -> ArrayRef {
    let mut builder = StringBuilder::with_capacity(rows.len(), rows.len() * 16);
    for row in rows {
        match extract(row) {
            Cell::Text(text) => builder.append_value(text),
            _ => builder.append_null(),
        }
    }
    Arc::new(builder.finish())
}

fn ints(extract: Extract, rows: &[Row]) -> ArrayRef {
    let mut builder = Int64Builder::with_capacity(rows.len());
    for row in rows {
        match extract(row) {
            Cell::Int(value) => builder.append_value(value),
            _ => builder.append_null(),
        }
    }
    Arc::new(builder.finish())
}

fn floats(extract: Extract, rows: &[Row]) -> ArrayRef {
    let mut builder = Float32Builder::with_capacity(rows.len());
    for row in rows {
        match extract(row) {
            Cell::Float(value) => builder.append_value(value),
            _ => builder.append_null(),
        }
    }
    Arc::new(builder.finish())
}

fn times(extract: Extract, rows: &[Row]) -> ArrayRef {
    let mut builder = TimestampMicrosecondBuilder::with_capacity(rows.len()).with_timezone("UTC");
    for row in rows {
        match extract(row) {
            Cell::Time(value) => builder.append_value(value.0),
            _ => builder.append_null(),
        }
    }
    Arc::new(builder.finish())
}

fn text_lists(extract: Extract, rows: &[Row]) -> ArrayRef {
    let mut builder = ListBuilder::new(StringBuilder::new()).with_field(element(DataType::Utf8));
    for row in rows {
        match extract(row) {
            Cell::Texts(values) => {
                values.iter().for_each(|v| builder.values().append_value(v));
                builder.append(true);
            }
            _ => builder.append(false),
        }
    }
    Arc::new(builder.finish())
}

fn float_lists(extract: Extract, rows: &[Row]) -> ArrayRef {
    let mut builder = ListBuilder::new(Float32Builder::new()).with_field(element(DataType::Float32));
    for row in rows {
        match extract(row) {
            Cell::Floats(values) => {
                builder.values().append_slice(values);
                builder.append(true);
            }
            _ => builder.append(false),
        }
    }
    Arc::new(builder.finish())
}

fn int_lists(extract: Extract, rows: &[Row]) -> ArrayRef {
    let mut builder = ListBuilder::new(Int64Builder::new()).with_field(element(DataType::Int64));
    for row in rows {
        match extract(row) {
            Cell::Ints(values) => {
                builder.values().append_slice(&values);
                builder.append(true);
            }
            _ => builder.append(false),
        }
    }
    Arc::new(builder.finish())
}
