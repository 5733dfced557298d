//! The whole path over mutual TLS: agent to broker, client to API; and what happens to one without a certificate.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use contract::Kind;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use world::{
    Config, Edge, Hub, Observer, Rest,
    mqtt::{Login, Tls},
    story,
};

use crate::common::tiny;

struct Pki {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Pki {
    fn new(folder: &Path) -> Result<Self> {
        let mut params = CertificateParams::new(vec![])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "a story's authority");
        let key = KeyPair::generate()?;
        std::fs::write(folder.join("ca.pem"), params.self_signed(&key)?.pem())?;
        Ok(Self { folder: folder.to_owned(), issuer: Issuer::new(params, key) })
    }

    fn issue(&self, file: &str, common_name: &str) -> Result<()> {
        let mut params = CertificateParams::new(vec!["localhost".into(), "127.0.0.1".into()])?;
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        std::fs::write(self.path(file, "pem"), params.signed_by(&key, &self.issuer)?.pem())?;
        std::fs::write(self.path(file, "key"), key.serialize_pem())?;
        Ok(())
    }

    fn path(&self, file: &str, extension: &str) -> PathBuf {
        self.folder.join(format!("{file}.{extension}"))
    }

    fn text(&self, file: &str, extension: &str) -> String {
        self.path(file, extension).display().to_string()
    }

    fn read(&self, file: &str, extension: &str) -> Result<Vec<u8>> {
        Ok(std::fs::read(self.path(file, extension))?)
    }
}

#[test]
fn certificates_all_the_way() {
    story(|folder| {
        let pki = Pki::new(folder)?;
        pki.issue("hub", "hub")?;
        pki.issue("gateway", "plant/gw-1")?;
        pki.issue("person", "a person")?;
        pki.issue("visitor", "a visitor")?;
        let ca = pki.text("ca", "pem");
        let hub = Hub::start(
            folder,
            Config::new()
                .set("tls.cert", pki.text("hub", "pem"))
                .set("tls.key", pki.text("hub", "key"))
                .set("tls.client_ca", ca.clone())
                .set("broker.tls.listen", "127.0.0.1:0")
                .set("broker.tls.cert", pki.text("hub", "pem"))
                .set("broker.tls.key", pki.text("hub", "key"))
                .set("broker.tls.client_ca", ca.clone())
                .set("broker.tls.viewers", vec!["a person".to_owned()]),
        )?;
        let encrypted = hub.ready["mqtts"].as_str().context("ready line names no mqtts")?;
        let port = encrypted.rsplit_once(':').context("port")?.1.to_owned();
        let config = tiny()?
            .set("mqtt.url", format!("mqtts://localhost:{port}"))
            .set("mqtt.ca", ca)
            .set("mqtt.cert", pki.text("gateway", "pem"))
            .set("mqtt.key", pki.text("gateway", "key"))
            .set("cameras.cam.uri", "test:");
        let _edge = Edge::start_alone(folder, config)?;
        hub.lake()?.wait_rows(Kind::Prediction, 3)?;

        let ca = pki.read("ca", "pem")?;
        let (cert, key) = (pki.read("person", "pem")?, pki.read("person", "key")?);
        // Over TLS the access list holds: a gateway reads what is for it, and nothing else.
        let gateway = Some((pki.read("gateway", "pem")?, pki.read("gateway", "key")?));
        let login = Login { tls: Some(Tls { ca: ca.clone(), identity: gateway }), user: None };
        let url = format!("mqtts://localhost:{port}");
        let observer = Observer::with(&url, &["sightline/down/#", "sightline/live/#"], &login, |_| true)?;
        observer.wait("its watermark over TLS", |m| m.topic.ends_with("gw-1/archived").then_some(()))?;
        assert!(observer.messages().iter().all(|m| m.topic.starts_with("sightline/down/plant/gw-1/")));

        // A viewer reads the live lane and nothing else, and whoever is not on the list reads nothing at all.
        let login = |who| -> Result<Login> {
            let identity = Some((pki.read(who, "pem")?, pki.read(who, "key")?));
            Ok(Login { tls: Some(Tls { ca: ca.clone(), identity }), user: None })
        };
        let visitor = Observer::with(&url, &["sightline/#"], &login("visitor")?, |_| true)?;
        let person = Observer::with(&url, &["sightline/#"], &login("person")?, |_| true)?;
        person.wait_count("predictions for a viewer", 3, |m| m.topic.ends_with("/prediction"))?;
        assert!(person.messages().iter().all(|m| m.topic.starts_with("sightline/live/")));
        person.publish_wrong("sightline/live/plant/gw-1/cam/full/event", "from a viewer")?;
        person.wait_count("more predictions", 6, |m| m.topic.ends_with("/prediction"))?;
        assert!(person.messages().iter().all(|m| &m.payload[..] != b"from a viewer"), "a viewer writes nothing");
        assert!(visitor.messages().is_empty(), "{:?}", visitor.messages());

        let http = format!("localhost:{}", hub.http()?.rsplit_once(':').context("port")?.1);
        let cameras = Rest::tls(&http, &ca, Some((&cert, &key)))?.json("/api/v1/cameras")?;
        assert_eq!(cameras["cameras"][0]["camera"], "cam");

        // TLS 1.3 lets the client finish before the server looks: it hears the alert, or only that the line is closed
        // while it sends its request. A server that is not there would be another error, of connecting.
        let uncertified = || Rest::tls(&http, &ca, None)?.get("/api/v1/cameras");
        refused(
            "HTTP without a certificate",
            uncertified(),
            &["CertificateRequired", "client error (Canceled)", "client error (SendRequest)"],
        );
        refused("HTTP without TLS", Rest::plain(&http)?.get("/api/v1/cameras"), &["client error (SendRequest)"]);
        let nobody = Login { tls: Some(Tls { ca, identity: None }), user: None };
        let refusal = Observer::with(&url, &["sightline/live/#"], &nobody, |_| true);
        refused("MQTT without a certificate", refusal, &["CertificateRequired"]);
        Ok(())
    });
}

/// It failed, and for one of these reasons and no other.
fn refused<T>(what: &str, outcome: Result<T>, reasons: &[&str]) {
    let Err(error) = outcome else { panic!("{what} is let in") };
    let said = format!("{error:#}");
    assert!(reasons.iter().any(|reason| said.contains(reason)), "{what} is refused with other words: {said}");
}
