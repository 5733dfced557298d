//! One transaction, its statements and rows, the same for both databases.

use std::sync::Arc;

use sqlx::{
    Decode, Encode, Postgres, Row as _, SqlSafeStr, SqlStr, Sqlite, Type,
    postgres::{PgArguments, PgRow},
    query::Query,
    sqlite::{SqliteArguments, SqliteRow},
};
use tokio::sync::Mutex;

use super::{Engine, Error};

/// A running transaction: a handle that [`super::Tables`] hands to the work and takes back. It owns what it needs, so
/// that the work's future can borrow from anywhere else and still move between threads. Without commit it rolls back.
#[derive(Clone)]
pub struct Tx {
    engine: Engine,
    inner: Arc<Mutex<Option<Inner>>>,
}

enum Inner {
    Sqlite(sqlx::Transaction<'static, Sqlite>),
    Postgres(sqlx::Transaction<'static, Postgres>),
}

/// The longest that one statement, or a commit, of a server may take.
const ANSWER_MAX: std::time::Duration = std::time::Duration::from_secs(30);

/// What can be bound: `i64`, `f64`, `String`, `&str`, `Vec<u8>`, `&[u8]` and `Option`s of them.
pub trait Value: for<'q> Encode<'q, Sqlite> + Type<Sqlite> + for<'q> Encode<'q, Postgres> + Type<Postgres> {}
impl<T> Value for T where T: for<'q> Encode<'q, Sqlite> + Type<Sqlite> + for<'q> Encode<'q, Postgres> + Type<Postgres> {}

/// What a column can be read as: `i64`, `f64`, `String`, `Vec<u8>` and `Option`s of them.
pub trait Column: for<'r> Decode<'r, Sqlite> + Type<Sqlite> + for<'r> Decode<'r, Postgres> + Type<Postgres> {}
impl<T> Column for T where T: for<'r> Decode<'r, Sqlite> + Type<Sqlite> + for<'r> Decode<'r, Postgres> + Type<Postgres> {}

impl Tx {
    pub(super) fn sqlite(tx: sqlx::Transaction<'static, Sqlite>) -> Self {
        Self::new(Engine::Sqlite, Inner::Sqlite(tx))
    }

    pub(super) fn postgres(tx: sqlx::Transaction<'static, Postgres>) -> Self {
        Self::new(Engine::Postgres, Inner::Postgres(tx))
    }

    fn new(engine: Engine, inner: Inner) -> Self {
        Self { engine, inner: Arc::new(Mutex::new(Some(inner))) }
    }

    /// A statement; bind its `$1`, `$2`, … in order, then run it. A text made at run time is wrapped in
    /// `sqlx::AssertSqlSafe` by an owner module that vouches for it.
    pub fn sql(&self, sql: impl SqlSafeStr) -> Statement<'_> {
        let sql = sql.into_sql_str();
        let query = match self.engine {
            Engine::Sqlite => Bound::Sqlite(sqlx::query(sql)),
            Engine::Postgres => Bound::Postgres(sqlx::query(sql)),
        };
        Statement { tx: self, query }
    }

    /// Several statements without parameters, separated by `;`.
    pub(super) async fn script(&self, sql: SqlStr) -> Result<(), Error> {
        match &mut *self.inner.lock().await {
            Some(Inner::Sqlite(tx)) => sqlx::raw_sql(sql).execute(&mut **tx).await.map(drop)?,
            Some(Inner::Postgres(tx)) => sqlx::raw_sql(sql).execute(&mut **tx).await.map(drop)?,
            None => return Err(ended()),
        }
        Ok(())
    }

    pub(super) async fn commit(self) -> Result<(), Error> {
        let inner = self.inner.lock().await.take();
        match inner {
            // SQLite is a library: what it reports is what happened.
            Some(Inner::Sqlite(tx)) => Ok(tx.commit().await?),
            Some(Inner::Postgres(tx)) => answered(tx.commit()).await.map_err(Error::uncertain),
            None => Err(ended()),
        }
    }
}

/// A server's answer, within [`ANSWER_MAX`]: a connection that swallows everything would else hold its caller for ever.
pub(super) async fn answered<T>(work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, Error> {
    match tokio::time::timeout(ANSWER_MAX, work).await {
        Ok(result) => Ok(result?),
        Err(_) => {
            let said = format!("no answer came within {} s", ANSWER_MAX.as_secs());
            Err(Error::new(super::ErrorKind::Unreachable, said))
        }
    }
}

fn ended() -> Error {
    Error::other("the transaction has ended: its handle was kept beyond the work that it was given to")
}

/// A statement with what was bound so far.
#[must_use = "a statement does nothing until it is executed or fetched"]
pub struct Statement<'t> {
    tx: &'t Tx,
    query: Bound,
}

enum Bound {
    Sqlite(Query<'static, Sqlite, SqliteArguments>),
    Postgres(Query<'static, Postgres, PgArguments>),
}

impl Statement<'_> {
    /// Binds the next placeholder.
    pub fn bind(self, value: impl Value) -> Self {
        let query = match self.query {
            Bound::Sqlite(query) => Bound::Sqlite(query.bind(value)),
            Bound::Postgres(query) => Bound::Postgres(query.bind(value)),
        };
        Self { query, ..self }
    }

    /// Runs it; gives the number of rows changed.
    pub async fn execute(self) -> Result<u64, Error> {
        Ok(match (&mut *self.tx.inner.lock().await, self.query) {
            (Some(Inner::Sqlite(tx)), Bound::Sqlite(query)) => query.execute(&mut **tx).await?.rows_affected(),
            (Some(Inner::Postgres(tx)), Bound::Postgres(query)) => {
                answered(query.execute(&mut **tx)).await?.rows_affected()
            }
            _ => return Err(ended()),
        })
    }

    /// All its rows. Owner modules bound them by `LIMIT` where they can be many.
    pub async fn fetch_all(self) -> Result<Vec<Row>, Error> {
        Ok(match (&mut *self.tx.inner.lock().await, self.query) {
            (Some(Inner::Sqlite(tx)), Bound::Sqlite(query)) => {
                query.fetch_all(&mut **tx).await?.into_iter().map(Row::Sqlite).collect()
            }
            (Some(Inner::Postgres(tx)), Bound::Postgres(query)) => {
                answered(query.fetch_all(&mut **tx)).await?.into_iter().map(Row::Postgres).collect()
            }
            _ => return Err(ended()),
        })
    }

    /// Its first row, where it has one.
    pub async fn fetch_optional(self) -> Result<Option<Row>, Error> {
        Ok(match (&mut *self.tx.inner.lock().await, self.query) {
            (Some(Inner::Sqlite(tx)), Bound::Sqlite(query)) => query.fetch_optional(&mut **tx).await?.map(Row::Sqlite),
            (Some(Inner::Postgres(tx)), Bound::Postgres(query)) => {
                answered(query.fetch_optional(&mut **tx)).await?.map(Row::Postgres)
            }
            _ => return Err(ended()),
        })
    }

    /// Its first row, which must be there.
    pub async fn fetch_one(self) -> Result<Row, Error> {
        self.fetch_optional().await?.ok_or_else(|| sqlx::Error::RowNotFound.into())
    }
}

/// One row of a result.
pub enum Row {
    #[doc(hidden)]
    Sqlite(SqliteRow),
    #[doc(hidden)]
    Postgres(PgRow),
}

impl Row {
    /// A column by its name.
    pub fn get<T: Column>(&self, column: &str) -> Result<T, Error> {
        Ok(match self {
            Row::Sqlite(row) => row.try_get(column)?,
            Row::Postgres(row) => row.try_get(column)?,
        })
    }

    /// A text column as what its text means, such as an id.
    pub fn parse<T: std::str::FromStr>(&self, column: &str) -> Result<T, Error>
    where
        T::Err: std::fmt::Display,
    {
        let text: String = self.get(column)?;
        text.parse().map_err(|e| Error::other(format!("column `{column}` cannot be read: {e}")))
    }

    /// A whole number that is never negative.
    pub fn unsigned(&self, column: &str) -> Result<u64, Error> {
        let value: i64 = self.get(column)?;
        value.try_into().map_err(|_| Error::other(format!("column `{column}` is negative: {value}")))
    }
}
