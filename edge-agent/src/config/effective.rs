//! Each setting in force and where it comes from, for `reported`. Secrets are left out.

use std::collections::BTreeMap;

use contract::twin::{Effective, Origin};
use daemon::config::{Loaded, Origin as Source};
use serde_json::Value;

use super::Config;

/// Keys that hold secrets, by their last part.
const SECRETS: [&str; 2] = ["username", "password"];

/// The settings by dotted key.
pub fn effective(loaded: &Loaded<Config>) -> BTreeMap<String, Effective> {
    let mut out = BTreeMap::new();
    if let Ok(value) = serde_json::to_value(&loaded.value) {
        collect(loaded, String::new(), value, &mut out);
    }
    out
}

fn collect(loaded: &Loaded<Config>, key: String, value: Value, out: &mut BTreeMap<String, Effective>) {
    match value {
        Value::Object(table) => {
            for (name, value) in table {
                if SECRETS.contains(&name.as_str()) {
                    continue;
                }
                let key = if key.is_empty() { name } else { format!("{key}.{name}") };
                collect(loaded, key, value, out);
            }
        }
        value => {
            let value = match value {
                Value::String(text) => Value::String(daemon::config::without_secrets(&text)),
                other => other,
            };
            let origin = match loaded.origin(&key) {
                Source::Default => Origin::Default,
                Source::File { .. } => Origin::File,
                _ => Origin::Environment,
            };
            out.insert(key, Effective { value, origin });
        }
    }
}
