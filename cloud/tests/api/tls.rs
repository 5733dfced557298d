//! The API over a real socket: plain, and with certificates on both sides.

use std::{net::SocketAddr, path::Path, sync::Arc};

use cloud::api::Limits;
use daemon::{
    http,
    tls::{ServerTls, server_config},
};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::{bed::Bed, pictures::jpeg};

async fn serve(bed: &Bed, tls: Option<&ServerTls>) -> (SocketAddr, CancellationToken) {
    daemon::install_crypto();
    let listener = daemon::listen::bind("127.0.0.1:0".parse().unwrap(), "listen").unwrap();
    let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
    let tls: Option<Arc<_>> = tls.map(|tls| server_config(tls).unwrap());
    let limits = http::Limits::default();
    tokio::spawn(http::serve(listener, bed.router.clone(), tls, limits, stop.clone()));
    (address, stop)
}

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "test authority");
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// Certificate and key.
    fn issue(&self, common_name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, common_name);
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

fn server_files(folder: &Path, authority: &Authority) -> ServerTls {
    let (cert, key) = authority.issue("hub");
    let file = |name: &str, text: &str| {
        std::fs::write(folder.join(name), text).unwrap();
        folder.join(name)
    };
    ServerTls {
        cert: file("cert.pem", &cert),
        key: file("key.pem", &key),
        client_ca: Some(file("ca.pem", &authority.pem)),
    }
}

#[tokio::test]
async fn a_client_is_who_its_certificate_names() {
    let (bed, folder, authority) = (Bed::new(), tempfile::tempdir().unwrap(), Authority::new());
    let (address, stop) = serve(&bed, Some(&server_files(folder.path(), &authority))).await;
    let root = reqwest::Certificate::from_pem(authority.pem.as_bytes()).unwrap();
    let client = |identity: Option<(String, String)>| {
        let builder = reqwest::Client::builder().no_proxy().tls_certs_only([root.clone()]);
        let builder = match identity {
            Some((cert, key)) => {
                builder.identity(reqwest::Identity::from_pem(format!("{cert}{key}").as_bytes()).unwrap())
            }
            None => builder,
        };
        builder.build().unwrap()
    };
    let url = format!("https://{address}/api/v1");

    let known = client(Some(authority.issue("plant/operator")));
    let version: Value = known.get(format!("{url}/version")).send().await.unwrap().json().await.unwrap();
    assert_eq!(version["actor"], "certificate `plant/operator`");
    let post = known.post(format!("{url}/frames?site=plant&camera=door&wait=archived"));
    let answer = post.header("content-type", "image/jpeg").body(jpeg(64, 48, 90)).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.json::<Value>().await.unwrap()["archived"], true);

    assert!(client(None).get(format!("{url}/version")).send().await.is_err(), "no certificate, no connection");
    let stranger = client(Some(Authority::new().issue("plant/operator")));
    assert!(stranger.get(format!("{url}/version")).send().await.is_err(), "another authority's certificate");
    stop.cancel();
}

#[tokio::test]
async fn over_a_plain_socket_everybody_is_the_local_administrator() {
    let bed = Bed::with(Limits { body_bytes_max: 1 << 20, ..Limits::default() });
    let (address, stop) = serve(&bed, None).await;
    let (client, url) = (reqwest::Client::builder().no_proxy().build().unwrap(), format!("http://{address}/api/v1"));
    let version: Value = client.get(format!("{url}/version")).send().await.unwrap().json().await.unwrap();
    assert_eq!(version["actor"], "local administrator");

    // A body that is too large is answered, not cut off, although it is still being sent.
    let post = client.post(format!("{url}/frames?site=plant&camera=door")).header("content-type", "image/jpeg");
    let answer = post.body(vec![0; 8 << 20]).send().await;
    if let Ok(answer) = answer {
        assert_eq!(answer.status(), 413);
    }

    // An open stream does not keep the server from stopping.
    let mut stream = client.get(format!("{url}/stream")).send().await.unwrap();
    assert!(stream.chunk().await.unwrap().is_some());
    bed.stop.cancel();
    stop.cancel();
    let mut rest = Vec::new();
    while let Ok(Some(chunk)) = stream.chunk().await {
        rest.extend_from_slice(&chunk);
    }
    assert!(String::from_utf8(rest).unwrap().ends_with("event: bye\ndata: {}\n\n"));
}
