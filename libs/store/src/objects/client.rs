//! The SDK's client, built for one location.

use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sdk_s3::{
    Client,
    config::{
        BehaviorVersion, Region, RequestChecksumCalculation, SharedHttpClient, retry::RetryConfig,
        timeout::TimeoutConfig,
    },
};
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode},
};

use super::{
    Location,
    error::{Error, ErrorKind, Failure},
};

/// A server that does not even accept is not there.
const CONNECT: Duration = Duration::from_secs(5);

pub(super) fn build(location: &Location) -> Result<Client, Error> {
    Ok(over(location, http_client(location)?))
}

/// With this HTTP client.
pub(super) fn over(location: &Location, http: SharedHttpClient) -> Client {
    let keys = &location.credentials;
    let credentials =
        Credentials::new(&keys.access_key, &keys.secret_key, keys.session_token.clone(), None, "sightline");
    let mut config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(http)
        .credentials_provider(credentials)
        .region(Region::new(location.region.clone()))
        .force_path_style(location.path_style)
        // Attempts and time limits are ours: see `attempt`.
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::builder().connect_timeout(CONNECT).build())
        // Our puts carry a SHA-256 already; trailers in chunked bodies trouble some servers.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired);
    if let Some(endpoint) = &location.endpoint {
        config = config.endpoint_url(endpoint);
    }
    Client::from_conf(config.build())
}

fn http_client(location: &Location) -> Result<SharedHttpClient, Error> {
    if location.endpoint.as_deref().is_some_and(|endpoint| endpoint.starts_with("http:")) {
        // Without TLS the system's certificates need not be read, which takes time and a few megabytes.
        return Ok(Builder::new().build_http());
    }
    let roots = match &location.ca {
        None => TrustStore::default(),
        Some(path) => {
            let pem = std::fs::read(path).map_err(|e| {
                Error::new("read CA file", path.display().to_string(), Failure::caused(ErrorKind::File, e))
            })?;
            TrustStore::empty().with_pem_certificate(pem)
        }
    };
    let tls = TlsContext::builder()
        .with_trust_store(roots)
        .build()
        .map_err(|e| Error::new("set up TLS for", location.shown(""), Failure::caused(ErrorKind::Other, e)))?;
    Ok(Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).tls_context(tls).build_https())
}
