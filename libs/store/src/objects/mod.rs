//! Objects behind one URI, the same client for Amazon S3, other servers and the hub's embedded endpoint.
//!
//! Keys are relative to the location's prefix. Every operation has a time limit and a bounded number of attempts; what is
//! put is digested once, and that SHA-256 travels as the request's checksum, so a server never names damaged bytes.
//! A put that must not replace (`if_none_match`) tells its own object from another's after an answer that was lost.

mod attempt;
mod check;
mod client;
mod error;
pub mod faults;
mod location;
mod operations;
mod put;

pub use error::{Error, ErrorKind};
pub use location::{Credentials, Location, LocationError, Options, StateEndpoint};
pub use operations::{Entry, Head, Pages};
pub use put::{Put, PutOptions};

use std::sync::Arc;

use faults::Faults;

/// A bucket and prefix of an S3 server; a cheap clone.
#[derive(Clone)]
pub struct Objects {
    inner: Arc<Inner>,
    faults: Option<Arc<Faults>>,
}

struct Inner {
    client: aws_sdk_s3::Client,
    location: Location,
}

impl Objects {
    /// Makes the client; nothing is sent yet, see [`Self::check`].
    ///
    /// Errors: `File` when the location's CA file cannot be read.
    pub fn connect(location: Location) -> Result<Self, Error> {
        let client = client::build(&location)?;
        Ok(Self { inner: Arc::new(Inner { client, location }), faults: None })
    }

    /// Objects reached by another HTTP client than ours. For simulators.
    pub(crate) fn over(location: Location, http: aws_sdk_s3::config::SharedHttpClient) -> Self {
        let client = client::over(&location, http);
        Self { inner: Arc::new(Inner { client, location }), faults: None }
    }

    /// The same objects, seen through faults. For tests.
    pub fn with_faults(&self, faults: Arc<Faults>) -> Self {
        Self { inner: self.inner.clone(), faults: Some(faults) }
    }

    /// Where these objects are.
    pub fn location(&self) -> &Location {
        &self.inner.location
    }

    /// `s3://bucket/prefix/key`, as other programs name it.
    pub fn uri(&self, key: &str) -> String {
        format!("s3://{}/{}", self.location().bucket, self.location().full(key))
    }

    fn client(&self) -> &aws_sdk_s3::Client {
        &self.inner.client
    }

    fn faults(&self) -> Option<&Faults> {
        self.faults.as_deref()
    }
}
