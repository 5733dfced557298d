//! Putting objects: from memory or from a file, whole or not at all.

use std::{
    collections::BTreeMap,
    io::Read as _,
    path::{Path, PathBuf},
};

use aws_sdk_s3::primitives::ByteStream;
use base64::Engine as _;
use bytes::Bytes;
use contract::Digest;
use sha2::{Digest as _, Sha256};

use super::{Error, ErrorKind, Objects, error::Failure, faults::Operation};
use crate::chance::hex_id;

/// User metadata that names the put, so that a put whose answer was lost knows its own object.
const PUT_ID: &str = "sightline-put";
/// The longest body of one request, S3's own limit: 5 GiB.
const BYTES_MAX: u64 = 5 << 30;

/// How an object is put.
#[derive(Clone, Debug, Default)]
pub struct PutOptions {
    /// What `Content-Type` says.
    pub content_type: Option<String>,
    /// User metadata: names in lower case, values in ASCII, 2 KiB in all.
    pub metadata: BTreeMap<String, String>,
    /// Fail with `Exists` when an object has this key, instead of replacing it.
    pub if_none_match: bool,
}

/// What was put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Put {
    /// The server's tag of this content.
    pub etag: String,
    /// Length in bytes.
    pub bytes: u64,
    /// SHA-256 of the bytes.
    pub digest: Digest,
}

enum Body {
    Memory(Bytes),
    File(PathBuf),
}

impl Objects {
    /// Puts bytes.
    pub async fn put(&self, key: &str, bytes: impl Into<Bytes>, options: PutOptions) -> Result<Put, Error> {
        let bytes = bytes.into();
        let (length, digest) = (bytes.len() as u64, Digest(Sha256::digest(&bytes).into()));
        self.put_body(key, Body::Memory(bytes), length, digest, options).await
    }

    /// Puts a file, which is read twice: for its digest, and to send it. Memory stays small.
    pub async fn put_file(&self, key: &str, path: &Path, options: PutOptions) -> Result<Put, Error> {
        let file = path.to_owned();
        let digested = tokio::task::spawn_blocking(move || digest_file(&file)).await;
        let (length, digest) = digested
            .unwrap_or_else(|e| Err(std::io::Error::other(e)))
            .map_err(|e| Error::new("read file", path.display().to_string(), Failure::caused(ErrorKind::File, e)))?;
        self.put_body(key, Body::File(path.to_owned()), length, digest, options).await
    }

    async fn put_body(
        &self,
        key: &str,
        body: Body,
        length: u64,
        digest: Digest,
        mut options: PutOptions,
    ) -> Result<Put, Error> {
        let refuse = |kind, said: String| Error::new("put", self.location().shown(key), Failure::new(kind, said));
        if length > BYTES_MAX {
            return Err(refuse(ErrorKind::Other, format!("{length} bytes; one object holds at most {BYTES_MAX}")));
        }
        let id = hex_id().map_err(|e| refuse(ErrorKind::Other, e.to_string()))?;
        if options.if_none_match {
            options.metadata.insert(PUT_ID.into(), id.clone());
        }
        let (body, id, options) = (&body, id.as_str(), &options);
        let result = self
            .attempt(Operation::Put, key, length, |attempt| async move {
                match self.send(key, body, length, digest, options).await {
                    Err(e) if e.kind == ErrorKind::Exists && attempt > 1 => self.recognise(key, id, e).await,
                    other => other,
                }
            })
            .await;
        Ok(Put { etag: result?, bytes: length, digest })
    }

    async fn send(
        &self,
        key: &str,
        body: &Body,
        length: u64,
        digest: Digest,
        options: &PutOptions,
    ) -> Result<String, Failure> {
        let stream = match body {
            Body::Memory(bytes) => ByteStream::from(bytes.clone()),
            Body::File(path) => ByteStream::from_path(path).await.map_err(|e| Failure::caused(ErrorKind::File, e))?,
        };
        let answer = self
            .client()
            .put_object()
            .bucket(&self.location().bucket)
            .key(self.location().full(key))
            .content_length(length as i64)
            .checksum_sha256(base64::engine::general_purpose::STANDARD.encode(digest.0))
            .set_content_type(options.content_type.clone())
            .set_metadata(Some(options.metadata.clone().into_iter().collect()))
            .set_if_none_match(options.if_none_match.then(|| "*".to_owned()))
            .body(stream)
            .send()
            .await?;
        Ok(answer.e_tag.unwrap_or_default())
    }

    /// After a lost answer `Exists` may mean our own object: then the put is done.
    async fn recognise(&self, key: &str, id: &str, exists: Failure) -> Result<String, Failure> {
        let head =
            self.client().head_object().bucket(&self.location().bucket).key(self.location().full(key)).send().await?;
        let own = head.metadata().and_then(|metadata| metadata.get(PUT_ID)).is_some_and(|found| found == id);
        if own { Ok(head.e_tag.unwrap_or_default()) } else { Err(exists) }
    }
}

fn digest_file(path: &Path) -> std::io::Result<(u64, Digest)> {
    let mut file = std::fs::File::open(path)?;
    let (mut sha, mut length, mut buffer) = (Sha256::new(), 0, vec![0; 256 << 10]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((length, Digest(sha.finalize().into()))),
            n => {
                sha.update(&buffer[..n]);
                length += n as u64;
            }
        }
    }
}
