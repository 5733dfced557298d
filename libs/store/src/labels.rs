//! What people say is to be seen in a frame's region. Rows are added and never changed: the latest one counts, and the others
//! tell how it came to be.

use std::{collections::HashMap, fmt::Write as _};

use contract::{FrameId, RegionId, Timestamp};
use serde::Serialize;
use sqlx::AssertSqlSafe;

use crate::tables::{Error, Migrations, Row, Tables, Tx, many};

const MIGRATIONS: Migrations = Migrations { set: "labels", steps: &[VERSION_1] };

const VERSION_1: &str = "
CREATE TABLE labels (
    id TEXT PRIMARY KEY,
    frame_id TEXT NOT NULL,
    region TEXT NOT NULL,
    class TEXT NOT NULL,
    author TEXT NOT NULL,
    source TEXT NOT NULL,
    labelled_at BIGINT NOT NULL
);
CREATE INDEX labels_by_frame ON labels (frame_id, region, labelled_at);
CREATE INDEX labels_by_time ON labels (labelled_at);
";

const COLUMNS: &str = "id, frame_id, region, class, author, source, labelled_at";
const COLUMN_COUNT: usize = 7;

/// What is labelled: a frame's region.
pub type Subject = (FrameId, RegionId);

/// One word of one author on one region of one frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Label {
    /// The frame.
    pub frame_id: FrameId,
    /// Its region.
    pub region: RegionId,
    /// What is to be seen.
    pub class: String,
    /// Who says so.
    pub author: String,
    /// By which way it came: `folder`, `rest`, ….
    pub source: String,
    /// When.
    pub labelled_at: Timestamp,
}

/// Which labels.
#[derive(Clone, Debug, Default)]
pub struct LabelQuery {
    /// By this author.
    pub author: Option<String>,
    /// That came this way.
    pub source: Option<String>,
    /// Said before this moment: a selection that can be made again.
    pub until: Option<Timestamp>,
}

/// The table of labels; a cheap clone.
#[derive(Clone)]
pub struct Labels {
    tables: Tables,
}

impl Labels {
    /// Opens the table, or makes it.
    ///
    /// # Errors
    /// The tables.
    pub async fn open(tables: Tables) -> Result<Self, Error> {
        tables.migrate(&MIGRATIONS).await?;
        Ok(Self { tables })
    }

    /// Adds those that say something new: the latest word of the same author, by the same way, was another one or none. Gives
    /// how many were added. All of them or none.
    ///
    /// # Errors
    /// The tables.
    pub async fn add(&self, labels: &[Label]) -> Result<usize, Error> {
        // Made before the transaction, so that one that is tried again adds the same rows.
        let id = || crate::chance::hex_id().map_err(|error| Error::other(error.to_string()));
        let ids: Vec<String> = labels.iter().map(|_| id()).collect::<Result<_, _>>()?;
        let ids = &ids;
        self.tables
            .write(|tx| async move {
                let mut new = Vec::new();
                for (label, id) in labels.iter().zip(ids) {
                    if said_last(&tx, label).await?.as_deref() != Some(&label.class) {
                        new.push((label, id));
                    }
                }
                for batch in many::runs(&new) {
                    let sql =
                        format!("INSERT INTO labels ({COLUMNS}) VALUES {}", many::places(batch.len(), COLUMN_COUNT));
                    let statement = batch.iter().fold(tx.sql(AssertSqlSafe(sql)), |statement, (label, id)| {
                        let statement = statement.bind((*id).clone()).bind(label.frame_id.as_str());
                        let statement = statement.bind(label.region.as_str()).bind(label.class.clone());
                        statement.bind(label.author.clone()).bind(label.source.clone()).bind(label.labelled_at.0)
                    });
                    statement.execute().await?;
                }
                Ok(new.len())
            })
            .await
    }

    /// The latest word on each region of each frame.
    ///
    /// # Errors
    /// The tables.
    pub async fn latest(&self, query: &LabelQuery) -> Result<HashMap<Subject, Label>, Error> {
        let mut sql = format!("SELECT {COLUMNS} FROM labels WHERE labelled_at < $1");
        let given: Vec<(&str, &String)> = [("author", &query.author), ("source", &query.source)]
            .into_iter()
            .filter_map(|(column, value)| Some((column, value.as_ref()?)))
            .collect();
        for (at, (column, _)) in given.iter().enumerate() {
            let _ = write!(sql, " AND {column} = ${}", at + 2); // writing to a String cannot fail
        }
        // Of two in the same microsecond the one with the greater id, always the same.
        sql.push_str(" ORDER BY labelled_at, id");
        let (sql, given) = (sql.as_str(), &given);
        let until = query.until.map_or(i64::MAX, |until| until.0);
        let rows = self.tables.read(|tx| async move {
            let statement = tx.sql(AssertSqlSafe(sql)).bind(until);
            given.iter().fold(statement, |statement, (_, value)| statement.bind((*value).clone())).fetch_all().await
        });
        let labels = rows.await?;
        labels
            .iter()
            .map(read)
            .map(|label| label.map(|label| ((label.frame_id.clone(), label.region.clone()), label)))
            .collect()
    }

    /// How many labels each class has, latest words alone, by class.
    ///
    /// # Errors
    /// The tables.
    pub async fn counts(&self, query: &LabelQuery) -> Result<std::collections::BTreeMap<String, u64>, Error> {
        let mut counts = std::collections::BTreeMap::new();
        for label in self.latest(query).await?.into_values() {
            *counts.entry(label.class).or_insert(0) += 1;
        }
        Ok(counts)
    }
}

async fn said_last(tx: &Tx, label: &Label) -> Result<Option<String>, Error> {
    let row = tx
        .sql(
            "SELECT class FROM labels WHERE frame_id = $1 AND region = $2 AND author = $3 AND source = $4 \
             ORDER BY labelled_at DESC, id DESC LIMIT 1",
        )
        .bind(label.frame_id.as_str())
        .bind(label.region.as_str())
        .bind(label.author.clone())
        .bind(label.source.clone())
        .fetch_optional()
        .await?;
    row.map(|row| row.get("class")).transpose()
}

fn read(row: &Row) -> Result<Label, Error> {
    Ok(Label {
        frame_id: row.parse("frame_id")?,
        region: row.parse("region")?,
        class: row.get("class")?,
        author: row.get("author")?,
        source: row.get("source")?,
        labelled_at: Timestamp(row.get("labelled_at")?),
    })
}
