//! Reading, listing, copying and deleting objects.

use std::{collections::BTreeMap, ops::Range, path::Path, time::Duration};

use aws_sdk_s3::{
    presigning::PresigningConfig,
    primitives::{ByteStream, DateTime},
    types::{BucketLocationConstraint, CreateBucketConfiguration, Delete, ObjectIdentifier},
};
use bytes::Bytes;
use contract::Timestamp;

use super::{Error, ErrorKind, Objects, error::Failure, faults::Operation};

/// What is known of an object without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Length in bytes.
    pub bytes: u64,
    /// The server's tag of this content.
    pub etag: String,
    /// What it was put with.
    pub content_type: Option<String>,
    /// User metadata.
    pub metadata: BTreeMap<String, String>,
    /// When it was put, by the server's clock.
    pub modified: Timestamp,
}

/// One line of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key, relative to the location's prefix.
    pub key: String,
    /// Length in bytes.
    pub bytes: u64,
    /// The server's tag of this content.
    pub etag: String,
    /// When it was put, by the server's clock.
    pub modified: Timestamp,
}

/// A listing, page by page; see [`Objects::list`].
pub struct Pages<'o> {
    objects: &'o Objects,
    prefix: String,
    start_after: Option<String>,
    token: Option<String>,
    done: bool,
}

impl Objects {
    /// A whole object, in memory.
    pub async fn get(&self, key: &str) -> Result<Bytes, Error> {
        self.get_with(key, 0, None).await
    }

    /// Some bytes of an object; fewer when it ends earlier.
    pub async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, Error> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let header = format!("bytes={}-{}", range.start, range.end - 1);
        self.get_with(key, range.end - range.start, Some(header)).await
    }

    async fn get_with(&self, key: &str, bytes: u64, range: Option<String>) -> Result<Bytes, Error> {
        let range = &range;
        self.attempt(Operation::Get, key, bytes, |_| async move {
            let body = self.open(key, range.clone()).await?;
            let body = body.collect().await.map_err(|e| Failure::caused(ErrorKind::Unreachable, e))?;
            Ok(body.into_bytes())
        })
        .await
    }

    /// A whole object, into a file that is made or replaced; gives its length. Not synced.
    pub async fn get_file(&self, key: &str, path: &Path) -> Result<u64, Error> {
        let bytes = self.head(key).await?.bytes;
        self.attempt(Operation::Get, key, bytes, |_| async move {
            let file_error = |e| Failure::caused(ErrorKind::File, e);
            let mut body = self.open(key, None).await?;
            let mut file = tokio::fs::File::create(path).await.map_err(file_error)?;
            let mut written = 0;
            while let Some(chunk) = body.next().await {
                let chunk = chunk.map_err(|e| Failure::caused(ErrorKind::Unreachable, e))?;
                tokio::io::AsyncWriteExt::write_all(&mut file, &chunk).await.map_err(file_error)?;
                written += chunk.len() as u64;
            }
            tokio::io::AsyncWriteExt::flush(&mut file).await.map_err(file_error)?;
            Ok(written)
        })
        .await
    }

    async fn open(&self, key: &str, range: Option<String>) -> Result<ByteStream, Failure> {
        let request = self.client().get_object().bucket(&self.location().bucket).key(self.location().full(key));
        Ok(request.set_range(range).send().await?.body)
    }

    /// What is known of an object.
    pub async fn head(&self, key: &str) -> Result<Head, Error> {
        self.attempt(Operation::Head, key, 0, |_| async move {
            let request = self.client().head_object().bucket(&self.location().bucket).key(self.location().full(key));
            let head = request.send().await?;
            Ok(Head {
                bytes: length(head.content_length),
                etag: head.e_tag.unwrap_or_default(),
                content_type: head.content_type,
                metadata: head.metadata.unwrap_or_default().into_iter().collect(),
                modified: timestamp(head.last_modified),
            })
        })
        .await
    }

    /// Removes an object; no error when there is none.
    pub async fn delete(&self, key: &str) -> Result<(), Error> {
        self.attempt(Operation::Delete, key, 0, |_| async move {
            let request = self.client().delete_object().bucket(&self.location().bucket).key(self.location().full(key));
            request.send().await?;
            Ok(())
        })
        .await
    }

    /// Removes many objects, a thousand a request; no error for those that are not there.
    pub async fn delete_many(&self, keys: &[String]) -> Result<(), Error> {
        for keys in keys.chunks(1000) {
            self.attempt(Operation::Delete, &keys[0], 0, |_| async move { self.delete_chunk(keys).await }).await?;
        }
        Ok(())
    }

    async fn delete_chunk(&self, keys: &[String]) -> Result<(), Failure> {
        let other = |e| Failure::caused(ErrorKind::Other, e);
        let name = |key: &String| ObjectIdentifier::builder().key(self.location().full(key)).build();
        let names = keys.iter().map(name).collect::<Result<_, _>>().map_err(other)?;
        let delete = Delete::builder().set_objects(Some(names)).quiet(true).build().map_err(other)?;
        let answer = self.client().delete_objects().bucket(&self.location().bucket).delete(delete).send().await?;
        match answer.errors().first() {
            None => Ok(()),
            Some(e) => Err(Failure::new(
                ErrorKind::Unavailable,
                format!("{}: {}", e.key().unwrap_or_default(), e.message().unwrap_or_default()),
            )),
        }
    }

    /// Lists the objects whose keys begin with `prefix`, by key, in pages of up to a thousand.
    pub fn list(&self, prefix: &str) -> Pages<'_> {
        Pages { objects: self, prefix: prefix.to_owned(), start_after: None, token: None, done: false }
    }

    /// Copies an object within the bucket.
    pub async fn copy(&self, from: &str, to: &str) -> Result<(), Error> {
        let source = &format!("{}/{}", self.location().bucket, escape(&self.location().full(from)));
        self.attempt(Operation::Copy, to, 0, |_| async move {
            let request = self.client().copy_object().bucket(&self.location().bucket).key(self.location().full(to));
            request.copy_source(source).send().await?;
            Ok(())
        })
        .await
    }

    /// Creates the bucket; no error when it is there and ours.
    pub async fn create_bucket(&self) -> Result<(), Error> {
        // Outside its first region S3 wants the region said in the body too.
        let region = self.location().region.as_str();
        let place = (region != "us-east-1").then(|| {
            CreateBucketConfiguration::builder().location_constraint(BucketLocationConstraint::from(region)).build()
        });
        let place = &place;
        self.attempt(Operation::CreateBucket, "", 0, |_| async move {
            let request = self.client().create_bucket().bucket(&self.location().bucket);
            match request.set_create_bucket_configuration(place.clone()).send().await {
                Err(e) if e.as_service_error().is_some_and(|e| e.is_bucket_already_owned_by_you()) => Ok(()),
                other => other.map(drop).map_err(Failure::from),
            }
        })
        .await
    }

    /// A URL that gives the object to whoever has it, for a while (at most 7 days).
    pub async fn presign_get(&self, key: &str, valid: Duration) -> Result<String, Error> {
        let error = |failure| Error::new("presign", self.location().shown(key), failure);
        let valid = PresigningConfig::expires_in(valid).map_err(|e| error(Failure::caused(ErrorKind::Other, e)))?;
        let request = self.client().get_object().bucket(&self.location().bucket).key(self.location().full(key));
        let request = request.presigned(valid).await.map_err(|e| error(e.into()))?;
        Ok(request.uri().to_owned())
    }
}

impl Pages<'_> {
    /// Begin after this key.
    pub fn start_after(mut self, key: &str) -> Self {
        self.start_after = Some(self.objects.location().full(key));
        self
    }

    /// The next page; `None` after the last one.
    pub async fn next(&mut self) -> Result<Option<Vec<Entry>>, Error> {
        if self.done {
            return Ok(None);
        }
        let (this, location) = (&*self, self.objects.location());
        let page = this
            .objects
            .attempt(Operation::List, &this.prefix, 0, |_| async move {
                let request = this.objects.client().list_objects_v2().bucket(&location.bucket);
                let request = request.prefix(location.full(&this.prefix)).set_start_after(this.start_after.clone());
                Ok(request.set_continuation_token(this.token.clone()).send().await?)
            })
            .await?;
        self.token = page.next_continuation_token;
        self.done = self.token.is_none();
        let entry = |o: aws_sdk_s3::types::Object| Entry {
            key: location.relative(o.key().unwrap_or_default()).to_owned(),
            bytes: length(o.size()),
            etag: o.e_tag().unwrap_or_default().to_owned(),
            modified: timestamp(o.last_modified().copied()),
        };
        Ok(Some(page.contents.unwrap_or_default().into_iter().map(entry).collect()))
    }

    /// All pages together; for prefixes known to be small.
    pub async fn all(mut self) -> Result<Vec<Entry>, Error> {
        let mut all = Vec::new();
        while let Some(page) = self.next().await? {
            all.extend(page);
        }
        Ok(all)
    }
}

fn length(length: Option<i64>) -> u64 {
    length.unwrap_or(0).max(0) as u64
}

fn timestamp(time: Option<DateTime>) -> Timestamp {
    Timestamp(time.map_or(0, |t| t.secs() * 1_000_000 + i64::from(t.subsec_nanos()) / 1000))
}

/// A copy's source is part of a URL: all but unreserved characters and `/` are escaped.
fn escape(key: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~/".contains(&b);
    key.bytes().map(|b| if plain(b) { (b as char).to_string() } else { format!("%{b:02X}") }).collect()
}
