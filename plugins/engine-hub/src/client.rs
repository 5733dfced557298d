//! The hub's inference server over HTTP.

use std::{fs, path::Path, sync::Arc, time::Duration};

use contract::Digest;
use oip::{Failure, HEAD_LENGTH, Metadata};
use ureq::{
    Agent,
    http::{Response, StatusCode, header},
    tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, TlsProvider, parse_pem},
};

use crate::Options;

/// An answer's length at most: probabilities of 64 inputs and 4096 classes, and a head.
const ANSWER_MAX: u64 = 2 << 20;

/// A request that was not answered as it should be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nobody answers, or not in time.
    #[error("hub at {url} does not answer: {why}")]
    Away {
        /// Its address.
        url: String,
        /// What the system says.
        why: String,
    },
    /// Not within the deadline.
    #[error("hub at {0} did not answer in time")]
    Late(String),
    /// It says no.
    #[error("hub at {url} says {status}: {why}")]
    Refused {
        /// Its address.
        url: String,
        /// The HTTP status.
        status: u16,
        /// In its own words.
        why: String,
        /// How long it asks to be left alone.
        retry_after: Duration,
    },
    /// It answers something else.
    #[error("hub at {url} answers what is not Open Inference Protocol: {why}")]
    Strange {
        /// Its address.
        url: String,
        /// What is wrong.
        why: String,
    },
}

/// Keeps a connection open.
#[derive(Clone)]
pub struct Client {
    agent: Agent,
    url: String,
}

impl Client {
    /// With the options' certificates.
    ///
    /// # Errors
    /// A certificate file that cannot be read, in words for people.
    pub fn new(options: &Options) -> Result<Self, String> {
        let mut tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()));
        if let Some(path) = &options.ca {
            tls = tls.root_certs(RootCerts::new_with_certs(&certificates(path)?));
        }
        if let (Some(cert), Some(key)) = (&options.cert, &options.key) {
            let pem = fs::read(key).map_err(|error| format!("read {}: {error}", key.display()))?;
            let key = PrivateKey::from_pem(&pem).map_err(|error| format!("{}: {error}", key.display()))?;
            tls = tls.client_cert(Some(ClientCert::new_with_certs(&certificates(cert)?, key)));
        }
        // The address is the hub's own: neither a proxy of the surroundings nor a redirection has a say.
        let config = Agent::config_builder().proxy(None).max_redirects(0).http_status_as_error(false);
        let config = config.tls_config(tls.build()).build();
        Ok(Self { agent: config.new_agent(), url: options.url.trim_end_matches('/').to_owned() })
    }

    /// Whether the hub can classify at all; its version.
    pub fn ready(&self, within: Duration) -> Result<String, Error> {
        self.get("/v2/health/ready", within)?;
        self.version(within)
    }

    /// The hub's version.
    pub fn version(&self, within: Duration) -> Result<String, Error> {
        let server: serde_json::Value = self.json(&self.get("/v2", within)?)?;
        Ok(server["version"].as_str().unwrap_or("?").to_owned())
    }

    /// What the hub knows of a model.
    pub fn metadata(&self, model: Digest, within: Duration) -> Result<Metadata, Error> {
        let answer = self.get(&format!("/v2/models/{model}"), within)?;
        self.json(&answer)
    }

    /// Sends a message; the answer and the length of its head.
    pub fn infer(
        &self,
        model: Digest,
        message: &[u8],
        head_length: usize,
        within: Duration,
    ) -> Result<(Vec<u8>, Option<usize>), Error> {
        let request = self.agent.post(format!("{}/v2/models/{model}/infer", self.url));
        let request = request.header(HEAD_LENGTH, head_length.to_string()).header(header::CONTENT_TYPE, oip::BINARY);
        let sent = request.config().timeout_global(Some(within)).build().send(message);
        let response = sent.map_err(|error| self.away(&error))?;
        let length = response.headers().get(HEAD_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        Ok((self.body(response)?, length))
    }

    fn get(&self, path: &str, within: Duration) -> Result<Vec<u8>, Error> {
        let request = self.agent.get(format!("{}{path}", self.url));
        let sent = request.config().timeout_global(Some(within)).build().call();
        self.body(sent.map_err(|error| self.away(&error))?)
    }

    fn body(&self, mut response: Response<ureq::Body>) -> Result<Vec<u8>, Error> {
        let read = response.body_mut().with_config().limit(ANSWER_MAX).read_to_vec();
        let bytes = read.map_err(|error| self.away(&error))?;
        let status = response.status();
        if status == StatusCode::OK {
            return Ok(bytes);
        }
        let failure = serde_json::from_slice::<Failure>(&bytes).map(|failure| failure.error);
        let why = failure.unwrap_or_else(|_| "it is no inference server of this protocol".into());
        let asked = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let retry_after = Duration::from_secs(asked.unwrap_or(0));
        Err(Error::Refused { url: self.url.clone(), status: status.as_u16(), why, retry_after })
    }

    fn json<T: serde::de::DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, Error> {
        serde_json::from_slice(bytes).map_err(|error| self.strange(error.to_string()))
    }

    /// An answer that cannot be used.
    pub fn strange(&self, why: String) -> Error {
        Error::Strange { url: self.url.clone(), why }
    }

    fn away(&self, error: &ureq::Error) -> Error {
        match error {
            ureq::Error::Timeout(_) => Error::Late(self.url.clone()),
            error => Error::Away { url: self.url.clone(), why: error.to_string() },
        }
    }
}

fn certificates(path: &Path) -> Result<Vec<Certificate<'static>>, String> {
    let pem = fs::read(path).map_err(|error| format!("read {}: {error}", path.display()))?;
    let certificates = parse_pem(&pem).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    });
    let certificates: Vec<_> = certificates.collect();
    if certificates.is_empty() { Err(format!("no PEM certificate is in {}", path.display())) } else { Ok(certificates) }
}
