//! What was found: a line at once, and all of it at the end.

use std::{fs, path::Path, process::ExitCode};

use serde_json::{Map, Value, json};

use inference::Probe;

/// The findings so far.
pub struct Report {
    subject: Value,
    rows: Vec<Map<String, Value>>,
    failed: Vec<String>,
}

impl Report {
    /// Names engine and machine.
    pub fn begin(engine: &str, probe: &Probe) -> Self {
        println!("{engine} {} on {}", probe.version, probe.device);
        let subject = json!({ "engine": engine, "version": probe.version, "device": probe.device });
        Self { subject, rows: Vec::new(), failed: Vec::new() }
    }

    /// A figure or several about one thing.
    pub fn row(&mut self, part: &str, model: &str, figures: &[(&str, Value)]) {
        let text: Vec<String> = figures.iter().map(|(name, value)| format!("{name} {}", short(value))).collect();
        println!("{part:<10} {model:<24} {}", text.join("  "));
        let mut row = Map::new();
        row.insert("part".into(), part.into());
        row.insert("model".into(), model.into());
        row.extend(figures.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        self.rows.push(row);
    }

    /// Something that must hold.
    pub fn must(&mut self, holds: bool, what: String) {
        println!("{} {what}", if holds { "ok  " } else { "FAIL" });
        if !holds {
            self.failed.push(what);
        }
    }

    /// Writes the file, names what failed.
    pub fn end(self, json_file: Option<&Path>) -> ExitCode {
        if let Some(path) = json_file {
            let all = json!({ "subject": self.subject, "rows": self.rows, "failed": self.failed });
            fs::write(path, serde_json::to_vec_pretty(&all).unwrap()).unwrap();
        }
        println!(
            "{} checks failed{}",
            self.failed.len(),
            self.failed.iter().map(|f| format!("\n  {f}")).collect::<String>()
        );
        if self.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

fn short(value: &Value) -> String {
    match value.as_f64() {
        Some(number) if number.fract() != 0.0 && number.abs() < 0.01 => format!("{number:.2e}"),
        Some(number) if number.fract() != 0.0 => format!("{number:.3}"),
        _ => value.as_str().map_or_else(|| value.to_string(), str::to_owned),
    }
}
