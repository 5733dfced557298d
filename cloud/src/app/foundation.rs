//! What the roles stand on, each embedded or by URI: objects, the broker, the lake.

use daemon::{
    listen,
    tasks::{BoxError, Kind},
};
use store::{
    lake_index::LakeIndex,
    objects::{Location, Objects},
    tables::Tables,
};

use super::{
    Error,
    build::{Builder, local, now},
    credentials, places,
    served::Served,
};
use crate::{
    broker::{self, Broker, Listen},
    config::{BUCKET, MqttPlace, ObjectsPlace, Role},
    objects::Server,
    upkeep,
};

/// The lake's two halves.
pub(super) struct LakeParts {
    pub index: LakeIndex,
    pub objects: Objects,
    pub uri: String,
}

impl Builder<'_> {
    /// The embedded S3 server, where this process runs it, and where the objects are.
    pub async fn objects(&self) -> Result<(Option<Served>, Option<Location>), Error> {
        if let ObjectsPlace::Uri(uri) = &self.config.objects {
            return Ok((None, Some(places::external(self.config, uri)?)));
        }
        if !self.config.has(Role::Objects) {
            return Ok((None, None));
        }
        let explicit = self.loaded.is_set("s3.listen");
        let listener = listen::bind_or_free(self.config.s3.listen, explicit, "s3.listen")?;
        let address = local(&listener, "s3.listen")?;
        let keys = credentials::keys(self.state)?;
        let server = Server::open(&self.state.folder("objects")?, keys.clone()).await?;
        server.create_bucket(BUCKET).await?;
        let served = Served::start(&self.tasks, "objects", address, |stop| server.serve(listener, stop));
        Ok((Some(served), Some(places::embedded(address, keys))))
    }

    /// The broker, where this process runs it, and its URL.
    pub async fn broker(&self) -> Result<(Option<Broker>, Option<String>), Error> {
        if let MqttPlace::Url(url) = &self.config.mqtt {
            return Ok((None, Some(url.clone())));
        }
        if !self.config.has(Role::Broker) {
            return Ok((None, None));
        }
        let section = &self.config.broker;
        let options = broker::Options {
            folder: self.state.folder("broker")?,
            program: section.program.clone(),
            listen: Listen { address: section.listen, explicit: self.loaded.is_set("broker.listen") },
            encrypted: section.tls.as_ref().map(|tls| {
                let explicit = self.loaded.is_set("broker.tls.listen");
                (Listen { address: tls.listen, explicit }, tls.files())
            }),
            message_max: section.message_max.0,
            prefix: self.config.mqtt_client.prefix.clone(),
            viewers: section.tls.as_ref().map(|tls| tls.viewers.clone()).unwrap_or_default(),
            insecure: self.config.insecure,
        };
        let broker = Broker::start(options).await?;
        let component = self.readiness.component("broker");
        component.ready();
        let mut state = broker.state();
        // it ends with the broker's thread, which lives as long as the hub
        self.tasks.spawn("broker", Kind::Critical, async move {
            while state.changed().await.is_ok() {
                match &*state.borrow_and_update() {
                    broker::State::Running => component.ready(),
                    broker::State::Starting => component.not_ready("starting"),
                    broker::State::Down(reason) => component.not_ready(format!("it ended: {reason}")),
                    broker::State::Stopped => component.not_ready("stopped"),
                }
            }
            Ok::<(), BoxError>(())
        });
        let url = broker.url();
        Ok((Some(broker), Some(url)))
    }

    /// The lake: objects and the tables that know them.
    pub async fn lake(&self, location: Location) -> Result<LakeParts, Error> {
        let objects = Objects::connect(location).map_err(Error::Objects)?;
        if let Err(error) = objects.check().await {
            if !error.retryable() {
                return Err(Error::Objects(error));
            }
            tracing::warn!(%error, "objects cannot be reached yet; what arrives is held until they can");
        }
        let uri = self.config.tables_uri(self.state.path());
        let tables = Tables::open(&uri).await?;
        let index = LakeIndex::open(tables, now()).await?;
        match upkeep::claim(&index, &objects, now()).await {
            Ok(upkeep::Claim::Own) => {}
            Ok(upkeep::Claim::Rebuild(why)) => return Err(Error::OtherLake(why)),
            // objects that cannot be reached were told of above; ingest holds until they can
            Err(error) => tracing::warn!(error = daemon::logs::chain(&error), "whose bucket it is cannot be seen yet"),
        }
        Ok(LakeParts { index, objects, uri })
    }
}
