//! From a URI to a bounded pool.

use std::{
    str::FromStr,
    sync::Arc,
    time::{Duration, Instant},
};

use sqlx::{
    Connection as _, PgConnection,
    postgres::{PgConnectOptions, PgPoolOptions},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::{Error, ErrorKind, Pool, Tables};

/// Connections of one process. SQLite: one writes, three read, each on a thread of its own. Postgres: its default
/// allows 100 in all, so ten processes fit.
const SQLITE_CONNECTIONS: u32 = 4;
const POSTGRES_CONNECTIONS: u32 = 8;
/// How long a request waits for a connection, and SQLite for another process's lock, before it is an error.
const WAIT: Duration = Duration::from_secs(10);

pub(super) async fn open(uri: &str) -> Result<Tables, Error> {
    let shown = without_password(uri);
    let result = match uri.split(':').next() {
        Some("sqlite") => sqlite(uri).await,
        Some("postgres" | "postgresql") => postgres(uri).await,
        _ => Err(Error::new(ErrorKind::Invalid, "expected sqlite:PATH or postgres://user:password@host/database")),
    };
    match result {
        Ok(pool) => Ok(Tables { pool, shown: shown.into(), faults: None, gated: None }),
        Err(error) => Err(error.at("open", &shown)),
    }
}

async fn sqlite(uri: &str) -> Result<Pool, Error> {
    let path = uri.strip_prefix("sqlite:").unwrap_or(uri);
    let memory = path == ":memory:";
    let options = if memory {
        SqliteConnectOptions::from_str(uri)?
    } else {
        SqliteConnectOptions::new().filename(path.strip_prefix("//").unwrap_or(path)).create_if_missing(true)
    };
    let options = options
        .foreign_keys(true)
        .busy_timeout(WAIT)
        .journal_mode(SqliteJournalMode::Wal)
        // A commit lets a gateway delete what it holds, so it must survive a power cut. `Normal` would not sync the log.
        .synchronous(SqliteSynchronous::Full);
    let pool = SqlitePoolOptions::new()
        .max_connections(if memory { 1 } else { SQLITE_CONNECTIONS })
        .min_connections(1)
        .idle_timeout((!memory).then_some(Duration::from_secs(60)))
        .max_lifetime(None)
        .acquire_timeout(WAIT);
    // For a new file's first switch to WAL SQLite does not wait, so those that open it at once must try again.
    let deadline = Instant::now() + WAIT;
    loop {
        match pool.clone().connect_with(options.clone()).await.map_err(Error::from) {
            Err(error) if error.kind() == ErrorKind::Locked && Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            result => return Ok(Pool::Sqlite(result?, Arc::default())),
        }
    }
}

async fn postgres(uri: &str) -> Result<Pool, Error> {
    let options = PgConnectOptions::from_str(uri)?.application_name("sightline");
    // The pool tries again while nobody listens, and then only says that it waited; one connection says why.
    let first = tokio::time::timeout(WAIT, PgConnection::connect_with(&options)).await;
    let first = first.map_err(|_| Error::new(ErrorKind::Unreachable, format!("waited {} s", WAIT.as_secs())))?;
    first?.close().await?;
    let pool = PgPoolOptions::new()
        .max_connections(POSTGRES_CONNECTIONS)
        .acquire_timeout(WAIT)
        .idle_timeout(Duration::from_secs(60))
        .connect_with(options)
        .await?;
    Ok(Pool::Postgres(pool))
}

/// The URI as it may stand in logs. Of a text that does not parse, only what stands before its first `:`.
fn without_password(uri: &str) -> String {
    if uri.starts_with("sqlite:") {
        return uri.to_owned();
    }
    match url::Url::parse(uri) {
        Ok(mut url) => {
            if url.password().is_some() {
                // Fails only for URLs that cannot have a password.
                let _ = url.set_password(Some("***"));
            }
            if url.query_pairs().any(|(key, _)| key == "password") {
                url.set_query(Some("***"));
            }
            url.to_string()
        }
        Err(_) => format!("{}…", uri.split_once(':').map_or("", |(scheme, _)| scheme)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        assert_eq!(without_password("postgres://u:secret@h:5432/d"), "postgres://u:***@h:5432/d");
        assert_eq!(without_password("postgres:///d?host=/run&password=secret"), "postgres:///d?***");
        assert_eq!(without_password("sqlite:/var/lib/x.db"), "sqlite:/var/lib/x.db");
        assert!(!without_password("postgres//secret").contains("secret"));
    }
}
