//! Configuration files as a story writes them: dotted keys over a TOML table.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use toml::{Table, Value};

/// A configuration in the making.
#[derive(Clone, Debug, Default)]
pub struct Config(Table);

impl Config {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// From TOML text.
    pub fn parse(text: &str) -> Result<Self> {
        Ok(Self(text.parse().context("configuration of the story is not TOML")?))
    }

    /// Sets a dotted key, making the tables on its way. A part of the key never contains a dot itself.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        let mut parts: Vec<&str> = key.split('.').collect();
        let Some(last) = parts.pop() else { return self };
        let mut table = &mut self.0;
        for part in parts {
            let entry = table.entry(part).or_insert_with(|| Value::Table(Table::new()));
            if !entry.is_table() {
                *entry = Value::Table(Table::new());
            }
            table = match entry {
                Value::Table(inner) => inner,
                _ => return self,
            };
        }
        table.insert(last.to_owned(), value.into());
        self
    }

    /// Whether a top-level key or a dotted key is set.
    pub fn has(&self, key: &str) -> bool {
        let mut parts = key.split('.');
        let first = parts.next().and_then(|part| self.0.get(part));
        parts.fold(first, |value, part| value?.get(part)).is_some()
    }

    /// Sets a key where it is not set yet.
    #[must_use]
    pub fn or(self, key: &str, value: impl Into<Value>) -> Self {
        if self.has(key) { self } else { self.set(key, value) }
    }

    /// Writes the file into a folder.
    pub fn write(&self, folder: &Path, name: &str) -> Result<PathBuf> {
        let path = folder.join(name);
        std::fs::create_dir_all(folder)?;
        std::fs::write(&path, self.0.to_string()).with_context(|| format!("write {}", path.display()))?;
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dotted_keys_make_tables() {
        let config = Config::new().set("a.b.c", 1).set("a.d", "x").or("a.d", "y").or("e", true);
        assert!(config.has("a.b.c") && !config.has("a.b.x"));
        assert_eq!(config.0.to_string().parse::<Table>().unwrap(), config.0);
        assert_eq!(config.0["a"]["d"].as_str(), Some("x"));
    }
}
