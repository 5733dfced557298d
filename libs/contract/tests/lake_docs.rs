//! docs/lake.md shows the row schemas; this keeps it true. `UPDATE_DOCS=1 cargo test -p contract` rewrites its tables.
#![allow(clippy::unwrap_used, missing_docs)]

use std::{fmt::Write as _, fs, path::Path};

use contract::{
    Kind,
    lake::{self, Column, Type},
};

const BEGIN: &str = "<!-- row schemas: made from libs/contract/src/lake.rs -->\n";
const END: &str = "<!-- end of row schemas -->";

#[test]
fn the_documented_row_schemas_are_the_real_ones() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/lake.md");
    let page = fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let wanted = format!("{before}{BEGIN}{}{END}{after}", tables());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &wanted).unwrap();
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), wanted, "run UPDATE_DOCS=1 cargo test --release -p contract");
}

fn tables() -> String {
    let mut out = String::new();
    writeln!(out, "\n### Every kind begins with\n").unwrap();
    table(&mut out, lake::COMMON.iter());
    for kind in Kind::ALL {
        let own: Vec<&Column> = lake::columns(kind).skip(lake::COMMON.len()).collect();
        if !own.is_empty() {
            writeln!(out, "\n### `kind={kind}` goes on with\n").unwrap();
            table(&mut out, own.into_iter());
        }
    }
    out.push('\n');
    out
}

fn table<'a>(out: &mut String, columns: impl Iterator<Item = &'a Column>) {
    writeln!(out, "| column | Parquet type | null | meaning |\n|---|---|---|---|").unwrap();
    for column in columns {
        let ty = match column.ty {
            Type::Text => "string",
            Type::Int64 => "int64",
            Type::Float32 => "float",
            Type::Timestamp => "timestamp(us, UTC)",
            Type::TextList => "list of string",
            Type::Float32List => "list of float",
            Type::Int64List => "list of int64",
        };
        let null = if column.nullable { "yes" } else { "no" };
        writeln!(out, "| `{}` | {ty} | {null} | {} |", column.name, column.doc).unwrap();
    }
}
