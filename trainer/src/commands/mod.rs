//! The program's commands, each with its options and its words.

pub mod create;
pub mod dataset;
pub mod evaluate;
pub mod export;
pub mod inspect;
pub mod label;
pub mod lake;
pub mod package;
pub mod pipeline;
pub mod preprocess;
pub mod replay;
pub mod select;
pub mod train;
pub mod transfer;
pub mod tune;
pub mod variants;

use std::{io::IsTerminal as _, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};

/// A bar on a terminal's stderr; nothing where nobody looks.
pub fn bar(length: u64, unit: &str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(length);
    let shown = format!("{{msg}} [{{bar:30}}] {{pos}}/{{len}} {unit}, {{per_sec}}, {{eta}} left");
    bar.set_style(ProgressStyle::with_template(&shown).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}
