//! One transaction, its statements and rows, the same for both databases.

use sqlx::{
    Decode, Encode, Postgres, Row as _, SqlSafeStr, SqlStr, Sqlite, Type,
    postgres::{PgArguments, PgRow},
    query::Query,
    sqlite::{SqliteArguments, SqliteRow},
};

use super::Error;

/// A running transaction; dropped without commit it rolls back.
pub struct Tx(Inner);

enum Inner {
    Sqlite(sqlx::Transaction<'static, Sqlite>),
    Postgres(sqlx::Transaction<'static, Postgres>),
}

/// What can be bound: `i64`, `f64`, `String`, `&str`, `Vec<u8>`, `&[u8]` and `Option`s of them.
pub trait Value: for<'q> Encode<'q, Sqlite> + Type<Sqlite> + for<'q> Encode<'q, Postgres> + Type<Postgres> {}
impl<T> Value for T where T: for<'q> Encode<'q, Sqlite> + Type<Sqlite> + for<'q> Encode<'q, Postgres> + Type<Postgres> {}

/// What a column can be read as: `i64`, `f64`, `String`, `Vec<u8>` and `Option`s of them.
pub trait Column: for<'r> Decode<'r, Sqlite> + Type<Sqlite> + for<'r> Decode<'r, Postgres> + Type<Postgres> {}
impl<T> Column for T where T: for<'r> Decode<'r, Sqlite> + Type<Sqlite> + for<'r> Decode<'r, Postgres> + Type<Postgres> {}

impl Tx {
    pub(super) fn sqlite(tx: sqlx::Transaction<'static, Sqlite>) -> Self {
        Self(Inner::Sqlite(tx))
    }

    pub(super) fn postgres(tx: sqlx::Transaction<'static, Postgres>) -> Self {
        Self(Inner::Postgres(tx))
    }

    /// A statement; bind its `$1`, `$2`, … in order, then run it. A text made at run time is wrapped in
    /// `sqlx::AssertSqlSafe` by an owner module that vouches for it.
    pub fn sql(&mut self, sql: impl SqlSafeStr) -> Statement<'_> {
        let sql = sql.into_sql_str();
        match &mut self.0 {
            Inner::Sqlite(tx) => Statement(Bound::Sqlite(tx, sqlx::query(sql))),
            Inner::Postgres(tx) => Statement(Bound::Postgres(tx, sqlx::query(sql))),
        }
    }

    /// Several statements without parameters, separated by `;`.
    pub(super) async fn script(&mut self, sql: SqlStr) -> Result<(), Error> {
        match &mut self.0 {
            Inner::Sqlite(tx) => sqlx::raw_sql(sql).execute(&mut **tx).await.map(drop)?,
            Inner::Postgres(tx) => sqlx::raw_sql(sql).execute(&mut **tx).await.map(drop)?,
        }
        Ok(())
    }

    pub(super) async fn commit(self) -> Result<(), Error> {
        match self.0 {
            // SQLite is a library: what it reports is what happened.
            Inner::Sqlite(tx) => Ok(tx.commit().await?),
            Inner::Postgres(tx) => tx.commit().await.map_err(|e| Error::from(e).uncertain()),
        }
    }
}

/// A statement with what was bound so far.
#[must_use = "a statement does nothing until it is executed or fetched"]
pub struct Statement<'t>(Bound<'t>);

enum Bound<'t> {
    Sqlite(&'t mut sqlx::Transaction<'static, Sqlite>, Query<'t, Sqlite, SqliteArguments>),
    Postgres(&'t mut sqlx::Transaction<'static, Postgres>, Query<'t, Postgres, PgArguments>),
}

impl<'t> Statement<'t> {
    /// Binds the next placeholder.
    pub fn bind(self, value: impl Value) -> Self {
        Self(match self.0 {
            Bound::Sqlite(tx, query) => Bound::Sqlite(tx, query.bind(value)),
            Bound::Postgres(tx, query) => Bound::Postgres(tx, query.bind(value)),
        })
    }

    /// Runs it; gives the number of rows changed.
    pub async fn execute(self) -> Result<u64, Error> {
        Ok(match self.0 {
            Bound::Sqlite(tx, query) => query.execute(&mut **tx).await?.rows_affected(),
            Bound::Postgres(tx, query) => query.execute(&mut **tx).await?.rows_affected(),
        })
    }

    /// All its rows. Owner modules bound them by `LIMIT` where they can be many.
    pub async fn fetch_all(self) -> Result<Vec<Row>, Error> {
        Ok(match self.0 {
            Bound::Sqlite(tx, query) => query.fetch_all(&mut **tx).await?.into_iter().map(Row::Sqlite).collect(),
            Bound::Postgres(tx, query) => query.fetch_all(&mut **tx).await?.into_iter().map(Row::Postgres).collect(),
        })
    }

    /// Its first row, where it has one.
    pub async fn fetch_optional(self) -> Result<Option<Row>, Error> {
        Ok(match self.0 {
            Bound::Sqlite(tx, query) => query.fetch_optional(&mut **tx).await?.map(Row::Sqlite),
            Bound::Postgres(tx, query) => query.fetch_optional(&mut **tx).await?.map(Row::Postgres),
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
