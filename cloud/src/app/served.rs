//! A server on a socket as a task that the process cannot live without, and its orderly end.

use std::net::SocketAddr;

use daemon::{
    CancellationToken,
    tasks::{BoxError, Kind, Tasks},
};

/// Something that is served on a socket.
pub(super) struct Served {
    pub address: SocketAddr,
    stop: CancellationToken,
    ended: CancellationToken,
}

impl Served {
    /// Starts the task; `serve` is given the word to stop.
    pub fn start<F>(
        tasks: &Tasks,
        name: &'static str,
        address: SocketAddr,
        serve: impl FnOnce(CancellationToken) -> F,
    ) -> Self
    where
        F: Future<Output = std::io::Result<()>> + Send + 'static,
    {
        let (stop, ended) = (CancellationToken::new(), CancellationToken::new());
        let (serve, end) = (serve(stop.clone()), ended.clone().drop_guard());
        tasks.spawn(name, Kind::Critical, async move {
            let _end = end; // whatever the end is
            serve.await
        });
        Self { address, stop, ended }
    }

    /// Takes no more, and waits for what is under way.
    pub async fn end(self) -> Result<(), BoxError> {
        self.stop.cancel();
        self.ended.cancelled().await;
        Ok(())
    }
}
