//! TLS from PEM files, with errors that say which file and what is wrong with it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use serde::{Deserialize, Serialize};

/// A server's side: the section `[tls]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerTls {
    /// The server's certificate, with the chain up to its authority (PEM).
    pub cert: PathBuf,
    /// The private key (PEM).
    pub key: PathBuf,
    /// The authority whose client certificates are asked for and accepted (PEM). Absent: clients show none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ca: Option<PathBuf>,
}

/// A client's side.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClientTls {
    /// The authority of the server's certificate (PEM). Absent: those that the system trusts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// Our certificate, where the server asks for one (PEM).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert: Option<PathBuf>,
    /// Its private key (PEM).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
}

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file that cannot be read as what it should be.
    #[error("cannot read {what} from {}: {source}; correct the path, or put a PEM file there that this user may read", .path.display())]
    File {
        /// What it should hold.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: rustls_pki_types::pem::Error,
    },
    /// A file without what it should hold.
    #[error("{} holds no {what}; it must be PEM", .path.display())]
    Empty {
        /// What it should hold.
        what: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// Certificate and key do not belong together, or cannot be used.
    #[error("certificate {} and key {} cannot be used: {source}", .cert.display(), .key.display())]
    Pair {
        /// The certificate.
        cert: PathBuf,
        /// The key.
        key: PathBuf,
        /// What is wrong.
        source: rustls::Error,
    },
    /// An authority that cannot be used.
    #[error("authority {} cannot be used: {reason}", .path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Only half of a pair.
    #[error("a client certificate needs both cert and key; {missing} is not set")]
    Half {
        /// What is not set.
        missing: &'static str,
    },
    /// The system has no list of authorities.
    #[error("this system has no list of trusted authorities (looked at {looked}); install ca-certificates or set ca")]
    NoSystemRoots {
        /// Where it was looked for.
        looked: String,
    },
}

/// A server configuration for HTTP (ALPN `h2`, `http/1.1`).
pub fn server_config(tls: &ServerTls) -> Result<Arc<ServerConfig>, Error> {
    let certs = certificates(&tls.cert)?;
    let key = private_key(&tls.key)?;
    let builder = match &tls.client_ca {
        Some(path) => ServerConfig::builder().with_client_cert_verifier(client_verifier(path)?),
        None => ServerConfig::builder().with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(certs, key).map_err(|source| pair(&tls.cert, &tls.key, source))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn client_verifier(path: &Path) -> Result<Arc<dyn ClientCertVerifier>, Error> {
    WebPkiClientVerifier::builder(Arc::new(roots(path)?))
        .build()
        .map_err(|error| Error::Authority { path: path.to_owned(), reason: error.to_string() })
}

/// A client configuration; no ALPN, so that it fits MQTT as well as HTTP.
pub fn client_config(tls: &ClientTls) -> Result<Arc<ClientConfig>, Error> {
    let roots = match &tls.ca {
        Some(path) => roots(path)?,
        None => system_roots()?,
    };
    let builder = ClientConfig::builder().with_root_certificates(roots);
    Ok(Arc::new(match (&tls.cert, &tls.key) {
        (Some(cert), Some(key)) => builder
            .with_client_auth_cert(certificates(cert)?, private_key(key)?)
            .map_err(|source| pair(cert, key, source))?,
        (None, None) => builder.with_no_client_auth(),
        (Some(_), None) => return Err(Error::Half { missing: "key" }),
        (None, Some(_)) => return Err(Error::Half { missing: "cert" }),
    }))
}

fn pair(cert: &Path, key: &Path, source: rustls::Error) -> Error {
    Error::Pair { cert: cert.to_owned(), key: key.to_owned(), source }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let what = "certificate";
    let file = |source| Error::File { what, path: path.to_owned(), source };
    let certs = CertificateDer::pem_file_iter(path).map_err(file)?.collect::<Result<Vec<_>, _>>().map_err(file)?;
    if certs.is_empty() { Err(Error::Empty { what, path: path.to_owned() }) } else { Ok(certs) }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    use rustls_pki_types::pem;
    PrivateKeyDer::from_pem_file(path).map_err(|source| match source {
        pem::Error::NoItemsFound => Error::Empty { what: "private key", path: path.to_owned() },
        source => Error::File { what: "private key", path: path.to_owned(), source },
    })
}

fn roots(path: &Path) -> Result<RootCertStore, Error> {
    let mut store = RootCertStore::empty();
    for cert in certificates(path)? {
        let added = store.add(cert);
        added.map_err(|error| Error::Authority { path: path.to_owned(), reason: error.to_string() })?;
    }
    Ok(store)
}

/// Where distributions keep the authorities that they trust; `SSL_CERT_FILE` comes first, as with OpenSSL.
fn system_roots() -> Result<RootCertStore, Error> {
    let places = std::env::var("SSL_CERT_FILE").into_iter().chain(
        ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"]
            .map(str::to_owned),
    );
    let places: Vec<String> = places.collect();
    let found = places.iter().map(Path::new).find(|path| path.is_file());
    let path = found.ok_or_else(|| Error::NoSystemRoots { looked: places.join(", ") })?;
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(certificates(path)?); // a system's list may hold what rustls does not take
    Ok(store)
}

/// The common name of a certificate's subject, which is a gateway's principal.
pub fn common_name(certificate: &CertificateDer<'_>) -> Option<String> {
    // Certificate ::= SEQUENCE { tbsCertificate SEQUENCE { [0] version?, serial, algorithm, issuer, validity, subject … (RFC 5280)
    let (_, certificate, _) = der(certificate)?;
    let (_, mut rest, _) = der(certificate)?;
    let (tag, _, after) = der(rest)?;
    if tag == 0xa0 {
        rest = after;
    }
    for _ in 0..4 {
        rest = der(rest)?.2; // serial, algorithm, issuer, validity
    }
    let (_, mut names, _) = der(rest)?;
    while let Some((_, set, after)) = der(names) {
        names = after;
        let (_, attribute, _) = der(set)?;
        let (_, oid, value) = der(attribute)?;
        if oid == [0x55, 0x04, 0x03] {
            return String::from_utf8(der(value)?.1.to_vec()).ok();
        }
    }
    None
}

/// Splits the first DER element off: tag, contents, what follows. Only definite lengths up to 64 KiB.
fn der(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, length], rest) = bytes.split_first_chunk()?;
    let (length, rest) = match length {
        0..=0x7f => (usize::from(length), rest),
        0x81 => (usize::from(*rest.first()?), rest.get(1..)?),
        0x82 => (usize::from(u16::from_be_bytes([*rest.first()?, *rest.get(1)?])), rest.get(2..)?),
        _ => return None,
    };
    rest.split_at_checked(length).map(|(contents, after)| (tag, contents, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_will_not_do_are_named() {
        crate::install_crypto();
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("empty.pem");
        std::fs::write(&path, "no certificate here").unwrap();
        let tls = ClientTls { ca: Some(path.clone()), ..ClientTls::default() };
        assert!(client_config(&tls).unwrap_err().to_string().contains("empty.pem"));
        let tls = ClientTls { ca: Some("/no/such.pem".into()), ..ClientTls::default() };
        assert!(crate::logs::chain(&client_config(&tls).unwrap_err()).contains("/no/such.pem"));
        let key = rcgen::KeyPair::generate().unwrap();
        let other = rcgen::KeyPair::generate().unwrap();
        let cert = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap().self_signed(&key).unwrap();
        std::fs::write(&path, cert.pem()).unwrap();
        let wrong_key = temp.path().join("key.pem");
        std::fs::write(&wrong_key, other.serialize_pem()).unwrap();
        let error = server_config(&ServerTls { cert: path, key: wrong_key, client_ca: None }).unwrap_err();
        assert!(error.to_string().contains("key.pem"), "{error}");
    }

    #[test]
    fn the_common_name_is_found() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::OrganizationName, "Sightline");
        params.distinguished_name.push(rcgen::DnType::CommonName, "home/gw-1");
        let cert = params.self_signed(&key).unwrap();
        assert_eq!(common_name(cert.der()).as_deref(), Some("home/gw-1"));
        assert_eq!(common_name(&CertificateDer::from(vec![0x30, 0x84, 1])), None);
        for end in 0..cert.der().len() {
            let _ = common_name(&CertificateDer::from(&cert.der()[..end])); // does not panic on what is torn
        }
    }
}
