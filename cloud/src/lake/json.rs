//! Rows as JSON objects by column name, for the API: the same cells that Parquet gets.

use contract::{Kind, lake::columns};
use serde_json::{Map, Value};

use super::{
    Row,
    cells::{Cell, extract},
};

impl Row {
    /// The row's columns by name, in their order: times as RFC 3339, nulls stated.
    pub fn to_json(&self) -> Map<String, Value> {
        let kind = self.kind();
        columns(kind).map(|column| (column.name.to_owned(), cell(self, kind, column.name))).collect()
    }
}

fn cell(row: &Row, kind: Kind, name: &str) -> Value {
    let Some(extract) = extract(kind, name) else { return Value::Null };
    match extract(row) {
        Cell::Null => Value::Null,
        Cell::Text(text) => text.into(),
        Cell::Int(value) => value.into(),
        Cell::Float(value) => float(value),
        Cell::Time(at) => at.to_string().into(),
        Cell::Texts(texts) => texts.iter().map(|text| Value::from(&**text)).collect(),
        Cell::Floats(values) => values.iter().copied().map(float).collect(),
        Cell::Ints(values) => values.into(),
    }
}

/// The shortest decimal that reads back as the same 32-bit float: 0.9, not 0.8999999761581421.
fn float(value: f32) -> Value {
    value.to_string().parse::<f64>().map_or(Value::Null, Value::from)
}
