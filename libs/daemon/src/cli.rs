//! What the command lines of our daemons share: `run`, `check`, `print-config`, each with the same basic flags.

use std::path::PathBuf;

use clap::Args;

use crate::logs::{Format, LogOptions};

/// Flags of every command that reads the configuration. Flatten it: `#[command(flatten)] common: daemon::cli::Common`.
#[derive(Args, Clone, Debug, Default)]
pub struct Common {
    /// Configuration file (TOML). Without one, defaults and the environment count.
    #[arg(long, short, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// Folder for what must survive a restart; one process at a time.
    #[arg(long, value_name = "DIR", global = true)]
    pub state: Option<PathBuf>,
    /// Log level, or directives such as info,link=debug. Default: $RUST_LOG, else info.
    #[arg(long, value_name = "LEVEL", global = true)]
    pub log: Option<String>,
    /// Log lines: auto (human on a terminal, else json), human or json.
    #[arg(long, value_name = "FORMAT", default_value = "auto", global = true)]
    pub log_format: String,
}

/// Flags of `check`.
#[derive(Args, Clone, Debug, Default)]
pub struct CheckArgs {
    /// Print the report as JSON.
    #[arg(long)]
    pub json: bool,
}

impl Common {
    /// The state folder: the flag, else what systemd made for the unit, else `default` in the current folder.
    pub fn state_dir(&self, default: &str) -> PathBuf {
        let from_systemd = || {
            let folders = std::env::var_os("STATE_DIRECTORY")?.into_string().ok()?;
            folders.split(':').next().filter(|first| !first.is_empty()).map(PathBuf::from)
        };
        self.state.clone().or_else(from_systemd).unwrap_or_else(|| PathBuf::from(default))
    }

    /// How to log.
    pub fn log_options(&self) -> Result<LogOptions, String> {
        let format: Format = if self.log_format.is_empty() { Format::Auto } else { self.log_format.parse()? };
        Ok(LogOptions { format, level: self.log.clone() })
    }
}
