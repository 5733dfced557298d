//! From the configuration to the places of its dependencies.

use std::sync::Arc;

use daemon::tls::{self, ClientTls};
use link::Subscription;
use store::objects::{Credentials, Location};

use super::Error;
use crate::config::{BUCKET, HubConfig};

/// Bytes of an MQTT packet beside its payload.
const PACKET_EXTRA: u64 = 64 << 10;

/// How to reach the bus at `url` as `client_id`.
pub(super) fn bus(
    config: &HubConfig,
    url: &str,
    client_id: String,
    subscriptions: Vec<Subscription>,
) -> Result<link::Options, Error> {
    let section = &config.mqtt_client;
    let mut options = link::Options::new(url, client_id)?;
    if let Some(username) = &section.username {
        let password = section.password.as_ref().map(|p| p.expose().to_owned());
        options.credentials = Some(link::Credentials { username: username.clone(), password });
    }
    if options.broker.tls {
        let files = ClientTls { ca: section.ca.clone(), cert: section.cert.clone(), key: section.key.clone() };
        options.tls = Some(tls::client_config(&files)?);
    }
    options.packet_max = u32::try_from(config.broker.message_max.0 + PACKET_EXTRA).unwrap_or(u32::MAX);
    options.subscriptions = subscriptions;
    Ok(options)
}

/// The embedded server's location.
pub(super) fn embedded(address: std::net::SocketAddr, credentials: Credentials) -> Location {
    let ip = match address.ip() {
        ip if ip.is_unspecified() => std::net::Ipv4Addr::LOCALHOST.into(),
        ip => ip,
    };
    Location {
        endpoint: Some(format!("http://{}", std::net::SocketAddr::new(ip, address.port()))),
        region: "us-east-1".to_owned(),
        bucket: BUCKET.to_owned(),
        prefix: String::new(),
        credentials,
        path_style: true,
        ca: None,
    }
}

/// Another server's location.
pub(super) fn external(config: &HubConfig, uri: &str) -> Result<Location, Error> {
    let section = &config.s3;
    let keys = section.access_key.as_ref().zip(section.secret_key.as_ref());
    let credentials = keys.map(|(access_key, secret_key)| Credentials {
        access_key: access_key.clone(),
        secret_key: secret_key.expose().to_owned(),
        session_token: None,
    });
    let options = store::objects::Options {
        endpoint: section.endpoint.clone(),
        region: section.region.clone(),
        credentials,
        path_style: section.path_style,
        ca: section.ca.clone(),
    };
    Ok(Location::parse(uri, options)?)
}

/// The HTTP server's TLS, where it has one.
pub(super) fn http_tls(config: &HubConfig) -> Result<Option<Arc<rustls::ServerConfig>>, Error> {
    Ok(config.tls.as_ref().map(tls::server_config).transpose()?)
}
