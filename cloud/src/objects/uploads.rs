//! Multipart uploads in the tables: parts are files of their own, and an object is completed by naming them in order.
//! No byte is copied.

use std::collections::BTreeMap;

use ::store::tables::{Error, Row, Tx};

use super::{
    bodies::Piece,
    checksums::{Algorithm, Checksums},
    names::{Attributes, Condition, Named, Names, Object, add_file, give_name, has_bucket, now, refusal, take_name},
};

/// Uploads that nobody completed or aborted for so long are removed at start: seven days, in microseconds.
const ABANDONED: i64 = 7 * 86_400 * 1_000_000;

/// A multipart upload in progress.
#[derive(Clone, Debug)]
pub(super) struct Upload {
    pub id: String,
    pub key: String,
    pub started_at: i64,
    pub attributes: UploadAttributes,
}

/// What is kept of the request that began it.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub(super) struct UploadAttributes {
    pub object: Attributes,
    pub algorithm: Option<Algorithm>,
    /// One checksum over the whole object instead of one over the parts' checksums.
    pub full_object: bool,
}

/// One part that has arrived.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub number: i32,
    pub etag: String,
    pub bytes: u64,
    pub file: String,
    pub modified_at: i64,
    pub checksums: Checksums,
}

impl Names {
    /// Begins an upload; `false` without the bucket.
    pub async fn begin_upload(&self, bucket: &str, upload: &Upload) -> Result<bool, Error> {
        let attributes = json(&upload.attributes)?;
        let attributes = attributes.as_str();
        self.tables
            .write(|tx| async move {
                if !has_bucket(&tx, bucket).await? {
                    return Ok(false);
                }
                let sql =
                    "INSERT INTO s3_uploads (id, bucket, key, started_at, attributes) VALUES ($1, $2, $3, $4, $5)";
                let statement = tx.sql(sql).bind(upload.id.as_str()).bind(bucket).bind(upload.key.as_str());
                statement.bind(upload.started_at).bind(attributes).execute().await?;
                Ok(true)
            })
            .await
    }

    pub async fn upload(&self, bucket: &str, key: &str, id: &str) -> Result<Option<Upload>, Error> {
        self.tables.read(|tx| async move { upload(&tx, bucket, key, id).await }).await
    }

    /// The uploads of a bucket after a key and id, by key and id.
    pub async fn uploads(
        &self,
        bucket: &str,
        prefix: &str,
        after: [&str; 2],
        limit: i64,
    ) -> Result<Vec<Upload>, Error> {
        let sql = "SELECT id, key, started_at, attributes FROM s3_uploads WHERE bucket = $1 \
                   AND (key > $2 OR (key = $2 AND id > $3)) AND substr(key, 1, length($4)) = $4 \
                   ORDER BY key, id LIMIT $5";
        self.tables
            .read(|tx| async move {
                let statement = tx.sql(sql).bind(bucket).bind(after[0]).bind(after[1]).bind(prefix).bind(limit);
                statement.fetch_all().await?.iter().map(read_upload).collect()
            })
            .await
    }

    /// Adds or replaces a part; gives the replaced file, or `None` without the upload.
    pub async fn add_part(&self, upload: &str, part: &Part) -> Result<Option<Vec<String>>, Error> {
        let checksums = json(&part.checksums)?;
        let checksums = checksums.as_str();
        self.tables
            .write(|tx| async move {
                if tx.sql("SELECT 1 FROM s3_uploads WHERE id = $1").bind(upload).fetch_optional().await?.is_none() {
                    return Ok(None);
                }
                let sql = "DELETE FROM s3_parts WHERE upload = $1 AND number = $2 RETURNING file";
                let replaced = tx.sql(sql).bind(upload).bind(i64::from(part.number)).fetch_optional().await?;
                let replaced: Vec<String> = replaced.iter().map(|row| row.get("file")).collect::<Result<_, _>>()?;
                for file in &replaced {
                    tx.sql("DELETE FROM s3_files WHERE file = $1").bind(file.as_str()).execute().await?;
                }
                let piece = Piece { file: part.file.clone(), from: 0, bytes: part.bytes };
                add_file(&tx, &piece, upload, i64::from(part.number)).await?;
                tx.sql(
                    "INSERT INTO s3_parts (upload, number, etag, bytes, file, modified_at, checksums) \
                     VALUES ($1, $2, $3, $4, $5, $6, $7)",
                )
                .bind(upload)
                .bind(i64::from(part.number))
                .bind(part.etag.as_str())
                .bind(part.bytes as i64)
                .bind(part.file.as_str())
                .bind(part.modified_at)
                .bind(checksums)
                .execute()
                .await?;
                Ok(Some(replaced))
            })
            .await
    }

    /// The parts of an upload after a number, in order.
    pub async fn parts(&self, upload: &str, after: i32, limit: i64) -> Result<Vec<Part>, Error> {
        let sql = "SELECT number, etag, bytes, file, modified_at, checksums FROM s3_parts \
                   WHERE upload = $1 AND number > $2 ORDER BY number LIMIT $3";
        self.tables
            .read(|tx| async move {
                let statement = tx.sql(sql).bind(upload).bind(i64::from(after)).bind(limit);
                statement.fetch_all().await?.iter().map(read_part).collect()
            })
            .await
    }

    /// Turns an upload into an object made of the given parts. `new.files` are their files, in order; a part that was
    /// replaced since the caller looked is `Changed`.
    pub async fn complete(
        &self,
        bucket: &str,
        key: &str,
        id: &str,
        new: &Object,
        when: &Condition,
    ) -> Result<Named, Error> {
        self.tables
            .write(|tx| async move {
                if upload(&tx, bucket, key, id).await?.is_none() {
                    return Ok(Named::NoUpload);
                }
                if let Some(refused) = refusal(&tx, bucket, key, when).await? {
                    return Ok(refused);
                }
                let mut left = files_of_parts(&tx, id).await?;
                if !new.files.iter().all(|piece| left.remove(&piece.file).is_some()) {
                    return Ok(Named::Changed);
                }
                let mut garbage = take_name(&tx, bucket, key).await?;
                let object = new.files.first().map_or("", |piece| piece.file.as_str());
                give_name(&tx, bucket, key, object, new).await?;
                for (position, piece) in new.files.iter().enumerate() {
                    let sql = "UPDATE s3_files SET owner = $2, position = $3 WHERE file = $1";
                    tx.sql(sql).bind(piece.file.as_str()).bind(object).bind(position as i64).execute().await?;
                }
                garbage.extend(end_upload(&tx, id).await?);
                Ok(Named::Done(garbage))
            })
            .await
    }

    /// Ends an upload without an object; gives its files, or `None` without the upload.
    pub async fn abort(&self, bucket: &str, key: &str, id: &str) -> Result<Option<Vec<String>>, Error> {
        self.tables
            .write(|tx| async move {
                match upload(&tx, bucket, key, id).await? {
                    None => Ok(None),
                    Some(_) => end_upload(&tx, id).await.map(Some),
                }
            })
            .await
    }

    /// Ends uploads that were abandoned. Their files have no name then, and are removed with the other orphans.
    pub async fn forget_old_uploads(&self) -> Result<(), Error> {
        self.tables
            .write(|tx| async move {
                let old = tx.sql("SELECT id FROM s3_uploads WHERE started_at < $1").bind(now() - ABANDONED);
                for row in old.fetch_all().await? {
                    end_upload(&tx, &row.get::<String>("id")?).await?;
                }
                Ok(())
            })
            .await
    }
}

/// Removes an upload and its parts; gives the files that it still owned.
async fn end_upload(tx: &Tx, id: &str) -> Result<Vec<String>, Error> {
    tx.sql("DELETE FROM s3_parts WHERE upload = $1").bind(id).execute().await?;
    tx.sql("DELETE FROM s3_uploads WHERE id = $1").bind(id).execute().await?;
    let files = tx.sql("DELETE FROM s3_files WHERE owner = $1 RETURNING file").bind(id).fetch_all().await?;
    files.iter().map(|row| row.get("file")).collect()
}

async fn files_of_parts(tx: &Tx, id: &str) -> Result<BTreeMap<String, i64>, Error> {
    let rows = tx.sql("SELECT file, number FROM s3_parts WHERE upload = $1").bind(id).fetch_all().await?;
    rows.iter().map(|row| Ok((row.get("file")?, row.get("number")?))).collect()
}

async fn upload(tx: &Tx, bucket: &str, key: &str, id: &str) -> Result<Option<Upload>, Error> {
    let sql = "SELECT id, key, started_at, attributes FROM s3_uploads WHERE id = $1 AND bucket = $2 AND key = $3";
    let row = tx.sql(sql).bind(id).bind(bucket).bind(key).fetch_optional().await?;
    row.as_ref().map(read_upload).transpose()
}

fn read_upload(row: &Row) -> Result<Upload, Error> {
    Ok(Upload {
        id: row.get("id")?,
        key: row.get("key")?,
        started_at: row.get("started_at")?,
        attributes: parse(&row.get::<String>("attributes")?)?,
    })
}

fn read_part(row: &Row) -> Result<Part, Error> {
    Ok(Part {
        number: row.unsigned("number")? as i32,
        etag: row.get("etag")?,
        bytes: row.unsigned("bytes")?,
        file: row.get("file")?,
        modified_at: row.get("modified_at")?,
        checksums: parse(&row.get::<String>("checksums")?)?,
    })
}

fn json<T: serde::Serialize>(value: &T) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|e| Error::other(e.to_string()))
}

fn parse<T: serde::de::DeserializeOwned>(json: &str) -> Result<T, Error> {
    serde_json::from_str(json).map_err(|e| Error::other(format!("a row of an upload cannot be read: {e}")))
}
