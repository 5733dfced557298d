//! The server: opened on a folder, then served on a listener until it is told to stop.

use std::{path::Path, sync::Arc, time::Duration};

use ::store::objects::Credentials;
use hyper::{Request, StatusCode, body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use s3s::{
    S3Result,
    auth::{S3Auth, SecretKey},
    s3_error,
    service::{S3Service, S3ServiceBuilder},
};
use tokio::{net::TcpStream, sync::Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{refusals::Refusals, service::Protocol, store::Store};

/// Connections served at once; more wait to be accepted.
pub(super) const CONNECTIONS: usize = 512;
/// What requests in progress get to finish when the server stops.
const DRAIN: Duration = Duration::from_secs(10);
/// A client that sends half a request's head is cut off.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Why the store cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The folder cannot be used.
    #[error("open object store in {folder}: {source}; is the folder writable, and the disk not full?")]
    Folder {
        /// The store's folder.
        folder: String,
        /// Why.
        source: std::io::Error,
    },
    /// The names cannot be used.
    #[error("open object store in {folder}: {source}")]
    Names {
        /// The store's folder.
        folder: String,
        /// Why.
        source: ::store::tables::Error,
    },
}

/// The embedded S3 server.
#[derive(Clone)]
pub struct Server {
    store: Arc<Store>,
    service: S3Service,
    refusals: Arc<Refusals>,
}

impl Server {
    /// Opens the store in a folder, which is made when absent, and removes what a crash left behind.
    ///
    /// One process at a time: the hub's lock on its state folder sees to that.
    pub async fn open(folder: &Path, credentials: Credentials) -> Result<Self, Error> {
        let store = Arc::new(Store::open(folder).await?);
        let mut builder = S3ServiceBuilder::new(Protocol(store.clone()));
        builder.set_auth(OneKey(credentials));
        Ok(Self { store, service: builder.build(), refusals: Arc::default() })
    }

    /// Creates a bucket unless it is there.
    pub async fn create_bucket(&self, name: &str) -> Result<(), Error> {
        let folder = self.store.folder().display().to_string();
        let created = self.store.names().create_bucket(name).await;
        created.map(drop).map_err(|source| Error::Names { folder, source })
    }

    /// The service, for other ways to serve it (hyper, tower).
    pub fn service(&self) -> S3Service {
        self.service.clone()
    }

    /// Closes the names, for those who do not [`Self::serve`]; which does so itself.
    pub async fn close(self) {
        self.store.close().await;
    }

    /// Serves HTTP/1.1 and HTTP/2 on a bound listener until `stop`; then requests in progress may finish, for a while.
    pub async fn serve(self, listener: std::net::TcpListener, stop: CancellationToken) -> std::io::Result<()> {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let connections = TaskTracker::new();
        loop {
            let place = tokio::select! {
                () = stop.cancelled() => break,
                place = places.clone().acquire_owned() => place.map_err(std::io::Error::other)?,
            };
            let stream = tokio::select! {
                () = stop.cancelled() => break,
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        // Such as no file descriptors left: others will be closed.
                        tracing::warn!(%error, "object store cannot accept a connection");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        continue;
                    }
                },
            };
            let (service, refusals, stop) = (self.service.clone(), self.refusals.clone(), stop.clone());
            connections.spawn(async move {
                connection(stream, service, refusals, stop).await;
                drop(place);
            });
        }
        connections.close();
        if tokio::time::timeout(DRAIN, connections.wait()).await.is_err() {
            tracing::warn!(connections = connections.len(), "object store stops with requests in progress");
        }
        self.store.close().await;
        Ok(())
    }
}

async fn connection(stream: TcpStream, service: S3Service, refusals: Arc<Refusals>, stop: CancellationToken) {
    let peer = stream.peer_addr().ok();
    let service = service_fn(move |request: Request<Incoming>| {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let (service, refusals) = (service.clone(), refusals.clone());
        async move {
            let answer = service.call(request.map(s3s::Body::from)).await;
            if answer.as_ref().is_ok_and(|answer| answer.status() == StatusCode::FORBIDDEN) {
                refusals.note(peer, &method, &path);
            }
            answer
        }
    });
    // Answers are small or already in large pieces: waiting to fill a packet only adds latency.
    let _ = stream.set_nodelay(true);
    let mut builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    builder.http2().timer(TokioTimer::new());
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "object store connection ended");
    }
}

/// Knows the one pair of keys that was made with the state folder.
struct OneKey(Credentials);

#[async_trait::async_trait]
impl S3Auth for OneKey {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        if access_key == self.0.access_key {
            Ok(SecretKey::from(self.0.secret_key.clone()))
        } else {
            Err(s3_error!(InvalidAccessKeyId, "no such access key; the keys stand in the hub's endpoints.json"))
        }
    }
}
