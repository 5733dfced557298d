//! Rows to one Parquet object: in the order of site, gateway and time, compressed, with statistics, and with its own ranges inside.

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
    basic::{Compression, Encoding, ZstdLevel},
    errors::ParquetError,
    file::{
        metadata::{KeyValue, SortingColumn},
        properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder},
    },
    schema::types::ColumnPath,
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
/// Fewer rows are not compressed: making a compressor for each column takes longer than writing them, and compaction soon
/// puts them with others.
const COMPRESSED_FROM: usize = 32;

/// Columns of text in which hardly any value comes again.
const ALL_DIFFERENT: [&str; 5] = ["frame_id", "traceparent", "id", "picture_sha256", "input_sha256"];

/// Why rows could not be written.
#[derive(Debug, thiserror::Error)]
#[error("could not write {rows} {kind} rows as Parquet")]
pub struct WriteError {
    kind: Kind,
    rows: usize,
    source: ParquetError,
}

/// Writes `rows`, all of `kind`, in their order as one Parquet file; `facts` go into its metadata.
pub fn write_parquet(kind: Kind, rows: &[Row], facts: &Facts) -> Result<Vec<u8>, WriteError> {
    encode(kind, &in_order(rows), facts).map_err(|source| WriteError { kind, rows: rows.len(), source })
}

/// By site, gateway, time and number. The rows themselves stay where they are: they are half a kilobyte each, and come in
/// runs of one gateway that a sort would copy once for every level of its merges.
fn in_order(rows: &[Row]) -> Vec<&Row> {
    let mut gateways: Vec<_> = rows.chunk_by(|a, b| who(a) == who(b)).map(|run| who(&run[0])).collect();
    gateways.sort_unstable();
    gateways.dedup();
    let mut order = Vec::with_capacity(rows.len());
    for run in rows.chunk_by(|a, b| who(a) == who(b)) {
        let rank = gateways.partition_point(|gateway| *gateway < who(&run[0]));
        order.extend(run.iter().map(|row| {
            let header = &row.record.header;
            ((rank, row.corrected_at().0, header.epoch.0, header.seq), row)
        }));
    }
    order.sort_by_key(|(key, _)| *key);
    order.into_iter().map(|(_, row)| row).collect()
}

fn who(row: &Row) -> (&str, &str) {
    (row.record.header.site.as_str(), row.record.header.gateway.as_str())
}

fn encode(kind: Kind, rows: &[&Row], facts: &Facts) -> Result<Vec<u8>, ParquetError> {
    let arrays = columns(kind).map(|column| array(kind, column, rows)).collect::<Result<Vec<_>, _>>()?;
    let schema = schema(kind);
    let batch = RecordBatch::try_new(schema.clone(), arrays)?;
    let compression = if rows.len() < COMPRESSED_FROM {
        Compression::UNCOMPRESSED
    } else {
        Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?)
    };
    let mut writer = ArrowWriter::try_new(Vec::new(), schema, Some(properties(kind, facts, compression)))?;
    writer.write(&batch)?;
    writer.into_inner()
}

fn properties(kind: Kind, facts: &Facts, compression: Compression) -> WriterProperties {
    let fact = |key: &str, value: String| KeyValue::new(key.to_owned(), value);
    let by = |name: &str| columns(kind).position(|c| c.name == name).and_then(|at| i32::try_from(at).ok());
    let sorted = ["site", "gateway", "corrected_at"].into_iter().filter_map(by);
    let sorting = sorted.map(|column_idx| SortingColumn { column_idx, descending: false, nulls_first: false });
    let builder = columns(kind).fold(WriterProperties::builder(), encoded);
    builder
        .set_compression(compression)
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_created_by(concat!("sightline-hub ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_sorting_columns(Some(sorting.collect()))
        .set_key_value_metadata(Some(vec![
            fact(SCHEMA_KEY, contract::lake::VERSION.to_string()),
            fact(KIND_KEY, kind.to_string()),
            fact(RANGES_KEY, serde_json::to_string(&facts.holds).unwrap_or_default()),
            fact(FACTS_KEY, facts.json()),
        ]))
        .build()
}

/// How a column is encoded. A dictionary is for values that come again; building one of numbers that are all different, as
/// times, sequence numbers and scores are, takes longest of all that writing does and saves nothing.
fn encoded(builder: WriterPropertiesBuilder, column: &Column) -> WriterPropertiesBuilder {
    let plain = |builder: WriterPropertiesBuilder, path: &str| {
        builder.set_column_dictionary_enabled(ColumnPath::from(path), false)
    };
    match column.ty {
        Type::Int64 | Type::Timestamp => plain(builder, column.name)
            .set_column_encoding(ColumnPath::from(column.name), Encoding::DELTA_BINARY_PACKED),
        Type::Float32 => plain(builder, column.name),
        Type::Float32List => builder.set_column_dictionary_enabled(element_path(column.name), false),
        Type::Text if ALL_DIFFERENT.contains(&column.name) => {
            plain(builder, column.name).set_column_encoding(ColumnPath::from(column.name), Encoding::DELTA_BYTE_ARRAY)
        }
        Type::Text | Type::TextList | Type::Int64List => builder,
    }
}

/// The only column below a list column.
fn element_path(name: &str) -> ColumnPath {
    ColumnPath::new([name, "list", "element"].map(str::to_owned).to_vec())
}

fn array(kind: Kind, column: &Column, rows: &[&Row]) -> Result<ArrayRef, ParquetError> {
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

fn texts(extract: Extract, rows: &[&Row]) -> ArrayRef {
    // Most columns have texts of one length.
    let length = rows.first().map_or(0, |row| if let Cell::Text(text) = extract(row) { text.len() + 1 } else { 0 });
    let mut builder = StringBuilder::with_capacity(rows.len(), rows.len() * length);
    for row in rows {
        match extract(row) {
            Cell::Text(text) => builder.append_value(text),
            _ => builder.append_null(),
        }
    }
    Arc::new(builder.finish())
}

fn ints(extract: Extract, rows: &[&Row]) -> ArrayRef {
    let mut builder = Int64Builder::with_capacity(rows.len());
    for row in rows {
        match extract(row) {
            Cell::Int(value) => builder.append_value(value),
            _ => builder.append_null(),
        }
    }
    Arc::new(builder.finish())
}

fn floats(extract: Extract, rows: &[&Row]) -> ArrayRef {
    let mut builder = Float32Builder::with_capacity(rows.len());
    for row in rows {
        match extract(row) {
            Cell::Float(value) => builder.append_value(value),
            _ => builder.append_null(),
        }
    }
    Arc::new(builder.finish())
}

fn times(extract: Extract, rows: &[&Row]) -> ArrayRef {
    let mut builder = TimestampMicrosecondBuilder::with_capacity(rows.len()).with_timezone("UTC");
    for row in rows {
        match extract(row) {
            Cell::Time(value) => builder.append_value(value.0),
            _ => builder.append_null(),
        }
    }
    Arc::new(builder.finish())
}

fn text_lists(extract: Extract, rows: &[&Row]) -> ArrayRef {
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

fn float_lists(extract: Extract, rows: &[&Row]) -> ArrayRef {
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

fn int_lists(extract: Extract, rows: &[&Row]) -> ArrayRef {
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
