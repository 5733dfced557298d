//! Logs to stderr: for people on a terminal, one JSON object a line otherwise.

use std::{io::IsTerminal, str::FromStr};

use tracing_subscriber::{EnvFilter, Layer, filter::FilterFn, layer::SubscriberExt, util::SubscriberInitExt};

use crate::telemetry::{self, Telemetry};

/// How lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people when stderr is a terminal, else JSON.
    #[default]
    Auto,
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "human" => Ok(Self::Human),
            "json" => Ok(Self::Json),
            other => Err(format!("{other} is not a log format; there are auto, human and json")),
        }
    }
}

/// What is logged, and how.
#[derive(Clone, Debug, Default)]
pub struct LogOptions {
    /// How lines look.
    pub format: Format,
    /// The level, or directives such as `info,link=debug`. Absent: `RUST_LOG`, and `info` where that is not set.
    pub level: Option<String>,
}

/// A level that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("log level {text:?} cannot be read: {source}; write info, debug, or directives such as info,link=debug")]
pub struct Error {
    text: String,
    source: tracing_subscriber::filter::ParseError,
}

/// Libraries whose words are not for operators, unless asked for by name: `s3s` calls each answer of 404 or 412 an error,
/// and whoever implements its operations logs what somebody must act upon.
const QUIET: &str = "s3s=off";

/// Sets logs and traces up for the process. A second call changes nothing.
pub fn init(options: &LogOptions, telemetry: &Telemetry) -> Result<(), Error> {
    let text = options.level.clone().or_else(|| std::env::var("RUST_LOG").ok().filter(|t| !t.is_empty()));
    let text = text.unwrap_or_else(|| "info".to_owned());
    let filter = EnvFilter::try_new(format!("{QUIET},{text}")).map_err(|source| Error { text, source })?;
    let terminal = std::io::stderr().is_terminal();
    let human = match options.format {
        Format::Auto => terminal,
        Format::Human => true,
        Format::Json => false,
    };
    let base = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = if human {
        base.with_ansi(terminal).with_target(false).boxed()
    } else {
        base.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
    };
    // Spans for traces have a target of their own: without telemetry no layer wants them, and they cost nothing.
    let lines = lines.with_filter(FilterFn::new(|metadata| metadata.target() != telemetry::TARGET)).with_filter(filter);
    let _ = tracing_subscriber::registry().with(lines).with(telemetry.layer()).try_init();
    Ok(())
}

/// An error with all that caused it, on one line: `what: why: why that`. A cause that the text before it already holds
/// is not said twice.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
