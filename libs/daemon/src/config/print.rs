//! The configuration that a program ended up with, as TOML that could be its file.

use std::fmt::Write;

use serde::Serialize;
use toml::Value;

use super::{
    redact::without_secrets,
    tree::{Item, Origin},
};

/// Prints every key; those that somebody set with where that was.
pub(crate) fn print<T: Serialize>(value: &T, tree: &Item) -> String {
    match toml::Table::try_from(value) {
        Ok(table) => {
            let mut out = String::new();
            section(&mut out, &table, &mut Vec::new(), tree);
            out
        }
        Err(error) => format!("# configuration cannot be printed: {error}\n"),
    }
}

fn section(out: &mut String, table: &toml::Table, path: &mut Vec<String>, tree: &Item) {
    let (tables, values): (Vec<_>, Vec<_>) = table.iter().partition(|(_, value)| value.is_table());
    if !path.is_empty() && (!values.is_empty() || tables.is_empty()) {
        let separator = if out.is_empty() { "" } else { "\n" };
        let _ = writeln!(out, "{separator}[{}]", path.join(".")); // writing to a String cannot fail
    }
    for (key, value) in values {
        path.push(quoted(key));
        let dotted = path.iter().map(|segment| segment.trim_matches('"')).collect::<Vec<_>>().join(".");
        let origin = match tree.find(&dotted).map(|item| &item.origin) {
            None | Some(Origin::Default) => String::new(),
            Some(origin) => format!("  # {origin}"),
        };
        let _ = writeln!(out, "{} = {}{origin}", quoted(key), shown(value));
        path.pop();
    }
    for (key, value) in tables {
        if let Value::Table(table) = value {
            path.push(quoted(key));
            section(out, table, path, tree);
            path.pop();
        }
    }
}

fn quoted(key: &str) -> String {
    let bare = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    if bare { key.to_owned() } else { Value::String(key.to_owned()).to_string() }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => Value::String(without_secrets(text)).to_string(),
        Value::Array(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(", ")),
        Value::Float(x) => shortest(*x),
        other => other.to_string(),
    }
}

/// A field of 32 bits is printed as a person would write it: 0.6, not the nearest of 64 bits to it.
fn shortest(x: f64) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "only used when nothing is lost")]
    let narrow = x as f32;
    let written =
        if f64::from(narrow) == x { Value::Float(narrow.to_string().parse().unwrap_or(x)) } else { Value::Float(x) };
    written.to_string()
}
