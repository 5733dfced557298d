//! What S3 does, as cases that any server can be asked: ours, each as a test of its own, and others (`moto`).

use std::path::PathBuf;

use futures::future::BoxFuture;
use store::objects::Objects;

use crate::fixture::{Running, body_files, location, sdk};

/// A server under test, with an empty bucket.
pub struct Place {
    pub port: u16,
    /// The store's folder, where the server is ours.
    folder: Option<PathBuf>,
}

pub struct Case {
    pub name: &'static str,
    pub run: fn(Place) -> BoxFuture<'static, ()>,
}

/// Cases for all servers, and as tests for ours.
macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        pub const CASES: &[crate::cases::Case] = &[
            $(crate::cases::Case { name: stringify!($name), run: |place| Box::pin($name(place)) }),*
        ];

        mod embedded {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                async fn $name() {
                    crate::cases::on_embedded(super::$name).await;
                }
            )*
        }
    };
}
pub(crate) use cases;

impl Place {
    /// Another server than ours.
    pub fn of_others(port: u16) -> Self {
        Self { port, folder: None }
    }

    pub fn objects(&self) -> Objects {
        Objects::connect(location(self.port)).unwrap()
    }

    /// The SDK as others use it, with its own defaults for checksums.
    pub fn sdk(&self) -> aws_sdk_s3::Client {
        sdk(self.port, aws_sdk_s3::config::RequestChecksumCalculation::WhenSupported)
    }

    /// So many bodies lie on our disk: none is left over.
    pub fn assert_bodies(&self, count: usize) {
        if let Some(folder) = &self.folder {
            assert_eq!(body_files(folder), count);
        }
    }
}

/// A case on a server of its own.
pub async fn on_embedded<F: Future<Output = ()>>(case: impl FnOnce(Place) -> F) {
    let folder = tempfile::tempdir().unwrap();
    let server = Running::start(folder.path()).await;
    case(Place { port: server.port, folder: Some(folder.path().to_owned()) }).await;
    server.stop().await;
}

/// For what is asked without the SDK.
pub fn http() -> reqwest::Client {
    daemon::install_crypto();
    reqwest::Client::builder().no_proxy().build().unwrap()
}
