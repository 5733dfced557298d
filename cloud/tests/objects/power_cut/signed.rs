//! Requests to a store in this process, without a connection, signed by hand: thousands of stores are asked, and the SDK's
//! client would take most of the time.

use bytes::Bytes;
use futures::StreamExt;
use hyper::{Method, Request};
use s3s::{Body, service::S3Service};
use sha2::{Digest as _, Sha256};

use crate::fixture::{BUCKET, credentials};

pub struct Client(S3Service);

const HOST: &str = "127.0.0.1";
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
const SCOPE: &str = "us-east-1/s3/aws4_request";

impl Client {
    pub fn new(service: S3Service) -> Self {
        Self(service)
    }

    pub async fn get(&self, key: &str, query: &[(&str, &str)]) -> Result<Bytes, String> {
        self.send(Method::GET, key, query, Bytes::new()).await
    }

    pub async fn put(&self, key: &str, body: &'static [u8]) -> Result<(), String> {
        self.send(Method::PUT, key, &[], Bytes::from_static(body)).await.map(drop)
    }

    pub async fn delete(&self, key: &str) -> Result<(), String> {
        self.send(Method::DELETE, key, &[], Bytes::new()).await.map(drop)
    }

    /// Completes an upload with one of its parts.
    pub async fn complete(&self, key: &str, id: &str, number: i32, etag: &str) -> Result<(), String> {
        let part = format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>");
        let body = format!("<CompleteMultipartUpload>{part}</CompleteMultipartUpload>");
        self.send(Method::POST, key, &[("uploadId", id)], body.into()).await.map(drop)
    }

    async fn send(&self, method: Method, key: &str, query: &[(&str, &str)], body: Bytes) -> Result<Bytes, String> {
        let what = format!("{method} {key} {query:?}");
        let request = signed(method, key, query, body);
        let answer = self.0.call(request).await.map_err(|e| format!("{what}: {e:?}"))?;
        let (head, mut body) = answer.into_parts();
        let mut bytes = Vec::new();
        while let Some(chunk) = body.next().await {
            bytes.extend_from_slice(&chunk.map_err(|e| format!("{what}: {e}"))?);
        }
        if head.status.is_success() {
            return Ok(bytes.into());
        }
        Err(format!("{what}: {} {}", head.status, String::from_utf8_lossy(&bytes)))
    }
}

/// Signature version 4 over method, path, query, host and date; keys and values here need no escapes.
fn signed(method: Method, key: &str, query: &[(&str, &str)], body: Bytes) -> Request<Body> {
    let date = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    let keys = credentials();
    let path = if key.is_empty() { format!("/{BUCKET}") } else { format!("/{BUCKET}/{key}") };
    let query = query.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&");
    let names = "host;x-amz-content-sha256;x-amz-date";
    let headers = format!("host:{HOST}\nx-amz-content-sha256:{UNSIGNED}\nx-amz-date:{date}\n");
    let canonical = format!("{method}\n{path}\n{query}\n{headers}\n{names}\n{UNSIGNED}");
    let scope = format!("{}/{SCOPE}", &date[..8]);
    let canonical = hex::encode(Sha256::digest(canonical));
    let mut key = format!("AWS4{}", keys.secret_key).into_bytes();
    for part in scope.split('/') {
        key = hmac(&key, part).to_vec();
    }
    let signature = hex::encode(hmac(&key, &format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{canonical}")));
    Request::builder()
        .method(method)
        .uri(if query.is_empty() { path } else { format!("{path}?{query}") })
        .header("host", HOST)
        .header("x-amz-content-sha256", UNSIGNED)
        .header("x-amz-date", date)
        .header("content-length", body.len())
        .header(
            "authorization",
            format!(
                "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
                keys.access_key
            ),
        )
        .body(Body::from(body))
        .unwrap()
}

/// RFC 2104, for keys of at most 64 bytes.
fn hmac(key: &[u8], message: &str) -> [u8; 32] {
    assert!(key.len() <= 64);
    let pad = |with: u8| {
        let mut block = [with; 64];
        block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
        block
    };
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize().into()
}
