//! The lake's rows as the API gives them: the columns of `contract::lake`, by name, and their OpenAPI schemas.
//!
//! The schemas are made from the same column list that the Parquet writer uses, so they cannot drift apart.

use std::borrow::Cow;

use contract::{
    Kind,
    lake::{Column, Type, columns},
};
use serde::Serialize;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        Ref, RefOr, Schema,
        schema::{ArrayBuilder, KnownFormat, ObjectBuilder, SchemaFormat, SchemaType, Type as JsonType},
    },
};

use crate::lake::{Body, Row};

/// A row by column name.
pub type JsonRow = serde_json::Map<String, serde_json::Value>;

/// Some rows of a query, newest first.
#[derive(Serialize)]
pub struct RowPage {
    /// The rows.
    pub rows: Vec<JsonRow>,
    /// The resolved beginning of the query's time range.
    pub from: contract::Timestamp,
    /// The resolved end of the query's time range.
    pub to: contract::Timestamp,
    /// Pass it as `cursor` for the next page; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

macro_rules! row_schema {
    ($row:ident, $page:ident, $kind:ident, $links:expr) => {
        #[doc = concat!("OpenAPI schema of a row of kind ", stringify!($kind), ".")]
        pub struct $row;

        impl PartialSchema for $row {
            fn schema() -> RefOr<Schema> {
                row(Kind::$kind, $links)
            }
        }
        impl ToSchema for $row {
            fn name() -> Cow<'static, str> {
                Cow::Borrowed(stringify!($row))
            }
        }

        #[doc = concat!("OpenAPI schema of a page of rows of kind ", stringify!($kind), ".")]
        pub struct $page;

        impl PartialSchema for $page {
            fn schema() -> RefOr<Schema> {
                page(stringify!($row))
            }
        }
        impl ToSchema for $page {
            fn name() -> Cow<'static, str> {
                Cow::Borrowed(stringify!($page))
            }
            fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
                schemas.push((stringify!($row).to_owned(), $row::schema()));
            }
        }
    };
}

/// What a sample's row carries besides its columns.
const SAMPLE_LINKS: &[(&str, &str)] = &[
    ("picture_href", "path of the picture in this API"),
    ("input_href", "path of the model's input in this API; null when it was not kept"),
];

row_schema!(PredictionRow, PredictionPage, Prediction, &[]);
row_schema!(EventRow, EventPage, Event, &[]);
row_schema!(SampleRow, SamplePage, Sample, SAMPLE_LINKS);

fn row(kind: Kind, links: &[(&str, &str)]) -> RefOr<Schema> {
    let mut object = ObjectBuilder::new().description(Some(format!("A row of the lake's table `{kind}`")));
    for column in columns(kind) {
        object = object.property(column.name, column_schema(column));
        if !column.nullable {
            object = object.required(column.name);
        }
    }
    for (name, doc) in links {
        object = object
            .property(*name, ObjectBuilder::new().schema_type(nullable(JsonType::String)).description(Some(*doc)));
    }
    Schema::from(object.build()).into()
}

fn column_schema(column: &Column) -> RefOr<Schema> {
    let scalar = |ty: JsonType| {
        let ty = if column.nullable { nullable(ty) } else { SchemaType::Type(ty) };
        ObjectBuilder::new().schema_type(ty).description(Some(column.doc))
    };
    let list = |item: JsonType| {
        let ty = if column.nullable { nullable(JsonType::Array) } else { SchemaType::Type(JsonType::Array) };
        let items = ObjectBuilder::new().schema_type(SchemaType::Type(item));
        Schema::from(ArrayBuilder::new().schema_type(ty).items(items).description(Some(column.doc)).build())
    };
    let known = |format| Some(SchemaFormat::KnownFormat(format));
    match column.ty {
        Type::Text => Schema::from(scalar(JsonType::String).build()),
        Type::Int64 => Schema::from(scalar(JsonType::Integer).format(known(KnownFormat::Int64)).build()),
        Type::Float32 => Schema::from(scalar(JsonType::Number).format(known(KnownFormat::Float)).build()),
        Type::Timestamp => Schema::from(scalar(JsonType::String).format(known(KnownFormat::DateTime)).build()),
        Type::TextList => list(JsonType::String),
        Type::Float32List => list(JsonType::Number),
        Type::Int64List => list(JsonType::Integer),
    }
    .into()
}

fn nullable(ty: JsonType) -> SchemaType {
    SchemaType::Array(vec![ty, JsonType::Null])
}

fn page(row: &str) -> RefOr<Schema> {
    let text =
        |doc: &'static str| ObjectBuilder::new().schema_type(SchemaType::Type(JsonType::String)).description(Some(doc));
    let moment = |doc| text(doc).format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)));
    let rows = ArrayBuilder::new()
        .items(Ref::from_schema_name(row))
        .description(Some("newest first; there may be fewer than `limit` although more follow"));
    let object = ObjectBuilder::new()
        .property("rows", rows)
        .required("rows")
        .property("from", moment("the resolved beginning of the time range"))
        .required("from")
        .property("to", moment("the resolved end of the time range"))
        .required("to")
        .property("next_cursor", text("pass it as `cursor` for the next page; absent at the end"));
    Schema::from(object.build()).into()
}

/// A row as the API gives it: its columns, and where a sample's files are.
pub fn json_row(row: &Row) -> JsonRow {
    let mut json = row.to_json();
    if let (Body::Sample(sample), Some(frame), Some(region)) =
        (&row.record.body, &row.record.header.frame_id, &row.record.header.region)
    {
        let href = format!("/api/v1/samples/{frame}/{region}");
        json.insert("picture_href".to_owned(), format!("{href}/picture").into());
        json.insert("input_href".to_owned(), sample.input.as_ref().map(|_| format!("{href}/input")).into());
    }
    json
}
