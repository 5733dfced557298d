//! Table sets and their versions. A set is a list of scripts, one a version, only ever appended to.
//!
//! sqlx's own migrator has one history a database; here several owner modules, of several programs, share one.

use sqlx::AssertSqlSafe;

use super::{Engine, Error, ErrorKind, Mode, Tables, Tx};

/// A table set: its name and the script that leads to each version, the first to version 1.
///
/// Scripts use the portable subset of [`super`]; on Postgres each `TEXT` becomes `TEXT COLLATE "C"`, which sorts by bytes
/// as SQLite does.
pub struct Migrations {
    /// The set's name.
    pub set: &'static str,
    /// The scripts, oldest first.
    pub steps: &'static [&'static str],
}

const VERSIONS: &str =
    "CREATE TABLE IF NOT EXISTS sightline_table_sets (name TEXT PRIMARY KEY, version BIGINT NOT NULL)";
/// Any constant that nobody else uses: "sightlin" in ASCII.
const ADVISORY_LOCK: i64 = 0x7369_6768_746c_696e;

pub(super) async fn run(tables: &Tables, migrations: &Migrations) -> Result<(), Error> {
    let engine = tables.engine();
    tables.repeat(Mode::Migrate, |tx| async move { in_transaction(&tx, engine, migrations).await }).await
}

async fn in_transaction(tx: &Tx, engine: Engine, migrations: &Migrations) -> Result<(), Error> {
    if engine == Engine::Postgres {
        // CREATE TABLE IF NOT EXISTS of two sessions at once fails in one of them. In `Mode::Migrate` the statements after
        // this one see what the session before did; a serialisable transaction would still see the state before it.
        tx.sql("SELECT pg_advisory_xact_lock($1)").bind(ADVISORY_LOCK).fetch_one().await?;
    }
    tx.sql(VERSIONS).execute().await?;
    let found =
        tx.sql("SELECT version FROM sightline_table_sets WHERE name = $1").bind(migrations.set).fetch_optional();
    let found = match found.await? {
        Some(row) => row.unsigned("version")? as usize,
        None => 0,
    };
    let known = migrations.steps.len();
    if found > known {
        let detail = format!(
            "table set `{}` is of version {found}, written by a newer program; this one knows up to version {known}: \
             run the newer program, or restore a backup from before the upgrade",
            migrations.set
        );
        return Err(Error::new(ErrorKind::Newer, detail));
    }
    for step in &migrations.steps[found..] {
        let step = match engine {
            Engine::Sqlite => (*step).to_owned(),
            Engine::Postgres => by_bytes(step),
        };
        tx.script(sqlx::SqlSafeStr::into_sql_str(AssertSqlSafe(step))).await?;
    }
    if found < known {
        tx.sql(
            "INSERT INTO sightline_table_sets (name, version) VALUES ($1, $2) \
             ON CONFLICT (name) DO UPDATE SET version = excluded.version",
        )
        .bind(migrations.set)
        .bind(known as i64)
        .execute()
        .await?;
    }
    Ok(())
}

/// Makes texts sort by bytes in Postgres, whatever locale the database was created with.
fn by_bytes(script: &str) -> String {
    script.replace(" TEXT", " TEXT COLLATE \"C\"")
}
