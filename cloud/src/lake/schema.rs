//! The contract's columns as Arrow schemas.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use contract::{
    Kind,
    lake::{Column, Type, columns},
};

/// The Arrow schema of a kind's table.
pub fn schema(kind: Kind) -> SchemaRef {
    Arc::new(Schema::new(columns(kind).map(field).collect::<Vec<_>>()))
}

fn field(column: &Column) -> Field {
    Field::new(column.name, data_type(column.ty), column.nullable)
}

/// The items of a list column. `element` is the name that Parquet's specification asks for.
pub(super) fn element(ty: DataType) -> Arc<Field> {
    Arc::new(Field::new("element", ty, false))
}

fn data_type(ty: Type) -> DataType {
    match ty {
        Type::Text => DataType::Utf8,
        Type::Int64 => DataType::Int64,
        Type::Float32 => DataType::Float32,
        Type::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        Type::TextList => DataType::List(element(DataType::Utf8)),
        Type::Float32List => DataType::List(element(DataType::Float32)),
        Type::Int64List => DataType::List(element(DataType::Int64)),
    }
}
