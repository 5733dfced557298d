//! What can go wrong with objects, in kinds that callers can branch on; the text says what to do.

use std::fmt;

use aws_sdk_s3::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
};

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No object has this key.
    NotFound,
    /// An object has this key already, and the put was not to replace it.
    Exists,
    /// The credentials are wrong, or give no right to this.
    Denied,
    /// The bucket does not exist.
    NoBucket,
    /// Nobody answers at the endpoint, or the connection broke.
    Unreachable,
    /// No answer came in time: it may have happened or not.
    Timeout,
    /// The server asks for fewer requests.
    Throttled,
    /// The server says that it cannot now (5xx).
    Unavailable,
    /// The server has no room.
    Full,
    /// What arrived is not what was sent.
    Damaged,
    /// A local file cannot be read or written.
    File,
    /// Anything else; not helped by trying again.
    Other,
}

impl ErrorKind {
    /// Whether trying again can help without anybody acting.
    pub fn retryable(self) -> bool {
        matches!(
            self,
            Self::Unreachable | Self::Timeout | Self::Throttled | Self::Unavailable | Self::Full | Self::Damaged
        )
    }

    fn advice(self) -> &'static str {
        match self {
            Self::NotFound => "no object has this key",
            Self::Exists => "an object has this key already",
            Self::Denied => "access is denied: check access key, secret key and the rights that they give",
            Self::NoBucket => "the bucket does not exist: create it, or correct its name",
            Self::Unreachable => "nobody answers: is the server running, and is the endpoint right?",
            Self::Timeout => "no answer came in time",
            Self::Throttled => "the server asks for fewer requests",
            Self::Unavailable => "the server cannot do it now",
            Self::Full => "the server has no room left: free some space",
            Self::Damaged => "what arrived is not what was sent",
            Self::File => "the local file cannot be used",
            Self::Other => "failed",
        }
    }
}

/// An operation on objects failed; the text names operation, object, endpoint and what to do.
#[derive(Debug)]
pub struct Error(Box<Facts>);

#[derive(Debug)]
struct Facts {
    operation: &'static str,
    object: String,
    kind: ErrorKind,
    /// What the server or the system says.
    said: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    pub(super) fn new(operation: &'static str, object: String, failure: Failure) -> Self {
        let Failure { kind, said, source } = failure;
        Self(Box::new(Facts { operation, object, kind, said, source }))
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether trying again later can help without anybody acting.
    pub fn retryable(&self) -> bool {
        self.0.kind.retryable()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Facts { operation, object, kind, said, .. } = &*self.0;
        write!(f, "{operation} {object}: {}", kind.advice())?;
        if said.is_empty() { Ok(()) } else { write!(f, " ({said})") }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

/// Why one attempt failed, before operation and object are named.
#[derive(Debug)]
pub(super) struct Failure {
    pub kind: ErrorKind,
    pub said: String,
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Failure {
    pub fn new(kind: ErrorKind, said: impl Into<String>) -> Self {
        Self { kind, said: said.into(), source: None }
    }

    pub fn caused(kind: ErrorKind, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self { kind, said: innermost(&source), source: Some(Box::new(source)) }
    }
}

impl<E> From<SdkError<E, HttpResponse>> for Failure
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    fn from(error: SdkError<E, HttpResponse>) -> Self {
        let kind = classify(&error);
        let said = match (error.code(), error.raw_response()) {
            (Some(code), _) => match error.message() {
                Some(message) => format!("{code}: {message}"),
                None => code.to_owned(),
            },
            (None, Some(response)) => format!("HTTP {}", response.status().as_u16()),
            (None, None) => innermost(&error),
        };
        Self { kind, said, source: Some(Box::new(error)) }
    }
}

fn classify<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> ErrorKind {
    match error {
        SdkError::TimeoutError(_) => return ErrorKind::Timeout,
        SdkError::DispatchFailure(e) if e.is_timeout() => return ErrorKind::Timeout,
        SdkError::DispatchFailure(e) if e.is_io() => return ErrorKind::Unreachable,
        SdkError::ResponseError(_) => return ErrorKind::Unreachable,
        SdkError::ConstructionFailure(_) | SdkError::DispatchFailure(_) => return ErrorKind::Other,
        _ => {}
    }
    match error.code().unwrap_or_default() {
        "NoSuchKey" | "NoSuchUpload" => ErrorKind::NotFound,
        "NoSuchBucket" => ErrorKind::NoBucket,
        "PreconditionFailed" | "ConditionalRequestConflict" => ErrorKind::Exists,
        "InvalidAccessKeyId"
        | "SignatureDoesNotMatch"
        | "AccessDenied"
        | "ExpiredToken"
        | "InvalidToken"
        | "RequestTimeTooSkewed"
        | "AuthorizationHeaderMalformed" => ErrorKind::Denied,
        "BadDigest" | "XAmzContentSHA256Mismatch" | "XAmzContentChecksumMismatch" | "IncompleteBody" => {
            ErrorKind::Damaged
        }
        "RequestTimeout" => ErrorKind::Timeout,
        "SlowDown" | "TooManyRequests" | "RequestLimitExceeded" | "Throttling" => ErrorKind::Throttled,
        "InsufficientStorage" | "XMinioStorageFull" => ErrorKind::Full,
        _ => by_status(error.raw_response().map_or(0, |response| response.status().as_u16())),
    }
}

/// Answers to HEAD carry no code, only the status.
fn by_status(status: u16) -> ErrorKind {
    match status {
        404 => ErrorKind::NotFound,
        401 | 403 => ErrorKind::Denied,
        412 => ErrorKind::Exists,
        429 => ErrorKind::Throttled,
        507 => ErrorKind::Full,
        500..=599 => ErrorKind::Unavailable,
        _ => ErrorKind::Other,
    }
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
