//! What can go wrong with tables, in kinds that callers can branch on.

use std::fmt;

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The URI cannot be read.
    Invalid,
    /// The database cannot be reached, or the connection broke.
    Unreachable,
    /// User, password or rights are wrong, or the file cannot be opened.
    Denied,
    /// Locked by another process for too long.
    Locked,
    /// The transaction lost against another one.
    Conflict,
    /// No connection became free, or could be made, in time.
    Busy,
    /// The disk is full.
    Full,
    /// The file is not a database, or is damaged.
    Corrupt,
    /// A program newer than this one wrote the tables.
    Newer,
    /// The statement breaks a rule of the tables: a unique or foreign key, a check.
    Constraint,
    /// The connection broke during a commit: it may have happened or not.
    Uncertain,
    /// Anything else.
    Other,
}

impl ErrorKind {
    /// Whether running the same transaction again at once can help.
    pub(super) fn repeats(self) -> bool {
        matches!(self, Self::Locked | Self::Conflict)
    }

    fn advice(self) -> &'static str {
        match self {
            Self::Unreachable => ": is the server running, and are host and port right?",
            Self::Denied => ": check user, password and rights",
            Self::Locked => ": another process holds the lock for too long",
            Self::Conflict => ": other writers kept changing the same rows",
            Self::Busy => ": no connection became free, or could be made, in time",
            Self::Full => ": the disk is full; free some space",
            Self::Corrupt => ": the file is damaged or no database; restore a backup",
            Self::Uncertain => ": the connection broke during the commit, which may have happened or not",
            _ => "",
        }
    }
}

/// An operation on the tables failed; the text names the operation and the database.
#[derive(Debug)]
pub struct Error(Box<Facts>);

/// Boxed, so that results stay small.
#[derive(Debug)]
struct Facts {
    operation: String,
    shown: String,
    kind: ErrorKind,
    detail: String,
    source: Option<sqlx::Error>,
}

impl Error {
    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether trying later can help without anybody acting. After `Uncertain` look first.
    pub fn retryable(&self) -> bool {
        use ErrorKind::*;
        matches!(self.0.kind, Unreachable | Locked | Conflict | Busy | Full | Uncertain)
    }

    /// An error of an owner module: a row that cannot be read, a rule that the caller broke.
    pub fn other(detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Other, detail)
    }

    /// An error of an owner module: what the caller asks for cannot be had from these tables.
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, detail)
    }

    pub(super) fn new(kind: ErrorKind, detail: impl Into<String>) -> Self {
        Self(Box::new(Facts {
            operation: String::new(),
            shown: String::new(),
            kind,
            detail: detail.into(),
            source: None,
        }))
    }

    /// Names the operation and the database, unless a narrower place has done so.
    pub(super) fn at(mut self, operation: &str, shown: &str) -> Self {
        if self.0.operation.is_empty() {
            self.0.operation = operation.to_owned();
            self.0.shown = shown.to_owned();
        }
        self
    }

    pub(super) fn uncertain(mut self) -> Self {
        if matches!(self.0.kind, ErrorKind::Unreachable | ErrorKind::Other) {
            self.0.kind = ErrorKind::Uncertain;
        }
        self
    }
}

impl From<sqlx::Error> for Error {
    fn from(source: sqlx::Error) -> Self {
        let kind = classify(&source);
        let mut error = Self::new(kind, "");
        error.0.source = Some(source);
        error
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operation = if self.0.operation.is_empty() { "use" } else { &self.0.operation };
        write!(f, "{operation} tables")?;
        if !self.0.shown.is_empty() {
            write!(f, " in {}", self.0.shown)?;
        }
        f.write_str(self.0.kind.advice())?;
        if !self.0.detail.is_empty() {
            write!(f, ": {}", self.0.detail)?;
        }
        match &self.0.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // `Display` already tells it, since most callers print only the outermost error; so its own source comes next.
        self.0.source.as_ref().and_then(|source| source.source())
    }
}

fn classify(error: &sqlx::Error) -> ErrorKind {
    use sqlx::Error as E;
    match error {
        E::Database(e) => {
            if let Some(e) = e.try_downcast_ref::<sqlx::postgres::PgDatabaseError>() {
                postgres(e.code())
            } else {
                sqlite(e.code().and_then(|code| code.parse().ok()).unwrap_or(0))
            }
        }
        E::Io(_) | E::Tls(_) | E::Protocol(_) | E::WorkerCrashed | E::BeginFailed => ErrorKind::Unreachable,
        E::PoolTimedOut => ErrorKind::Busy,
        E::Configuration(_) => ErrorKind::Invalid,
        _ => ErrorKind::Other,
    }
}

/// SQLite's primary result codes: <https://www.sqlite.org/rescode.html>.
fn sqlite(code: i32) -> ErrorKind {
    match code & 0xff {
        5 | 6 => ErrorKind::Locked,
        3 | 8 | 14 | 23 => ErrorKind::Denied,
        13 => ErrorKind::Full,
        11 | 26 => ErrorKind::Corrupt,
        19 => ErrorKind::Constraint,
        _ => ErrorKind::Other,
    }
}

/// SQLSTATE classes: <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
fn postgres(code: &str) -> ErrorKind {
    match code {
        "40001" | "40P01" => ErrorKind::Conflict,
        "55P03" => ErrorKind::Locked,
        "53100" => ErrorKind::Full,
        "53300" => ErrorKind::Busy,
        "42501" | "3D000" => ErrorKind::Denied,
        _ if code.starts_with("28") => ErrorKind::Denied,
        _ if code.starts_with("08") || code.starts_with("57P") => ErrorKind::Unreachable,
        _ if code.starts_with("23") => ErrorKind::Constraint,
        _ if code.starts_with("XX") => ErrorKind::Corrupt,
        _ => ErrorKind::Other,
    }
}
