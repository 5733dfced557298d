//! Where the objects are: a URI and options, or the state folder of a hub on this machine.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// Where the objects are, and who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// `http://host:port` or `https://…`; none for Amazon's own, which follows from the region.
    pub endpoint: Option<String>,
    /// The region that requests are signed for.
    pub region: String,
    /// The bucket.
    pub bucket: String,
    /// What every key begins with, without a slash at its ends; may be empty.
    pub prefix: String,
    /// Who asks.
    pub credentials: Credentials,
    /// `endpoint/bucket/key` instead of `bucket.endpoint/key`.
    pub path_style: bool,
    /// A PEM file with the authorities that an `https` endpoint's certificate must come from, instead of the system's.
    pub ca: Option<PathBuf>,
}

/// An access key and its secret; the secret never prints.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The name of the key.
    pub access_key: String,
    /// The secret.
    pub secret_key: String,
    /// With temporary credentials.
    pub session_token: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({}, …)", self.access_key)
    }
}

/// What a configuration may say beside the URI.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// See [`Location::endpoint`].
    pub endpoint: Option<String>,
    /// See [`Location::region`]; default `$AWS_REGION`, or `us-east-1` with an endpoint.
    pub region: Option<String>,
    /// Default `$AWS_ACCESS_KEY_ID`, `$AWS_SECRET_ACCESS_KEY`, `$AWS_SESSION_TOKEN`.
    pub credentials: Option<Credentials>,
    /// See [`Location::path_style`]; default yes with an endpoint.
    pub path_style: Option<bool>,
    /// See [`Location::ca`].
    pub ca: Option<PathBuf>,
}

/// Why there is no location.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LocationError {
    /// The URI cannot be read.
    #[error("`{0}` is not a place for objects: expected s3://bucket or s3://bucket/prefix")]
    Uri(String),
    /// The bucket's name breaks S3's rules.
    #[error(
        "`{0}` is not a bucket name: use 3 to 63 of a-z, 0-9, `.` and `-`, beginning and ending with a letter or digit"
    )]
    Bucket(String),
    /// The endpoint cannot be read.
    #[error("`{0}` is not an S3 endpoint: expected http://host:port or https://host")]
    Endpoint(String),
    /// Neither an endpoint nor a region.
    #[error("objects in `{0}` need a region or an endpoint: set s3.region or s3.endpoint")]
    Region(String),
    /// No credentials.
    #[error(
        "objects in `{0}` need credentials: set s3.access_key and s3.secret_key, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    )]
    Credentials(String),
    /// The hub's endpoints file cannot be read.
    #[error("read {path}: {source}; is this the state folder of a hub that has been started?")]
    State {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// The part `s3` of `endpoints.json` in a hub's state folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateEndpoint {
    /// `http://127.0.0.1:port`.
    pub endpoint: Option<String>,
    /// The region to sign for.
    pub region: String,
    /// The bucket.
    pub bucket: String,
    /// The prefix; may be empty.
    #[serde(default)]
    pub prefix: String,
    /// The access key.
    pub access_key: String,
    /// Its secret.
    pub secret_key: String,
}

impl Location {
    /// From `s3://bucket/prefix` and options.
    pub fn parse(uri: &str, options: Options) -> Result<Self, LocationError> {
        let rest = uri.strip_prefix("s3://").ok_or_else(|| LocationError::Uri(uri.to_owned()))?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if !is_bucket(bucket) {
            return Err(LocationError::Bucket(bucket.to_owned()));
        }
        let endpoint = options.endpoint.map(|endpoint| check_endpoint(&endpoint)).transpose()?;
        let region = options.region.or_else(|| env("AWS_REGION")).or_else(|| env("AWS_DEFAULT_REGION"));
        let region = match (region, &endpoint) {
            (Some(region), _) => region,
            (None, Some(_)) => "us-east-1".to_owned(),
            (None, None) => return Err(LocationError::Region(uri.to_owned())),
        };
        let credentials =
            options.credentials.or_else(from_environment).ok_or_else(|| LocationError::Credentials(uri.to_owned()))?;
        Ok(Self {
            path_style: options.path_style.unwrap_or(endpoint.is_some()),
            endpoint,
            region,
            bucket: bucket.to_owned(),
            prefix: prefix.trim_matches('/').to_owned(),
            credentials,
            ca: options.ca,
        })
    }

    /// The objects of the hub whose state folder this is; the hub need not be asked, and may be running.
    pub fn from_state(folder: &Path) -> Result<Self, LocationError> {
        #[derive(Deserialize)]
        struct Endpoints {
            s3: StateEndpoint,
        }
        let path = folder.join("endpoints.json");
        let read = std::fs::read(&path).and_then(|json| Ok(serde_json::from_slice::<Endpoints>(&json)?));
        Ok(read.map_err(|source| LocationError::State { path, source })?.s3.into())
    }

    /// `s3://bucket/prefix/key at endpoint`, for logs and errors.
    pub fn shown(&self, key: &str) -> String {
        let place = self.endpoint.as_deref().unwrap_or(&self.region);
        format!("s3://{}/{} at {place}", self.bucket, self.full(key))
    }

    /// The key with the prefix before it.
    pub(super) fn full(&self, key: &str) -> String {
        if self.prefix.is_empty() { key.to_owned() } else { format!("{}/{key}", self.prefix) }
    }

    /// The key without the prefix.
    pub(super) fn relative<'k>(&self, full: &'k str) -> &'k str {
        full.strip_prefix(&self.prefix)
            .map_or(full, |rest| if self.prefix.is_empty() { rest } else { rest.strip_prefix('/').unwrap_or(rest) })
    }
}

impl From<StateEndpoint> for Location {
    fn from(state: StateEndpoint) -> Self {
        let StateEndpoint { endpoint, region, bucket, prefix, access_key, secret_key } = state;
        Self {
            path_style: endpoint.is_some(),
            endpoint,
            region,
            bucket,
            prefix: prefix.trim_matches('/').to_owned(),
            credentials: Credentials { access_key, secret_key, session_token: None },
            ca: None,
        }
    }
}

fn is_bucket(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = name.as_bytes();
    (3..=63).contains(&bytes.len())
        && plain(bytes[0])
        && plain(bytes[bytes.len() - 1])
        && bytes.iter().all(|b| plain(*b) || matches!(b, b'-' | b'.'))
}

fn check_endpoint(endpoint: &str) -> Result<String, LocationError> {
    match url::Url::parse(endpoint) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => {
            Ok(endpoint.trim_end_matches('/').to_owned())
        }
        _ => Err(LocationError::Endpoint(endpoint.to_owned())),
    }
}

fn from_environment() -> Option<Credentials> {
    Some(Credentials {
        access_key: env("AWS_ACCESS_KEY_ID")?,
        secret_key: env("AWS_SECRET_ACCESS_KEY")?,
        session_token: env("AWS_SESSION_TOKEN"),
    })
}

fn env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(endpoint: &str) -> Options {
        let credentials =
            Credentials { access_key: "key".into(), secret_key: "very-secret".into(), session_token: None };
        Options { endpoint: Some(endpoint.into()), credentials: Some(credentials), ..Options::default() }
    }

    #[test]
    fn a_uri_gives_bucket_and_prefix() {
        for (uri, bucket, prefix) in [("s3://lake", "lake", ""), ("s3://lake/a/b/", "lake", "a/b")] {
            let location = Location::parse(uri, options("http://127.0.0.1:9000/")).unwrap();
            assert_eq!((location.bucket.as_str(), location.prefix.as_str()), (bucket, prefix));
            assert_eq!(location.endpoint.as_deref(), Some("http://127.0.0.1:9000"));
            assert!(location.path_style);
            assert_eq!(location.relative(&location.full("x/y")), "x/y");
            assert!(!format!("{location:?}").contains("very-secret"));
        }
    }

    #[test]
    fn mistakes_say_what_to_do() {
        for (uri, endpoint, says) in [
            ("s4://lake", "http://h", "expected s3://bucket"),
            ("s3://La ke", "http://h", "is not a bucket name"),
            ("s3://lake", "127.0.0.1:9000", "is not an S3 endpoint"),
        ] {
            let error = Location::parse(uri, options(endpoint)).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
        let error = Location::from_state(Path::new("/nowhere")).unwrap_err().to_string();
        assert!(error.contains("/nowhere/endpoints.json"), "{error}");
    }
}
