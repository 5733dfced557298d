//! The report of `check`: what was looked at, how it is, what to do.

use std::{
    fmt::Write,
    io::IsTerminal,
    time::{Duration, Instant},
};

use serde::Serialize;

use crate::exit;

/// How a thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// As it should be.
    Ok,
    /// It works, but somebody should look.
    Warning,
    /// It does not work.
    Failed,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at, such as `mqtt` or `camera front`.
    pub name: String,
    /// How it is.
    pub outcome: Outcome,
    /// What was found.
    pub detail: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
    /// How long looking took, in milliseconds.
    pub took_ms: u64,
}

/// All that was looked at.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// In the order of looking.
    pub checks: Vec<Finding>,
    #[serde(skip)]
    last: Instant,
}

impl Default for Report {
    fn default() -> Self {
        Self { checks: Vec::new(), last: Instant::now() }
    }
}

impl Report {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// It is as it should be.
    pub fn ok(&mut self, name: impl Into<String>, detail: impl Into<String>) {
        self.add(name.into(), Outcome::Ok, detail.into(), None);
    }

    /// It works, but somebody should look.
    pub fn warning(&mut self, name: impl Into<String>, detail: impl Into<String>, advice: impl Into<String>) {
        self.add(name.into(), Outcome::Warning, detail.into(), Some(advice.into()));
    }

    /// It does not work. Our errors say themselves what to do; `advice` is for those that do not.
    pub fn failed(&mut self, name: impl Into<String>, detail: impl Into<String>, advice: Option<String>) {
        self.add(name.into(), Outcome::Failed, detail.into(), advice);
    }

    /// Whatever came of it, with an error's whole chain.
    pub fn result<E: std::error::Error + 'static>(
        &mut self,
        name: impl Into<String>,
        result: Result<impl Into<String>, E>,
    ) {
        match result {
            Ok(detail) => self.ok(name, detail),
            Err(error) => self.failed(name, crate::logs::chain(&error), None),
        }
    }

    fn add(&mut self, name: String, outcome: Outcome, detail: String, advice: Option<String>) {
        let took_ms = u64::try_from(self.last.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last = Instant::now();
        self.checks.push(Finding { name, outcome, detail, advice, took_ms });
    }

    /// The worst of all outcomes.
    pub fn outcome(&self) -> Outcome {
        let has = |outcome| self.checks.iter().any(|finding| finding.outcome == outcome);
        if has(Outcome::Failed) {
            Outcome::Failed
        } else if has(Outcome::Warning) {
            Outcome::Warning
        } else {
            Outcome::Ok
        }
    }

    /// The exit code of `check`: a failure is one, a warning is not.
    pub fn exit_code(&self) -> u8 {
        if self.outcome() == Outcome::Failed { exit::FAILURE } else { exit::OK }
    }

    /// `{"ok": …, "checks": […]}`.
    pub fn json(&self) -> serde_json::Value {
        serde_json::json!({ "ok": self.outcome() != Outcome::Failed, "checks": self.checks })
    }

    /// A line a thing, for people.
    pub fn text(&self, color: bool) -> String {
        let width = self.checks.iter().map(|finding| finding.name.chars().count()).max().unwrap_or(0);
        let mut out = String::new();
        for finding in &self.checks {
            let (word, code) = match finding.outcome {
                Outcome::Ok => ("ok     ", "32"),
                Outcome::Warning => ("warning", "33"),
                Outcome::Failed => ("FAILED ", "31"),
            };
            let word = if color { format!("\x1b[{code}m{word}\x1b[0m") } else { word.to_owned() };
            let slow = if finding.took_ms >= 1000 {
                format!("  ({:.1} s)", Duration::from_millis(finding.took_ms).as_secs_f32())
            } else {
                String::new()
            };
            let detail = finding.detail.replace('\n', &format!("\n{:1$}", "", width + 11));
            let _ = writeln!(out, "{word}  {:width$}  {detail}{slow}", finding.name); // a String takes everything
            if let Some(advice) = &finding.advice {
                let _ = writeln!(out, "{:1$}-> {advice}", "", width + 11);
            }
        }
        out
    }

    /// Prints it to stdout and returns the exit code.
    #[expect(clippy::print_stdout, reason = "the report is the command's result")]
    pub fn print(&self, json: bool) -> u8 {
        if json {
            println!("{}", self.json());
        } else {
            print!("{}", self.text(std::io::stdout().is_terminal()));
        }
        self.exit_code()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_reads_well_and_fails_when_something_failed() {
        let mut report = Report::new();
        report.ok("configuration", "edge.toml");
        report.warning("disk", "1 GiB free", "free some space");
        assert_eq!(report.exit_code(), exit::OK);
        report.failed("mqtt", "connection refused", Some("start the broker".into()));
        assert_eq!(report.exit_code(), exit::FAILURE);
        let text = "ok       configuration  edge.toml\n\
                    warning  disk           1 GiB free\n                        -> free some space\n\
                    FAILED   mqtt           connection refused\n                        -> start the broker\n";
        assert_eq!(report.text(false), text);
        assert_eq!(report.json()["ok"], false);
        assert_eq!(report.json()["checks"][2]["outcome"], "failed");
    }
}
