//! Where records go: the end of a file, or an MQTT broker.

use std::{
    fs::{File, OpenOptions},
    io::{BufWriter, Write},
    time::Duration,
};

use link::{Publication, Session};
use tokio::runtime::Runtime;

use super::record::Written;

/// How long the end waits for what is on its way.
const CLOSE_MAX: Duration = Duration::from_secs(5);

/// How a broker lets us in.
#[derive(Clone, Debug, Default)]
pub struct Access {
    pub username: Option<String>,
    pub password: Option<String>,
    pub ca: Option<String>,
    pub cert: Option<String>,
    pub key: Option<String>,
}

impl Access {
    fn apply(&self, options: &mut link::Options) -> Result<(), String> {
        if let Some(username) = &self.username {
            let password = self.password.as_deref().map(secret).transpose()?;
            options.credentials = Some(link::Credentials { username: username.clone(), password });
        }
        if options.broker.tls {
            let path = |text: &Option<String>| text.as_ref().map(Into::into);
            let tls = daemon::tls::ClientTls { ca: path(&self.ca), cert: path(&self.cert), key: path(&self.key) };
            let config = daemon::tls::client_config(&tls);
            options.tls = Some(config.map_err(|error| format!("properties ca, cert and key: {error}"))?);
        }
        Ok(())
    }
}

/// A password as it is set, or from where it says.
fn secret(text: &str) -> Result<String, String> {
    let secret: daemon::config::Secret = text.parse().map_err(|error| format!("property password: {error}"))?;
    Ok(secret.expose().to_owned())
}

/// Where they go.
pub enum Sink {
    /// One JSON document a line.
    File(BufWriter<File>),
    /// The live lane: sent while the broker is there, never again.
    Mqtt(Runtime, Session),
}

impl Sink {
    /// Appends to a file.
    ///
    /// # Errors
    /// Which file, and what the system says.
    pub fn file(path: &str) -> Result<Self, String> {
        let opened = OpenOptions::new().create(true).append(true).open(path);
        opened
            .map(|file| Self::File(BufWriter::new(file)))
            .map_err(|error| format!("property location: {path}: {error}"))
    }

    /// Connects, and again whenever that breaks.
    ///
    /// # Errors
    /// An address that is none.
    pub fn mqtt(url: &str, client_id: &str, access: &Access) -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(|error| format!("start a thread: {error}"))?;
        let session = {
            let _inside = runtime.enter();
            // Only the first of a process says which cryptography is used; another one serves as well.
            let _ = rustls::crypto::ring::default_provider().install_default();
            let mut options =
                link::Options::new(url, client_id).map_err(|error| format!("property mqtt-url: {error}"))?;
            access.apply(&mut options)?;
            let (session, mut events) =
                link::connect(options).map_err(|error| format!("property mqtt-url: {error}"))?;
            runtime.spawn(async move { while events.next().await.is_some() {} });
            session
        };
        Ok(Self::Mqtt(runtime, session))
    }

    /// Takes a record; whether it was taken.
    pub fn put(&mut self, written: Written) -> Result<(), String> {
        match self {
            Self::File(file) => {
                let line =
                    file.write_all(&written.json).and_then(|()| file.write_all(b"\n")).and_then(|()| file.flush());
                line.map_err(|error| format!("write the file: {error}"))
            }
            Self::Mqtt(runtime, session) => {
                let _inside = runtime.enter();
                let publication = Publication::new(written.topic, written.json).content_type("application/json");
                session.try_publish(publication).map(drop).map_err(|error| error.to_string())
            }
        }
    }

    /// Waits for what is on its way.
    pub fn close(self) {
        if let Self::Mqtt(runtime, session) = self {
            runtime.block_on(session.close(CLOSE_MAX));
            runtime.shutdown_background();
        }
    }
}
