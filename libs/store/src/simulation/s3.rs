//! A bucket in memory behind the SDK's own client: the requests that [`Objects`] makes are answered as S3 answers them.
//!
//! Not a server for other clients: it knows the requests of this crate, and does not check signatures.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use aws_sdk_s3::config::{HttpClient, RuntimeComponents};
use aws_smithy_runtime_api::{
    client::{
        http::{HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector},
        orchestrator::{HttpRequest, HttpResponse},
        result::ConnectorError,
    },
    http::{Request, Response, StatusCode},
};
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use contract::Timestamp;
use sha2::{Digest as _, Sha256};

use super::{Effect, Gate, Verdict};
use crate::objects::{Credentials, Location, Objects};

const NAME: &str = "simulated";

/// The bucket; clones are the same bucket.
#[derive(Clone, Default)]
pub struct Bucket(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Stored>,
    now: Timestamp,
    /// Refusals so far: they take turns in how they look.
    refusals: usize,
}

#[derive(Clone)]
struct Stored {
    body: Bytes,
    etag: String,
    metadata: Vec<(String, String)>,
    modified: Timestamp,
}

impl Bucket {
    /// The bucket as one process reaches it.
    ///
    /// # Errors
    /// None in practice: the client reads no file.
    pub fn reached_through(&self, gate: Arc<dyn Gate>) -> Result<Objects, crate::objects::Error> {
        let keys = Credentials { access_key: "key".into(), secret_key: "secret".into(), session_token: None };
        let location = Location {
            endpoint: Some("http://127.0.0.1:1".into()),
            region: "us-east-1".into(),
            bucket: NAME.into(),
            prefix: String::new(),
            credentials: keys,
            path_style: true,
            ca: None,
        };
        let client = SharedHttpClient::new(Door { bucket: self.clone(), gate });
        Ok(Objects::over(location, client))
    }

    /// The server's clock.
    pub fn set_time(&self, now: Timestamp) {
        self.lock().now = now;
    }

    /// Every key.
    pub fn keys(&self) -> Vec<String> {
        self.lock().objects.keys().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The way of one process to the bucket.
struct Door {
    bucket: Bucket,
    gate: Arc<dyn Gate>,
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Door")
    }
}

impl HttpClient for Door {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(Door { bucket: self.bucket.clone(), gate: self.gate.clone() })
    }
}

impl HttpConnector for Door {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let asked = Asked::read(request);
        let waiting = self.gate.ask(Effect::Object(asked.method_name(), asked.key.clone()));
        let bucket = self.bucket.clone();
        HttpConnectorFuture::new(async move {
            let verdict = waiting.await;
            let mut state = bucket.lock();
            match verdict {
                Verdict::Do => Ok(state.answer(&asked)),
                Verdict::Lose => {
                    let _lost = state.answer(&asked);
                    Err(broken())
                }
                Verdict::Fail => state.fail(),
            }
        })
    }
}

fn broken() -> ConnectorError {
    ConnectorError::io("the connection broke".into())
}

/// A request, taken apart.
struct Asked {
    method: String,
    key: String,
    query: BTreeMap<String, String>,
    headers: BTreeMap<String, String>,
    body: Bytes,
}

impl Asked {
    fn read(request: HttpRequest) -> Self {
        let request: Request = request;
        let uri = url::Url::parse(request.uri());
        let (path, query) = uri.map_or_else(
            |_| (String::new(), BTreeMap::new()),
            |uri| (decoded(uri.path()), uri.query_pairs().into_owned().collect()),
        );
        let key = path.trim_start_matches('/').strip_prefix(NAME).unwrap_or("").trim_start_matches('/').to_owned();
        let headers = request.headers().iter().map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()));
        Self {
            method: request.method().to_owned(),
            key,
            query,
            headers: headers.collect(),
            body: request.body().bytes().map(Bytes::copy_from_slice).unwrap_or_default(),
        }
    }

    fn method_name(&self) -> &'static str {
        match self.method.as_str() {
            "PUT" => "PUT",
            "HEAD" => "HEAD",
            "POST" => "POST",
            "DELETE" => "DELETE",
            _ => "GET",
        }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// Percent-encoding undone; a URL's path leaves it as it is.
fn decoded(path: &str) -> String {
    // A form's decoder does it, with `+` kept from being taken for a space.
    let pairs = format!("k={}", path.replace('+', "%2B").replace('&', "%26").replace('=', "%3D"));
    url::form_urlencoded::parse(pairs.as_bytes()).next().map_or_else(String::new, |(_, path)| path.into_owned())
}

impl State {
    fn fail(&mut self) -> Result<HttpResponse, ConnectorError> {
        self.refusals += 1;
        match self.refusals % 3 {
            0 => Ok(refusal(503, "SlowDown")),
            1 => Ok(refusal(500, "InternalError")),
            _ => Err(broken()),
        }
    }

    fn answer(&mut self, asked: &Asked) -> HttpResponse {
        match (asked.method.as_str(), asked.key.is_empty()) {
            ("PUT", false) => self.put(asked),
            ("GET" | "HEAD", false) => self.get(asked),
            ("DELETE", false) => {
                self.objects.remove(&asked.key);
                response(204, "")
            }
            ("GET", true) => self.list(asked),
            ("POST", true) => self.delete_many(asked),
            _ => refusal(501, "NotImplemented"),
        }
    }

    fn put(&mut self, asked: &Asked) -> HttpResponse {
        let stored = match asked.header("x-amz-copy-source") {
            Some(source) => {
                let source = decoded(source);
                let from = source.trim_start_matches('/').strip_prefix(NAME).unwrap_or("").trim_start_matches('/');
                match self.objects.get(from) {
                    Some(stored) => Stored { modified: self.now, ..stored.clone() },
                    None => return refusal(404, "NoSuchKey"),
                }
            }
            None => {
                if asked.header("if-none-match") == Some("*") && self.objects.contains_key(&asked.key) {
                    return refusal(412, "PreconditionFailed");
                }
                let metadata = |(name, value): (&String, &String)| {
                    name.starts_with("x-amz-meta-").then(|| (name.clone(), value.clone()))
                };
                Stored {
                    etag: format!("\"{}\"", contract::Digest(Sha256::digest(&asked.body).into())),
                    body: asked.body.clone(),
                    metadata: asked.headers.iter().filter_map(metadata).collect(),
                    modified: self.now,
                }
            }
        };
        let etag = stored.etag.clone();
        self.objects.insert(asked.key.clone(), stored);
        if asked.header("x-amz-copy-source").is_some() {
            return response(200, format!("<CopyObjectResult><ETag>{}</ETag></CopyObjectResult>", escape(&etag)));
        }
        with(response(200, ""), "etag", etag)
    }

    fn get(&self, asked: &Asked) -> HttpResponse {
        let Some(stored) = self.objects.get(&asked.key) else { return refusal(404, "NoSuchKey") };
        let head = asked.method == "HEAD";
        let range = asked.header("range").and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
        let (status, body) = match range {
            Some((from, to)) => {
                let from = from.parse().unwrap_or(0).min(stored.body.len());
                let to = to.parse::<usize>().map_or(stored.body.len(), |to| (to + 1).min(stored.body.len()));
                (206, stored.body.slice(from..to.max(from)))
            }
            None => (200, stored.body.clone()),
        };
        let length = body.len().to_string();
        let mut answer = response(status, if head { Bytes::new() } else { body });
        answer = with(answer, "content-length", length);
        for (name, value) in &stored.metadata {
            answer = with(answer, name.clone(), value.clone());
        }
        with(with(answer, "etag", stored.etag.clone()), "last-modified", http_date(stored.modified))
    }

    fn list(&self, asked: &Asked) -> HttpResponse {
        let asked_for = |name: &str| asked.query.get(name).cloned().unwrap_or_default();
        let prefix = asked_for("prefix");
        let after = [asked_for("continuation-token"), asked_for("start-after")].into_iter().max().unwrap_or_default();
        let mut found = self
            .objects
            .range(prefix.clone()..)
            .take_while(|(key, _)| key.starts_with(&prefix))
            .filter(|(key, _)| **key > after);
        let mut page = String::new();
        let mut last = String::new();
        for (key, stored) in found.by_ref().take(1000) {
            page += &format!(
                "<Contents><Key>{}</Key><LastModified>{}</LastModified><ETag>{}</ETag><Size>{}</Size></Contents>",
                escape(key),
                stored.modified,
                escape(&stored.etag),
                stored.body.len()
            );
            last.clone_from(key);
        }
        let next = match found.next() {
            Some(_) => format!(
                "<IsTruncated>true</IsTruncated><NextContinuationToken>{}</NextContinuationToken>",
                escape(&last)
            ),
            None => "<IsTruncated>false</IsTruncated>".to_owned(),
        };
        response(200, format!("<ListBucketResult>{next}{page}</ListBucketResult>"))
    }

    fn delete_many(&mut self, asked: &Asked) -> HttpResponse {
        let body = String::from_utf8_lossy(&asked.body);
        for part in body.split("<Key>").skip(1) {
            let key = part.split("</Key>").next().unwrap_or_default();
            self.objects.remove(&unescape(key));
        }
        response(200, "<DeleteResult></DeleteResult>")
    }
}

fn response(status: u16, body: impl Into<SdkBody>) -> HttpResponse {
    let status = StatusCode::try_from(status).unwrap_or_else(|_| unreachable!("statuses here have three digits"));
    Response::new(status, body.into())
}

fn refusal(status: u16, code: &str) -> HttpResponse {
    response(status, format!("<Error><Code>{code}</Code><Message>simulated</Message></Error>"))
}

fn with(mut answer: HttpResponse, name: impl Into<String>, value: impl Into<String>) -> HttpResponse {
    answer.headers_mut().insert(name.into(), value.into());
    answer
}

fn http_date(time: Timestamp) -> String {
    aws_sdk_s3::primitives::DateTime::from_secs(time.0 / 1_000_000)
        .fmt(aws_sdk_s3::primitives::DateTimeFormat::HttpDate)
        .unwrap_or_default()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn unescape(text: &str) -> String {
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&")
}
