//! Tables behind one URI: SQLite on one machine, Postgres for a fleet, the same statements for both.
//!
//! The portable subset that owner modules write: `$1` placeholders; `BIGINT` (time as microseconds, bools as 0/1),
//! `DOUBLE PRECISION`, `TEXT` (ids, JSON), `BYTEA`; `ON CONFLICT`, `RETURNING`; sums as `CAST(sum(x) AS BIGINT)`, because
//! Postgres widens them. Not `FOR UPDATE`, arrays, identity columns or booleans. `TEXT` sorts by bytes on both.
//! Concurrency is by compare-and-swap on a version column. Transactions that the database could not serialise, or that
//! met a lock, are run again here, in one place, with a bound: so a closure given to [`Tables::write`] runs once or more,
//! and must take nothing out but its result.
//!
//! When the database is full, locked or away, the caller is told by [`Error::kind`]; nothing is queued here.

mod error;
pub mod faults;
pub mod many;
mod migrate;
mod open;
mod transaction;

pub use error::{Error, ErrorKind};
pub use migrate::Migrations;
pub use transaction::{Column, Row, Statement, Tx, Value};

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use sqlx::{PgPool, SqlitePool};

use crate::{
    chance::Pauses,
    simulation::{Busy, Careless, Effect, Gate, Gated, Verdict},
};

/// How often a transaction is run before its locked or serialisation error is handed out.
const ATTEMPTS: u32 = 8;
/// Pause before the first repetition; doubles up to the longest.
const PAUSE: Duration = Duration::from_millis(4);
const PAUSE_MAX: Duration = Duration::from_millis(250);
/// After so long nothing is run again, however few attempts there were: another process may hold the lock.
const PATIENCE: Duration = Duration::from_secs(15);

/// The tables; a cheap clone of a bounded pool.
#[derive(Clone)]
pub struct Tables {
    pool: Pool,
    shown: Arc<str>,
    faults: Option<Arc<faults::Faults>>,
    gated: Option<Gated>,
}

#[derive(Clone)]
enum Pool {
    /// SQLite lets one writer in at a time and its waiters poll; the mutex queues those of this process fairly.
    Sqlite(SqlitePool, Arc<tokio::sync::Mutex<()>>),
    Postgres(PgPool),
}

/// What a transaction is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Read,
    Write,
    /// Takes a lock first and must then see what its last holder did.
    Migrate,
}

impl Mode {
    fn operation(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Migrate => "migrate",
        }
    }

    fn sqlite(self) -> &'static str {
        match self {
            Self::Read => "BEGIN",
            // A transaction that reads first and writes later cannot wait for the lock in between.
            Self::Write | Self::Migrate => "BEGIN IMMEDIATE",
        }
    }

    fn postgres(self) -> &'static str {
        match self {
            Self::Read => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
            Self::Write => "BEGIN ISOLATION LEVEL SERIALIZABLE",
            Self::Migrate => "BEGIN ISOLATION LEVEL READ COMMITTED",
        }
    }
}

/// Which database stands behind [`Tables`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// A file of this machine.
    Sqlite,
    /// A server.
    Postgres,
}

impl Tables {
    /// Opens `sqlite:PATH` (made when absent; `sqlite::memory:` for tests) or `postgres://user:password@host/database`.
    ///
    /// Errors: `Invalid` for another URI, else what the database says (`Unreachable`, `Denied`, `Corrupt`, …).
    pub async fn open(uri: &str) -> Result<Self, Error> {
        open::open(uri).await
    }

    /// The same tables, seen through faults. For tests.
    pub fn with_faults(&self, faults: Arc<faults::Faults>) -> Self {
        Self { faults: Some(faults), ..self.clone() }
    }

    /// The same tables as one process of a simulation reaches them.
    pub fn reached_through(&self, gate: Arc<dyn Gate>, busy: Busy, careless: Careless) -> Self {
        Self { gated: Some(Gated { gate, busy, careless }), ..self.clone() }
    }

    /// What is left undone here because a simulator must notice it.
    pub fn careless(&self) -> Careless {
        self.gated.as_ref().map(|gated| gated.careless).unwrap_or_default()
    }

    /// Which database this is.
    pub fn engine(&self) -> Engine {
        match self.pool {
            Pool::Sqlite(..) => Engine::Sqlite,
            Pool::Postgres(_) => Engine::Postgres,
        }
    }

    /// The URI without its password, for logs.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// Brings a table set to the version that this program knows; several programs may do so at once.
    ///
    /// Errors: `Newer` when the database was written by a newer program.
    pub async fn migrate(&self, migrations: &Migrations) -> Result<(), Error> {
        migrate::run(self, migrations).await
    }

    /// Runs `work` in a transaction that only reads: all its statements see one state. Written
    /// `tables.read(|tx| async move { … })`, with what it needs from outside as references.
    pub async fn read<T, F>(&self, work: impl FnMut(Tx) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        self.repeat(Mode::Read, work).await
    }

    /// Runs `work` in one serialisable transaction and commits when it returns `Ok`; an error rolls back.
    ///
    /// Repeated when the database could not serialise it. An error of kind `Uncertain` says that the connection broke
    /// during the commit: it may have happened or not, and the caller must look.
    pub async fn write<T, F>(&self, work: impl FnMut(Tx) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        self.repeat(Mode::Write, work).await
    }

    async fn repeat<T, F>(&self, mode: Mode, mut work: impl FnMut(Tx) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let begun = Instant::now();
        let mut pauses = Pauses::new(PAUSE, PAUSE_MAX);
        for attempt in 1.. {
            let error = match self.once(mode, &mut work).await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            if !error.kind().repeats() || attempt == ATTEMPTS || begun.elapsed() > PATIENCE {
                return Err(error.at(mode.operation(), &self.shown));
            }
            tracing::debug!(%error, attempt, "transaction is repeated");
            pauses.pause().await;
        }
        unreachable!("the loop returns at its last attempt")
    }

    async fn once<T, F>(&self, mode: Mode, work: &mut impl FnMut(Tx) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let verdict = match &self.gated {
            Some(gated) => gated.gate.ask(if mode == Mode::Read { Effect::Read } else { Effect::Write }).await,
            None => Verdict::Do,
        };
        let _running = self.gated.as_ref().map(|gated| gated.busy.begin());
        if verdict == Verdict::Fail {
            return Err(Error::new(ErrorKind::Unreachable, "planned fault"));
        }
        let turn = match &self.pool {
            Pool::Sqlite(_, turn) if mode != Mode::Read => Some(turn.clone().lock_owned().await),
            _ => None,
        };
        let tx = self.begin(mode).await?;
        let value = work(tx.clone()).await?;
        let planned = self.faults.as_ref().filter(|_| mode == Mode::Write).and_then(|faults| faults.next());
        if let Some(after) = planned {
            tokio::spawn(async move {
                tokio::time::sleep(after).await;
                let committed = tx.commit().await;
                tracing::debug!(?committed, "late commit");
                drop(turn);
            });
            return Err(Error::new(ErrorKind::Uncertain, "planned fault"));
        }
        tx.commit().await?;
        match verdict {
            Verdict::Lose if mode == Mode::Write => Err(Error::new(ErrorKind::Uncertain, "planned fault")),
            Verdict::Lose => Err(Error::new(ErrorKind::Unreachable, "planned fault")),
            _ => Ok(value),
        }
    }

    async fn begin(&self, mode: Mode) -> Result<Tx, Error> {
        Ok(match &self.pool {
            Pool::Sqlite(pool, _) => Tx::sqlite(pool.begin_with(mode.sqlite()).await?),
            Pool::Postgres(pool) => Tx::postgres(transaction::answered(pool.begin_with(mode.postgres())).await?),
        })
    }

    /// Writes a copy of an SQLite database, as one moment has it, to a file that is not there. Only for SQLite.
    pub(crate) async fn vacuum_into(&self, path: &std::path::Path) -> Result<(), Error> {
        match &self.pool {
            Pool::Sqlite(pool, _) => {
                let target = path.display().to_string();
                let done = sqlx::query("VACUUM INTO $1").bind(target).execute(pool).await;
                done.map(drop).map_err(|e| Error::from(e).at("copy", &self.shown))
            }
            Pool::Postgres(_) => Err(Error::other("only SQLite copies itself")),
        }
    }

    /// Tries the connection with a statement that reads.
    pub async fn check(&self) -> Result<(), Error> {
        self.read(|tx| async move { tx.sql("SELECT 1").execute().await.map(drop) }).await
    }

    /// Ends the pool: waits for running transactions, checkpoints SQLite's log.
    pub async fn close(&self) {
        match &self.pool {
            Pool::Sqlite(pool, _) => pool.close().await,
            Pool::Postgres(pool) => pool.close().await,
        }
    }
}
