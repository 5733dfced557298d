//! A consistent copy of the lake's tables in one SQLite file, whatever database they are in; and back.
//!
//! A copy of SQLite is made by the database itself (`VACUUM INTO`); of Postgres row by row, in one transaction that sees
//! one state. Restoring copies row by row into either, so that a backup is also the way from one to the other. A restored
//! lake has a new incarnation, and a rebuild is due: the bucket has what was committed after the backup, and none of that
//! may be taken for orphans.

use std::path::Path;

use contract::Timestamp;
use sqlx::AssertSqlSafe;

use super::{LakeIndex, random_id};
use crate::tables::{Engine, Error, Row, Statement, Tables, Tx};

/// Rows copied at a time.
const PAGE: usize = 500;

/// What a column holds.
#[derive(Clone, Copy)]
enum Type {
    Text,
    Int,
    Float,
    Bytes,
}

/// A table: its columns, of which the first `key` are its primary key.
struct Table {
    name: &'static str,
    key: usize,
    columns: &'static [(&'static str, Type)],
}

use Type::{Bytes, Float, Int, Text};

/// In an order that foreign keys allow.
const TABLES: &[Table] = &[
    Table {
        name: "lake",
        key: 1,
        columns: &[
            ("id", Text),
            ("incarnation", Text),
            ("created_at", Int),
            ("rebuild_due", Text),
            ("orphans_before", Int),
        ],
    },
    Table {
        name: "lake_epochs",
        key: 1,
        columns: &[("epoch", Text), ("site", Text), ("gateway", Text), ("bound_at", Int), ("seen_at", Int)],
    },
    Table {
        name: "lake_streams",
        key: 2,
        columns: &[
            ("epoch", Text),
            ("kind", Text),
            ("version", Int),
            ("upto", Int),
            ("ranges", Text),
            ("changed_at", Int),
        ],
    },
    Table {
        name: "lake_objects",
        key: 1,
        columns: &[
            ("key", Text),
            ("format", Text),
            ("kind", Text),
            ("date", Text),
            ("hour", Int),
            ("site", Text),
            ("row_count", Int),
            ("bytes", Int),
            ("digest", Text),
            ("captured_from", Int),
            ("captured_to", Int),
            ("corrected_from", Int),
            ("corrected_to", Int),
            ("row_schema", Int),
            ("holds", Text),
            ("committed_at", Int),
            ("retired_at", Int),
            ("retired_why", Text),
        ],
    },
    Table {
        name: "lake_samples",
        key: 3,
        columns: &[
            ("frame_id", Text),
            ("region", Text),
            ("seq", Int),
            ("site", Text),
            ("gateway", Text),
            ("camera", Text),
            ("corrected_at", Int),
            ("captured_at", Int),
            ("reason", Text),
            ("label", Text),
            ("score", Float),
            ("shard", Text),
            ("media_type", Text),
            ("picture_offset", Int),
            ("picture_bytes", Int),
            ("picture_digest", Text),
            ("width", Int),
            ("height", Int),
            ("input_offset", Int),
            ("input_bytes", Int),
            ("input_digest", Text),
            ("input_encoding", Text),
            ("input_dtype", Text),
            ("input_shape", Text),
        ],
    },
    Table {
        name: "lake_hashes",
        key: 3,
        columns: &[
            ("epoch", Text),
            ("kind", Text),
            ("from_seq", Int),
            ("to_seq", Int),
            ("object", Text),
            ("hashes", Bytes),
        ],
    },
];

impl LakeIndex {
    /// Writes a copy of the tables to a file that is not there yet. The hub may be running.
    pub async fn backup(&self, path: &Path, now: Timestamp) -> Result<(), Error> {
        if path.exists() {
            return Err(Error::other(format!("{} exists: name a file that does not", path.display())));
        }
        if self.tables().engine() == Engine::Sqlite {
            return self.tables().vacuum_into(path).await;
        }
        let copy = Self::open(open(path).await?, now).await?;
        let done = copy_all(self.tables(), copy.tables(), None).await;
        copy.tables().close().await;
        done
    }

    /// Replaces what the tables hold by a backup; begins a new incarnation and asks for a rebuild.
    ///
    /// Errors: `Other` when the tables hold a lake already and `replace` was not said; `Newer` when a newer program wrote
    /// the backup; `Corrupt` when it is none.
    pub async fn restore(&self, path: &Path, replace: bool, now: Timestamp) -> Result<(), Error> {
        let used = !self.principals().await?.is_empty() || !self.live_objects().await?.is_empty();
        if used && !replace {
            return Err(Error::other("the tables hold a lake already; say --replace to put the backup in its place"));
        }
        if !path.is_file() {
            return Err(Error::other(format!("{} is no file", path.display())));
        }
        // opened as a copy: bringing it to this version must not change the backup
        let copy = std::env::temp_dir().join(format!("sightline-restore-{}.db", random_id()?));
        let file =
            |e: std::io::Error| Error::other(format!("{} cannot be copied to {}: {e}", path.display(), copy.display()));
        std::fs::copy(path, &copy).map_err(file)?;
        let restored = self.restore_copy(&copy, path, now).await;
        for suffix in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{suffix}", copy.display())); // what is left is in the temporary folder
        }
        restored
    }

    async fn restore_copy(&self, copy: &Path, shown: &Path, now: Timestamp) -> Result<(), Error> {
        let backup = Self::open(open(copy).await?, now).await?;
        let life = NewLife {
            incarnation: random_id()?,
            rebuild_due: format!("the tables were restored from {}", shown.display()),
        };
        let done = copy_all(backup.tables(), self.tables(), Some(&life)).await;
        backup.tables().close().await;
        done
    }
}

async fn open(path: &Path) -> Result<Tables, Error> {
    Tables::open(&format!("sqlite:{}", path.display())).await
}

/// What a restored lake begins with.
struct NewLife {
    incarnation: String,
    rebuild_due: String,
}

/// All rows of all tables, in place of what is there, and with them the new life: all or nothing.
async fn copy_all(from: &Tables, to: &Tables, life: Option<&NewLife>) -> Result<(), Error> {
    to.write(|write| async move {
        for table in TABLES.iter().rev() {
            write.sql(AssertSqlSafe(format!("DELETE FROM {}", table.name))).execute().await?;
        }
        let write = &write;
        from.read(|read| async move {
            for table in TABLES {
                copy_table(&read, write, table).await?;
            }
            Ok(())
        })
        .await?;
        if let Some(life) = life {
            let sql = "UPDATE lake SET incarnation = $1, rebuild_due = $2";
            write.sql(sql).bind(life.incarnation.as_str()).bind(life.rebuild_due.as_str()).execute().await?;
        }
        Ok(())
    })
    .await
}

async fn copy_table(read: &Tx, write: &Tx, table: &Table) -> Result<(), Error> {
    let mut last: Option<Vec<Cell>> = None;
    loop {
        let statement = read.sql(AssertSqlSafe(select(table, last.is_some())));
        let statement = last.iter().flatten().fold(statement, |statement, cell| cell.bind(statement));
        let rows = statement.fetch_all().await?;
        for row in &rows {
            let cells =
                table.columns.iter().map(|(name, ty)| Cell::read(row, name, *ty)).collect::<Result<Vec<_>, _>>()?;
            let statement = write.sql(AssertSqlSafe(insert(table)));
            cells.iter().fold(statement, |statement, cell| cell.bind(statement)).execute().await?;
            last = Some(cells.into_iter().take(table.key).collect());
        }
        if rows.len() < PAGE {
            return Ok(());
        }
    }
}

/// The next page by primary key.
fn select(table: &Table, after: bool) -> String {
    let names: Vec<_> = table.columns.iter().map(|(name, _)| *name).collect();
    let key = names[..table.key].join(", ");
    let places: Vec<_> = (1..=table.key).map(|n| format!("${n}")).collect();
    let condition = if after { format!("WHERE ({key}) > ({})", places.join(", ")) } else { String::new() };
    format!("SELECT {} FROM {} {condition} ORDER BY {key} LIMIT {PAGE}", names.join(", "), table.name)
}

fn insert(table: &Table) -> String {
    let names: Vec<_> = table.columns.iter().map(|(name, _)| *name).collect();
    let places: Vec<_> = (1..=names.len()).map(|n| format!("${n}")).collect();
    format!("INSERT INTO {} ({}) VALUES ({})", table.name, names.join(", "), places.join(", "))
}

enum Cell {
    Text(Option<String>),
    Int(Option<i64>),
    Float(Option<f64>),
    Bytes(Option<Vec<u8>>),
}

impl Cell {
    fn read(row: &Row, name: &str, ty: Type) -> Result<Self, Error> {
        Ok(match ty {
            Text => Self::Text(row.get(name)?),
            Int => Self::Int(row.get(name)?),
            Float => Self::Float(row.get(name)?),
            Bytes => Self::Bytes(row.get(name)?),
        })
    }

    fn bind<'t>(&self, statement: Statement<'t>) -> Statement<'t> {
        match self {
            Self::Text(value) => statement.bind(value.clone()),
            Self::Int(value) => statement.bind(*value),
            Self::Float(value) => statement.bind(*value),
            Self::Bytes(value) => statement.bind(value.clone()),
        }
    }
}
