//! An HTTP client that blocks, for the hub's API and the admin addresses.

use std::{
    future::Future,
    sync::{LazyLock, Once},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use serde_json::Value;

/// Runs a future to its end on the harness's own threads.
pub fn block_on<F: Future>(future: F) -> F::Output {
    static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        match builder.worker_threads(2).enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => panic!("start the harness's threads: {error}"),
        }
    });
    RUNTIME.block_on(future)
}

/// Makes ring the process's TLS provider, once.
pub fn install_crypto() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
}

/// A client of one address.
#[derive(Clone)]
pub struct Rest {
    base: String,
    client: reqwest::Client,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON; `null` when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The content type; empty when there is none.
    pub fn content_type(&self) -> &str {
        self.headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default()
    }
}

impl Rest {
    /// Without TLS, at `host:port`.
    pub fn plain(address: &str) -> Result<Self> {
        install_crypto();
        Self::built(format!("http://{address}"), reqwest::Client::builder())
    }

    /// With TLS: PEM of the authority, and of the client's certificate and key where one is shown.
    pub fn tls(address: &str, ca: &[u8], identity: Option<(&[u8], &[u8])>) -> Result<Self> {
        install_crypto();
        let mut builder = reqwest::Client::builder().tls_certs_only([reqwest::Certificate::from_pem(ca)?]);
        if let Some((cert, key)) = identity {
            builder = builder.identity(reqwest::Identity::from_pem(&[cert, b"\n", key].concat())?);
        }
        Self::built(format!("https://{address}"), builder)
    }

    fn built(base: String, builder: reqwest::ClientBuilder) -> Result<Self> {
        let client = builder.no_proxy().timeout(Duration::from_secs(60)).build().context("build an HTTP client")?;
        Ok(Self { base, client })
    }

    /// The whole URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// GET, whatever comes back.
    pub fn get(&self, path: &str) -> Result<Answer> {
        self.send(self.client.get(self.url(path)))
    }

    /// GET of JSON that must succeed.
    pub fn json(&self, path: &str) -> Result<Value> {
        let answer = self.get(path)?;
        ensure!(answer.status == 200, "GET {path} answered {}: {}", answer.status, answer.text());
        Ok(answer.json())
    }

    /// POST of a body.
    pub fn post(&self, path: &str, content_type: &str, body: impl Into<Bytes>) -> Result<Answer> {
        let body: Bytes = body.into();
        self.send(self.client.post(self.url(path)).header(CONTENT_TYPE, content_type).body(body))
    }

    fn send(&self, request: reqwest::RequestBuilder) -> Result<Answer> {
        block_on(async {
            let answer = request.send().await?;
            let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
            Ok(Answer { status, headers, body: answer.bytes().await? })
        })
    }

    /// Opens a stream of server-sent events; `on_line` gets each line and ends the stream by saying `false`.
    pub fn events(&self, path: &str, mut on_line: impl FnMut(&str) -> bool) -> Result<()> {
        block_on(async {
            let mut answer = self.client.get(self.url(path)).send().await?.error_for_status()?;
            let mut text = Vec::new();
            while let Some(chunk) = answer.chunk().await? {
                text.extend_from_slice(&chunk);
                while let Some(end) = text.iter().position(|b| *b == b'\n') {
                    let line: Vec<u8> = text.drain(..=end).collect();
                    if !on_line(String::from_utf8_lossy(&line).trim_end()) {
                        return Ok(());
                    }
                }
            }
            Ok(())
        })
    }
}
