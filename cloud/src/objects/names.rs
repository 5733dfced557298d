//! Names: buckets, objects and which files hold them, in one SQLite file. Every change is one transaction.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::SystemTime,
};

use ::store::tables::{Error, Migrations, Row, Tables, Tx};
use s3s::dto;
use serde::{Deserialize, Serialize};

use super::{bodies::Piece, checksums::Checksums};

/// `s3_files` has a row for each body file: of an object, in order, or of a part of an upload (owner: the upload's id).
pub(super) const MIGRATIONS: Migrations = Migrations {
    set: "objects",
    steps: &["
CREATE TABLE s3_buckets (name TEXT PRIMARY KEY, created_at BIGINT NOT NULL);
CREATE TABLE s3_objects (
    bucket TEXT NOT NULL REFERENCES s3_buckets (name),
    key TEXT NOT NULL,
    id TEXT NOT NULL,
    etag TEXT NOT NULL,
    bytes BIGINT NOT NULL,
    modified_at BIGINT NOT NULL,
    upload TEXT NOT NULL,
    attributes TEXT NOT NULL,
    PRIMARY KEY (bucket, key)
);
CREATE TABLE s3_files (file TEXT PRIMARY KEY, owner TEXT NOT NULL, position BIGINT NOT NULL, bytes BIGINT NOT NULL);
CREATE INDEX s3_files_by_owner ON s3_files (owner, position);
CREATE TABLE s3_uploads (
    id TEXT PRIMARY KEY,
    bucket TEXT NOT NULL REFERENCES s3_buckets (name),
    key TEXT NOT NULL,
    started_at BIGINT NOT NULL,
    attributes TEXT NOT NULL
);
CREATE INDEX s3_uploads_by_key ON s3_uploads (bucket, key);
CREATE TABLE s3_parts (
    upload TEXT NOT NULL REFERENCES s3_uploads (id),
    number BIGINT NOT NULL,
    etag TEXT NOT NULL,
    bytes BIGINT NOT NULL,
    file TEXT NOT NULL,
    modified_at BIGINT NOT NULL,
    checksums TEXT NOT NULL,
    PRIMARY KEY (upload, number)
);
"],
};

pub(super) struct Names {
    pub(super) tables: Tables,
}

/// What is kept of an object's headers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Attributes {
    pub content_type: Option<String>,
    pub cache_control: Option<String>,
    pub content_disposition: Option<String>,
    pub content_encoding: Option<String>,
    pub content_language: Option<String>,
    pub expires: Option<dto::Timestamp>,
    pub metadata: BTreeMap<String, String>,
    pub checksums: Checksums,
}

/// One object.
#[derive(Clone, Debug)]
pub(super) struct Object {
    pub etag: String,
    pub bytes: u64,
    pub modified_at: i64,
    /// The multipart upload that it came from, or empty.
    pub upload: String,
    pub attributes: Attributes,
    /// Its files in order, whole.
    pub files: Vec<Piece>,
}

/// When a name may be given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    Always,
    /// `If-None-Match: *`
    Absent,
    /// `If-Match`: this ETag, or any object when `None`.
    Matches(Option<String>),
}

/// What became of naming.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// Done; these files are no longer named.
    Done(Vec<String>),
    NoBucket,
    NoKey,
    NoUpload,
    Exists,
    Changed,
}

/// What became of a bucket's deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Emptied {
    Done,
    NoBucket,
    NotEmpty,
}

/// Names of files that are read at once at a start.
const FILES_PAGE: i64 = 20_000;

/// A walk over the names of all files, see [`Names::files`].
pub(super) struct Files<'n> {
    names: &'n Names,
    page: std::iter::Peekable<std::vec::IntoIter<String>>,
    last: String,
    ended: bool,
}

impl Files<'_> {
    /// The files on a shelf, all of it. Shelves are asked for in order.
    pub async fn on(&mut self, shelf: &str) -> Result<BTreeSet<String>, Error> {
        let mut files = BTreeSet::new();
        loop {
            while let Some(file) = self.page.next_if(|file| file.starts_with(shelf)) {
                files.insert(file);
            }
            if self.page.peek().is_some() || self.ended {
                return Ok(files);
            }
            self.turn().await?;
        }
    }

    async fn turn(&mut self) -> Result<(), Error> {
        let sql = "SELECT file FROM s3_files WHERE file > $1 ORDER BY file LIMIT $2";
        let last = self.last.as_str();
        let read = |tx: Tx| async move {
            let rows = tx.sql(sql).bind(last).bind(FILES_PAGE).fetch_all().await?;
            rows.iter().map(|row| row.get("file")).collect::<Result<Vec<String>, Error>>()
        };
        let page = self.names.tables.read(read).await?;
        self.ended = page.len() < FILES_PAGE as usize;
        self.last = page.last().cloned().unwrap_or_default();
        self.page = page.into_iter().peekable();
        Ok(())
    }
}

impl Names {
    pub async fn open(file: &Path) -> Result<Self, Error> {
        let tables = Tables::open(&format!("sqlite:{}", file.display())).await?;
        tables.migrate(&MIGRATIONS).await?;
        Ok(Self { tables })
    }

    pub async fn close(&self) {
        self.tables.close().await;
    }

    /// All files that are named, in order, a page at a time.
    pub fn files(&self) -> Files<'_> {
        Files { names: self, page: Vec::new().into_iter().peekable(), last: String::new(), ended: false }
    }

    /// Says whether it is new.
    pub async fn create_bucket(&self, name: &str) -> Result<bool, Error> {
        let sql = "INSERT INTO s3_buckets (name, created_at) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";
        self.tables.write(|tx| async move { Ok(tx.sql(sql).bind(name).bind(now()).execute().await? == 1) }).await
    }

    /// All buckets with the time of their creation.
    pub async fn buckets(&self) -> Result<Vec<(String, i64)>, Error> {
        let read = |row: &Row| Ok((row.get("name")?, row.get("created_at")?));
        let sql = "SELECT name, created_at FROM s3_buckets ORDER BY name LIMIT 10000";
        self.tables.read(|tx| async move { tx.sql(sql).fetch_all().await?.iter().map(read).collect() }).await
    }

    pub async fn has_bucket(&self, name: &str) -> Result<bool, Error> {
        self.tables.read(|tx| async move { has_bucket(&tx, name).await }).await
    }

    pub async fn delete_bucket(&self, name: &str) -> Result<Emptied, Error> {
        self.tables
            .write(|tx| async move {
                if !has_bucket(&tx, name).await? {
                    return Ok(Emptied::NoBucket);
                }
                for sql in [
                    "SELECT 1 FROM s3_objects WHERE bucket = $1 LIMIT 1",
                    "SELECT 1 FROM s3_uploads WHERE bucket = $1 LIMIT 1",
                ] {
                    if tx.sql(sql).bind(name).fetch_optional().await?.is_some() {
                        return Ok(Emptied::NotEmpty);
                    }
                }
                tx.sql("DELETE FROM s3_buckets WHERE name = $1").bind(name).execute().await?;
                Ok(Emptied::Done)
            })
            .await
    }

    pub async fn object(&self, bucket: &str, key: &str) -> Result<Option<Object>, Error> {
        self.tables.read(|tx| async move { object(&tx, bucket, key).await }).await
    }

    /// Names an object, replacing the one that had the name.
    pub async fn name(&self, bucket: &str, key: &str, new: &Object, when: &Condition) -> Result<Named, Error> {
        self.tables
            .write(|tx| async move {
                if let Some(refused) = refusal(&tx, bucket, key, when).await? {
                    return Ok(refused);
                }
                let id = new.files.first().map_or_else(String::new, |piece| piece.file.clone());
                let garbage = take_name(&tx, bucket, key).await?;
                give_name(&tx, bucket, key, &id, new).await?;
                for (position, piece) in new.files.iter().enumerate() {
                    add_file(&tx, piece, &id, position as i64).await?;
                }
                Ok(Named::Done(garbage))
            })
            .await
    }

    /// Removes names, those that exist; gives the files that are no longer named. `None` without the bucket.
    pub async fn remove(&self, bucket: &str, keys: &[String]) -> Result<Option<Vec<String>>, Error> {
        self.tables
            .write(|tx| async move {
                if !has_bucket(&tx, bucket).await? {
                    return Ok(None);
                }
                let mut garbage = Vec::new();
                for key in keys {
                    garbage.extend(take_name(&tx, bucket, key).await?);
                }
                Ok(Some(garbage))
            })
            .await
    }
}

/// Why a name may not be given, if so.
pub(super) async fn refusal(tx: &Tx, bucket: &str, key: &str, when: &Condition) -> Result<Option<Named>, Error> {
    if !has_bucket(tx, bucket).await? {
        return Ok(Some(Named::NoBucket));
    }
    if *when == Condition::Always {
        return Ok(None);
    }
    let sql = "SELECT etag FROM s3_objects WHERE bucket = $1 AND key = $2";
    let found = tx.sql(sql).bind(bucket).bind(key).fetch_optional().await?;
    let etag: Option<String> = found.map(|row| row.get("etag")).transpose()?;
    Ok(match (when, etag) {
        (Condition::Absent, Some(_)) => Some(Named::Exists),
        (Condition::Matches(_), None) => Some(Named::NoKey),
        (Condition::Matches(Some(wanted)), Some(etag)) if *wanted != etag => Some(Named::Changed),
        _ => None,
    })
}

pub(super) async fn has_bucket(tx: &Tx, name: &str) -> Result<bool, Error> {
    Ok(tx.sql("SELECT 1 FROM s3_buckets WHERE name = $1").bind(name).fetch_optional().await?.is_some())
}

pub(super) async fn object(tx: &Tx, bucket: &str, key: &str) -> Result<Option<Object>, Error> {
    let sql = "SELECT id, etag, bytes, modified_at, upload, attributes FROM s3_objects WHERE bucket = $1 AND key = $2";
    let Some(row) = tx.sql(sql).bind(bucket).bind(key).fetch_optional().await? else { return Ok(None) };
    let id: String = row.get("id")?;
    let files = tx.sql("SELECT file, bytes FROM s3_files WHERE owner = $1 ORDER BY position").bind(id.as_str());
    let piece = |row: &Row| Ok::<_, Error>(Piece { file: row.get("file")?, from: 0, bytes: row.unsigned("bytes")? });
    Ok(Some(Object {
        etag: row.get("etag")?,
        bytes: row.unsigned("bytes")?,
        modified_at: row.get("modified_at")?,
        upload: row.get("upload")?,
        attributes: attributes(&row)?,
        files: files.fetch_all().await?.iter().map(piece).collect::<Result<_, _>>()?,
    }))
}

pub(super) fn attributes(row: &Row) -> Result<Attributes, Error> {
    let json: String = row.get("attributes")?;
    serde_json::from_str(&json).map_err(|e| Error::other(format!("attributes of an object cannot be read: {e}")))
}

/// Removes a name if it is there; gives its files, which no row names any more.
pub(super) async fn take_name(tx: &Tx, bucket: &str, key: &str) -> Result<Vec<String>, Error> {
    let sql = "DELETE FROM s3_objects WHERE bucket = $1 AND key = $2 RETURNING id";
    let Some(row) = tx.sql(sql).bind(bucket).bind(key).fetch_optional().await? else { return Ok(Vec::new()) };
    let id: String = row.get("id")?;
    let files = tx.sql("DELETE FROM s3_files WHERE owner = $1 RETURNING file").bind(id);
    files.fetch_all().await?.iter().map(|row| row.get("file")).collect()
}

pub(super) async fn give_name(tx: &Tx, bucket: &str, key: &str, id: &str, new: &Object) -> Result<(), Error> {
    let attributes = serde_json::to_string(&new.attributes).map_err(|e| Error::other(e.to_string()))?;
    tx.sql(
        "INSERT INTO s3_objects (bucket, key, id, etag, bytes, modified_at, upload, attributes) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(bucket)
    .bind(key)
    .bind(id)
    .bind(new.etag.as_str())
    .bind(new.bytes as i64)
    .bind(new.modified_at)
    .bind(new.upload.as_str())
    .bind(attributes)
    .execute()
    .await
    .map(drop)
}

pub(super) async fn add_file(tx: &Tx, piece: &Piece, owner: &str, position: i64) -> Result<(), Error> {
    let sql = "INSERT INTO s3_files (file, owner, position, bytes) VALUES ($1, $2, $3, $4)";
    let statement = tx.sql(sql).bind(piece.file.as_str()).bind(owner).bind(position).bind(piece.bytes as i64);
    statement.execute().await.map(drop)
}

/// The server's clock, microseconds since 1970.
pub(super) fn now() -> i64 {
    contract::Timestamp::from_system(SystemTime::now()).0
}
